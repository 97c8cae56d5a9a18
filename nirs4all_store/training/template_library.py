"""`PipelineLibrary`: reusable pipeline configurations, each in a JSON file of its own."""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..call_boundary import all_public
from ..errors import InvalidInputError, InvalidTypeError, NotFoundError, TemplateExistsError, WorkspaceCorruptError
from ..filesystem import (
    checked_path,
    content_of,
    refuse_below,
    refuse_odd,
    with_suffix_added,
    write_atomic,
    write_exclusive,
)
from ..identifiers import utc_now
from ..validation import checked_text, checked_texts, did_you_mean, file_text, json_text, reject_duplicate_keys, shown
from ..workspace import TEMPLATES, checked_folder, is_in_memory

Template = dict[str, Any]
FORMAT_VERSION = 1
PLAIN_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9 ._-]{0,98}[A-Za-z0-9_-])?")
# Names that Windows keeps for devices, whatever their extension.
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@all_public
class PipelineLibrary:
    """The templates of one workspace, in `library/templates/`; nothing is created until the first save.

    A name or a category may be any text; none leads to a file outside this folder.

    Parameters
    ----------
    workspace_path : path-like
    """

    def __init__(self, workspace_path: str | os.PathLike[str]) -> None:
        self._workspace = checked_folder(workspace_path, "workspace_path")
        self._folder = self._workspace / TEMPLATES[-1]

    def save_template(
        self,
        pipeline_config: dict[str, Any] | list[Any],
        name: str,
        category: str = "general",
        description: str = "",
        tags: Sequence[str] | None = None,
        metrics: dict[str, Any] | None = None,
        notes: str = "",
        overwrite: bool = False,
    ) -> Path:
        """Save a configuration under a name.

        Parameters
        ----------
        pipeline_config : dict or list
        name, category, description, notes : str
        tags : list of str, optional
        metrics : dict, optional
            Scores that it has reached.
        overwrite : bool
            Replace a template of that name, also a damaged one; its `created_at` stays.

        Returns
        -------
        Path
            The template's file.

        Raises
        ------
        TemplateExistsError
            The name is taken and `overwrite` is False.
        InvalidInputError
            A value cannot be stored.
        """
        name = checked_text(name, "name")
        path = self._path(name)
        there = _readable(path)
        if there is not None and there["name"] != name:  # The file system ignores case.
            raise TemplateExistsError(f"the template {there['name']!r} has the same file here; choose another name")
        if not overwrite and path.exists():
            raise _exists(name)
        now = utc_now().isoformat()
        template = {
            "format_version": FORMAT_VERSION,
            "name": name,
            "category": checked_text(category, "category"),
            "description": checked_text(description, "description"),
            "tags": _checked_tags(tags),
            "metrics": _checked_metrics(metrics),
            "notes": checked_text(notes, "notes"),
            "created_at": there["created_at"] if there else now,
            "updated_at": now,
            "pipeline_config": _checked_config(pipeline_config),
        }
        if overwrite:
            return write_atomic(path, _content(template))
        if not write_exclusive(path, _content(template)):  # Another writer was faster.
            raise _exists(name)
        return path

    def load_template(self, name: str, category: str | None = None) -> dict[str, Any] | list[Any]:
        """Return a template's configuration.

        Raises
        ------
        NotFoundError
            There is no such template, or it is of another category.
        """
        config: dict[str, Any] | list[Any] = self._find(name, category)["pipeline_config"]
        return config

    def get_template_metadata(self, name: str, category: str | None = None) -> Template:
        """Return everything about a template but its configuration; errors as for `load_template`."""
        return _metadata(self._find(name, category))

    def list_templates(self, category: str | None = None, tags: Sequence[str] | None = None) -> list[Template]:
        """Return the metadata of templates, sorted by name.

        A file that is not a template is left out, with a warning that names it.

        Parameters
        ----------
        category : str, optional
        tags : list of str, optional
            Templates with any of them.
        """
        found = []
        for path in self._files():
            try:
                found.append(_metadata(_read(path)))
            except (InvalidInputError, WorkspaceCorruptError) as error:
                warnings.warn(str(error), stacklevel=3)
        if category is not None:
            category = checked_text(category, "category")
            found = [template for template in found if template["category"] == category]
        if tags is not None:
            wanted = set(_checked_tags(tags))
            found = [template for template in found if wanted & set(template["tags"])]
        return sorted(found, key=lambda template: str(template["name"]))

    def delete_template(self, name: str, category: str | None = None) -> None:
        """Delete a template, also a damaged one if no category is asked for; errors as for `load_template`."""
        path = self._path(name)
        if category is not None or not path.is_file() or _readable(path) is not None:
            self._find(name, category)
        path.unlink()

    def export_template(self, name: str, export_path: str | os.PathLike[str], category: str | None = None) -> Path:
        """Write a template to a file of its own; `.json` is appended when missing; missing folders are created."""
        path = with_suffix_added(export_path, ".json")
        refuse_below(path, self._workspace / "artifacts")
        return write_atomic(path, _content(self._find(name, category)))

    def import_template(
        self, import_path: str | os.PathLike[str], category: str = "general", overwrite: bool = False
    ) -> Path:
        """Add a template from a file that `export_template` wrote.

        Parameters
        ----------
        import_path : path-like
        category : str
            The category to file it under; with `"general"` it keeps its own.
        overwrite : bool
            Replace a template of its name.

        Returns
        -------
        Path
            The template's file in the library.

        Raises
        ------
        TemplateExistsError
            Its name is taken and `overwrite` is False.
        InvalidInputError
            The file is not a template.
        NotFoundError
            There is no such file.
        """
        source = checked_path(import_path, "import_path")
        if not source.is_file():
            raise NotFoundError(f"there is no file {source}; give the path of an exported template")
        template = _read(source, Path.read_bytes)
        return self.save_template(
            template["pipeline_config"],
            template["name"],
            template["category"] if category == "general" else category,
            template["description"],
            template["tags"],
            template["metrics"],
            template["notes"],
            overwrite,
        )

    def _path(self, name: str) -> Path:
        """Return a name's file: the name itself where that is plain, else its readable part and a hash."""
        name = checked_text(name, "name")
        if not name.strip():
            raise InvalidInputError("a template needs a name; give one that is not blank")
        if PLAIN_NAME.fullmatch(name) and not DEVICES.fullmatch(name):
            file = f"{name}.json"
        else:
            readable = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:60].strip("-").lower()
            file = f"{readable}~{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"
        self._refuse_odd(file)
        return self._folder / file

    def _files(self) -> list[Path]:
        self._refuse_odd()
        return [*self._folder.glob("*.json")]

    def _refuse_odd(self, *files: str) -> None:
        """Follow no link to the templates, and no template that is one; see `refuse_odd`."""
        refuse_odd(*(self._workspace / folder for folder in TEMPLATES), *(self._folder / file for file in files))

    def _find(self, name: str, category: str | None) -> Template:
        name, path = checked_text(name, "name"), self._path(name)
        category = None if category is None else checked_text(category, "category")
        template = _read(path) if path.is_file() else None
        if template is None or template["name"] != name:
            others = [there["name"] for there in map(_readable, self._files()) if there is not None]
            listed = "; see list_templates(), in a shell `nirs4all-store library list`, for those it has"
            raise NotFoundError(f"the library has no template {name!r}{did_you_mean(name, others) or listed}")
        if category is not None and template["category"] != category:
            raise NotFoundError(f"the template {name!r} is of category {template['category']!r}, not {category!r}")
        return template


