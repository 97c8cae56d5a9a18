"""The fitted chain, under the name that pickles of estimators have."""

from .chains import FittedChain

__all__ = ["FittedChain"]
