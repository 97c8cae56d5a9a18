"""The columns that a chain was trained on, under the name that pickles of estimators have."""

from .chains.training_columns import TrainedOn

__all__ = ["TrainedOn"]
