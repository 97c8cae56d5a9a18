"""Workspaces of nirs4all 0.8 to 1.4 come along, with chains that predict what their training stored."""

import json
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from old_workspaces import FOLDS, TEST, TRAIN, OldWorkspace, X, Y, add_models, step, told_of, write_screening
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelEncoder, MinMaxScaler, StandardScaler
from typer.testing import CliRunner

from nirs4all_store import ChainReplayError, InvalidInputError, UntrustedArtifactError, WorkspaceStore
from nirs4all_store.cli.app import app
from nirs4all_store.errors import WorkspaceCorruptError, WorkspaceError, WorkspaceNotFoundError

RNG = np.random.default_rng(4)
X_NEW = RNG.normal(size=(5, 8))
SHARED = Path(__file__).parents[3] / "shared" / "old_workspaces"
REAL = sorted(path.name for path in SHARED.glob("nirs4all-*") if (path / "workspace").is_dir())


@pytest.fixture
def source(tmp_path: Path) -> tuple[Path, tuple[str, str]]:
    """A workspace with one run; return its folder, and its cross-validated and its refitted chain."""
    return tmp_path / "old", write_screening(tmp_path / "old")


def test_runs_come_with_ids_times_scores_arrays_and_projects(
    store: WorkspaceStore, source: tuple[Path, tuple[str, str]]
) -> None:
    folder, (chain_id, refit_id) = source
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    report = store.import_workspace(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    expected = {"labels": 1, "runs": 1, "label_links": 1, "pipelines": 2, "artifacts": 4, "chains": 2}
    assert dict(report.rows) == expected | {"predictions": 9, "prediction_arrays": 9}
    run = store.get_run("the run")
    assert run is not None
    assert (run["name"], run["status"], run["created_at"]) == ("screen", "completed", datetime(2026, 3, 29, 12))
    with store.unit_of_work() as uow:
        links = uow.labels.list_links()
        assert links.select("owner_id", "name", "kind", "color").row(0) == (
            "the run",
            "Wheat 2026",
            "project",
            "#14b8a6",
        )
        (avg,) = uow.predictions.with_arrays(chain_id, "val", "avg")
    assert (avg["scores"], avg["weights"].tolist()) == ({"val": {"rmse": 0.5}}, [0.5, 0.5])
    np.testing.assert_array_equal(avg["y_true"], Y[np.concatenate([FOLDS[1], FOLDS[0]])])
    assert store.check(deep=True).findings == []
    told = store.get_pipeline_log((store.get_chain(chain_id) or {})["pipeline_id"]).row(0, named=True)
    assert (told["event"], "predictions" in told["message"]) == ("import", True)
    assert refit_id in report.chains


def test_final_models_stand_on_the_row_of_their_cross_validation(
    store: WorkspaceStore, source: tuple[Path, tuple[str, str]]
) -> None:
    folder, (chain_id, refit_id) = source
    store.import_workspace(folder)
    assert (store.get_chain(refit_id) or {})["refit_of"] == chain_id
    row = store.rank_chains().rows.row(0, named=True)
    assert (row["chain_id"], row["rmsecv"], row["rmsep"], row["rmsec"]) == (chain_id, 0.5, 0.7, 0.4)
    assert store.query_predictions(fold_id="final")["val_score"].to_list() == [None, None]
    assert store.list_pipelines().sort("name")["best_val"].to_list() == [0.5, None]


def test_chains_are_compared_with_what_training_stored(
    store: WorkspaceStore, source: tuple[Path, tuple[str, str]]
) -> None:
    folder, (chain_id, refit_id) = source
    assert store.import_workspace(folder).verdicts == {"not checked": 2}
    with pytest.raises(UntrustedArtifactError):
        store.replay_chain(refit_id, X_NEW)
    assert store.import_workspace(folder, trusted=True, spectra={"wheat": X}).verdicts == {"verified": 2}
    scaler = StandardScaler().fit(X[TRAIN])
    expected = Ridge().fit(scaler.transform(X[TRAIN]), Y[TRAIN]).predict(scaler.transform(X_NEW))
    np.testing.assert_allclose(store.replay_chain(refit_id, X_NEW), expected)
    verified = (store.get_chain(chain_id) or {})["verification"]
    assert (verified["verdict"], verified["difference"] < 1e-12, verified["compared"]) == ("verified", True, 2)
    assert store.import_workspace(folder, trusted=True, spectra={"wheat": X}).chains == {}


def test_other_spectra_do_not_verify(store: WorkspaceStore, source: tuple[Path, tuple[str, str]]) -> None:
    report = store.import_workspace(source[0], trusted=True, spectra={"wheat": X[::-1]})
    assert report.verdicts == {"differs": 2}
    assert report.frame()["difference"].min() > 0.01  # type: ignore[operator]
    assert store.import_workspace(source[0], trusted=True, spectra={"wheat": [X[TRAIN], X[TEST]]}).verdicts == {
        "verified": 2
    }


def test_a_second_run_of_the_same_name_named_the_first_ones_models(store: WorkspaceStore, tmp_path: Path) -> None:
    other_x = RNG.normal(size=X.shape)
    other_y = other_x @ RNG.normal(size=8)
    old = OldWorkspace(tmp_path / "old")
    add_models(old, old.run("same", run_id="first"), "same_p0")
    chains = add_models(old, old.run("same", run_id="second"), "same_p0", other_x, other_y, with_row=False)
    old.close()
    report = store.import_workspace(tmp_path / "old")
    assert report.verdicts == {"not checked": 2, "doubtful": 2}
    assert store.gc_artifacts() == 0
    assert store.check(deep=True).findings == []
    report = store.import_workspace(tmp_path / "old", trusted=True, spectra={"wheat": X, "second": other_x})
    assert report.verdicts == {"verified": 4}
    assert {chain_id for chain_id, told in report.chains.items() if "replaced" in told} == {*chains}
    scaler = StandardScaler().fit(other_x[TRAIN])
    expected = Ridge().fit(scaler.transform(other_x[TRAIN]), other_y[TRAIN]).predict(scaler.transform(X_NEW))
    np.testing.assert_allclose(store.replay_chain(chains[1], X_NEW), expected)
    assert store.check(deep=True).findings == []


def of_scaled_y(old: OldWorkspace, pipeline_id: str) -> tuple[str, Any]:
    scaler, of_y = StandardScaler().fit(X[TRAIN]), MinMaxScaler().fit(Y[TRAIN, None])
    model = Ridge().fit(scaler.transform(X[TRAIN]), of_y.transform(Y[TRAIN, None])[:, 0])
    ids = old.artifact(scaler, "s", "transformer"), old.artifact(of_y, "y", "encoder"), old.artifact(model, "m")
    steps = [step(1, "StandardScaler", "s"), step(2, "MinMaxScaler", "y", params={"y_processing": "MinMaxScaler"})]
    chain_id = old.chain(pipeline_id, [*steps, step(3, "Ridge", "m")], {"final": ids[2]}, {"1": ["s"], "2": ["y"]})
    return chain_id, lambda x: of_y.inverse_transform(model.predict(scaler.transform(x))[:, None])[:, 0]


def of_two_sources(old: OldWorkspace, pipeline_id: str) -> tuple[str, Any]:
    halves = [StandardScaler().fit(X[TRAIN][:, part]) for part in (slice(4), slice(4, 8))]

    def joined(x: Any) -> Any:
        return np.hstack([halves[0].transform(x[:, :4]), halves[1].transform(x[:, 4:])])

    model = Ridge().fit(joined(X[TRAIN]), Y[TRAIN])
    for number, half in enumerate(halves):
        old.artifact(half, f"s{number}", "transformer")
    shared = {"1": ["s0", "s1"], "_source_map": {"1": {"0": ["s0"], "1": ["s1"]}}}
    steps = [step(1, "StandardScaler", "s0", "s1"), step(2, "Ridge", old.artifact(model, "m"))]
    return old.chain(pipeline_id, steps, {"fold_final": "m"}, shared), lambda x: model.predict(joined(x))


def of_no_folds(old: OldWorkspace, pipeline_id: str) -> tuple[str, Any]:
    fitted = make_pipeline(StandardScaler(), Ridge()).fit(X[TRAIN], Y[TRAIN])
    old.artifact(fitted[0], "s", "transformer")
    old.artifact(fitted[1], "m")
    steps = [step(1, "StandardScaler", "s"), step(2, "Ridge", "m")]
    chain_id = old.chain(pipeline_id, steps, {}, {"1": ["s"], "2": ["m"]}, fold_strategy="shared")
    return chain_id, fitted.predict


def of_the_new_engine(old: OldWorkspace, pipeline_id: str) -> tuple[str, Any]:
    names = LabelEncoder().fit(["ripe", "unripe", "rotten"])
    codes = np.digitize(Y, [-1, 1])
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[TRAIN], codes[TRAIN])
    old.artifact({"estimator": model, "y_transform": names}, "m")
    replay = {"schema": "nirs4all.dagml-workspace-refit.v1"}
    steps = [step(0, "LogisticRegression", dagml_host_replay=replay)]
    chain_id = old.chain(pipeline_id, steps, {"final": "m"}, {}, fold_strategy="refit_only")
    return chain_id, lambda x: names.inverse_transform(model.predict(x))


