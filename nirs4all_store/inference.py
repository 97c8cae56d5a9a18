"""The operators of a chain, under the name that pickles of estimators which have predicted have."""

from .chains.inference import Operators, _Operator

__all__ = ["Operators", "_Operator"]
