"""What was written before the modules moved into rooms loads with them: workspaces, artifacts, bundles, pickles."""

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from samples import all_but_few
from sklearn.cross_decomposition import PLSRegression
from sklearn.preprocessing import StandardScaler

from nirs4all_store import ChainRegressor, WorkspaceStore, load_bundle, upgrade_workspace
from nirs4all_store.artifacts import codecs
from nirs4all_store.artifacts.safe_loading.pickle_scanner import imported_globals
from nirs4all_store.chains import TrainedOn
from nirs4all_store.chains.fitted import FittedChain

FILES = Path(__file__).parent / "golden" / "before_rooms" / "files.zip"
NAMES = ("regressor", "classifier")
X = np.sin(np.arange(120.0)).reshape(20, 6)
pytestmark = pytest.mark.filterwarnings("ignore:Trying to unpickle")  # scikit-learn is newer than the models.


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Return a folder with what somebody kept from before."""
    with zipfile.ZipFile(FILES) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def is_as_expected(predicted: Any, kept: Path, name: str) -> bool:
    """Tell whether these are the predictions from before; how numbers are added depends on the processor."""
    expected = json.loads((kept / "expected.json").read_text())[name]["y"]
    if name == "classifier":
        return np.ravel(predicted).tolist() == expected
    return np.allclose(np.ravel(predicted), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_pickled_estimator_loads_under_the_name_that_it_was_pickled_by(kept: Path, name: str) -> None:
    for file in (f"{name}.pickle", f"{name}.used.pickle", f"{name}.bundle.pickle"):
        assert is_as_expected(pickle.loads((kept / file).read_bytes()).predict(X), kept, name), file
    assert is_as_expected(joblib.load(kept / f"{name}.joblib").predict(X), kept, name)


@pytest.mark.parametrize("name", all_but_few(NAMES, ["regressor"]))
def test_a_workspace_its_chains_and_an_artifact_that_holds_a_chain_load(kept: Path, name: str) -> None:
    expected = json.loads((kept / "expected.json").read_text())[name]
    upgrade_workspace(kept / "workspace")
    with WorkspaceStore(kept / "workspace") as store:
        assert is_as_expected(store.replay_chain(expected["chain_id"], X), kept, name)
        for artifact_id in expected["artifact_ids"]:
            assert is_as_expected(store.load_artifact(artifact_id).predict(X), kept, name)
        assert store.check(deep=True).is_sound


@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_loads(kept: Path, name: str) -> None:
    assert is_as_expected(load_bundle(kept / f"{name}.n4a", trusted=True).predict(X), kept, name)


def test_types_that_are_named_are_trusted_under_the_name_that_they_were_pickled_by(kept: Path) -> None:
    parts = [ChainRegressor, FittedChain, StandardScaler, PLSRegression]
    content = (kept / "regressor.pickle").read_bytes()
    estimator = codecs.load(content, "pickle", None, codecs.checked_trust(parts))
    assert is_as_expected(estimator.predict(X), kept, "regressor")
    # What is pickled now has these names, too, and none of what was made to predict.
    names = imported_globals(pickle.dumps([estimator, TrainedOn()]), is_joblib=False)
    assert {name for name in names if name.startswith("nirs4all_store")} == {
        "nirs4all_store.estimator.ChainRegressor",
        "nirs4all_store.fitted.FittedChain",
        "nirs4all_store.trained_on.TrainedOn",
    }


def test_a_pickled_store_is_one_still(kept: Path) -> None:
    store = pickle.loads((kept / "store.pickle").read_bytes())
    assert type(store) is WorkspaceStore
    assert store.workspace_path == Path("/before/rooms")