def of_models_over_models(old: OldWorkspace, pipeline_id: str) -> tuple[str, Any]:
    scaler = StandardScaler().fit(X[TRAIN])
    below = [Ridge(alpha).fit(scaler.transform(X[TRAIN]), Y[TRAIN]) for alpha in (1, 50)]
    old.artifact(scaler, "s", "transformer")
    for number, model in enumerate(below):
        steps = [step(1, "StandardScaler", "s"), step(2 + number, "Ridge", old.artifact(model, f"b{number}"))]
        old.chain(pipeline_id, steps, {"fold_final": f"b{number}"}, {"1": ["s"]})

    def seen(x: Any) -> Any:
        return np.column_stack([model.predict(scaler.transform(x)) for model in below])

    meta = Ridge().fit(seen(X[TRAIN]), Y[TRAIN])
    steps = [step(1, "StandardScaler", "s"), step(4, "MetaModel", old.artifact(meta, "m", "meta_model"))]
    return old.chain(pipeline_id, steps, {"fold_final": "m"}, {"1": ["s"]}), lambda x: meta.predict(seen(x))


def add_views(old: OldWorkspace, pipeline_id: str, action: str, after: list[Any], seen: Any) -> tuple[str, Any]:
    """Add a chain that augments features, and scales some of its views afterwards."""
    for number, fitted in enumerate((MinMaxScaler().fit(X[TRAIN]), StandardScaler().fit(X[TRAIN]))):
        old.artifact(fitted, f"a{number}", "transformer")
    for number, fitted in enumerate(after):
        old.artifact(fitted, f"s{number}", "transformer")
    model = Ridge().fit(seen(X[TRAIN]), Y[TRAIN])
    operators = {"feature_augmentation": ["MinMaxScaler", "StandardScaler"], "action": action}
    scalers = [f"s{number}" for number in range(len(after))]
    steps = [step(1, "MinMaxScaler, StandardScaler", "a0", "a1", params=operators), step(2, "StandardScaler", *scalers)]
    steps.append(step(3, "Ridge", old.artifact(model, "m")))
    chain_id = old.chain(pipeline_id, steps, {"fold_final": "m"}, {"1": ["a0", "a1"], "2": scalers})
    return chain_id, lambda x: model.predict(seen(x))


