"""Checks the address of a workspace: a folder, or `memory:NAME` for one in the memory of this process.

Why there are workspaces in memory: docs/decisions/0021.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError, StoreError
from ..filesystem import checked_path

MEMORY = "memory:"


def is_in_memory(address: Path) -> bool:
    """Tell whether an address that `checked_address` has returned is that of a workspace in memory."""
    return str(address).startswith(MEMORY)


def checked_address(value: Any, name: str, error: type[StoreError] = InvalidInputError) -> Path:
    """Return the address of a workspace: `memory:NAME` as it is, a folder as an absolute path.

    Parameters
    ----------
    value : path-like
    name : str
        The name of the argument, for messages.
    error : type
        The error to raise instead of `InvalidInputError`.

    Raises
    ------
    InvalidInputError
        `value` cannot be an address.
    """
    address = checked_path(value, name, error)
    if not os.fspath(value).startswith(MEMORY):  # The original text: as a Path, `./memory:x` looks the same.
        return address.absolute()
    if str(address) == MEMORY:
        raise error(f"{name} is {MEMORY!r} without a name; give one, as in 'memory:wheat'")
    return address


def checked_folder(value: Any, name: str, error: type[StoreError] = InvalidInputError) -> Path:
    """Return the absolute path of a folder, for functions that do not work on a workspace in memory.

    For the parameters see `checked_address`.

    Raises
    ------
    InvalidInputError
        `value` is not the path of a folder.
    """
    address = checked_address(value, name, error)
    if is_in_memory(address):
        raise error(
            f"{address} is a workspace in the memory of one process, and this is done to a folder; give one "
            f"(a folder that is called so is ./{address})"
        )
    return address
