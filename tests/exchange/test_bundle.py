"""Exports: a bundle that loads anywhere, a script that needs nobody, and what is refused."""

import json
import math
import os
import subprocess
import sys
import threading
import zipfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from programs import Process
from samples import all_but_few
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from nirs4all_store import (
    BundleError,
    InvalidInputError,
    NotFoundError,
    OutputPathError,
    UntrustedArtifactError,
    WorkspaceStore,
    load_bundle,
)
from nirs4all_store.artifacts.artifact_files import sha256
from nirs4all_store.exchange.bundle_reader import read_bundle
from nirs4all_store.testing.contract import add_chain, add_pipeline

rng = np.random.default_rng(0)
X = rng.normal(size=(12, 5))
Y = X[:, 0] - X[:, 1]
WITHOUT_THIS_PACKAGE = """
import runpy, sys
for name in ["nirs4all_store", *(name for name in sys.modules if name.startswith("nirs4all_store."))]:
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


class Shifted:
    def transform(self, X: Any, wavelengths: Any) -> Any:
        return X + wavelengths


def chain_of(store: WorkspaceStore, model: Any, shared: Any = None, format: str = "joblib", name: str = "m") -> str:
    _, pipeline_id = add_pipeline(store)
    shared_artifacts = {}
    if shared is not None:
        shared_artifacts["0"] = store.save_artifact(shared, "s", "transformer", format)
    steps = [
        {"step_idx": 0, "operator_class": name, "params": {}, "artifact_id": None, "stateless": shared is None},
        {"step_idx": 1, "operator_class": name, "params": {}, "artifact_id": None, "stateless": False},
    ]
    model_id = store.save_artifact(model, name, "model", format)
    return store.save_chain(pipeline_id, steps, 1, name, "", "shared", {"all": model_id}, shared_artifacts)


def run_script(script: Path, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    process = Process(WITHOUT_THIS_PACKAGE, script, *arguments)
    ended = threading.Timer(120, process.kill)  # It may wait for ever.
    ended.start()
    printed, errors = process.communicate()
    ended.cancel()
    return subprocess.CompletedProcess([script, *arguments], process.wait(), printed, errors)


def run_script_alone(script: Path, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run it in a Python that has imported nothing before, which takes as long as all else of these tests."""
    command = [sys.executable, "-I", "-c", WITHOUT_THIS_PACKAGE, script, *arguments]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


def test_a_bundle_has_a_manifest_with_the_hash_of_every_other_member(store: WorkspaceStore, tmp_path: Path) -> None:
    chain_id = add_chain(store, add_pipeline(store)[1])
    path = store.export_chain(chain_id, tmp_path / "new" / "model")
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert set(archive.namelist()) == {"manifest.json", *manifest["sha256"]}
        for name, digest in manifest["sha256"].items():
            assert sha256(archive.read(name)) == digest
    assert manifest["format_version"] == 1
    assert {"numpy", "sklearn", "joblib"} <= set(manifest["versions"]["packages"])
    again = store.export_chain(chain_id, tmp_path / "again")
    with zipfile.ZipFile(again) as archive:
        assert json.loads(archive.read("manifest.json"))["sha256"] == manifest["sha256"]


def test_readers_of_nirs4all_found_no_time_in_a_bundle(store: WorkspaceStore, tmp_path: Path) -> None:
    chain_id = add_chain(store, add_pipeline(store)[1])
    path = store.export_chain(chain_id, tmp_path / "m")
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    at = datetime.fromisoformat(manifest["exported_at"])
    assert (at.utcoffset(), at.replace(tzinfo=None).isoformat()) == (timedelta(0), manifest["created_at"])
    assert manifest["model_class"] == (store.get_chain(chain_id) or {})["model_class"]
    del manifest["exported_at"]
    from_before = rewritten(path, manifest=json.dumps(manifest).encode())
    assert read_bundle(from_before).content_sha256 == read_bundle(path).content_sha256