def of_augmented_features(old: OldWorkspace, pipeline_id: str) -> tuple[str, Any]:
    first = MinMaxScaler().fit(X[TRAIN]), StandardScaler().fit(X[TRAIN])
    copies = [X[TRAIN], *(one.transform(X[TRAIN]) for one in first)]
    after = [StandardScaler().fit(copy) for copy in copies]

    def seen(x: Any) -> Any:
        return np.hstack(
            [one.transform(v) for one, v in zip(after, [x, *(f.transform(x) for f in first)], strict=True)]
        )

    return add_views(old, pipeline_id, "extend", after, seen)


def of_replaced_features(old: OldWorkspace, pipeline_id: str) -> tuple[str, Any]:
    """X itself stays, and is not scaled: so nirs4all does, whatever the word says."""
    first = MinMaxScaler().fit(X[TRAIN]), StandardScaler().fit(X[TRAIN])
    after = [StandardScaler().fit(one.transform(X[TRAIN])) for one in first]

    def seen(x: Any) -> Any:
        return np.hstack([x, *(last.transform(one.transform(x)) for one, last in zip(first, after, strict=True))])

    return add_views(old, pipeline_id, "replace", after, seen)


def of_merged_branches(old: OldWorkspace, pipeline_id: str) -> tuple[str, Any]:
    """Two steps in the first branch and one in the second, as only the configuration tells."""
    scaler, other = StandardScaler().fit(X[TRAIN]), MinMaxScaler().fit(X[TRAIN])
    few = PCA(3).fit(scaler.transform(X[TRAIN]))

    def seen(x: Any) -> Any:
        return np.hstack([few.transform(scaler.transform(x)), other.transform(x)])

    model = Ridge().fit(seen(X[TRAIN]), Y[TRAIN])
    for name, fitted in (("s", scaler), ("p", few), ("o", other)):
        old.artifact(fitted, name, "transformer")
    config = {"steps": [{"branch": [["StandardScaler", "PCA"], ["MinMaxScaler"]]}, {"merge": "features"}]}
    pipeline_id = old.pipeline(old.run("merged"), "p", expanded_config=config)
    steps = [step(1, name, item) for name, item in (("StandardScaler", "s"), ("PCA", "p"), ("MinMaxScaler", "o"))]
    steps += [
        step(2, "features", stateless=True, params={"merge": "features"}),
        step(4, "Ridge", old.artifact(model, "m")),
    ]
    chain_id = old.chain(pipeline_id, steps, {"fold_final": "m"}, {"1": ["s", "p", "o"]}, branch_path=[1])
    return chain_id, lambda x: model.predict(seen(x))


def of_concatenated_features(old: OldWorkspace, pipeline_id: str) -> tuple[str, Any]:
    few, scaler = PCA(3).fit(X[TRAIN]), StandardScaler().fit(X[TRAIN])

    def seen(x: Any) -> Any:
        return np.hstack([few.transform(x), scaler.transform(x)])

    model = Ridge().fit(seen(X[TRAIN]), Y[TRAIN])
    old.artifact(few, "p", "transformer")
    old.artifact(scaler, "s", "transformer")
    steps = [step(1, "PCA, StandardScaler", "p", "s", params={"concat_transform": ["PCA", "StandardScaler"]})]
    steps.append(step(3, "Ridge", old.artifact(model, "m")))
    return old.chain(pipeline_id, steps, {"fold_final": "m"}, {"1": ["p", "s"]}), lambda x: model.predict(seen(x))


KINDS = (
    of_scaled_y,
    of_two_sources,
    of_no_folds,
    of_the_new_engine,
    of_models_over_models,
    of_augmented_features,
    of_replaced_features,
    of_merged_branches,
    of_concatenated_features,
)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_chain_predicts_what_its_objects_do(
    kind: Callable[[OldWorkspace, str], tuple[str, Any]], store: WorkspaceStore, tmp_path: Path
) -> None:
    old = OldWorkspace(tmp_path / "old")
    chain_id, expected = kind(old, old.pipeline(old.run("r"), "p"))
    old.close()
    store.import_workspace(tmp_path / "old", trusted=True)
    found = store.replay_chain(chain_id, X_NEW)
    if found.dtype.kind == "f":
        np.testing.assert_allclose(found, expected(X_NEW))
    else:
        assert found.tolist() == expected(X_NEW).tolist()
    assert store.check(deep=True).findings == []


def test_branches_that_nobody_can_tell_apart_predict_nothing(store: WorkspaceStore, tmp_path: Path) -> None:
    old = OldWorkspace(tmp_path / "old")
    chain_id, _ = of_merged_branches(old, "")
    old.database.execute("UPDATE pipelines SET expanded_config = '[]'")
    old.close()
    report = store.import_workspace(tmp_path / "old", trusted=True)
    assert report.chains[chain_id]["verdict"] == "fails"
    assert "nothing tells which of them belong together" in str(report.chains[chain_id]["reason"])
    assert store.check(deep=True).findings == []


def test_a_final_model_over_models_is_found_by_its_cross_validation(store: WorkspaceStore, tmp_path: Path) -> None:
    """Its base models were refitted in pipelines of their own, and nothing in its own row tells of them."""
    old = OldWorkspace(tmp_path / "old")
    run_id = old.run("r")
    scaler = StandardScaler().fit(X[TRAIN])
    below = [Ridge(alpha).fit(scaler.transform(X[TRAIN]), Y[TRAIN]) for alpha in (1, 50)]
    old.artifact(scaler, "s", "transformer")
    first = old.pipeline(run_id, "stack_p0")
    refits = []
    for number, model in enumerate(below):
        steps = [step(1, "StandardScaler", "s"), step(2, "Ridge", old.artifact(model, f"b{number}"))]
        old.chain(first, steps, {"fold_0": f"b{number}"}, {"1": ["s"]}, branch_path=[number])
        pipeline_id = old.pipeline(run_id, f"pipeline_stacking_refit_base_{number}")
        refits.append(old.chain(pipeline_id, steps, {"fold_final": f"b{number}"}, {"1": ["s"]}))

    def seen(x: Any) -> Any:
        return np.column_stack([model.predict(scaler.transform(x)) for model in below])

    meta = Ridge().fit(seen(X[TRAIN]), Y[TRAIN])
    merge = step(3, "predictions", stateless=True, params={"merge": "predictions"})
    judged = old.chain(first, [merge, step(4, "Ridge", old.artifact(meta, "m"))], {"fold_0": "m"}, {})
    pipeline_id = old.pipeline(run_id, "pipeline_stacking_refit_meta")
    final = old.chain(pipeline_id, [step(2, "Ridge", "m")], {"fold_final": "m"}, {})
    old.close()
    store.import_workspace(tmp_path / "old", trusted=True)
    assert (store.get_chain(final) or {})["refit_of"] == judged
    np.testing.assert_allclose(store.replay_chain(final, X_NEW), meta.predict(seen(X_NEW)))


