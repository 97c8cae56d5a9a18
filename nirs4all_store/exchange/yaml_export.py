"""Writes rows as YAML that means the same to every YAML reader."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

import yaml

# PyYAML writes YAML 1.1: what is a number in 1.2 only, and line ends that it would fold into a space.
AMBIGUOUS = re.compile(r"^[-+]?(\d+|\d*\.\d+|\d+\.)([eE][-+]?\d+)?$|^0o[0-7]+$|[\x85\u2028\u2029\ufeff]")


def to_yaml(value: Any) -> str:
    """Return rows of the database, made of JSON values and times, as YAML."""
    plain = json.loads(json.dumps(value, default=datetime.isoformat))  # JSON's types, and no anchors.
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # known when it is imported
    """Quotes the texts that some reader of YAML would take for something else.

    PyYAML's own writer takes five times as long as libyaml, which some installations lack.
    """


def _as_yaml(dumper: _Dumper, value: str) -> Any:
    style = '"' if AMBIGUOUS.search(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _as_yaml)
