"""Every command of the command line, with those of its groups."""

from typing import Any

from typer.main import get_command

from nirs4all_store.cli import app


def _commands(group: Any, before: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found = []
    for name, one in group.commands.items():
        found += _commands(one, (*before, name)) if hasattr(one, "commands") else [((*before, name), one)]
    return found


COMMANDS = _commands(get_command(app))