def test_importing_again_brings_only_what_is_new(store: WorkspaceStore, tmp_path: Path) -> None:
    old = OldWorkspace(tmp_path / "old")
    run_id = old.run("r", status="running")
    pipeline_id = old.pipeline(run_id, "p", status="running")
    first = old.prediction(pipeline_id, None, "0", "val", y_pred=Y[:3], y_true=Y[:3])
    shutil.copytree(tmp_path / "old", tmp_path / "young")
    young = OldWorkspace.__new__(OldWorkspace)
    young.__dict__ |= old.__dict__ | {"folder": tmp_path / "young"}
    old.database.commit()
    shutil.copy(tmp_path / "old" / "store.sqlite", tmp_path / "young" / "store.sqlite")
    assert store.import_workspace(tmp_path / "young").rows["predictions"] == 1
    assert (store.get_run(run_id) or {})["status"] == "running"
    old.database.execute("UPDATE runs SET status = 'completed'")
    old.database.execute("UPDATE pipelines SET status = 'completed', best_val = 0.25")
    old.prediction(pipeline_id, None, "1", "val", y_pred=Y[:4], y_true=Y[:4])
    old.close()
    report = store.import_workspace(tmp_path / "old")
    assert (dict(report.rows), report.runs) == ({"prediction_arrays": 2, "predictions": 1}, [run_id])
    assert (store.get_run(run_id) or {})["status"] == "completed"
    assert (store.get_pipeline(pipeline_id) or {})["best_val"] == 0.25
    assert store.get_prediction(first) is not None
    again = store.import_workspace(tmp_path / "old")
    assert (dict(again.rows), again.runs) == ({}, [])


def test_rows_that_stand_only_in_the_log_of_sqlite_come_along(store: WorkspaceStore, tmp_path: Path) -> None:
    old = OldWorkspace(tmp_path / "old")
    old.database.execute("PRAGMA journal_mode=WAL")
    old.database.execute("PRAGMA wal_autocheckpoint=0")
    old.run("in the log")
    old.database.commit()
    shutil.copytree(tmp_path / "old", tmp_path / "killed")  # As a process leaves it that is killed.
    old.close()
    assert (tmp_path / "killed" / "store.sqlite-wal").stat().st_size > 0
    assert store.import_workspace(tmp_path / "killed").rows["runs"] == 1
    assert (tmp_path / "killed" / "store.sqlite-wal").stat().st_size > 0


def test_times_of_duckdb_are_local(store: WorkspaceStore, tmp_path: Path) -> None:
    old = OldWorkspace(tmp_path / "old", "duckdb")
    run_id = old.run("r")
    old.close()
    store.import_workspace(tmp_path / "old", timezone="America/New_York")
    assert (store.get_run(run_id) or {})["created_at"] == datetime(2026, 3, 29, 16, 0, 0, 250000)


def test_times_that_were_moved_from_duckdb_are_local(store: WorkspaceStore, tmp_path: Path) -> None:
    old = OldWorkspace(tmp_path / "old")
    moved, own = old.run("moved", created_at="2026-03-29 12:00:00.250000"), old.run("own")
    old.close()
    store.import_workspace(tmp_path / "old", timezone="America/New_York")
    assert (store.get_run(moved) or {})["created_at"].hour == 16
    assert (store.get_run(own) or {})["created_at"].hour == 12


def test_a_model_whose_file_is_gone_keeps_its_scores(
    store: WorkspaceStore, source: tuple[Path, tuple[str, str]]
) -> None:
    folder, (chain_id, refit_id) = source
    for path in (folder / "artifacts").rglob("model_Ridge_*"):
        path.unlink()
    report = store.import_workspace(folder, trusted=True, spectra={"wheat": X})
    assert report.verdicts == {"no files": 2}
    assert "model_Ridge_" in str(report.chains[chain_id]["reason"])
    assert store.rank_chains().rows["rmsep"].to_list() == [0.7]
    with pytest.raises(ChainReplayError):
        store.replay_chain(refit_id, X_NEW)
    (kept,) = store.list_results("nirs4all", chain_id=chain_id)["result_id"]
    assert "fold_0" in (store.get_result(kept) or {})["document"]
    assert store.check(deep=True).findings == []


def test_a_changed_file_is_no_model(store: WorkspaceStore, source: tuple[Path, tuple[str, str]]) -> None:
    for path in (source[0] / "artifacts").rglob("model_Ridge_*"):
        path.write_bytes(path.read_bytes() + b" ")
    report = store.import_workspace(source[0], trusted=True)
    assert report.verdicts == {"no files": 2}
    assert "was changed" in str(report.chains[source[1][0]]["reason"])


