"""The four aggregates, each behind a plain class with named methods, and what must be true of them together.

They take and give plain values, live inside one unit of work, and none commits.
"""

from .artifacts import ArtifactRepo
from .chains import ChainRepo
from .id_prefixes import IdPrefixes
from .integrity import Integrity
from .predictions import PredictionRepo
from .runs import RunRepo

__all__ = ["ArtifactRepo", "ChainRepo", "IdPrefixes", "Integrity", "PredictionRepo", "RunRepo"]