def test_the_json_of_a_bundle_with_nan_once_was_no_json(store: WorkspaceStore, tmp_path: Path) -> None:
    params = {
        "missing_values": math.nan,
        "limits": [-math.inf, math.inf],
        "a stand-in of the user's": {"_float_": "nan"},
    }
    pipeline_id = add_pipeline(store)[1]
    model = store.save_artifact(Ridge().fit(X, Y), "Ridge", "model")
    steps = [{"step_idx": 0, "operator_class": "Ridge", "params": params, "artifact_id": None, "stateless": False}]
    path = store.export_chain(
        store.save_chain(pipeline_id, steps, 0, "Ridge", "", "per_fold", {"0": model}, {}), tmp_path / "m"
    )
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    told, manifest = (
        json.loads(members[name], parse_constant=lambda found: pytest.fail(f"{found} is no JSON"))
        for name in ("chain.json", "manifest.json")
    )
    # Who knows version 1 only would take it for damaged.
    assert manifest["format_version"] == 2
    assert told["chain"]["steps"][0]["params"]["missing_values"] == {"_float_": "nan"}
    read = read_bundle(path)
    expected = "{'missing_values': nan, 'limits': [-inf, inf], \"a stand-in of the user's\": nan}"
    assert repr(read.chain["steps"][0]["params"]) == expected
    old = json.dumps(told | {"chain": told["chain"] | {"steps": read.chain["steps"]}}).encode()
    hashes = manifest["sha256"] | {"chain.json": sha256(old)}
    older = rewritten(path, chain=old, manifest=json.dumps(manifest | {"format_version": 1, "sha256": hashes}).encode())
    assert b"NaN" in old
    assert read_bundle(older).content_sha256 == read.content_sha256
    first = store.import_bundle(older)
    assert first.is_new and not store.import_bundle(path).is_new  # The same, however it is written.


def test_a_bundle_predicts_without_any_workspace(store: WorkspaceStore, tmp_path: Path) -> None:
    scaler = StandardScaler().fit(X)
    chain_id = chain_of(store, LogisticRegression().fit(scaler.transform(X), Y > 0), scaler)
    path = store.export_chain(chain_id, tmp_path / "m.n4a")
    expected = store.replay_chain(chain_id, X)
    store.close()
    estimator = load_bundle(path, trusted=True)
    assert estimator.predict(X).tolist() == expected.tolist()
    assert estimator.classes_.tolist() == [False, True]