class Trap:
    """Writes a file when it is loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (Path(self.path),)


def test_nothing_is_loaded_that_nobody_trusts(store: WorkspaceStore, tmp_path: Path) -> None:
    old = OldWorkspace(tmp_path / "old")
    pipeline_id = old.pipeline(old.run("r"), "p")
    chain_id = old.chain(
        pipeline_id, [step(1, "Trap", "m")], {"final": old.artifact(Trap(str(tmp_path / "x")), "m")}, {}
    )
    old.prediction(pipeline_id, chain_id, "final", "test", y_pred=Y[TEST], sample_indices=TEST.tolist())
    old.close()
    assert store.import_workspace(tmp_path / "old", spectra={"wheat": X}).verdicts == {"not checked": 1}
    assert not (tmp_path / "x").exists()


def test_a_package_that_is_missing_is_named(
    store: WorkspaceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "far_away.py").write_text("class Model:\n    pass\n")
    with monkeypatch.context() as here:
        here.syspath_prepend(tmp_path)
        import far_away  # type: ignore[import-not-found]
    old = OldWorkspace(tmp_path / "old")
    steps = [step(1, "Model", old.artifact(far_away.Model(), "m"))]
    old.chain(old.pipeline(old.run("r"), "p"), steps, {"final": "m"}, {})
    old.close()
    del sys.modules["far_away"]
    (tmp_path / "far_away.py").unlink()
    assert store.import_workspace(tmp_path / "old", trusted=True).verdicts == {"needs far_away": 1}


def test_arrays_come_in_every_shape(store: WorkspaceStore, tmp_path: Path) -> None:
    old = OldWorkspace(tmp_path / "old")
    pipeline_id = old.pipeline(old.run("r", summary={"best": float("nan")}), "p")
    two = np.arange(6.0).reshape(3, 2)
    labels = {
        "schema_version": 1,
        "label_type": "str",
        "vocabulary": ["ripe", "rotten"],
        "indices": [1, 0],
        "shape": [2],
    }
    ids = {
        "two targets": old.prediction(pipeline_id, None, "0", "val", n_samples=3, y_pred=two, y_true=two),
        "labels": old.prediction(
            pipeline_id,
            None,
            "1",
            "val",
            n_samples=2,
            y_pred_labels=json.dumps(labels),
            y_true_labels=json.dumps(labels),
        ),
        "classes": old.prediction(pipeline_id, None, "2", "val", n_samples=2, y_proba=np.eye(2), y_proba_shape=[2, 2]),
        "empty": old.prediction(pipeline_id, None, "3", "val", n_samples=0, y_pred=[], y_true=[]),
        "none": old.prediction(pipeline_id, None, "4", "val"),
        "described": old.prediction(
            pipeline_id, None, "5", "val", unit_id="u", y_pred=[1.0], sample_metadata='{"farm": ["a"]}'
        ),
    }
    old.arrays += [{"prediction_id": ids["empty"], "y_pred": [1.0]}, {"prediction_id": "deleted", "y_pred": [1.0]}]
    old.close()
    (tmp_path / "old" / "arrays" / "_tombstones.json").write_text(
        json.dumps({ids["labels"]: "2026-01-01", "deleted": ""})
    )
    report = store.import_workspace(tmp_path / "old")
    found = {name: store.get_prediction(one, load_arrays=True) or {} for name, one in ids.items()}
    np.testing.assert_array_equal(found["two targets"]["y_pred"], two)
    assert found["labels"]["y_true"].tolist() == ["rotten", "ripe"]
    np.testing.assert_array_equal(found["classes"]["y_proba"], np.eye(2))
    assert found["empty"]["y_pred"].tolist() == [1.0], "an id may stand twice: the last one counts"
    assert found["none"]["y_pred"] is None
    (kept,) = store.list_results("nirs4all", prediction_id=ids["described"])["result_id"]
    document = json.loads((store.get_result(kept) or {})["document"])
    assert document == {"unit_id": "u", "sample_metadata": {"farm": ["a"]}}
    assert np.isnan((store.get_run(report.runs[0]) or {})["summary"]["best"])
    assert report.not_carried["arrays of predictions that were deleted"] == 1
    assert store.check(deep=True).findings == []


def test_results_stay_as_they_are_character_by_character(store: WorkspaceStore, tmp_path: Path) -> None:
    old = OldWorkspace(tmp_path / "old")
    run_id = old.run("r")
    text = '{"b":1,  "a":[NaN]}\n'
    old.add(
        "tuning_results", tuning_id="t", name="n", run_id=run_id, chain_id="gone", result_json=text, tuning_json="{ }"
    )
    old.close()
    store.import_workspace(tmp_path / "old")
    found = store.get_result("t")
    assert found is not None
    assert (found["document"], found["kind"], found["run_id"], found["chain_id"]) == (text, "tuning", run_id, None)
    assert (found["details"]["tuning_json"], found["details"]["chain_id"]) == ("{ }", "gone")


def test_an_import_that_is_stopped_leaves_whole_runs(store: WorkspaceStore, tmp_path: Path) -> None:
    old = OldWorkspace(tmp_path / "old")
    for name in ("a", "b"):
        add_models(old, old.run(name, run_id=name), f"{name}_p0")
    old.close()

    def stop(what: str, done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.import_workspace(tmp_path / "old", progress=stop)
    assert store.list_runs()["name"].to_list() == ["a"]
    assert store.count_predictions() == 9
    assert store.import_workspace(tmp_path / "old").runs == ["b"]
    assert store.count_predictions() == 18


class Freed:
    """Presses Ctrl-C while Python frees it, which throws away what the handler raises."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def test_ctrl_c_while_python_freed_something_was_thrown_away(
    store: WorkspaceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = OldWorkspace(tmp_path / "old")
    for name in ("a", "b"):
        add_models(old, old.run(name, run_id=name), f"{name}_p0")
    old.close()
    thrown_away: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: thrown_away.append(told.exc_type))
    steps: list[str] = []

    def tell(what: str, done: int, total: int) -> None:
        steps.append(what)
        if len(steps) == 1:
            Freed()

    with pytest.raises(KeyboardInterrupt):
        store.import_workspace(tmp_path / "old", progress=tell)
    assert (steps, thrown_away) == (["run a"], [KeyboardInterrupt])
    assert store.list_runs()["name"].to_list() == ["a"]
    steps.clear()
    with pytest.raises(KeyboardInterrupt):
        store.verify(store.get_chains_for_pipeline(store.list_pipelines()["pipeline_id"][0])["chain_id"], progress=tell)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert store.import_workspace(tmp_path / "old").runs == ["b"]


