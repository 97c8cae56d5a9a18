"""Settings of every connection, and how SQL writes a name. It imports nothing: the process of a query waits for it."""

from __future__ import annotations

Config = dict[str, str | bool | int | float | list[str]]
# Nothing is fetched or loaded because a file asks for it.
NO_EXTENSIONS: Config = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
# In a notebook DuckDB prints a bar into whatever the program prints, once a statement takes two seconds.
NO_PROGRESS_BAR = "SET enable_progress_bar = false"
# What a transaction has inserted stays in memory until its end, unless there is a limit.
WORKING_MEMORY = 400 * 2**20


def quoted_name(name: str) -> str:
    """Return the name of a table or column as SQL has it."""
    return '"' + name.replace('"', '""') + '"'
