"""Datasets are rows: one for each name and hash that pipelines and runs have told, with what is known of it."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
rewrites: dict[str, set[str]] = {}

TABLE = """
CREATE TABLE datasets(
    dataset_id VARCHAR PRIMARY KEY, name VARCHAR NOT NULL, content_hash VARCHAR, x_hash VARCHAR, y_hash VARCHAR,
    target_names JSON, units JSON, task_type VARCHAR, n_samples INTEGER, n_features INTEGER, wavelengths JSON,
    wavelength_unit VARCHAR, origin VARCHAR, metadata_columns JSON, split JSON, samples_artifact VARCHAR,
    spectra_artifact VARCHAR, created_at TIMESTAMP NOT NULL
)
"""
# What a dataset's pipelines say of it, where they agree.
TRAINED = """
SELECT p.dataset_name, p.dataset_hash, min(p.created_at), min(q.task_type), count(DISTINCT q.task_type)
FROM pipelines p LEFT JOIN predictions q ON q.pipeline_id = p.pipeline_id
WHERE p.dataset_name <> '' OR p.dataset_hash IS NOT NULL GROUP BY p.dataset_name, p.dataset_hash ORDER BY ALL
"""
INSERT = """
INSERT INTO datasets (dataset_id, name, content_hash, task_type, n_samples, n_features, created_at)
VALUES (CAST(CAST(md5(:key) AS UUID) AS VARCHAR), :name, :hash, :task_type, :n_samples, :n_features, :created_at)
"""
LINK = """
UPDATE pipelines SET dataset_id = d.dataset_id FROM datasets d
WHERE d.name = pipelines.dataset_name AND d.content_hash IS NOT DISTINCT FROM pipelines.dataset_hash
"""


def upgrade() -> None:
    """Make the table, fill it with what is known, and let each pipeline name its dataset."""
    op.execute(TABLE)
    op.execute("ALTER TABLE pipelines ADD COLUMN dataset_id VARCHAR")
    found: dict[tuple[str, str | None], dict[str, Any]] = {}
    for name, digest, created_at, task_type, tasks in op.get_bind().execute(sa.text(TRAINED)).fetchall():
        found[name, digest] = {"created_at": created_at, "task_type": task_type if tasks == 1 else None}
    runs = op.get_bind().execute(sa.text("SELECT datasets::VARCHAR, created_at FROM runs ORDER BY created_at"))
    for text, created_at in runs.fetchall():
        for told in _dicts(text):
            name, digest = told["name"], told.get("hash")
            digest = digest if isinstance(digest, str) else None
            # A name without a hash may be any dataset of this name: it makes one only where there is none.
            if digest is not None or not any(known == name for known, _ in found):
                row = found.setdefault((name, digest), {"created_at": created_at})
                for column in ("n_samples", "n_features"):
                    row.setdefault(column, _number(told.get(column)))
    none = dict.fromkeys(("task_type", "n_samples", "n_features"))
    for (name, digest), row in found.items():
        # The id is made of what it is known by: each upgrade of the same workspace gives the same rows.
        told = {"key": json.dumps([name, digest]), "name": name, "hash": digest}
        op.get_bind().execute(sa.text(INSERT), none | row | told)
    op.execute(LINK)


def _dicts(text: str | None) -> list[dict[str, Any]]:
    """Return the dicts with a name in what a run tells of its datasets, which may be damaged."""
    try:
        value = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return []
    dicts = [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
    return [item for item in dicts if isinstance(item.get("name"), str)]


def _number(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**31 else None
