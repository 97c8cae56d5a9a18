"""The revisions of the schema, the tables that every workspace has, and where the files of the migrations are."""

from __future__ import annotations

from functools import cache
from pathlib import Path

REVISIONS = (
    "0001_nirs4all_0_7_0",
    "0002_no_keys_exact_arrays",
    "0003_trust",
    "0004_owner",
    "0005_final_model",
    "0006_repeat",
    "0007_original_template",
    "0008_judged_by",
    "0009_datasets",
    "0010_labels_and_results",
)
"""The names of all migration files, oldest first. Other files in their folder are not used."""
HEAD = REVISIONS[-1].partition("_")[0]
"""The newest revision."""
UNSTAMPED = "0001"
"""The revision of a file that nirs4all wrote: such a file has no table `alembic_version`."""
KEYS = {
    "runs": "run_id",
    "pipelines": "pipeline_id",
    "chains": "chain_id",
    "artifacts": "artifact_id",
    "predictions": "prediction_id",
    "prediction_arrays": "prediction_id",
    "logs": "log_id",
}
"""The seven tables that a workspace has had from the first revision on, and the key of each."""


@cache
def printed_schema(revision: str) -> str:
    """Return the SQL statements that make the schema of a revision, as DuckDB prints them."""
    return (script_folder() / "catalogs" / f"{revision}.sql").read_text(encoding="utf-8")


def script_folder() -> Path:
    """Return the folder of the migrations: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[2]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"
