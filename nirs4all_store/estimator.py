"""The estimators of stored chains, under the name that pickles of them have."""

from .chains import ChainClassifier, ChainRegressor

__all__ = ["ChainClassifier", "ChainRegressor"]
