"""The repositories: classes that read and write runs, chains, predictions and artifacts, and check rows together.

Their methods take and return plain values. Each repository belongs to one unit of work, which commits.
"""

from .artifacts import ArtifactRepo
from .chains import ChainRepo
from .id_prefixes import IdPrefixes
from .integrity import Integrity
from .predictions import PredictionRepo
from .runs import RunRepo

__all__ = ["ArtifactRepo", "ChainRepo", "IdPrefixes", "Integrity", "PredictionRepo", "RunRepo"]
