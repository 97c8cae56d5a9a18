"""The command line `nirs4all-store`: each command calls the store and prints what it returns."""

from .app import app, show_upgrade

__all__ = ["app", "show_upgrade"]
