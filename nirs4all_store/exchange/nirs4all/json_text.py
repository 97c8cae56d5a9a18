"""Reads JSON text as nirs4all writes it."""

from __future__ import annotations

import json
from typing import Any


def readable(text: Any) -> Any:
    """Return what `decoded` does, or the text itself if it is no JSON."""
    try:
        return decoded(text)
    except (ValueError, RecursionError):
        return text


def decoded(text: Any) -> Any:
    """Return what JSON text stands for; nirs4all's may have NaN and infinities."""
    return json.loads(text) if isinstance(text, str) and text else text
