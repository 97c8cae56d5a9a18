"""Where a pipeline's configuration comes from: a file, a template, a text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from .errors import InvalidInputError, NotFoundError

FILES = (".json", ".yaml", ".yml")


class _Yaml(yaml.SafeLoader):
    """Reads `1e-3` as a number, as JSON and YAML 1.2 do."""


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), [*"-+.0123456789"]
)


def find_config(given: Any, load_template: Callable[[str], Any]) -> Any:
    """Return a configuration given as itself, in a file, by the name of a template, or as text.

    A text is the first of these that there is: also `2024` and `a: b` may be names.

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
    if not isinstance(given, str) or (_names_file(given) and Path(given).is_file()):
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
    try:
        is_file = isinstance(given, Path) or _names_file(given)
        text = Path(given).read_text(encoding="utf-8") if is_file else str(given)
        return _parsed(text)
    except yaml.MarkedYAMLError as error:
        place = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InvalidInputError(
            f"the configuration {str(given)[:200]!r} cannot be read: neither JSON nor YAML{place}: {error.problem}"
        ) from error
    except (OSError, UnicodeError, yaml.YAMLError, RecursionError) as error:
        raise InvalidInputError(f"the configuration {str(given)[:200]!r} cannot be read: {error}") from error


def _names_file(given: str) -> bool:
    return given.lower().endswith(FILES) and "\n" not in given


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return yaml.load(text, Loader=_Yaml)  # noqa: S506  # a SafeLoader that reads more numbers
