"""Made `files.zip`, once, with the package of commit d2f5c78, before its modules moved into rooms. Not to be run again.

    python make.py FOLDER

A workspace, bundles, and pickles that have names of this package in them: whoever kept such a file can load it still.
"""

import json
import pickle
import sys
import zipfile
from pathlib import Path

import joblib
import numpy as np
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from nirs4all_store import WorkspaceStore, load_bundle

X = np.sin(np.arange(120.0)).reshape(20, 6)
Y = X @ np.arange(1.0, 7.0)
LABELS = np.where(np.median(Y) < Y, "high", "low")


def make(folder: Path) -> None:
    """Fill a folder, and tell in `expected.json` what each of its files predicts for X."""
    expected = {}
    with WorkspaceStore(folder / "workspace") as store:
        run_id = store.begin_run("before the rooms")
        for name, model, y in (("regressor", PLSRegression(2), Y), ("classifier", LogisticRegression(), LABELS)):
            scaler = StandardScaler().fit(X)
            model.fit(scaler.transform(X), y)
            pipeline_id = store.begin_pipeline(run_id, name, {"model": name}, "fermentation")
            steps = [
                store.save_artifact(scaler, "StandardScaler", "transformer"),
                store.save_artifact(model, type(model).__name__, "model"),
            ]
            chain_id = store.save_chain(
                pipeline_id=pipeline_id,
                steps=[
                    {"step_idx": 0, "operator_class": "StandardScaler", "params": {}, "stateless": False},
                    {"step_idx": 1, "operator_class": type(model).__name__, "params": {}, "stateless": False},
                ],
                model_step_idx=1,
                model_class=type(model).__name__,
                preprocessings="StandardScaler",
                fold_strategy="shared",
                fold_artifacts={},
                shared_artifacts={"0": steps[0], "1": steps[1]},
            )
            expected[name] = {"chain_id": chain_id, "y": np.ravel(store.replay_chain(chain_id, X)).tolist()}
            estimator = store.load_chain(chain_id)
            (folder / f"{name}.pickle").write_bytes(pickle.dumps(estimator))
            joblib.dump(estimator, folder / f"{name}.joblib")
            bundle = store.export_chain(chain_id, folder / name)
            (folder / f"{name}.bundle.pickle").write_bytes(pickle.dumps(load_bundle(bundle, trusted=True)))
            # Artifacts that hold an estimator of ours: a chain in a chain. Once it has predicted it has more in it.
            fresh = store.save_artifact(estimator, "Chain", "model")
            estimator.predict(X)
            (folder / f"{name}.used.pickle").write_bytes(pickle.dumps(estimator))
            expected[name]["artifact_ids"] = [fresh, store.save_artifact(estimator, "Chain", "model")]
        store.complete_run(run_id)
        store._path = Path("/before/rooms")  # Not a path of the machine that made it.
        (folder / "store.pickle").write_bytes(pickle.dumps(store))
    (folder / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir()
    make(folder)
    with zipfile.ZipFile(Path(__file__).with_name("files.zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("[!.]*")):
            archive.write(path, path.relative_to(folder))
