"""The DuckDB engine. No other package here imports DuckDB, Arrow or Alembic, or opens the database file.

Why DuckDB: docs/decisions/0020.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
