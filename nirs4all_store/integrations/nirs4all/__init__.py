"""nirs4all keeps its workspaces in this store, after `install()`; see docs/decisions/0033."""

from .installation import install

__all__ = ["install"]
