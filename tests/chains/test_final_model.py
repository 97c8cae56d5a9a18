"""A chain with a final model: it predicts alone, the folds where they are asked for, and what is attached is kept."""

import json
import runpy
import sys
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import bundles
import numpy as np
import pytest
from samples import slow
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.preprocessing import StandardScaler

from nirs4all_store import (
    ArtifactMissingError,
    BundleError,
    InvalidInputError,
    InvalidTypeError,
    NotFoundError,
    WorkspaceStore,
    load_bundle,
    replay_chain,
)
from nirs4all_store.exchange.bundle_reader import read_bundle
from nirs4all_store.testing.contract import add_pipeline, add_prediction

rng = np.random.default_rng(0)
X = rng.normal(size=(30, 12)).cumsum(axis=1)
Y = X[:, 3] - X[:, 7] + rng.normal(size=30) / 10
X_NEW = rng.normal(size=(6, 12)).cumsum(axis=1)
FOLDS = KFold(3)
STEP = {"step_idx": 0, "operator_class": "PLSRegression", "params": {}, "artifact_id": None, "stateless": False}
FITTED = {f"fold_{k}": PLSRegression(3).fit(X[train], Y[train]) for k, (train, _) in enumerate(FOLDS.split(X))}
FINAL = PLSRegression(3).fit(X, Y)
LIMITS = {"t2": np.float32(9.5)}
MEAN = np.mean([model.predict(X_NEW)[:, None] for model in FITTED.values()], axis=0)[:, 0]


def saved(store: WorkspaceStore, models: dict[str, Any], pipeline_id: str = "", **more: Any) -> str:
    """Save a chain of fitted models by fold."""
    pipeline_id = pipeline_id or add_pipeline(store)[1]
    folds = {fold: store.save_artifact(model, "PLSRegression", "model") for fold, model in models.items()}
    return store.save_chain(pipeline_id, [STEP], 0, "PLSRegression", fold_artifacts=folds, **more)


def whole(store: WorkspaceStore) -> str:
    """Save a chain with all that may hang on one."""
    _, pipeline_id = add_pipeline(store)
    folds = saved(store, FITTED, pipeline_id)
    domain = store.save_artifact(LIMITS, "dict", "domain")
    return saved(
        store,
        FITTED | {"fold_final": FINAL},
        pipeline_id,
        predict_fold="fold_final",
        attachments={"domain": domain},
        refit_of=folds,
        verification={"verdict": "equal", "difference": 0.0},
    )


def test_the_final_model_predicts_alone_and_the_folds_when_they_are_asked(store: WorkspaceStore) -> None:
    chain_id = whole(store)
    expected = {None: FINAL.predict(X_NEW), "mean": MEAN} | {
        fold: model.predict(X_NEW) for fold, model in (FITTED | {"fold_final": FINAL}).items()
    }
    for _ in range(2):  # Read first, then from what is kept.
        for folds, y in expected.items():
            np.testing.assert_array_equal(store.replay_chain(chain_id, X_NEW, folds=folds), y)
            np.testing.assert_array_equal(replay_chain(store, chain_id, X_NEW, None, folds), y)
            np.testing.assert_array_equal(store.load_chain(chain_id, folds).predict(X_NEW), y)
    held_out = [store.replay_chain(chain_id, X[test], folds=f"fold_{k}") for k, (_, test) in enumerate(FOLDS.split(X))]
    np.testing.assert_array_equal(np.concatenate(held_out), cross_val_predict(PLSRegression(3), X, Y, cv=FOLDS))


def test_a_chain_without_one_predicts_with_all_folds_together_as_before(store: WorkspaceStore) -> None:
    # Also where a key says final: workspaces have such chains.
    chain_id = saved(store, FITTED | {"final": FINAL})
    both = np.mean([[*model.predict(X_NEW)] for model in (*FITTED.values(), FINAL)], axis=0)
    np.testing.assert_array_equal(store.replay_chain(chain_id, X_NEW), both)
    np.testing.assert_array_equal(store.replay_chain(chain_id, X_NEW, folds="mean"), both)


