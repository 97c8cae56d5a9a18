"""What is stored depends on nothing but what it is: not on memory, nor on the process, nor on whether it was loaded."""

import io
import pickle
import subprocess
import sys
import threading
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import joblib
import numpy as np
import pytest
from formats import OF_OBJECTS
from joblib import Parallel, delayed
from samples import all_but_few, slow
from sklearn.base import clone
from sklearn.cross_decomposition import PLSRegression
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestRegressor,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import all_estimators
from sklearn.utils._test_common.instance_generator import _construct_instances
from sklearn.utils.estimator_checks import _enforce_estimator_tags_X, _enforce_estimator_tags_y

from nirs4all_store import PipelineRunner, WorkspaceStore
from nirs4all_store.artifacts import canonical
from nirs4all_store.artifacts.canonical import without_gaps
from nirs4all_store.artifacts.codecs import dump, load

X = np.random.default_rng(0).normal(size=(60, 20))
Y = X[:, :3].sum(axis=1)
PADDED = np.dtype({"names": ["a", "b"], "formats": ["i1", "f8"], "offsets": [0, 8], "itemsize": 24})
NESTED = np.dtype([("part", PADDED, (2,)), ("flag", "?")], align=True)
PICKLES = [format for format in OF_OBJECTS if format != "skops"]
FITTED = "SELECT artifact_id, artifact_path FROM artifacts WHERE artifact_type IN ('model', 'transformer') ORDER BY ALL"
SECRET = b"secret!!"


