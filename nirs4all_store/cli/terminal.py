"""Makes text safe to print: control characters, and characters that the terminal cannot show, become escapes."""

from __future__ import annotations

import io
import json
import re
import sys

from .. import validation

# Characters that move the cursor, are commands to the terminal, or change the direction of text; not line end and tab.
STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def escape_what_the_terminal_lacks() -> None:
    """Print characters that the encoding of stdout or stderr lacks as escapes, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _encoding() -> str:
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def cell(text: str) -> str:
    """Return text for a cell of a table. It has its escapes already, so that its width is that of the printed text."""
    return validation.printable(text).encode(_encoding(), "backslashreplace").decode(_encoding())


def for_programs(text: str) -> str:
    r"""Return JSON or CSV with control characters, and characters that the terminal lacks, as JSON's escapes (\uXXXX).

    JSON with escapes means the same, also in a cell of CSV. In other cells of CSV the escapes are part of the text.
    """
    text = STEERING.sub(lambda found: _json_escape(found[0]), text)
    return text if has(text) else "".join(c if c.isascii() else _json_escape(c) for c in text)


def _json_escape(character: str) -> str:
    return f"\\u{ord(character):04x}" if character.isascii() else json.dumps(character)[1:-1]


def has(text: str) -> bool:
    """Tell whether the encoding of stdout has all characters of a text."""
    try:
        text.encode(_encoding())
    except UnicodeEncodeError:
        return False
    return True


def put(text: str) -> None:
    """Print text as it is."""
    sys.stdout.write(text)  # typer.echo would write UTF-8 to an ASCII terminal.
    sys.stdout.flush()