def test_nothing_of_a_bundle_is_unpickled_unless_it_is_trusted(store: WorkspaceStore, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    path = store.export_chain(chain_of(store, Canary(canary), format="pickle"), tmp_path / "m")
    with pytest.raises(UntrustedArtifactError, match="trusted=True"):
        load_bundle(path)
    assert not canary.exists()
    load_bundle(path, trusted=True)
    assert canary.exists()


def rewritten(path: Path, **changes: bytes | None) -> Path:
    """Return a copy of a bundle with members replaced, or left out where the change is None."""
    target = path.with_name("changed.n4a")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = changes.get(name.split(".")[0].split("/")[0], old.read(name))
            if content is not None:
                new.writestr(name, content)
    return target


def test_a_damaged_or_foreign_bundle_is_a_bundle_error(store: WorkspaceStore, tmp_path: Path) -> None:
    path = store.export_chain(chain_of(store, Ridge().fit(X, Y)), tmp_path / "m")
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    newer = json.dumps(manifest | {"format_version": 3}).encode()
    other = json.dumps(manifest | {"format": "other"}).encode()
    cut = tmp_path / "cut.n4a"
    cut.write_bytes(path.read_bytes()[:200])
    (tmp_path / "text.n4a").write_text("hello")
    for bad, message in [
        (rewritten(path, artifacts=b"x"), "damaged"),
        (cut, "cannot be read"),
        (tmp_path / "text.n4a", "cannot be read"),
        (tmp_path / "missing.n4a", "cannot be read"),
    ]:
        with pytest.raises(BundleError, match=message):
            load_bundle(bad, trusted=True)
    for changes, message in [
        ({"chain": b"{}"}, "damaged"),
        ({"manifest": None}, "cannot be read"),
        ({"manifest": b"[]"}, "cannot be read"),
        ({"manifest": newer}, "format version 3"),
        ({"manifest": other}, "'other'"),
    ]:
        with pytest.raises(BundleError, match=message):
            load_bundle(rewritten(path, **changes), trusted=True)


@pytest.mark.parametrize("format", ["joblib", "pickle", "cloudpickle", "skops"])
def test_a_script_predicts_the_same_where_this_package_is_not_installed(
    store: WorkspaceStore, tmp_path: Path, format: str
) -> None:
    scaler = StandardScaler().fit(X)
    chain_id = chain_of(store, Ridge().fit(scaler.transform(X), Y), scaler, format)
    script = store.export_chain(chain_id, tmp_path / "m.n4a", format="n4a.py")
    assert script.name == "m.n4a.py"
    assert "'sklearn'" in script.read_text().split("import argparse")[0]
    np.save(tmp_path / "X.npy", X)
    np.savetxt(tmp_path / "bare.csv", X, delimiter=",", fmt="%.17g")
    np.savetxt(tmp_path / "named.csv", X, delimiter=";", fmt="%.17g", header="a;b;c;d;e", comments="")
    expected = store.replay_chain(chain_id, X).tolist()
    for data in ("X.npy", "bare.csv", "named.csv"):
        run = run_script_alone if (format, data) == ("joblib", "X.npy") else run_script
        done = run(script, tmp_path / data)
        assert done.returncode == 0, done.stderr
        assert [float(line) for line in done.stdout.splitlines()] == expected


def test_a_script_prints_text_classes_and_several_targets_one_prediction_a_line(
    store: WorkspaceStore, tmp_path: Path
) -> None:
    np.save(tmp_path / "X.npy", X)
    labels = np.where(Y > 0, "high", "low")
    classes = chain_of(store, LogisticRegression().fit(X, labels))
    done = run_script(store.export_chain(classes, tmp_path / "c", format="n4a.py"), tmp_path / "X.npy")
    assert done.stdout.split() == store.replay_chain(classes, X).tolist()
    targets = chain_of(store, Ridge().fit(X, np.stack([Y, -Y], axis=1)))
    done = run_script(store.export_chain(targets, tmp_path / "t", format="n4a.py"), tmp_path / "X.npy")
    printed = [[float(item) for item in line.split(",")] for line in done.stdout.splitlines()]
    assert printed == store.replay_chain(targets, X).tolist()


def test_a_script_takes_wavelengths_and_says_when_it_needs_them(store: WorkspaceStore, tmp_path: Path) -> None:
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # The script's process has no such module.
    shift = np.arange(5.0)
    chain_id = chain_of(store, Ridge().fit(X + shift, Y), Shifted(), "cloudpickle")
    script = store.export_chain(chain_id, tmp_path / "w", format="n4a.py")
    np.save(tmp_path / "X.npy", X)
    np.savetxt(tmp_path / "nm.csv", shift)
    done = run_script(script, tmp_path / "X.npy", "--wavelengths", tmp_path / "nm.csv")
    assert [float(line) for line in done.stdout.split()] == store.replay_chain(chain_id, X, shift).tolist()
    done = run_script(script, tmp_path / "X.npy")
    assert done.returncode == 1
    assert "needs wavelengths" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_script_says_in_one_line_what_it_cannot_read(store: WorkspaceStore, tmp_path: Path) -> None:
    script = store.export_chain(chain_of(store, Ridge().fit(X, Y)), tmp_path / "m", format="n4a.py")
    np.save(tmp_path / "narrow.npy", X[:, :2])
    (tmp_path / "text.csv").write_text("a,b\nc,d\n")
    for data, message in (
        ("narrow.npy", "refused X of shape"),
        ("text.csv", "no column of"),
        ("no", "No such file"),
    ):
        done = run_script(script, tmp_path / data)
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_a_script_that_was_given_a_named_pipe_once_waited_for_ever(
    store: WorkspaceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = store.export_chain(chain_of(store, Ridge().fit(X, Y)), tmp_path / "m", format="n4a.py")
    np.savetxt(tmp_path / "X.csv", X, delimiter=",")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    for arguments in (["pipe"], ["X.csv", "--wavelengths", "pipe"]):
        done = run_script(script, *arguments)
        assert done.stderr == "cannot predict: pipe is no file; save what it gives to a file, and give that\n"


def test_a_name_cannot_put_code_into_a_script(store: WorkspaceStore, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    name = f"x'''\"\"\"\n\nopen({str(canary)!r}, 'w')\n{{0}}%s\\"
    chain_id = chain_of(store, Ridge().fit(X, Y), name=name)
    np.save(tmp_path / "X.npy", X)
    done = run_script(store.export_chain(chain_id, tmp_path / "m", format="n4a.py"), tmp_path / "X.npy")
    assert done.returncode == 0, done.stderr
    assert not canary.exists()


def test_an_export_that_is_refused_leaves_nothing(store: WorkspaceStore, tmp_path: Path) -> None:
    chain_id = chain_of(store, Ridge().fit(X, Y))
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(InvalidInputError, match="onnx"):
        store.export_chain(chain_id, out / "m", format="onnx")
    with pytest.raises(NotFoundError):
        store.export_chain("no chain", out / "m")
    for export in (store.export_chain, store.export_run, store.export_pipeline_config):
        with pytest.raises((OutputPathError, NotFoundError)):
            export(chain_id, out)
    with pytest.raises(OutputPathError, match="it is a folder"):
        store.export_predictions_parquet(out)
    assert list(out.iterdir()) == []


CSV = {
    "names": ("a,b,c,d,e,f\n{rows}", [], None),
    "a name among wavelengths": ("id,1100,1102,1104,1106,1108\n{rows}", [], "5 features"),
    "wavelengths": ("1100,1102,1104,1106,1108,1110\n{rows}", [], None),
    "a first line of which nobody can tell": ("-1,-0.5,0,0.5,1,1.5\n{rising}", [], "say --header or --no-header"),
    "falling wavenumbers, said to be names": ("9000,8998,8996,8994,8992,8990\n{rows}", ["--header"], None),
    "a sample that rises, said to be one": ("{rows}", ["--no-header"], None),
    "an empty cell in the first sample": (",2,1,4,3,6\n{rows}", [], None),
    "NA in the first sample": ("NA,2,1,4,3,6\n{rows}", [], None),
}
FEW = (
    "names",
    "a first line of which nobody can tell",
    "a sample that rises, said to be one",
    "NA in the first sample",
)


@pytest.mark.parametrize("case", all_but_few(CSV, FEW))
def test_a_first_line_of_numbers_once_was_taken_for_a_sample_and_a_sample_for_names(
    store: WorkspaceStore, tmp_path: Path, case: str
) -> None:
    rows = np.random.default_rng(3).normal(size=(3, 6))
    rows[0].sort()
    if not CSV[case][1]:
        rows[0] = rows[0][::-1].copy()[[1, 0, 2, 3, 4, 5]]
    model = Ridge().fit(rows, [1.0, 2.0, 3.0])
    script = store.export_chain(chain_of(store, model), tmp_path / "m", format="n4a.py")
    text, options, error = CSV[case]
    lines = "\n".join(",".join(map(repr, row)) for row in rows.tolist())
    rising = "\n".join(",".join(map(repr, sorted(row))) for row in rows.tolist())
    (tmp_path / "X.csv").write_text(text.format(rows=lines, rising=rising))
    done = run_script(script, tmp_path / "X.csv", *options)
    if error:
        assert done.returncode == 1
        assert error in done.stderr
    else:
        told = done.stdout.removeprefix('""\n').split()
        np.testing.assert_allclose([float(line) for line in told], model.predict(rows))
        assert ("no prediction for 1 rows with a missing value" in done.stderr) == ("first sample" in case)


def test_a_script_whose_object_was_damaged_unpickled_it(store: WorkspaceStore, tmp_path: Path) -> None:
    script = store.export_chain(chain_of(store, Ridge().fit(X, Y)), tmp_path / "m", format="n4a.py")
    (digest,) = store.sql("FROM artifacts")["content_hash"]
    script.write_text(script.read_text().replace(digest, "0" * 64))
    np.save(tmp_path / "X.npy", X)
    done = run_script(script, tmp_path / "X.npy")
    assert (done.returncode, done.stdout) == (1, "")
    assert "this file is damaged" in done.stderr