def test_a_dry_run_tells_and_changes_nothing(store: WorkspaceStore, source: tuple[Path, tuple[str, str]]) -> None:
    told = store.import_workspace(source[0], dry_run=True)
    assert store.list_runs().is_empty()
    assert [*store.workspace_path.rglob("*.joblib")] == []
    done = store.import_workspace(source[0])
    assert (dict(told.rows), told.verdicts) == (dict(done.rows), done.verdicts)


def test_what_is_no_workspace_of_nirs4all_is_refused(store: WorkspaceStore, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceNotFoundError, match="neither"):
        store.import_workspace(tmp_path)
    with WorkspaceStore(tmp_path / "own"):
        pass
    with pytest.raises(InvalidInputError, match="of this package"):
        store.import_workspace(tmp_path / "own")
    (tmp_path / "store.sqlite").write_bytes(b"SQLite format 3\0" + b"\0" * 100)
    with pytest.raises((WorkspaceCorruptError, WorkspaceNotFoundError)):
        store.import_workspace(tmp_path)
    sqlite3.connect(tmp_path / "empty.sqlite").close()
    (tmp_path / "store.sqlite").unlink()
    OldWorkspace(tmp_path / "old").close()
    with pytest.raises(InvalidInputError, match="no time zone 'Mars/Phobos'"):
        store.import_workspace(tmp_path / "old", timezone="Mars/Phobos")


def test_a_workspace_was_begun_in_the_folder_of_nirs4all_and_removed_its_models(
    source: tuple[Path, tuple[str, str]], tmp_path: Path
) -> None:
    before = sorted(source[0].rglob("*"))
    done = CliRunner().invoke(app, ["import", str(source[0]), "-w", str(source[0])])
    assert (done.exit_code, "stays as it is" in done.output) == (1, True)
    with pytest.raises(WorkspaceError, match="is a workspace of nirs4all"), WorkspaceStore(source[0]):
        pass
    assert [path for path in sorted(source[0].rglob("*")) if path.name != ".store.lock"] == before
    with WorkspaceStore(tmp_path / "duck") as store, pytest.raises(InvalidInputError, match="stays as it is"):
        shutil.copy(source[0] / "store.sqlite", tmp_path / "duck")
        store.import_workspace(tmp_path / "duck")


def test_a_classifier_was_verified_by_its_classes_alone(store: WorkspaceStore, tmp_path: Path) -> None:
    old = OldWorkspace(tmp_path / "old")
    codes = (np.digitize(Y, [0]), np.digitize(Y + RNG.normal(size=30) / 3, [0]))
    for name, own in zip(("first", "second"), codes, strict=True):
        model = LogisticRegression().fit(X[TRAIN], own[TRAIN])
        pipeline_id = old.pipeline(old.run("r", run_id=name), "p")
        old.artifact(model, "m", with_row=name == "first")
        chain_id = old.chain(pipeline_id, [step(1, "LogisticRegression", "m")], {"final": "m"}, {})
        told = told_of(model.predict(X[TEST]).astype(float), TEST, own.astype(float))
        told |= {"y_proba": model.predict_proba(X[TEST]), "y_proba_shape": [10, 2]}
        old.prediction(pipeline_id, chain_id, "final", "test", task_type="binary_classification", **told)
    old.close()
    report = store.import_workspace(tmp_path / "old", trusted=True, spectra={"wheat": X})
    assert report.verdicts == {"verified": 2}
    np.testing.assert_allclose(store.load_chain(chain_id).predict_proba(X_NEW), model.predict_proba(X_NEW))


def test_values_far_from_zero_hid_the_wrong_model(store: WorkspaceStore, tmp_path: Path) -> None:
    old = OldWorkspace(tmp_path / "old")
    add_models(old, old.run("same", run_id="first"), "same_p0", y=2e5 + Y / 10)
    chains = add_models(old, old.run("same", run_id="second"), "same_p0", y=2e5 - Y / 10, with_row=False)
    old.close()
    report = store.import_workspace(tmp_path / "old", trusted=True, spectra={"wheat": X})
    # The models of two folds differ by less than floats of 32 bits tell there, so that nobody can say which is whose.
    assert [report.chains[chain_id]["verdict"] for chain_id in chains] == ["differs", "differs"]


def test_the_mean_of_the_folds_that_were_left_was_called_verified(
    store: WorkspaceStore, source: tuple[Path, tuple[str, str]], tmp_path: Path
) -> None:
    folder, (chain_id, _) = source
    shutil.copytree(folder, tmp_path / "whole")
    with sqlite3.connect(folder / "store.sqlite") as database:
        ((path,),) = database.execute(
            "SELECT artifact_path FROM artifacts WHERE artifact_id = 'screen_a$m:1'"
        ).fetchall()
    (folder / "artifacts" / path).unlink()
    report = store.import_workspace(folder, trusted=True, spectra={"wheat": X})
    assert report.chains[chain_id]["verdict"] == "no files"
    report = store.import_workspace(tmp_path / "whole", trusted=True, spectra={"wheat": X})
    assert report.chains[chain_id]["verdict"] == "verified"
    assert store.check(deep=True).findings == []


