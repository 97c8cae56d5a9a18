"""The fitted chain, under the name that pickles of estimators have."""

from .chains.fitted import FittedChain

__all__ = ["FittedChain"]
