"""Bundles that nirs4all 1.0 and later, and its bundle generator, wrote are imported, and predict as they should."""

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from old_workspaces import TRAIN, X, Y, step
from sklearn.linear_model import Ridge
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from nirs4all_store import BundleError, WorkspaceStore

X_NEW = X[20:25]
SCALER, OF_Y = StandardScaler().fit(X[TRAIN]), MinMaxScaler().fit(Y[TRAIN, None])
SCALED = OF_Y.transform(Y[TRAIN, None])[:, 0]
MODELS = [Ridge(alpha).fit(SCALER.transform(X[TRAIN]), SCALED) for alpha in (1, 20)]


def expected(models: list[Any]) -> Any:
    scaled = np.mean([model.predict(SCALER.transform(X_NEW)) for model in models], axis=0)
    return OF_Y.inverse_transform(scaled[:, None])[:, 0]


def dumped(fitted: Any) -> bytes:
    stream = io.BytesIO()
    joblib.dump(fitted, stream)
    return stream.getvalue()


def write(path: Path, texts: dict[str, Any], objects: dict[str, Any]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in texts.items():
            archive.writestr(name, json.dumps(value))
        for name, fitted in objects.items():
            archive.writestr(f"artifacts/{name}.joblib", fitted if isinstance(fitted, bytes) else dumped(fitted))
    return path


def told_by_chain(path: Path, **more: Any) -> Path:
    """Write what `export_chain` of nirs4all 1.4 does."""
    steps = [step(1, "StandardScaler", "s"), step(2, "MinMaxScaler", "y", params={"y_processing": "MinMaxScaler"})]
    steps.append(step(4, "Ridge", "m0", "m1"))
    chain = {"steps": steps, "model_step_idx": 4, "fold_artifacts": {"fold_0": "m0", "fold_1": "m1"}}
    chain |= {"shared_artifacts": {"1": ["s"], "2": ["y"]}}
    manifest = {"chain_id": "c", "model_class": "Ridge", "preprocessings": "Std", "fold_strategy": "per_fold"}
    manifest |= {"model_step_index": 4, "exported_at": "2026-01-01T00:00:00"}
    objects = {"step_1_sub0": SCALER, "step_2_sub0": OF_Y, "step_4_fold0": MODELS[0], "step_4_fold1": MODELS[1]}
    return write(path, {"manifest.json": manifest, "chain.json": chain | more, "pipeline.json": {"steps": []}}, objects)


def told_by_configuration(path: Path, folds: dict[str, Any], weights: dict[str, float], **more: Any) -> Path:
    """Write what the bundle generator of nirs4all does."""
    config = [{"step": "StandardScaler"}, {"y_processing": "MinMaxScaler"}, {"step": "KFold"}, {"model": "Ridge"}]
    manifest = {"bundle_format_version": "1.0", "pipeline_uid": "p", "model_step_index": 4, "fold_strategy": "w"} | more
    objects = {"step_1_StandardScaler_sub0": SCALER, "step_2_MinMaxScaler_sub0": OF_Y}
    objects |= {f"step_4_fold{fold}_Ridge_sub0": model for fold, model in folds.items()}
    texts = {"manifest.json": manifest, "pipeline.json": {"steps": config}, "fold_weights.json": weights}
    return write(path, texts, objects)


def predicted(store: WorkspaceStore, path: Path) -> Any:
    return store.replay_chain(store.import_bundle(path, trusted=True).chain_id, X_NEW)


def test_a_scaler_of_y_is_not_applied_to_x(store: WorkspaceStore, tmp_path: Path) -> None:
    path = told_by_chain(tmp_path / "m.n4a")
    np.testing.assert_allclose(predicted(store, path), expected(MODELS))
    assert not store.import_bundle(path).is_new
    assert store.check(deep=True).findings == []


def test_a_bundle_without_a_chain_is_told_by_the_names_of_its_files(store: WorkspaceStore, tmp_path: Path) -> None:
    path = told_by_configuration(tmp_path / "m.n4a", {"0": MODELS[0]}, {"0": 1.0})
    np.testing.assert_allclose(predicted(store, path), expected(MODELS[:1]))
    path = told_by_configuration(tmp_path / "n.n4a", {"0": MODELS[0], "1": MODELS[1]}, {"0": 0.5, "1": 0.5})
    np.testing.assert_allclose(predicted(store, path), expected(MODELS))
    assert store.check(deep=True).findings == []


def test_a_final_model_predicts_alone(store: WorkspaceStore, tmp_path: Path) -> None:
    path = told_by_configuration(tmp_path / "m.n4a", {"final": MODELS[1]}, {})
    found = store.import_bundle(path, trusted=True)
    assert (store.get_chain(found.chain_id) or {})["predict_fold"] == "fold_final"
    np.testing.assert_allclose(store.replay_chain(found.chain_id, X_NEW), expected(MODELS[1:]))


def test_what_would_predict_otherwise_is_refused(store: WorkspaceStore, tmp_path: Path) -> None:
    two = {"0": MODELS[0], "1": MODELS[1]}
    with pytest.raises(BundleError, match="weights the models of its folds"):
        store.import_bundle(told_by_configuration(tmp_path / "w.n4a", two, {"0": 0.7, "1": 0.3}))
    with pytest.raises(BundleError, match="does not tell which of its files is its model"):
        store.import_bundle(told_by_configuration(tmp_path / "n.n4a", {}, {}))
    with pytest.raises(BundleError, match="no file of 1 of the objects"):
        store.import_bundle(
            told_by_chain(tmp_path / "f.n4a", fold_artifacts={"fold_0": "m0", "fold_1": "m1", "2": "x"})
        )
    with pytest.raises(BundleError, match="belongs to no object"):
        store.import_bundle(told_by_chain(tmp_path / "g.n4a", fold_artifacts={"fold_0": "m0"}))
    steps = [step(1, "StandardScaler", "s"), step(3, "p", stateless=True, params={"merge": "predictions"})]
    with pytest.raises(BundleError, match="model over models"):
        store.import_bundle(told_by_chain(tmp_path / "o.n4a", steps=[*steps, step(4, "Ridge", "m0", "m1")]))
    assert store.list_runs().is_empty()


def test_a_changed_file_of_a_bundle_that_has_hashes_is_refused(store: WorkspaceStore, tmp_path: Path) -> None:
    model = dumped(MODELS[0])
    name = "artifacts/step_4_foldfinal_Ridge_sub0.joblib"
    good = {name: f"sha256:{hashlib.sha256(model).hexdigest()}"}
    store.import_bundle(told_by_configuration(tmp_path / "m.n4a", {"final": model}, {}, artifact_integrity=good))
    with pytest.raises(BundleError, match="it is damaged"):
        store.import_bundle(
            told_by_configuration(tmp_path / "n.n4a", {"final": model + b" "}, {}, artifact_integrity=good)
        )
