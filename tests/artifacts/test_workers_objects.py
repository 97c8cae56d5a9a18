"""What only one script or folder has: it is stored by value, or no export of it is made; and advice harms nobody."""

import pickle
import subprocess
import sys
import threading
import types
from itertools import product
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from samples import slow
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold

from nirs4all_store import ArtifactLoadError, InvalidInputError, PipelineRunner, WorkspaceStore, load_bundle
from nirs4all_store.artifacts import packages
from nirs4all_store.artifacts.codecs import dump, load, versions_of
from nirs4all_store.artifacts.packages import is_only_here
from nirs4all_store.testing.contract import add_pipeline

SCRIPT = """
import multiprocessing, sys
import numpy as np
from sklearn.linear_model import Ridge
from nirs4all_store.artifacts import codecs

FACTOR = 2.0

class MyRidge(Ridge):
    def predict(self, X):
        return FACTOR * super().predict(X)

def dumped(format):
    X = np.arange(12.0).reshape(6, 2)
    return codecs.dump(MyRidge().fit(X, X[:, 0]), format)

if __name__ == "__main__":
    with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
        for format in ("cloudpickle", "joblib", "pickle"):
            there = pool.apply(dumped, (format,))
            open(format, "wb").write(there)
            if format != "cloudpickle":
                assert there == dumped(format)
            assert codecs.load(there, format, None).predict(np.ones((1, 2))).shape == (1,)
"""


@pytest.mark.parametrize("method", ["spawn", slow("forkserver")])
def test_a_class_of_a_script_saved_in_a_worker_loaded_in_no_other_program(method: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py", method], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    content = (tmp_path / "cloudpickle").read_bytes()
    loaded = load(content, "cloudpickle", None)
    assert loaded.predict(np.array([[3.0, 4.0]])).round(1).tolist() == [6.0]
    assert load(dump(loaded, "cloudpickle"), "cloudpickle", None).predict(np.ones((1, 2))).shape == (1,)
    for format in ("joblib", "pickle"):  # By its name, which is that of the script in whatever process of it.
        with pytest.raises(ArtifactLoadError, match=r"script or notebook.*define it here, too, or save it as cloudp"):
            load((tmp_path / format).read_bytes(), format, None)


def chain_of(store: WorkspaceStore, obj: Any, format: str) -> str:
    _, pipeline_id = add_pipeline(store)
    artifact_id = store.save_artifact(obj, "MyRidge", "model", format)
    step = {"step_idx": 0, "operator_class": "MyRidge", "params": {}, "artifact_id": None, "stateless": False}
    return store.save_chain(pipeline_id, [step], 0, "MyRidge", fold_artifacts={"all": artifact_id})


def a_class(module: str, monkeypatch: pytest.MonkeyPatch, place: Path) -> type:
    """Return a class of a script, or of a module that lies beside one."""
    source = "from sklearn.linear_model import Ridge\nclass MyRidge(Ridge): pass\n"
    if module in ("__main__", "made_up"):
        made = types.ModuleType(module)
        exec(source, made.__dict__)  # our own source
        monkeypatch.setitem(sys.modules, module, made)
        return made.MyRidge  # type: ignore[no-any-return]
    (place / f"{module}.py").write_text(source)
    monkeypatch.syspath_prepend(place)
    imported = __import__(module)
    monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, module, imported)
    return imported.MyRidge  # type: ignore[no-any-return]


FEW = (("__main__", "joblib", "n4a"), ("made_up", "pickle", "n4a.py"), ("beside_the_script", "pickle", "n4a"))


@pytest.mark.parametrize(
    ("module", "format", "export"),
    [
        case if case in FEW else slow(*case)
        for case in product(("__main__", "made_up", "beside_the_script"), ("joblib", "pickle"), ("n4a", "n4a.py"))
    ],
)
def test_what_loads_nowhere_else_was_exported_without_a_word(
    module: str, format: str, export: str, store: WorkspaceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beside").mkdir()
    kind = a_class(module, monkeypatch, tmp_path / "beside")
    X = np.arange(12.0).reshape(6, 2)
    chain_id = chain_of(store, kind().fit(X, X[:, 0]), format)
    with pytest.raises(InvalidInputError, match=rf"needs {module}\.MyRidge, which only.*cloudpickle.*nothing was exp"):
        store.export_chain(chain_id, tmp_path / "out", format=export)
    assert not [*tmp_path.glob("out*")]
    assert store.replay_chain(chain_id, X).shape == (6,)
    if module == "beside_the_script":  # The way out that the message tells.
        cloudpickle.register_pickle_by_value(sys.modules[module])
        try:
            chain_id = chain_of(store, kind().fit(X, X[:, 0]), "cloudpickle")
        finally:
            cloudpickle.unregister_pickle_by_value(sys.modules[module])
        store.export_chain(chain_id, tmp_path / "out", format=export)


@pytest.mark.parametrize("n_jobs", [1, slow(2)])
def test_the_way_out_of_a_refused_export_was_none_where_the_runner_trains(
    n_jobs: int, store: WorkspaceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = a_class("beside_a_runner", monkeypatch, tmp_path)
    X = np.random.default_rng(0).normal(size=(20, 3))
    runner = PipelineRunner(store, n_jobs=n_jobs, progress=False)
    chain_id = runner.run([KFold(2), kind()], (X, X[:, 0]))["chain_id"][0]
    with pytest.raises(InvalidInputError, match=r"register_pickle_by_value\(beside_a_runner\) there, and train it"):
        store.export_chain(chain_id, tmp_path / "out")
    cloudpickle.register_pickle_by_value(sys.modules[kind.__module__])
    try:
        chain_id = runner.run([KFold(2), kind()], (X, X[:, 0]))["chain_id"][0]
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[kind.__module__])
    exported = store.export_chain(chain_id, tmp_path / "out")
    monkeypatch.delitem(sys.modules, kind.__module__)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(tmp_path)])
    np.testing.assert_allclose(load_bundle(exported, trusted=True).predict(X), store.replay_chain(chain_id, X))