def filled_with_secrets(dtype: np.dtype[Any], shape: tuple[int, ...], value: Any) -> np.ndarray[Any, Any]:
    """Return an array in memory that was used before."""
    size = int(np.prod(shape)) * dtype.itemsize
    array = np.frombuffer(bytearray(SECRET * (size // len(SECRET) + 1))[:size], dtype).reshape(shape)
    for name in dtype.names or ():
        array[name] = value
    return array


def fits() -> dict[str, Callable[[], Any]]:
    trees = {"n_estimators": 5, "random_state": 0}
    return {
        "RandomForest": lambda: RandomForestRegressor(**trees).fit(X, Y),
        "ExtraTrees": lambda: ExtraTreesRegressor(**trees).fit(X, Y),
        "GradientBoosting": lambda: GradientBoostingRegressor(**trees).fit(X, Y),
        "HistGradientBoosting": lambda: HistGradientBoostingRegressor(max_iter=5, random_state=0).fit(X, Y),
        "IsolationForest": lambda: IsolationForest(**trees).fit(X),
        "PLS": lambda: PLSRegression(3).fit(X, Y),
        "Stacking": lambda: StackingRegressor([("ridge", Ridge()), ("knn", KNeighborsRegressor())]).fit(X, Y),
        "Voting": lambda: VotingClassifier([("tree", DecisionTreeClassifier(random_state=0))]).fit(X, Y > 0),
        "masked arrays": lambda: np.ma.masked_array([1.0, 2.0], mask=[True, False]),
    }


@pytest.mark.parametrize("format", PICKLES)
@pytest.mark.parametrize("name", fits())
def test_an_object_that_was_loaded_and_saved_again_was_another_artifact(name: str, format: str) -> None:
    first = dump(fits()[name](), format)
    again = dump(load(first, format, None), format)
    assert again == first
    assert dump(fits()[name](), format) == first


@pytest.mark.parametrize("format", all_but_few(OF_OBJECTS, ("joblib", "skops")))
def test_a_forest_that_was_loaded_and_saved_again_and_again_is_one_artifact(format: str, store: WorkspaceStore) -> None:
    forest = RandomForestRegressor(3, random_state=0).fit(X, Y)
    first = store.save_artifact(forest, "forest", "model", format)
    last = first
    for _ in range(3):
        last = store.save_artifact(store.load_artifact(last), "forest", "model", format)
        assert last == first


@pytest.mark.parametrize("format", PICKLES)
@pytest.mark.parametrize("wrap", [lambda a: a, lambda a: [a, {"x": a}], lambda a: np.array([a, None], dtype=object)])
@pytest.mark.parametrize("dtype", [PADDED, NESTED])
def test_what_lay_in_memory_between_the_fields_of_an_array_was_stored(
    format: str, wrap: Callable[[Any], Any], dtype: np.dtype[Any]
) -> None:
    value = np.zeros((), dtype)["part"][()] if dtype is NESTED else 0
    array = filled_with_secrets(dtype, (4, 3), 0)
    if dtype is NESTED:
        array["part"]["a"], array["part"]["b"] = value["a"], value["b"]
    assert SECRET[1:] in array.tobytes()
    for kept in (array, array.T, array[::2], array[0, 0], array.view(np.recarray)):
        content = dump(wrap(kept), format)
        assert SECRET[1:4] not in content
    loaded = load(dump(wrap(array), format), format, None)
    found = loaded if isinstance(loaded, np.ndarray) and loaded.dtype == dtype else loaded[0]
    assert found.dtype == dtype
    assert (found == array).all()


def test_skops_stored_what_lay_in_memory_too() -> None:
    content = dump(filled_with_secrets(PADDED, (5,), 0), "skops")
    assert SECRET[1:4] not in content
    assert load(content, "skops", None).dtype.itemsize == PADDED.itemsize


def test_the_bytes_that_a_long_double_leaves_unused_are_zero() -> None:
    size = np.dtype(np.longdouble).itemsize
    ones = np.ones(3, np.longdouble)
    ones.view(np.uint8).reshape(3, size)[:, 10:] = 7
    clean = without_gaps(ones)
    assert (clean == 1).all()
    assert not clean.view(np.uint8).reshape(3, size)[:, 10:].any() or np.finfo(np.longdouble).nmant != 63
    assert dump(ones, "joblib") == dump(np.ones(3, np.longdouble), "joblib")
    assert dump(ones[0], "pickle") == dump(np.longdouble(1), "pickle")


@pytest.mark.parametrize("format", PICKLES)
def test_what_is_nested_three_hundred_deep_was_no_longer_taken(format: str) -> None:
    nested: list[Any] = []
    for _ in range(300):
        nested = [nested, np.float64(1.0)]
    limit = sys.getrecursionlimit()
    content = dump(nested, format)
    assert sys.getrecursionlimit() == limit
    assert dump(load(content, format, None), format) == content


def test_two_threads_that_wrote_what_is_deep_left_another_limit_of_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    before, told = sys.getrecursionlimit(), SimpleQueue[str]()
    lock, is_left = threading.RLock(), threading.Event()

    class Lock:
        def __enter__(self) -> None:
            told.put("one more")
            lock.acquire()

        def __exit__(self, *_: object) -> None:
            lock.release()

    def other() -> None:
        with canonical._deeper():
            told.put("one more")
            is_left.wait()

    monkeypatch.setattr(canonical, "_one_at_a_time", Lock())
    thread = threading.Thread(target=other)
    try:
        with canonical._deeper():
            while not told.empty():
                told.get()
            thread.start()
            told.get()  # It waits for the lock, or did not.
        is_left.set()
        thread.join()
        assert sys.getrecursionlimit() == before
    finally:
        sys.setrecursionlimit(before)


def test_a_dict_with_the_names_that_skops_uses_was_refused() -> None:
    names = {"__id__": 5, "file": "1.npy", "content": {"__id__": "x"}, "__loader__": "SetNode", "k": [X[:2], X[:2]]}
    content = dump(names, "skops")
    assert content == dump(names, "skops")
    for trust in (None, ["numpy.ndarray"]):
        found = load(content, "skops", None, trust)
        np.testing.assert_array_equal(found.pop("k"), [X[:2], X[:2]])
        assert found == {name: value for name, value in names.items() if name != "k"}


@pytest.mark.parametrize("format", PICKLES)
def test_sets_that_hold_themselves_and_odd_objects_of_numpy_are_taken(format: str) -> None:
    node: dict[str, Any] = {}
    node["me"] = [node, {np.float64(3.0)}, np.ma.masked, np.zeros((0, 3)), np.array(["a", None], dtype=object)]
    found = load(dump(node, format), format, None)
    assert found["me"][0] is found
    assert found["me"][2] is np.ma.masked


def test_the_array_that_is_saved_stays_as_it_is() -> None:
    array = filled_with_secrets(PADDED, (4,), 1)
    before = array.tobytes()
    for format in OF_OBJECTS:
        dump(array, format)
    assert array.tobytes() == before


def test_ten_saves_of_one_object_as_skops_were_ten_artifacts(store: WorkspaceStore) -> None:
    scaler = StandardScaler().fit(X)
    assert len({store.save_artifact(scaler, "StandardScaler", "transformer", "skops") for _ in range(10)}) == 1
    content = dump(scaler, "skops")
    assert content == dump(StandardScaler().fit(X), "skops") == dump(load(content, "skops", None), "skops")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_texts_that_are_equal_are_one_text_wherever_they_come_from() -> None:
    text = "spectra"
    other = bytes(text, "ascii").decode()
    assert text is not other
    for format in PICKLES:
        assert dump({"a": text, "b": text}, format) == dump({"a": text, "b": other}, format)


@pytest.mark.parametrize("model", [StandardScaler().fit(X), Ridge().fit(X, Y), PLSRegression(2).fit(X, Y)])
def test_what_older_versions_and_nirs4all_had_stored_was_stored_once_more(model: Any) -> None:
    stream = io.BytesIO()
    joblib.dump(model, stream)
    assert dump(model, "joblib") == stream.getvalue()
    assert dump(load(stream.getvalue(), "joblib", None), "joblib") == stream.getvalue()


def test_a_set_was_stored_in_the_order_of_the_process() -> None:
    program = (
        "from nirs4all_store.artifacts.codecs import dump\nfor format in ('joblib', 'pickle', 'cloudpickle'):\n"
        "    print(dump({'x': set('abcdef'), 'y': frozenset('gh')}, format).hex())"
    )
    command = [sys.executable, "-c", program]
    found = {
        subprocess.run(command, env={"PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout for seed in "12"
    }
    assert len(found) == 1
    for format in PICKLES:
        assert load(dump({"x": set("abc"), "y": frozenset("gh")}, format), format, None)["x"] == set("abc")


def test_an_array_that_is_no_whole_block_of_memory_is_stored_as_it_comes_back() -> None:
    for array in (X[:, ::2], X.T[1:, 2:], np.moveaxis(np.zeros((2, 3, 4)), 0, 1), X.astype(object)[:3]):
        for format in PICKLES:
            content = dump(array, format)
            np.testing.assert_array_equal(load(content, format, None), array)
            assert dump(load(content, format, None), format) == content


def test_an_array_in_a_file_is_stored_as_one_in_memory(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    for format in PICKLES:
        assert dump(np.load(tmp_path / "x.npy", mmap_mode="r"), format) == dump(X, format)


def fit(operator: Any, *data: Any) -> Any:
    return operator.fit(*data)


@pytest.mark.slow  # The processes that it starts take longer than all else here.
def test_a_scaler_fitted_in_a_worker_had_other_bytes() -> None:
    for operator in (StandardScaler(), PLSRegression(2), RandomForestRegressor(2, random_state=0)):
        (there,) = Parallel(2)([delayed(fit)(operator, X, Y)])
        assert dump(there, "joblib") == dump(clone(operator).fit(X, Y), "joblib")


def test_an_object_that_was_loaded_is_read_as_before() -> None:
    """Files are joblib's and pickle's own: who has no nirs4all_store reads them."""
    forest = RandomForestRegressor(3, random_state=0).fit(X, Y)
    joined = [
        joblib.load(io.BytesIO(dump(forest, "joblib"))),
        pickle.loads(dump(forest, "pickle")),
        pickle.loads(dump(forest, "cloudpickle")),
    ]
    for found in joined:
        np.testing.assert_array_equal(found.predict(X), forest.predict(X))


@pytest.mark.parametrize("n_jobs", [1, slow(2)])
def test_the_same_training_stored_all_its_forests_anew(n_jobs: int, store: WorkspaceStore) -> None:
    models = [
        RandomForestRegressor(3, random_state=0),
        ExtraTreesRegressor(3, random_state=0),
        GradientBoostingRegressor(n_estimators=3, random_state=0),
        HistGradientBoostingRegressor(max_iter=3, random_state=0),
    ]
    config = [KFold(2), StandardScaler(), {"_or_": models}]
    PipelineRunner(store, progress=False).run(config, (X, Y))
    before = store.sql(FITTED)
    PipelineRunner(store, n_jobs=n_jobs, progress=False).run(config, (X, Y))
    assert store.sql(FITTED).equals(before)
    assert before.height == (1 + len(models)) * 3  # Of two folds, and of all samples.


def test_the_runner_dumped_what_it_had_loaded(store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from nirs4all_store.artifacts import canonical

    count = 0
    once = canonical.dump_joblib

    def counted(obj: Any) -> bytes:
        nonlocal count
        count += hasattr(obj, "n_features_in_")  # What is not fitted is dumped to see whether it was fitted before.
        return once(obj)

    monkeypatch.setattr(canonical, "dump_joblib", counted)
    PipelineRunner(store, progress=False).run([KFold(2), StandardScaler(), Ridge()], (X, Y))
    assert count == 6  # A scaler and a model of each fold and of all samples; there were three dumps of each.


def test_every_artifact_of_a_run_is_the_first_dump_of_what_was_fitted(store: WorkspaceStore) -> None:
    runner = PipelineRunner(store, progress=False)
    runner.run([KFold(2), RandomForestRegressor(3, random_state=0)], (X, Y), refit=False)
    (_, rows), *_ = [*enumerate(train for train, _ in KFold(2).split(X))]
    alone = RandomForestRegressor(3, random_state=0).fit(X[rows], Y[rows])
    saved = store.save_artifact(alone, "forest", "model", "joblib")
    assert store.sql(FITTED).height == 2, saved


DIFFER_EACH_FIT = dict.fromkeys(
    ("GridSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV", "RandomizedSearchCV"),
    "keeps how long each fit took",
) | dict.fromkeys(("CountVectorizer", "TfidfVectorizer"), "keeps where its stop words lie in memory")


def fitted(kind: Any) -> Any:
    """Return an estimator of scikit-learn's, fitted on what its own tests fit it on."""
    if kind.__name__ in ("CountVectorizer", "TfidfVectorizer"):
        return kind(stop_words=["and", "or"]).fit(["near infrared", "and red"])
    if kind.__name__ == "DictVectorizer":
        return kind().fit([{"a": 1.0, "b": "c"}])
    if kind.__name__ in ("LabelBinarizer", "LabelEncoder"):
        return kind().fit(["oats", "wheat"])
    if kind.__name__ == "MultiLabelBinarizer":
        return kind().fit([("oats", "wheat"), ("wheat",)])
    if kind.__name__ == "FrozenEstimator":
        return kind(Ridge().fit(X, Y))
    if kind.__name__ == "SparseCoder":
        return kind(np.eye(20)).fit(X)
    estimator = next(iter(_construct_instances(kind)))
    if "random_state" in estimator.get_params():
        estimator.set_params(random_state=0)
    if hasattr(estimator, "max_iter"):
        estimator.set_params(max_iter=250 if kind.__name__ == "TSNE" else 5)
    data = np.abs(X[:40, :6])
    y = (data[:, 0] > np.median(data[:, 0])).astype(int)
    return estimator.fit(_enforce_estimator_tags_X(estimator, data), _enforce_estimator_tags_y(estimator, y))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, _ in all_estimators()])
def test_every_estimator_of_scikit_learn_gives_the_bytes_of_its_first_dump(name: str) -> None:
    kind = dict(all_estimators())[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Few samples and few iterations, and classes that go.
        first, second = fitted(kind), fitted(kind)
        for format in OF_OBJECTS:
            if (name, format) == ("Birch", "skops"):  # skops does not take it.
                continue
            content = dump(first, format)
            assert dump(load(content, format, None), format) == content, format
            assert (dump(second, format) == content) is (name not in DIFFER_EACH_FIT), format
