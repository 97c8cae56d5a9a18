"""Rows as people and programs read them: for the command line, later for a page. No printing."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