def template_in(workspace: Path, name: str) -> Any:
    """Return the configuration of a template of a workspace; raise `NotFoundError` if it has none of this name."""
    if is_in_memory(workspace):
        raise NotFoundError(f"{workspace} has no template {name!r}: templates lie in a workspace's folder")
    return PipelineLibrary(workspace).load_template(name)


def _checked_tags(tags: Any) -> list[str]:
    if isinstance(tags, str):
        raise InvalidTypeError(f"tags must be a list of texts, not the text {tags!r}; give [{tags!r}]")
    return checked_texts(tags, "tags")


def _checked_metrics(metrics: Any) -> dict[str, Any]:
    if metrics is not None and not isinstance(metrics, dict):
        raise InvalidTypeError(f"metrics must be a dict of scores, not {type(metrics).__name__}")
    return metrics or {}


def _checked_config(config: Any) -> Any:
    if not isinstance(config, dict | list):
        raise InvalidTypeError(f"pipeline_config must be a dict or a list, not {type(config).__name__}")
    return config


def _content(template: Template) -> bytes:
    return file_text(json.loads(json_text(template, "template") or "")).encode()


def _exists(name: str) -> TemplateExistsError:
    return TemplateExistsError(
        f"the library has a template {name!r} already; pass overwrite=True, in a shell --overwrite, to replace it"
    )


def _readable(path: Path) -> Template | None:
    """Return the template in a file; None where there is no file or it is damaged."""
    try:
        return _read(path)
    except (InvalidInputError, WorkspaceCorruptError):
        return None


def _read(path: Path, content: Callable[[Path], bytes] = content_of) -> Template:
    named = str(path).encode(errors="backslashreplace").decode()  # A file may have any bytes as its name.
    try:
        template = json.loads(content(path).decode("utf-8"), object_pairs_hook=reject_duplicate_keys)
        json_text(template, "it")  # What could not have been saved may be in a file all the same.
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"{named} cannot be read as a template: {error}; repair it or move it away") from error
    texts = ("name", "category", "description", "notes", "created_at")
    complete = isinstance(template, dict) and all(isinstance(template.get(key), str) for key in texts)
    if not (
        complete
        and _is_texts(template.get("tags"))
        and isinstance(template.get("metrics"), dict)
        and isinstance(template.get("pipeline_config"), dict | list)
    ):
        raise InvalidInputError(
            f"{named} is no template: it lacks some of its fields, or they hold something else; repair it or move it "
            "away"
        )
    version = template.get("format_version", FORMAT_VERSION)
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise InvalidInputError(
            f"{named} has format version {shown(version)}, this package reads up to {FORMAT_VERSION}; install a newer "
            "nirs4all-store, or move it away"
        )
    return dict(template)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _metadata(template: Template) -> Template:
    return {key: value for key, value in template.items() if key != "pipeline_config"}
