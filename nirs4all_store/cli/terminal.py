"""What is printed steers no terminal, and what a terminal's encoding lacks is an escape."""

from __future__ import annotations

import io
import json
import re
import sys

from rich.text import Text

from ..validation import printable

# What moves a terminal's cursor, gives it orders, or turns the direction of writing; a line end and a tab harm nobody.
STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def escape_what_the_terminal_lacks() -> None:
    """Let characters that the encoding of what is printed to has not be printed as escapes, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _encoding() -> str:
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def cell(text: str) -> Text:
    """Return text for a table, as wide as it will be printed: what the terminal's encoding lacks is an escape here."""
    return Text(printable(text).encode(_encoding(), "backslashreplace").decode(_encoding()))


def for_programs(text: str) -> str:
    """Return JSON or CSV that steers no terminal and that its encoding has, with JSON's escapes.

    So JSON says the same, also where it is a cell of CSV. Other cells of CSV have no way to say it.
    """
    text = STEERING.sub(lambda found: _json_escape(found[0]), text)
    return text if has(text) else "".join(c if c.isascii() else _json_escape(c) for c in text)


def _json_escape(character: str) -> str:
    return f"\\u{ord(character):04x}" if character.isascii() else json.dumps(character)[1:-1]


def has(text: str) -> bool:
    """Tell whether the encoding of what is printed to has all of a text."""
    try:
        text.encode(_encoding())
    except UnicodeEncodeError:
        return False
    return True


def put(text: str) -> None:
    """Print text as it is."""
    sys.stdout.write(text)  # typer.echo takes every terminal of ASCII for one of UTF-8.
    sys.stdout.flush()