def test_what_was_not_there_at_the_first_import_never_came(
    store: WorkspaceStore, source: tuple[Path, tuple[str, str]], tmp_path: Path
) -> None:
    shutil.copytree(source[0], tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "arrays")
    shutil.rmtree(tmp_path / "cut" / "artifacts")
    with sqlite3.connect(tmp_path / "cut" / "store.sqlite") as database:
        database.execute("UPDATE runs SET project_id = NULL")
    assert store.import_workspace(tmp_path / "cut").verdicts == {"no files": 2}
    report = store.import_workspace(source[0], trusted=True, spectra={"wheat": X})
    assert (report.rows["prediction_arrays"], report.rows["label_links"], report.verdicts) == (9, 1, {"verified": 2})
    assert store.check(deep=True).findings == []


def test_one_odd_value_stopped_the_import_of_all_runs(store: WorkspaceStore, tmp_path: Path) -> None:
    old = OldWorkspace(tmp_path / "old")
    pipeline_id = old.pipeline(old.run("odd", created_at="yesterday"), "p", metric="\0")
    odd = old.prediction(pipeline_id, None, "0", "val", best_params="n=3", val_score="high", y_pred=[1.0])
    old.add("chains", pipeline_id=pipeline_id, steps="{}", fold_artifacts="[1]", model_class="Ridge")
    add_models(old, old.run("good"), "good_p0")
    old.arrays.append({"prediction_id": "x", "y_proba": [1.0, 2.0, 3.0], "y_proba_shape": [2, 2]})
    old.close()
    report = store.import_workspace(tmp_path / "old")
    assert (report.rows["runs"], report.rows["predictions"]) == (2, 10)
    (kept,) = store.list_results("nirs4all", prediction_id=odd)["result_id"]
    document = json.loads((store.get_result(kept) or {})["document"])
    assert (document["best_params"], document["val_score"]) == ("n=3", "high")
    assert any("fit no column" in what for what in report.not_carried)


def test_another_workspace_with_the_same_ids_was_taken_for_the_same(
    store: WorkspaceStore, source: tuple[Path, tuple[str, str]], tmp_path: Path
) -> None:
    for name, change in (
        ("scores", "UPDATE predictions SET val_score = 0.25 WHERE fold_id = '0'"),
        ("pipelines", "UPDATE pipelines SET dataset_hash = 'other' WHERE name = 'screen_a'"),
        ("runs", "UPDATE runs SET name = 'other'"),
    ):
        shutil.copytree(source[0], tmp_path / name)
        with sqlite3.connect(tmp_path / name / "store.sqlite") as database:
            database.execute(change)
    store.import_workspace(source[0])
    assert not store.import_workspace(source[0]).not_carried
    told = {name: dict(store.import_workspace(tmp_path / name).not_carried) for name in ("scores", "pipelines", "runs")}
    (scores, pipelines, runs) = ((*what.items(),) for what in told.values())
    assert [("predictions whose ids are here" in what, count) for what, count in scores] == [(True, 3)]
    assert [("pipelines whose ids are here" in what, count) for what, count in pipelines] == [(True, 1)]
    assert [("is called 'screen', not 'other'" in what, count) for what, count in runs] == [(True, 1)]
    assert store.query_predictions(fold_id="0")["val_score"].to_list() == [0.5] * 3


def test_a_damaged_file_of_arrays_stops_nothing(store: WorkspaceStore, source: tuple[Path, tuple[str, str]]) -> None:
    (source[0] / "arrays" / "other.parquet").write_bytes(b"PAR1")
    report = store.import_workspace(source[0])
    assert report.rows["prediction_arrays"] == 9
    assert any("other.parquet" in what for what in report.not_carried)


def test_noise_for_training_was_added_to_new_spectra(store: WorkspaceStore, tmp_path: Path) -> None:
    old = OldWorkspace(tmp_path / "old")
    scaler = StandardScaler().fit(X[TRAIN])
    model = Ridge().fit(scaler.transform(X[TRAIN]), Y[TRAIN])
    old.artifact(MinMaxScaler().fit(X), "noise", "transformer")
    old.artifact(KFold(3), "k", "splitter")
    old.artifact(scaler, "s", "transformer")
    steps = [step(1, "Noise", "noise", params={"sample_augmentation": {"count": 1}}), step(2, "StandardScaler", "s")]
    steps += [step(3, "KFold", "k"), step(4, "Ridge", old.artifact(model, "m"))]
    shared = {"1": ["noise"], "2": ["s"], "3": ["k"]}
    chain_id = old.chain(old.pipeline(old.run("r"), "p"), steps, {"final": "m"}, shared)
    old.close()
    store.import_workspace(tmp_path / "old", trusted=True)
    np.testing.assert_allclose(store.replay_chain(chain_id, X_NEW), model.predict(scaler.transform(X_NEW)))


def test_wrong_spectra_once_decided_for_ever(store: WorkspaceStore, source: tuple[Path, tuple[str, str]]) -> None:
    assert store.import_workspace(source[0], trusted=True, spectra={"wheat": X[:, :5]}).verdicts == {"differs": 2}
    assert store.import_workspace(source[0], trusted=True, spectra={"wheat": X[TRAIN]}).verdicts == {"differs": 2}
    assert store.import_workspace(source[0]).verdicts == {"differs": 2}
    assert store.import_workspace(source[0], trusted=True, spectra={"wheat": X}).verdicts == {"verified": 2}


def test_importing_again_made_a_failed_run_run(store: WorkspaceStore, tmp_path: Path) -> None:
    old = OldWorkspace(tmp_path / "old")
    run_id = old.run("r", status="running")
    old.close()
    store.import_workspace(tmp_path / "old")
    store.fail_run(run_id, "killed by the power cut")
    store.import_workspace(tmp_path / "old")
    assert (store.get_run(run_id) or {})["status"] == "failed"


