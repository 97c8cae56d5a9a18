"""Rows as people and programs read them: for the command line, later for a page. No printing."""

from .listings import IDS as IDS
from .listings import LISTED_RUNS as LISTED_RUNS
from .listings import Listing as Listing
from .listings import apart as apart
from .listings import cells as cells
from .listings import compare as compare
from .listings import csv_rows as csv_rows
from .listings import details_of as details_of
from .listings import differences as differences
from .listings import json_rows as json_rows
from .listings import lines_of as lines_of
from .listings import lines_of_scores as lines_of_scores
from .listings import list_datasets as list_datasets
from .listings import list_findings as list_findings
from .listings import list_log as list_log
from .listings import list_pipelines as list_pipelines
from .listings import list_runs as list_runs
from .listings import list_templates as list_templates
from .listings import show as show
from .listings import text_of as text_of
from .listings import to_json as to_json
from .rankings import first_unmatched as first_unmatched
from .rankings import held_out as held_out
from .rankings import list_models as list_models
from .rankings import rank as rank
