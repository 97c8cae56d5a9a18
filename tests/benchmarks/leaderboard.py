"""A workspace of many chains, as training leaves them, and the same rows in a database of its own for the bare SQL."""

from __future__ import annotations

from pathlib import Path

import duckdb

from nirs4all_store import WorkspaceStore
from nirs4all_store.engine.duckdb.connection import SAFE_CONFIG

ROWS_OF_A_CHAIN = 13
"""Two for each of five folds and for what they say together, and one for the final model."""
RUNS = 100
PAIRED = 2
"""How many chains have arrays."""
MODEL = "['PLSRegression', 'Ridge', 'SVR', 'RandomForestRegressor'][i % 4 + 1]"
STEPS = "['SNV', 'SNV>SavitzkyGolay', 'StandardScaler', 'MSC', 'Detrend>SNV'][i % 5 + 1]"
DATASET = "['wheat', 'maize', 'soil', 'milk', 'beer'][i % 5 + 1]"
TIME = "TIMESTAMP '2026-01-01' + to_seconds(i)"
FOLD = "CASE k // 2 WHEN 5 THEN 'avg' WHEN 6 THEN 'final' ELSE (k // 2)::VARCHAR END"
RMSE = "hash(i, k) % 100000 / 100000"
HAS_FAILED = "i % 50 = 49"

TABLES = {
    "runs": {
        "run_id": "'run' || i",
        "name": "'sweep ' || i",
        "config": "json_object('n_pipelines', $chains // $runs)",
        "datasets": "'[]'",
        "status": "'completed'",
        "created_at": TIME,
        "completed_at": f"{TIME} + to_seconds(60)",
    },
    "pipelines": {
        "pipeline_id": "'pipeline' || i",
        "run_id": "'run' || i % $runs",
        "name": f"{STEPS} || ' > ' || {MODEL}",
        "expanded_config": f"json_array(json_object('model', json_object('class', {MODEL})))",
        "dataset_name": DATASET,
        "dataset_hash": f"md5({DATASET})",
        "status": f"if({HAS_FAILED}, 'failed', 'completed')",
        "created_at": TIME,
        "completed_at": TIME,
        "best_val": "hash(i) % 100000 / 100000",
        "metric": "'rmse'",
        "error": f"if({HAS_FAILED}, 'ValueError: X of sample ' || i || ' contains NaN', NULL)",
        "judged_by": "json_object('folds', 'f', 'n_splits', 5, 'targets', json_array('protein'), 'n_repeats', 1)",
    },
    "chains": {
        "chain_id": "'chain' || i",
        "pipeline_id": "'pipeline' || i",
        "steps": "json_array(json_object('step_idx', 0, 'operator_class', 'SNV', 'artifact_id', NULL))",
        "model_step_idx": "1",
        "model_class": MODEL,
        "preprocessings": STEPS,
        "fold_strategy": "'per_fold'",
        "fold_artifacts": "json_object("
        + ", ".join(f"'fold_{fold}', 'artifact' || (i * 5 + {fold})" for fold in range(5))
        + ")",
        "shared_artifacts": "json_object()",
        "predict_fold": "'fold_final'",
        "created_at": TIME,
    },
    "artifacts": {
        "artifact_id": "'artifact' || i",
        "artifact_path": "i || '.joblib'",
        "content_hash": "sha256(i::VARCHAR)",
        "operator_class": MODEL,
        "artifact_type": "'model'",
        "format": "'joblib'",
        "size_bytes": "20000",
        "ref_count": "1",
        "unclaimed": "0",
        "saved_at": TIME,
        "created_at": TIME,
        "provenance": "json_object('python', '3.11.7', 'packages', json_object('numpy', '2.4.6'))",
    },
    "logs": {
        "log_id": "'log' || i",
        "pipeline_id": "'pipeline' || i // 4",
        "step_idx": "i % 4",
        "operator_class": "'SNV'",
        "event": "'end'",
        "level": "'info'",
        "created_at": TIME,
    },
    "predictions": {
        "prediction_id": "i || '-' || k",
        "pipeline_id": "'pipeline' || i",
        "chain_id": "'chain' || i",
        "dataset_name": DATASET,
        "model_name": MODEL,
        "model_class": MODEL,
        "fold_id": FOLD,
        "partition": "if(k % 2 = 0, 'train', 'val')",
        "val_score": f"if(k < 12, {RMSE}, NULL)",
        "train_score": f"{RMSE} / 2",
        "metric": "'rmse'",
        "task_type": "'regression'",
        "n_samples": "200",
        "n_features": "1000",
        "scores": f"json_object('train', json_object('rmse', {RMSE} / 2, 'r2', 0.97, 'rpd', 6.1, 'bias', 0.01), "
        f"'val', if(k < 12, json_object('rmse', {RMSE}, 'r2', 0.91, 'rpd', 4.2, 'bias', 0.02, 'n', 12), NULL))",
        "best_params": "json_object('n_components', i // 20 % 20)",
        "preprocessings": STEPS,
        "exclusion_count": "0",
        "exclusion_rate": "0.0",
        "refit_context": "if(k = 12, 'standalone', NULL)",
        "created_at": TIME,
    },
}
NUMBERS = {
    "runs": "range($runs) t(i)",
    "artifacts": "range($chains * 5) t(i)",
    "logs": "range($chains * 4) t(i)",
    "predictions": f"range($chains) t(i), range({ROWS_OF_A_CHAIN}) u(k)",
}
ARRAYS = f"""
    INSERT INTO prediction_arrays(prediction_id, y_true, y_pred, sample_indices, layout)
    SELECT
        prediction_id, $y, list_transform($y, lambda y, place: y + hash(prediction_id, place) % 100 / 1000), $indices,
        $layout
    FROM predictions
    WHERE chain_id IN (SELECT 'chain' || i FROM range({PAIRED}) t(i)) AND fold_id = 'avg' AND partition = 'val'
"""


class Leaderboard:
    """An open store of many chains, and an open DuckDB connection to a file with the same tables and rows.

    Parameters
    ----------
    folder : Path
    predictions : int
        About how many there are.
    """

    def __init__(self, folder: Path, predictions: int) -> None:
        from . import bare  # Which needs the worlds.

        self.chains = max(RUNS, predictions // ROWS_OF_A_CHAIN)
        WorkspaceStore(folder).close()
        database = folder / "store.duckdb"
        with duckdb.connect(str(database)) as connection:
            for table, values in TABLES.items():
                statement = (
                    f"INSERT INTO {table}({', '.join(values)}) SELECT {', '.join(values.values())} "
                    f"FROM {NUMBERS.get(table, 'range($chains) t(i)')}"
                )
                given = {"runs": RUNS, "chains": self.chains}
                connection.execute(statement, {name: n for name, n in given.items() if f"${name}" in statement})
            connection.execute(ARRAYS, {"y": bare.Y, "indices": bare.INDICES, "layout": bare.layout()})
        bare_database = folder.with_suffix(".duckdb")
        bare_database.write_bytes(database.read_bytes())
        self.bare = duckdb.connect(str(bare_database), config=SAFE_CONFIG)
        self.bare.execute("SET search_path = 'system.main,main'")
        self.store = WorkspaceStore(folder)

    def close(self) -> None:
        """Close both sides."""
        self.store.close()
        self.bare.close()