def test_what_is_exported_is_what_packages_have(store: WorkspaceStore, tmp_path: Path) -> None:
    for name in (
        "sklearn.linear_model.Ridge",
        "builtins.set",
        "nirs4all_store.artifacts.codecs.Dumped",
        "collections.OrderedDict",
        "chemotools.scatter.StandardNormalVariate",
        "not_installed_here.Thing",
    ):
        assert not is_only_here(name), name
    X = np.arange(12.0).reshape(6, 2)
    for format in ("joblib", "pickle", "cloudpickle"):
        chain_id = chain_of(store, Ridge().fit(X, X[:, 0]), format)
        store.export_chain(chain_id, tmp_path / format)


def test_a_package_that_one_works_on_may_be_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever starts Python in another folder finds it, as an installation with `pip install -e` lets them."""
    (tmp_path / "mine_in_work.py").write_text("class Thing: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert is_only_here("mine_in_work.Thing")
    packages._lies_beside_a_script.cache_clear()
    monkeypatch.setattr(packages, "distributions_of_packages", lambda: {"mine_in_work": ["mine"]})
    assert not is_only_here("mine_in_work.Thing")
    packages._lies_beside_a_script.cache_clear()


def test_all_packages_once_were_looked_through_for_each_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    before = packages.distributions_of_packages()
    assert packages.distributions_of_packages() is before
    (tmp_path / "new.dist-info").mkdir()
    (tmp_path / "new.dist-info" / "METADATA").write_text("Name: new\nVersion: 1.0\n")
    (tmp_path / "new.dist-info" / "top_level.txt").write_text("just_installed\n")
    assert "just_installed" not in before
    assert packages.distributions_of_packages()["just_installed"] == ["new"]


@pytest.mark.parametrize("module", ["_loss", "__mp_main__", "helper_of_mine"])
def test_what_is_no_package_was_to_be_installed(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = types.ModuleType(module)

    class Loss:
        pass

    Loss.__module__, Loss.__qualname__ = module, "Loss"
    made.Loss = Loss  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module, made)
    content = pickle.dumps({"model": Loss()})
    then = versions_of({"model": Loss(), "other": Ridge()}, "pickle")
    monkeypatch.delitem(sys.modules, module)
    for made_with in (then, then | {"packages": then["packages"] | {"sklearn": "1.6.1"}}, None):
        with pytest.raises(ArtifactLoadError) as caught:
            load(content, "pickle", made_with)
        assert "install it" not in str(caught.value)
    with pytest.raises(ArtifactLoadError) as caught:
        load(content, "pickle", {"packages": {"sklearn": "1.6.1", module: None}})
    told = "define it here, too" if module == "__mp_main__" else "install the versions of then: {'sklearn': '1.6.1'}"
    assert told in str(caught.value)


def test_cloudpickle_was_advised_where_cloudpickle_had_failed() -> None:
    for format in ("joblib", "pickle", "cloudpickle"):
        with pytest.raises(InvalidInputError) as caught:
            dump({"lock": threading.Lock()}, format)
        assert "cloudpickle' takes" not in str(caught.value)
        assert "locks, open files" in str(caught.value)
    with pytest.raises(InvalidInputError, match="format='cloudpickle' takes it"):
        dump(lambda: 1, "joblib")
    with pytest.raises(ArtifactLoadError) as told:
        load(b"c__main__\nNoSuchClass\n.", "cloudpickle", None)
    assert "save it as cloudpickle" not in str(told.value)


def test_versions_that_are_the_same_were_to_be_installed() -> None:
    content = dump(Ridge(), "pickle")
    with pytest.raises(ArtifactLoadError) as caught:
        load(content[:-20], "pickle", versions_of(Ridge(), "pickle"))
    assert "install" not in str(caught.value)


def test_a_module_beside_a_script_that_has_a_version_was_to_be_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = a_class("helper_with_a_version", monkeypatch, tmp_path)
    monkeypatch.setattr(sys.modules[kind.__module__], "__version__", "1.0", raising=False)
    content, then = dump(kind(), "joblib"), versions_of(kind(), "joblib")
    assert then["packages"]["helper_with_a_version"] is None
    assert then["packages"]["numpy"]
    monkeypatch.delitem(sys.modules, "helper_with_a_version")
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(tmp_path)])
    with pytest.raises(ArtifactLoadError, match="a module that lay beside a script must lie beside yours") as caught:
        load(content, "joblib", then)
    assert "install it" not in str(caught.value)


def test_the_version_of_what_a_class_is_derived_from_was_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert versions_of(a_class("made_up", monkeypatch, Path())(), "joblib")["packages"]["sklearn"]


def test_a_module_that_a_program_has_made_ended_an_export(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "made_on_the_way", types.ModuleType("made_on_the_way"))
    assert is_only_here("made_on_the_way.Thing")
