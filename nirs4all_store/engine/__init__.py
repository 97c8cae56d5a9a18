"""Reads and writes the rows of a workspace.

`base` has the protocols of a database engine, and `duckdb` implements them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