def test_steps_before_a_final_model_are_its_own(store: WorkspaceStore) -> None:
    folds = {}
    for fold, rows in {"0": np.arange(20), "1": np.arange(10, 30), "final": np.arange(30)}.items():
        scaler = StandardScaler().fit(X[rows])
        model = LogisticRegression().fit(scaler.transform(X[rows]), Y[rows] > 0)
        folds[fold] = [store.save_artifact(each, "c", "m") for each in (scaler, model)]
    steps = [STEP, STEP | {"step_idx": 1}]
    chain_id = store.save_chain(add_pipeline(store)[1], steps, 1, "m", fold_artifacts=folds, predict_fold="final")
    estimator = store.load_chain(chain_id)
    np.testing.assert_array_equal(estimator.predict_proba(X_NEW), model.predict_proba(scaler.transform(X_NEW)))
    np.testing.assert_array_equal(store.replay_chain(chain_id, X_NEW), model.predict(scaler.transform(X_NEW)))


def test_the_final_model_is_kept_for_the_next_replay(store: WorkspaceStore) -> None:
    # What a replay does not load, as the folds' models and what is attached, once kept it from being kept.
    chain_id = whole(store)
    epoch = store._workspace.epoch
    store.replay_chain(chain_id, X_NEW)
    assert store._here.loader.kept((chain_id, None), epoch) is not None
    assert store._here.loader.kept((chain_id, "mean"), epoch) is None


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a fold that is not there": ({"predict_fold": "final"}, InvalidInputError, r"'final' is no key .*'fold_2'\]"),
    "a fold that is no text": ({"predict_fold": 0}, InvalidTypeError, "predict_fold must be text"),
    "an unknown object": ({"attachments": {"domain": "gone"}}, NotFoundError, "gone"),
    "several objects": ({"attachments": {"domain": ["a", "b"]}}, InvalidTypeError, r"attachments\['domain'\]"),
    "a list of objects": ({"attachments": ["a"]}, InvalidTypeError, "a dict of role to artifact id"),
    "a role that is no text": ({"attachments": {1: "a"}}, InvalidTypeError, "a role in attachments"),
    "an unknown chain": ({"refit_of": "gone"}, NotFoundError, "chains has no 'gone'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_a_chain_is_refused(store: WorkspaceStore, name: str) -> None:
    values, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        saved(store, FITTED, **values)


def test_folds_that_a_chain_does_not_have_are_refused(store: WorkspaceStore, tmp_path: Path) -> None:
    only = saved(store, {"final": FINAL}, predict_fold="final")
    bundle = store.export_chain(only, tmp_path / "only")
    messages = {"mean": "the final model 'final' alone", "fold_0": r"folds are \['final'\], and folds='fold_0'"}
    for folds, message in messages.items():
        with pytest.raises(InvalidInputError, match=message):
            store.replay_chain(only, X_NEW, folds=folds)
        with pytest.raises(InvalidInputError, match=message):
            load_bundle(bundle, trusted=True, folds=folds)
    with pytest.raises(InvalidTypeError, match="folds must be text"):
        store.replay_chain(only, X_NEW, folds=["final"])  # type: ignore[arg-type]


def test_what_is_attached_is_in_use(store: WorkspaceStore) -> None:
    chain_id = whole(store)
    chain = store.get_chain(chain_id)
    assert chain is not None
    domain = chain["attachments"]["domain"]
    with store.unit_of_work() as uow:
        row = uow.artifacts.get(domain)
        assert domain in uow.chains.artifact_ids(chain_id)
        assert uow.chains.uses().users[domain] == [chain_id]
    assert row is not None and (row["ref_count"], row["unclaimed"]) == (1, 0)
    assert store.gc_artifacts(grace=timedelta(0)) == 0
    # Saved once more, it is another chain's, since one of this run has it already.
    store.save_artifact(LIMITS, "dict", "domain")
    second = saved(store, FITTED, chain["pipeline_id"], attachments={"domain": domain})
    with store.unit_of_work() as uow:
        row = uow.artifacts.get(domain)
        assert row is not None and (row["ref_count"], row["unclaimed"]) == (3, 1)
        assert uow.chains.uses().users[domain] == sorted([chain_id, second])
    assert store.load_artifact(domain) == LIMITS
    assert store.check(deep=True).is_sound
    with store.unit_of_work() as uow:
        uow.blobs.remove(row["artifact_path"])
    (finding,) = store.check().findings
    assert f"chain {chain_id} (as its domain)" in str(finding)
    np.testing.assert_array_equal(store.replay_chain(chain_id, X_NEW), FINAL.predict(X_NEW))
    store.delete_pipeline(chain["pipeline_id"])
    store.gc_artifacts(grace=timedelta(0))
    with store.unit_of_work() as uow:
        assert uow.artifacts.get(domain) is None


def test_a_bundle_with_a_final_model_predicts_with_it_and_is_for_newer_readers(
    store: WorkspaceStore, tmp_path: Path
) -> None:
    chain_id = whole(store)
    path = store.export_chain(chain_id, tmp_path / "whole")
    np.testing.assert_array_equal(load_bundle(path, trusted=True).predict(X_NEW), FINAL.predict(X_NEW))
    np.testing.assert_array_equal(load_bundle(path, trusted=True, folds="mean").predict(X_NEW), MEAN)
    with WorkspaceStore(f"memory:{tmp_path}-there") as there:
        found = there.import_bundle(path, trusted=True)
        assert found.is_new and not there.import_bundle(path, trusted=True).is_new
        told, chain = store.get_chain(chain_id), there.get_chain(found.chain_id)
        assert told is not None and chain is not None
        for name in ("predict_fold", "refit_of", "verification"):
            assert chain[name] == told[name]
        assert there.load_artifact(chain["attachments"]["domain"]) == LIMITS
        assert chain["attachments"] != told["attachments"]
        np.testing.assert_array_equal(there.replay_chain(found.chain_id, X_NEW), FINAL.predict(X_NEW))
        again = there.export_chain(found.chain_id, tmp_path / "again")
        assert read_bundle(again).content_sha256 == found.content_sha256
        assert there.check(deep=True).is_sound


@pytest.mark.parametrize("name", ["attachments", "predict_fold", slow("refit_of"), slow("verification"), None])
def test_older_readers_once_would_have_averaged_a_final_model_among_the_folds(
    store: WorkspaceStore, tmp_path: Path, name: str | None
) -> None:
    values = {
        "attachments": {"domain": store.save_artifact(LIMITS, "dict", "domain")},
        "predict_fold": "fold_1",
        "refit_of": saved(store, FITTED),
        "verification": {"verdict": "equal"},
    }
    path = store.export_chain(
        saved(store, FITTED, **{key: values[key] for key in values if key == name}), tmp_path / "m"
    )
    with zipfile.ZipFile(path) as archive:
        manifest, told = (json.loads(archive.read(member)) for member in ("manifest.json", "chain.json"))
    assert manifest["format_version"] == (1 if name is None else 2)
    assert values.keys() & told["chain"].keys() == {name} - {None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"predict_fold": "gone"}, "predict_fold 'gone' is no key of fold_artifacts"),
        slow({"predict_fold": ["fold_0"]}, "predict_fold must be text"),
        ({"attachments": {"domain": "gone"}}, "names artifacts that are not in it"),
        slow({"attachments": "gone"}, "attachments must be a dict"),
    ],
)
def test_a_bundle_whose_final_model_is_no_fold_is_refused(
    store: WorkspaceStore, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = store.export_chain(whole(store), tmp_path / "whole")
    with pytest.raises(BundleError, match=message):
        read_bundle(bundles.with_chain(path, lambda told: told["chain"].update(changes)))


def test_a_script_predicts_with_the_final_model(
    store: WorkspaceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = store.export_chain(whole(store), tmp_path / "m", "n4a.py")
    np.save(tmp_path / "X.npy", X_NEW)
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path / "X.npy")])
    runpy.run_path(str(script), run_name="__main__")
    np.testing.assert_array_equal([float(line) for line in capsys.readouterr().out.split()], FINAL.predict(X_NEW))


def test_a_damaged_final_model_says_which_folds_may_be_asked(store: WorkspaceStore) -> None:
    chain_id = whole(store)
    chain = store.get_chain(chain_id)
    assert chain is not None
    with store.unit_of_work() as uow:
        row = uow.artifacts.get(chain["fold_artifacts"]["fold_final"])
        assert row is not None
        uow.blobs.remove(row["artifact_path"])
    with pytest.raises(ArtifactMissingError, match=r"of fold fold_final.*give folds=.*fold_0, fold_1, fold_2"):
        store.replay_chain(chain_id, X_NEW)
    np.testing.assert_array_equal(store.replay_chain(chain_id, X_NEW, folds="mean"), MEAN)


def test_a_final_model_has_no_weight_among_the_folds(store: WorkspaceStore) -> None:
    chain_id = whole(store)
    chain = store.get_chain(chain_id)
    assert chain is not None
    prediction_id = add_prediction(store, chain["pipeline_id"], chain_id=chain_id)
    store.save_prediction_arrays(prediction_id, Y, Y, weights=np.ones(3))
    with pytest.raises(InvalidInputError, match="one per fold"):
        store.save_prediction_arrays(prediction_id, Y, Y, weights=np.ones(4))
