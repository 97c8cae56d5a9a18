"""The command line: thin commands over the store; no logic of its own."""

from .app import app, show_upgrade

__all__ = ["app", "show_upgrade"]
