"""Our schema: no foreign keys, no secondary indexes, arrays that come back exactly.

DuckDB alters nothing that has a key or an index, so every table is built anew, filled, and takes
the old one's name. What 0.7.1 had more than 0.7.0 is kept: `refit_context` as a column, the keys of
its step cache (which nothing here reads) in an artifact's `provenance`; its view and indexes go.
"""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

CHILDREN_FIRST = ("logs", "prediction_arrays", "predictions", "chains", "artifacts", "pipelines", "runs")

# For each table: the columns of the new one, and where each value comes from when not from the
# column of the same name.
TABLES: dict[str, tuple[str, dict[str, str]]] = {
    "runs": (
        """
        run_id VARCHAR PRIMARY KEY, name VARCHAR NOT NULL, config JSON, datasets JSON, status VARCHAR NOT NULL,
        created_at TIMESTAMP NOT NULL, completed_at TIMESTAMP, summary JSON, error VARCHAR
        """,
        {"status": "coalesce(status, 'running')", "created_at": "coalesce(created_at, TIMESTAMP '1970-01-01')"},
    ),
    "pipelines": (
        """
        pipeline_id VARCHAR PRIMARY KEY, run_id VARCHAR NOT NULL, name VARCHAR NOT NULL, expanded_config JSON,
        generator_choices JSON, dataset_name VARCHAR NOT NULL, dataset_hash VARCHAR, status VARCHAR NOT NULL,
        created_at TIMESTAMP NOT NULL, completed_at TIMESTAMP, best_val DOUBLE, best_test DOUBLE, metric VARCHAR,
        duration_ms BIGINT, error VARCHAR
        """,
        {"status": "coalesce(status, 'running')", "created_at": "coalesce(created_at, TIMESTAMP '1970-01-01')"},
    ),
    "chains": (
        """
        chain_id VARCHAR PRIMARY KEY, pipeline_id VARCHAR NOT NULL, steps JSON NOT NULL,
        model_step_idx INTEGER NOT NULL, model_class VARCHAR NOT NULL, preprocessings VARCHAR,
        fold_strategy VARCHAR, fold_artifacts JSON, shared_artifacts JSON, branch_path JSON,
        source_index INTEGER, created_at TIMESTAMP NOT NULL
        """,
        {"created_at": "coalesce(created_at, TIMESTAMP '1970-01-01')"},
    ),
    "predictions": (
        """
        prediction_id VARCHAR PRIMARY KEY, pipeline_id VARCHAR NOT NULL, chain_id VARCHAR,
        dataset_name VARCHAR NOT NULL, model_name VARCHAR NOT NULL, model_class VARCHAR NOT NULL,
        fold_id VARCHAR NOT NULL, "partition" VARCHAR NOT NULL, val_score DOUBLE, test_score DOUBLE,
        train_score DOUBLE, metric VARCHAR NOT NULL, task_type VARCHAR NOT NULL, n_samples INTEGER,
        n_features INTEGER, scores JSON, best_params JSON, preprocessings VARCHAR, branch_id INTEGER,
        branch_name VARCHAR, exclusion_count INTEGER, exclusion_rate DOUBLE, refit_context VARCHAR,
        created_at TIMESTAMP NOT NULL
        """,
        {"created_at": "coalesce(created_at, TIMESTAMP '1970-01-01')"},
    ),
    "prediction_arrays": (
        """
        prediction_id VARCHAR PRIMARY KEY, y_true DOUBLE[], y_pred DOUBLE[], y_proba DOUBLE[],
        sample_indices BIGINT[], weights DOUBLE[], y_true_text VARCHAR[], y_pred_text VARCHAR[],
        y_proba_text VARCHAR[], sample_indices_text VARCHAR[], weights_text VARCHAR[], layout JSON
        """,
        {},
    ),
    "artifacts": (
        """
        artifact_id VARCHAR PRIMARY KEY, artifact_path VARCHAR NOT NULL, content_hash VARCHAR NOT NULL,
        operator_class VARCHAR, artifact_type VARCHAR, format VARCHAR NOT NULL, size_bytes BIGINT,
        ref_count INTEGER NOT NULL, unclaimed INTEGER NOT NULL, saved_at TIMESTAMP NOT NULL, provenance JSON,
        created_at TIMESTAMP NOT NULL
        """,
        {
            "content_hash": "regexp_replace(content_hash, '^sha256:', '')",
            "format": "coalesce(format, 'joblib')",
            "ref_count": "0",
            "unclaimed": "0",
            "saved_at": "coalesce(created_at, TIMESTAMP '1970-01-01')",
            "created_at": "coalesce(created_at, TIMESTAMP '1970-01-01')",
        },
    ),
    "logs": (
        """
        log_id VARCHAR PRIMARY KEY, pipeline_id VARCHAR NOT NULL, step_idx INTEGER NOT NULL,
        operator_class VARCHAR, event VARCHAR NOT NULL, duration_ms BIGINT, message VARCHAR, details JSON,
        level VARCHAR NOT NULL, created_at TIMESTAMP NOT NULL
        """,
        {"level": "coalesce(level, 'info')", "created_at": "coalesce(created_at, TIMESTAMP '1970-01-01')"},
    ),
}
CACHE_KEYS = ("chain_path_hash", "input_data_hash", "dataset_hash")
# What an upgrade must not find unchanged: everything else is compared with the copy of the old file.
rewrites = {"artifacts": {"content_hash", "ref_count", *CACHE_KEYS}}


