"""Reads and writes the tables of a workspace in transactions: mapped classes, the unit of work, the repositories."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
