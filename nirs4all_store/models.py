"""The mapped classes, under the name that queries import them by."""

from .storage import (
    Artifact,
    Base,
    Chain,
    Dataset,
    Label,
    LabelLink,
    Log,
    Pipeline,
    Prediction,
    PredictionArrays,
    Result,
    Run,
)

__all__ = [
    "Artifact",
    "Base",
    "Chain",
    "Dataset",
    "Label",
    "LabelLink",
    "Log",
    "Pipeline",
    "Prediction",
    "PredictionArrays",
    "Result",
    "Run",
]
