"""The mapped classes, under the name that queries import them by."""

from .storage import Artifact, Base, Chain, Dataset, Log, Pipeline, Prediction, PredictionArrays, Run

__all__ = ["Artifact", "Base", "Chain", "Dataset", "Log", "Pipeline", "Prediction", "PredictionArrays", "Run"]