def upgrade() -> None:
    """Build the new tables, fill them, drop the old ones, count who uses which artifact."""
    op.execute("DROP VIEW IF EXISTS v_aggregated_predictions")
    for table, (columns, _) in TABLES.items():
        op.execute(f"CREATE TABLE {table}_new ({columns})")
        _fill(table)
    for table in CHILDREN_FIRST:
        op.execute(f"DROP TABLE {table}")
    for table in TABLES:
        op.execute(f"ALTER TABLE {table}_new RENAME TO {table}")
    _count_users()


def _fill(table: str) -> None:
    old, new = _columns(table), _columns(f"{table}_new")
    sources = dict(TABLES[table][1])
    cached = [key for key in CACHE_KEYS if key in old]
    if table == "artifacts" and cached:
        pairs = ", ".join(f"'{key}', {key}" for key in cached)
        sources["provenance"] = (
            f"CASE WHEN coalesce({', '.join(cached)}) IS NOT NULL "
            f"THEN json_object('nirs4all_cache', json_object({pairs})) END"
        )
    filled = [column for column in new if column in sources or column in old]
    names = ", ".join(f'"{column}"' for column in filled)
    values = ", ".join(sources.get(column, f'"{column}"') for column in filled)
    op.execute(f"INSERT INTO {table}_new ({names}) SELECT {values} FROM {table}")


def _columns(table: str) -> list[str]:
    query = sa.text(
        "SELECT column_name FROM duckdb_columns() WHERE schema_name = 'main' AND table_name = :table "
        "ORDER BY column_index"
    )
    return list(op.get_bind().execute(query, {"table": table}).scalars())


def _count_users() -> None:
    """Set `ref_count` to the chains that name an artifact; one that none names is an unclaimed save."""
    known = set(op.get_bind().execute(sa.text("SELECT artifact_id FROM artifacts")).scalars())
    users: dict[str, int] = {}
    columns = "steps::VARCHAR, fold_artifacts::VARCHAR, shared_artifacts::VARCHAR"
    chains = op.get_bind().execute(sa.text(f"SELECT {columns} FROM chains"))
    for texts in chains.fetchall():
        steps, folds, shared = (json.loads(text or "null") for text in texts)
        if isinstance(steps, list):
            steps = [[step.get("artifact_ids"), step.get("artifact_id")] for step in steps if isinstance(step, dict)]
        for artifact_id in _texts([steps, folds, shared]) & known:
            users[artifact_id] = users.get(artifact_id, 0) + 1
    counted = "SELECT unnest(CAST(:ids AS VARCHAR[])) AS artifact_id, unnest(CAST(:counts AS INTEGER[])) AS users"
    count = sa.text(
        f"UPDATE artifacts SET ref_count = users FROM ({counted}) c WHERE artifacts.artifact_id = c.artifact_id"
    )
    op.get_bind().execute(count, {"ids": [*users], "counts": [*users.values()]})
    op.execute("UPDATE artifacts SET ref_count = 1, unclaimed = 1 WHERE ref_count = 0")


def _texts(value: Any) -> set[str]:
    """Return every text in a JSON value, at any depth; a chain may be of a shape that nobody knows."""
    if isinstance(value, str):
        return {value}
    if isinstance(value, dict):
        value = list(value.values())
    return set().union(*map(_texts, value)) if isinstance(value, list) else set()
