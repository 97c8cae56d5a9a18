"""Where a workspace is: a folder, or `memory:NAME`, which is in this process alone.

See docs/decisions/0021.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError, StoreError
from ..filesystem import checked_path

MEMORY = "memory:"


def is_in_memory(address: Path) -> bool:
    """Tell whether an address, as `checked_address` returns it, is one of a workspace in memory."""
    return str(address).startswith(MEMORY)


def checked_address(value: Any, name: str, error: type[StoreError] = InvalidInputError) -> Path:
    """Return the address of a workspace: `memory:NAME` as it is, a folder as an absolute path.

    Raises
    ------
    InvalidInputError
        Nothing could have it; or `error`, if that is another one.
    """
    address = checked_path(value, name, error)
    if not os.fspath(value).startswith(MEMORY):  # As it was given: a Path no longer knows `./memory:x` from it.
        return address.absolute()
    if str(address) == MEMORY:
        raise error(f"{name} is {MEMORY!r} without a name; give one, as in 'memory:wheat'")
    return address


def checked_folder(value: Any, name: str, error: type[StoreError] = InvalidInputError) -> Path:
    """Return the absolute path of a folder, for what is done to folders only.

    Raises
    ------
    InvalidInputError
        It is none; or `error`, if that is another one.
    """
    address = checked_address(value, name, error)
    if is_in_memory(address):
        raise error(
            f"{address} is a workspace in the memory of one process, and this is done to a folder; give one "
            f"(a folder that is called so is ./{address})"
        )
    return address
