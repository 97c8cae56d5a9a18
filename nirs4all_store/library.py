"""Reusable pipeline configurations: one JSON file a template."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import InvalidInputError, InvalidTypeError, NotFoundError, TemplateExistsError
from .files import with_suffix_added, write_whole
from .values import checked_text, json_text, utc_now

Template = dict[str, Any]

FORMAT_VERSION = 1
PLAIN_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9 ._-]{0,98}[A-Za-z0-9_-])?")
# Names that Windows keeps for devices, whatever their extension.
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
READABLE = re.compile(r"[^A-Za-z0-9_-]+")


class PipelineLibrary:
    """The templates of one workspace, in `library/templates/`; nothing is created until the first save.

    A name or a category is data: it may hold any text, and never leads to another folder.

    Parameters
    ----------
    workspace_path : path-like
    """

    def __init__(self, workspace_path: str | os.PathLike[str]) -> None:
        self._folder = Path(workspace_path) / "library" / "templates"

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
            Scores that it is known to reach.
        overwrite : bool
            Replace a template of that name; the time it was made stays.

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
        path = self._path(name)
        there = _read(path) if path.exists() else None
        if there is not None and there["name"] != name:  # The file system ignores case.
            raise TemplateExistsError(f"the template {there['name']!r} has the same file here; choose another name")
        if there is not None and not overwrite:
            raise TemplateExistsError(f"the library has a template {name!r} already; pass overwrite=True to replace it")
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
        return self._write(path, template)

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
        """Return the metadata of templates, by name.

        Parameters
        ----------
        category : str, optional
        tags : list of str, optional
            Templates with any of them.

        Raises
        ------
        InvalidInputError
            A file in the folder is no template; the message names it.
        """
        found = [_metadata(_read(path)) for path in self._folder.glob("*.json")]
        if category is not None:
            found = [template for template in found if template["category"] == category]
        if tags is not None:
            wanted = set(_checked_tags(tags))
            found = [template for template in found if wanted & set(template["tags"])]
        return sorted(found, key=lambda template: str(template["name"]))

    def delete_template(self, name: str, category: str | None = None) -> None:
        """Delete a template; errors as for `load_template`."""
        self._find(name, category)
        self._path(name).unlink()

    def export_template(self, name: str, export_path: str | os.PathLike[str], category: str | None = None) -> Path:
        """Write a template to a file of its own; `.json` is appended when missing, parents are created."""
        return self._write(with_suffix_added(export_path, ".json"), self._find(name, category))

    def import_template(
        self, import_path: str | os.PathLike[str], category: str = "general", overwrite: bool = False
    ) -> Path:
        """Take in a file that `export_template` wrote.

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
            The file is no template.
        NotFoundError
            There is no such file.
        """
        source = Path(import_path)
        if not source.is_file():
            raise NotFoundError(f"there is no file {source}; give the path of an exported template")
        template = _read(source)
        return self.save_template(
            template["pipeline_config"], template["name"], template["category"] if category == "general" else category,
            template["description"], template["tags"], template["metrics"], template["notes"], overwrite,
        )  # fmt: skip

    def _path(self, name: str) -> Path:
        """Return a name's file: the name itself where that is plain, else its readable part and a hash."""
        if not checked_text(name, "name").strip():
            raise InvalidInputError("a template needs a name; give one that is not blank")
        if PLAIN_NAME.fullmatch(name) and not DEVICES.fullmatch(name):
            return self._folder / f"{name}.json"
        readable = READABLE.sub("-", name)[:60].strip("-").lower()
        return self._folder / f"{readable}~{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"

    def _find(self, name: str, category: str | None) -> Template:
        path = self._path(name)
        template = _read(path) if path.is_file() else None
        if template is None or template["name"] != name:
            near = difflib.get_close_matches(name, [template["name"] for template in self.list_templates()])
            raise NotFoundError(
                f"the library has no template {name!r}; "
                + (f"the nearest are {near}" if near else "see list_templates() for those it has")
            )
        if category is not None and template["category"] != category:
            raise NotFoundError(f"the template {name!r} is of category {template['category']!r}, not {category!r}")
        return template

    @staticmethod
    def _write(path: Path, template: Template) -> Path:
        text = json.dumps(json.loads(json_text(template, "template") or ""), indent=2, ensure_ascii=False)
        return write_whole(path, text.encode())


def _checked_tags(tags: Any) -> list[str]:
    if isinstance(tags, str):
        raise InvalidTypeError(f"tags must be a list of texts, not the text {tags!r}; give [{tags!r}]")
    return [checked_text(tag, "tags") for tag in tags or []]


def _checked_metrics(metrics: Any) -> dict[str, Any]:
    if metrics is not None and not isinstance(metrics, dict):
        raise InvalidTypeError(f"metrics must be a dict of scores, not {type(metrics).__name__}")
    return metrics or {}


def _checked_config(config: Any) -> Any:
    if not isinstance(config, dict | list):
        raise InvalidTypeError(f"pipeline_config must be a dict or a list, not {type(config).__name__}")
    return config


def _read(path: Path) -> Template:
    try:
        template = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path} cannot be read as a template: {error}; repair it or move it away") from error
    texts = ("name", "category", "description", "notes", "created_at")
    complete = isinstance(template, dict) and all(isinstance(template.get(key), str) for key in texts)
    if not (complete and isinstance(template.get("tags"), list) and isinstance(template.get("metrics"), dict)
            and isinstance(template.get("pipeline_config"), dict | list)):  # fmt: skip
        raise InvalidInputError(f"{path} is no template: it lacks some of its fields; repair it or move it away")
    return dict(template)


def _metadata(template: Template) -> Template:
    return {key: value for key, value in template.items() if key != "pipeline_config"}
