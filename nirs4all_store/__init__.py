"""A workspace store for people who train models on spectra.

`WorkspaceStore` keeps runs, pipelines, chains, predictions, arrays and logs in one DuckDB file, and
fitted objects once each in a folder beside it.

See docs/decisions/0019.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
