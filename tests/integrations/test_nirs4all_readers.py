"""What readers of nirs4all's ask of our store beside training; nirs4all itself is not needed."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from nirs4all_store.integrations.nirs4all import v0_7, v1_4
from nirs4all_store.testing.contract import add_chain, add_pipeline, add_prediction

REGISTRY = "nirs4all.pipeline.storage.artifacts.artifact_registry"


def judged(store: Any) -> list[str]:
    """Save two chains, of which one has a final model; return their ids."""
    _, pipeline_id = add_pipeline(store.own)
    chains = [add_chain(store.own, pipeline_id) for _ in range(2)]
    told = [(0, "fold_0", 1.0), (0, "fold_1", 3.0), (0, "avg", 99.0), (0, "final", 9.0), (1, "fold_0", 4.0)]
    for place, fold, score in told:
        context = "standalone" if fold == "final" else None
        scores = dict.fromkeys(("val_score", "test_score", "train_score"), score)
        add_prediction(
            store, pipeline_id, chain_id=chains[place], fold_id=fold, partition="test", refit_context=context, **scores
        )
    return chains


def test_scores_over_all_predictions_of_a_chain_could_not_be_asked_for(tmp_path: Path) -> None:
    with v1_4.Store(f"memory:{tmp_path}") as store:
        chains = judged(store)
        for scope, mean, n_folds in (("cv", 2.0, 2), ("final", 9.0, 1), ("all", 13 / 3, 3)):
            found = store.query_aggregated_predictions(chain_id=chains[0], score_scope=scope)
            (row,) = found.rows(named=True)
            assert (row["avg_test_score"], row["fold_count"]) == (pytest.approx(mean), n_folds)
            assert (row["score_scope"], len(json.loads(row["prediction_ids"]))) == (scope, n_folds)
            assert "avg" not in json.loads(row["fold_ids"])
        best = store.query_top_aggregated_predictions("rmse", n=1, score_column="max_val_score", ascending=True)
        assert (best["chain_id"][0], best["max_val_score"][0]) == (chains[0], 3.0)
        final = store.query_top_aggregated_predictions("rmse", score_scope="final", ascending=True)
        assert final["chain_id"].to_list() == [chains[0]]
        assert store.query_aggregated_predictions(dataset_name="corn").is_empty()
        with pytest.raises(ValueError, match="no score_scope 'typo'; use one of cv, final, all"):
            store.query_aggregated_predictions(score_scope="typo")


def test_0_7_asks_for_a_row_for_each_chain_and_metric(tmp_path: Path) -> None:
    with v0_7.Store(f"memory:{tmp_path}") as store:
        chains = judged(store)
        found = store.query_aggregated_predictions(chain_id=chains[0], metric="rmse")
        (row,) = found.rows(named=True)
        wanted = {"fold_count": 3, "partition_count": 1, "partitions": ["test"], "max_val_score": 99.0}
        wanted |= {"min_train_score": 1.0, "fold_ids": ["avg", "fold_0", "fold_1"], "dataset_name": "wheat"}
        assert {name: row[name] for name in wanted} == wanted
        assert row["run_id"] == store.list_runs()["run_id"][0]
        best = store.query_top_aggregated_predictions("rmse", n=1)
        assert (best["chain_id"][0], best["avg_val_score"][0]) == (chains[1], 4.0)
        assert store.query_aggregated_predictions(model_class="Ridge%").is_empty()
        store.delete_prediction(row["prediction_ids"][0])
        assert store.query_aggregated_predictions(chain_id=chains[0])["fold_count"].to_list() == [2]
        assert store._fetch_pl("SELECT count(*) AS n FROM chains")["n"].to_list() == [2]


def test_an_unknown_column_to_rank_by_was_an_error_of_polars(tmp_path: Path) -> None:
    asked: list[Callable[[Any], Any]] = [
        lambda store: store.top_predictions(1, metric="val_scor"),
        lambda store: store.top_predictions(1, group_by="val_scor"),
        lambda store: store.query_top_chains(score_column="val_scor"),
        lambda store: store.query_top_aggregated_predictions("rmse", score_column="val_scor", ascending=True),
    ]
    with v1_4.Store(f"memory:{tmp_path}") as store:
        for ask in asked:
            with pytest.raises(ValueError, match="there is no column 'val_scor' here; use one of "):
                ask(store)


@pytest.mark.parametrize(("classes", "kind"), [(["red", "blue", "red"], "str"), ([7, -3, 7], "int64")])
def test_classes_could_not_be_read_from_the_parquet_file_of_a_dataset(
    tmp_path: Path, classes: list[Any], kind: str
) -> None:
    with v1_4.Store(f"memory:{tmp_path}") as store:
        _, pipeline_id = add_pipeline(store.own)
        name = add_prediction(store, pipeline_id, task_type="multiclass_classification", metric="accuracy")
        array = np.array(classes)
        store.array_store.save_batch([{"prediction_id": name, "y_true": array, "y_pred": array[::-1]}])
        (row,) = store.array_store.load_dataset("wheat").rows(named=True)
        assert store.array_store.compact("wheat") == {}
    told = json.loads(row["y_pred_labels"])
    assert (row["y_pred"], told["label_type"], told["shape"]) == (None, kind, [3])
    assert [told["vocabulary"][place] for place in told["indices"]] == classes[::-1]
    assert told["vocabulary"] == sorted(set(classes))


def test_files_of_our_rows_were_leftovers_to_nirs4alls_cleaning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Registry:
        """nirs4all's, as far as it is changed."""

        workspace = tmp_path / "w"

        def _scan_all_manifest_references(self, include_memory: bool = True, include_store: bool = True) -> set[str]:
            return {"in memory"} if include_memory else set()

    parts = REGISTRY.split(".")
    for end in range(len(parts)):
        monkeypatch.setitem(sys.modules, ".".join(parts[: end + 1]), ModuleType(parts[end]))
    sys.modules[REGISTRY].ArtifactRegistry = Registry  # type: ignore[attr-defined]
    v1_4.prepare()
    assert Registry()._scan_all_manifest_references() == {"in memory"}
    with v1_4.Store(tmp_path / "w") as store:
        artifact_id = store.save_artifact(StandardScaler(), "StandardScaler", "transformer", "joblib")
        ours = store.get_artifact_path(artifact_id).relative_to(tmp_path / "w" / "artifacts").as_posix()
        assert Registry()._scan_all_manifest_references() == {"in memory", ours}
    assert Registry()._scan_all_manifest_references(False) == {ours}
    assert Registry()._scan_all_manifest_references(include_store=False) == {"in memory"}
