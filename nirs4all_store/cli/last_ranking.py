"""Remembers the rows of the ranking that was last shown in this shell, for `@3`.

One small file for each workspace and shell, in the user's folder for such state (XDG_STATE_HOME), and nothing in the
workspace: that may be read-only, and be looked at from several shells, each of which has another ranking before it.
The file has the ids of chains, since to rank again may give other rows meanwhile: docs/decisions/0030.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..storage import this_session

DAYS_KEPT = 30
SECONDS_OF_A_DAY = 86400


def remember(workspace: Path, rows: Iterable[tuple[int, str]]) -> None:
    """Keep the number and the chain of each row; where nothing can be written, nothing is kept."""
    with suppress(OSError, RuntimeError):
        path = _path(workspace)
        path.parent.mkdir(parents=True, exist_ok=True)
        for other in path.parent.glob("*.json"):
            if time.time() - other.stat().st_mtime > DAYS_KEPT * SECONDS_OF_A_DAY:
                other.unlink()
        path.write_text(json.dumps([*rows]))


def recall(workspace: Path) -> list[tuple[int, str]]:
    """Return the rows that `remember` has kept in this shell; none if there are none."""
    with suppress(OSError, RuntimeError, ValueError):
        return [(int(number), str(chain)) for number, chain in json.loads(_path(workspace).read_text())]
    return []


def _path(workspace: Path) -> Path:
    given = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser()
    digest = hashlib.sha256(os.fsencode(workspace.resolve())).hexdigest()[:16]
    return given / "nirs4all-store" / "rankings" / f"{digest}-{this_session()}.json"
