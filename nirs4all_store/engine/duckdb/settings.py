"""Settings of DuckDB connections, and how to quote a name in SQL.

It imports nothing, so that the process that answers a query (`sql_worker`) starts fast.
"""

from __future__ import annotations

Config = dict[str, str | bool | int | float | list[str]]
# DuckDB installs or loads no extension because a file or a query needs one.
NO_EXTENSIONS: Config = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
# In a notebook, DuckDB prints a progress bar between the program's output if a statement takes two seconds.
NO_PROGRESS_BAR = "SET enable_progress_bar = false"
# In bytes. Without a limit, DuckDB keeps all that a transaction has inserted in memory until its end.
WORKING_MEMORY = 400 * 2**20


def quoted_name(name: str) -> str:
    """Return the name of a table or column in quotes, as SQL needs it."""
    return '"' + name.replace('"', '""') + '"'
