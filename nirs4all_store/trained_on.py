"""The columns that a chain was trained on, under the name that pickles of estimators have."""

from .chains import TrainedOn

__all__ = ["TrainedOn"]