def test_a_refit_was_joined_with_a_chain_of_other_transformers(store: WorkspaceStore, tmp_path: Path) -> None:
    old = OldWorkspace(tmp_path / "old")
    run_id = old.run("r")
    old.artifact(MinMaxScaler().fit(X), "a", "transformer")
    old.artifact(StandardScaler().fit(X), "b", "transformer")
    old.artifact(Ridge().fit(X, Y), "m")
    first, again = old.pipeline(run_id, "p"), old.pipeline(run_id, "p_refit")
    for name, scaler in (("MinMaxScaler", "a"), ("MinMaxScaler", "a")):
        old.chain(first, [step(1, name, scaler), step(2, "Ridge", "m")], {"fold_0": "m"}, {"1": [scaler]})
    steps = {
        name: [step(1, name, one), step(2, "Ridge", "m")]
        for name, one in (("StandardScaler", "b"), ("MinMaxScaler", "a"))
    }
    refits = [old.chain(again, own, {"fold_final": "m"}, {"1": own[0]["artifact_ids"]}) for own in steps.values()]
    old.close()
    store.import_workspace(tmp_path / "old")
    assert [(store.get_chain(one) or {})["refit_of"] for one in refits] == [None, None]


def test_refits_of_branches_of_the_same_classes_stood_in_rows_of_their_own(
    store: WorkspaceStore, tmp_path: Path
) -> None:
    old = OldWorkspace(tmp_path / "old")
    run_id = old.run("r")
    old.artifact(StandardScaler().fit(X), "s", "transformer")
    old.artifact(Ridge().fit(X, Y), "m")
    ways = [[{"class": "Smooth", "params": {"window": width}}, "Ridge"] for width in (5, 11, 15, 15)]
    judged_by = old.pipeline(run_id, "p", expanded_config=["KFold", {"branch": ways}])
    steps = [step(1, "Branch"), step(1, "Smooth", "s"), step(1, "Ridge", "m")]
    judged = [old.chain(judged_by, steps, {"fold_0": "m"}, {"1": ["s"]}, branch_path=[place]) for place in range(4)]
    own = [step(1, "FullTrain"), step(2, "Smooth", "s"), step(3, "Ridge", "m")]
    refits = []
    for steps_of_refit in [ways[1], ways[0], ways[3], ["Smooth", "Ridge"]]:
        config = ["<nirs4all._FullTrainFoldSplitter object at 0x7f8d>", *steps_of_refit]
        pipeline_id = old.pipeline(run_id, "p_refit", expanded_config=config)
        refits.append(old.chain(pipeline_id, own, {"fold_final": "m"}, {"2": ["s"]}))
    old.close()
    store.import_workspace(tmp_path / "old")
    found = [(store.get_chain(one) or {})["refit_of"] for one in refits]
    assert found[:2] == [judged[1], judged[0]]
    assert found[2:] == [None, None], "of the same two, and of no branch of this configuration, nobody can tell"


def test_the_log_of_a_run_says_what_is_known_of_its_chains(
    store: WorkspaceStore, source: tuple[Path, tuple[str, str]]
) -> None:
    store.import_workspace(source[0], trusted=True, spectra={"wheat": X})
    pipeline_id = (store.get_chain(source[1][0]) or {})["pipeline_id"]
    line = store.get_pipeline_log(pipeline_id).row(0, named=True)
    assert "2 verified chains" in line["message"]
    assert {told["verdict"] for told in json.loads(line["details"])["chains"].values()} == {"verified"}


def test_the_command_says_what_came_and_what_cannot_predict(
    tmp_path: Path, source: tuple[Path, tuple[str, str]]
) -> None:
    folder = str(tmp_path / "new")
    pl.DataFrame(X[TRAIN], schema=[str(number) for number in range(8)]).write_csv(tmp_path / "train.csv")
    pl.DataFrame(X[TEST], schema=[str(number) for number in range(8)]).write_csv(tmp_path / "test.csv")

    def run(*more: str) -> str:
        done = CliRunner().invoke(app, ["import", str(source[0]), "-w", folder, *more])
        assert done.exit_code == 0, done.output
        return " ".join(done.output.split())

    assert "would import" in run("--dry-run")
    assert not Path(folder).exists()
    assert "predictions 9" in run()
    spectra = ["--trusted", *(f"--spectra=wheat={tmp_path / name}.csv" for name in ("train", "test"))]
    assert "chains verified: 2" in run(*spectra)
    again = json.loads(run("--json"))
    assert (again["rows"], again["verdicts"]) == ({}, {})
    assert json.loads(run("--json", "-w", f"{folder}2"))["rows"]["predictions"] == 9
    refused = CliRunner().invoke(app, ["import", str(source[0]), "-w", folder, "--spectra", "wheat"])
    assert (refused.exit_code, "DATASET=FILE" in refused.output) == (2, True)


@pytest.mark.skipif(not REAL, reason="needs ../shared/old_workspaces")
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in REAL])
def test_real_workspaces_predict_what_was_checked(name: str, tmp_path: Path) -> None:
    expected = json.loads((SHARED / name / "expected.json").read_text())
    told = SHARED / name / "expected_replay.npz"
    truths = dict(np.load(told)) if told.exists() else {}
    x_new = np.load(SHARED / name / "spectra.npz").get("X_new")
    with WorkspaceStore(tmp_path / "w") as store:
        report = store.import_workspace(SHARED / name / "workspace", trusted=True, timezone="UTC")
        for table in ("runs", "pipelines", "chains", "predictions"):
            if "rows" in expected:
                assert report.rows[table] == expected["rows"][table], table
        checked = 0
        for key, truth in truths.items():
            chain_id, _, what = key.partition("|")
            if what == "truth" and not str(report.chains[chain_id]["verdict"]).startswith("needs"):
                replayed = np.ravel(store.replay_chain(chain_id, x_new))
                if truth.dtype.kind == "f":
                    np.testing.assert_allclose(replayed, np.ravel(truth), rtol=1e-5, atol=1e-8)
                else:
                    assert replayed.astype(str).tolist() == np.ravel(truth).astype(str).tolist()
                checked += 1
        assert checked or not truths
        assert store.check(deep=True).findings == []
        assert dict(store.import_workspace(SHARED / name / "workspace", timezone="UTC").rows) == {}
