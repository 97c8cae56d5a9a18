"""The repositories: classes that read and write the rows of all tables, and check them together.

Their methods take and return plain values. Each repository belongs to one unit of work, which commits.
"""

from .artifacts import ArtifactRepo
from .chains import ChainRepo
from .datasets import DatasetRepo
from .id_lookup import IdLookup
from .integrity import Integrity
from .labels import PROJECT, LabelRepo
from .predictions import PredictionRepo
from .progress import PLANNED, Progress, RunProgress, cause_of
from .results import ARTIFACT_KEY, RESULT_LINKS, ResultRepo
from .runs import RunRepo
from .summaries import ChainPage, Summaries
from .usage import Usage
from .wanted_chains import WantedChains
from .whole_rows import WholeRows

__all__ = [
    "ARTIFACT_KEY",
    "PLANNED",
    "PROJECT",
    "RESULT_LINKS",
    "ArtifactRepo",
    "ChainPage",
    "ChainRepo",
    "DatasetRepo",
    "IdLookup",
    "Integrity",
    "LabelRepo",
    "PredictionRepo",
    "Progress",
    "ResultRepo",
    "RunProgress",
    "RunRepo",
    "Summaries",
    "Usage",
    "WantedChains",
    "WholeRows",
    "cause_of",
]
