"""Finds and reads a configuration: in a file, among the templates of the library, or in a text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ..errors import InvalidInputError, NotFoundError
from ..filesystem import checked_path, refuse_odd_given
from ..validation import reject_duplicate_keys

FILES = (".json", ".yaml", ".yml")
MOST_MERGED = 10_000
MERGE = "tag:yaml.org,2002:merge"


class _Yaml(yaml.SafeLoader):
    """Reads `1e-3` as a number, as JSON and YAML 1.2 do, and refuses a key that is given twice, as YAML does."""

    def flatten_mapping(self, node: Any) -> None:
        """Merge as YAML does, but refuse what doubles with each line: `b: {<<: [*a, *a]}`, `c: {<<: [*b, *b]}`."""
        for key, value in node.value:
            if key.tag == MERGE:
                merged = value.value if isinstance(value, yaml.SequenceNode) else [value]
                merged = [part for part in merged if isinstance(part, yaml.MappingNode)]
                for part in merged:
                    self.flatten_mapping(part)
                if sum(len(part.value) for part in merged) > MOST_MERGED:
                    line = key.start_mark.line + 1
                    raise InvalidInputError(f"the keys that are merged in line {line} are more than {MOST_MERGED:,}")
        super().flatten_mapping(node)

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != MERGE:
                if (key.tag, key.value) in seen:
                    line = key.start_mark.line + 1
                    raise InvalidInputError(f"the key {key.value!r:.200} is given twice, again in line {line}")
                seen.add((key.tag, key.value))
        return node


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), [*"-+.0123456789"]
)


def find_config(given: Any, load_template: Callable[[str], Any]) -> Any:
    """Return a configuration that is given directly, in a file, by the name of a template, or as text.

    A str is taken for a file, then for a template, then for text: templates may be called `2024` or `a: b`.

    Parameters
    ----------
    given : object
    load_template : callable
        Returns the template of a name, or raises `NotFoundError`.

    Raises
    ------
    InvalidInputError
        It cannot be read.
    NotFoundError
        It is none of them.
    """
    if not isinstance(given, str) or (_names_file(given) and checked_path(given, "the configuration").is_file()):
        return read_config(given)
    try:
        return load_template(given)
    except NotFoundError as error:
        config = read_config(given)
        if isinstance(config, list | dict):
            return config
        raise NotFoundError(
            f"{given!r} is no file that ends in one of {', '.join(FILES)}, no JSON or YAML of a list of steps, and "
            f"{error}"
        ) from error


def read_config(given: Any) -> Any:
    """Return a configuration given as text or in a file.

    Parameters
    ----------
    given : object
        JSON or YAML as text, the path of such a file, or the configuration itself, which is returned as it is.

    Raises
    ------
    InvalidInputError
        It cannot be read.
    """
    if not isinstance(given, str | Path):
        return given
    is_file = isinstance(given, Path) or _names_file(given)
    path = checked_path(given, "the configuration") if is_file else None
    if path is not None:
        refuse_odd_given(path)
    try:
        text = str(given) if path is None else path.read_text(encoding="utf-8")
        return _parsed(text)
    except yaml.MarkedYAMLError as error:
        place = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InvalidInputError(
            f"the configuration {str(given)[:200]!r} cannot be read: neither JSON nor YAML{place}: {error.problem}"
        ) from error
    except InvalidInputError as error:
        raise InvalidInputError(
            f"the configuration {str(given)[:200]!r} cannot be read: {error}; remove one, or make a step of each"
        ) from error
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise InvalidInputError(f"the configuration {str(given)[:200]!r} cannot be read: {error}") from error


def _names_file(given: str) -> bool:
    return given.lower().endswith(FILES) and "\n" not in given


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=reject_duplicate_keys)
    except json.JSONDecodeError:
        return yaml.load(text, Loader=_Yaml)  # noqa: S506  # a SafeLoader that reads more numbers
