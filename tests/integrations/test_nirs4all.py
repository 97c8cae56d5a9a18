"""nirs4all trains on our store, in environments of their own: by hand, with `-m slow`. pip gets nirs4all for them."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_wheel import build_wheel, run

HERE = Path(__file__).parent
NAMES = ("training", "checking", "using", "importing", "names")
TRAINING, CHECKING, USING, IMPORTING, METHODS = (HERE / f"nirs4all_{name}.py" for name in NAMES)
SHARED = Path(__file__).parents[3] / "shared" / "old_workspaces"
REAL = sorted(
    path.parent for path in SHARED.glob("nirs4all-*/expected_replay.npz") if (path.parent / "workspace").is_dir()
)
ENGINES = [("1.4.10", "default"), ("1.4.10", "legacy"), ("0.7.1", "only")]
KINDS = ["sweep", "y", "two", "classes", "words", "branches", "merge", "augmentation", "boosted"]
KINDS += ["sources", "scans", "no-folds"]
MORE = {("1.4.10", "legacy"): ["selection", "stack"], ("0.7.1", "only"): ["stack"]}
"""What one engine trains and another one refuses by itself."""
OURS = ("-m", "nirs4all_store.integrations.nirs4all")
TOLERANCE = 1e-5  # nirs4all trains on floats of 32 bits.


@pytest.fixture(scope="module")
def pythons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Give the Python of an environment with our wheel and nirs4all, by its version."""
    folder = tmp_path_factory.mktemp("nirs4all")
    wheel, found = build_wheel(folder), {}
    for version in dict(ENGINES):
        run("python3", "-m", "venv", folder / version, folder=folder)
        found[version] = folder / version / "bin" / "python"
        run(found[version], "-m", "pip", "install", "-q", f"nirs4all=={version}", "lightgbm", wheel, folder=folder)
    return found


def said(text: str) -> Any:
    """Return what a program printed as its last line."""
    return json.loads(text.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(("version", "engine"), ENGINES)
def test_what_its_training_stored_is_what_its_chains_replay(
    pythons: dict[str, Path], tmp_path: Path, version: str, engine: str
) -> None:
    kinds = [*KINDS, *MORE.get((version, engine), [])]
    run(pythons[version], *OURS, TRAINING, tmp_path / "w", engine, *kinds, folder=tmp_path)
    found = said(run(pythons[version], CHECKING, tmp_path / "w", folder=tmp_path))
    assert found["findings"] == []
    # nirs4all 0.7 cannot fit the final models of a stack; it says so, and goes on.
    failed = [row["name"] for row in found["pipelines"] if row["status"] != "completed"]
    assert failed == (["pipeline_refit"] if version == "0.7.1" else [])
    assert [row["failed"] for row in found["pipelines"] if row["failed"]] == []
    assert max(row["worst"] for row in found["pipelines"]) < TOLERANCE
    # The newer engine keeps only the final model of the best.
    assert sum(row["compared"] > 0 for row in found["pipelines"]) >= len(kinds)


@pytest.mark.slow
@pytest.mark.parametrize(("version", "engine"), ENGINES[1:])
def test_only_final_models_are_kept_if_a_user_wants_it(
    pythons: dict[str, Path], tmp_path: Path, version: str, engine: str
) -> None:
    kinds = ["sweep", "two", "classes", "branches"]
    run(pythons[version], *OURS, "--keep", "final", TRAINING, tmp_path / "w", engine, *kinds, folder=tmp_path)
    found = said(run(pythons[version], CHECKING, tmp_path / "w", folder=tmp_path))
    assert (found["findings"], [row["failed"] for row in found["pipelines"] if row["failed"]]) == ([], [])
    assert all((row["compared"] > 0) == ("refit" in row["name"]) for row in found["pipelines"])
    assert max(row["worst"] for row in found["pipelines"]) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize(("version", "engine"), ENGINES[1:])
def test_it_predicts_exports_reads_and_deletes_by_its_own_means(
    pythons: dict[str, Path], tmp_path: Path, version: str, engine: str
) -> None:
    found = said(run(pythons[version], *OURS, USING, tmp_path, engine, folder=tmp_path))
    assert found["store"].startswith("nirs4all_store")
    # By a result, nirs4all 0.7 weighs the folds.
    for way in ("by chain", "by result's bundle", *(("by result", "by bundle") if version == "1.4.10" else ())):
        assert np.allclose(found[way], found["replay"], rtol=TOLERANCE), way
    for by_bundle, replay in found.get("branches", []):
        assert np.allclose(by_bundle, replay, rtol=TOLERANCE)
    assert (found["run"][0].startswith("sweep"), *found["run"][1:]) == (True, "completed", 3)
    assert (found["deleted"], found["left"]) == ([True, False], found["predictions"] - 1)
    if version == "1.4.10":
        assert found["predictions"] == found["read again"] == found["n_predictions"]
        assert [folds for _, folds in found["summaries"]] == [3, 3, 0]
    program = (
        "import json, sys; from nirs4all_store import WorkspaceStore; from nirs4all_training import X_NEW\n"
        "with WorkspaceStore('elsewhere') as store:\n"
        "    chain_id = store.import_bundle('chain.n4a', trusted=True).chain_id\n"
        "    print(json.dumps(store.replay_chain(chain_id, X_NEW).tolist()))"
    )
    (tmp_path / "nirs4all_training.py").write_bytes(TRAINING.read_bytes())
    imported = said(run(pythons[version], "-c", program, folder=tmp_path))
    assert np.allclose(imported, found["replay"], rtol=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("version", dict(ENGINES))
def test_each_method_of_its_store_is_here_with_its_parameters(
    pythons: dict[str, Path], tmp_path: Path, version: str
) -> None:
    lacking = said(run(pythons[version], *OURS, METHODS, tmp_path / "w", folder=tmp_path))
    # Nothing of nirs4all 0.7.1 calls the keys of its cache.
    assert [name for name in lacking if version == "1.4.10" or "cache" not in name] == []


@pytest.mark.slow
@pytest.mark.parametrize(("version", "engine"), ENGINES)
def test_two_processes_at_once_lose_nothing(
    pythons: dict[str, Path], tmp_path: Path, version: str, engine: str
) -> None:
    command = [pythons[version], *OURS, TRAINING, tmp_path / "w", engine]
    both = [subprocess.Popen([*map(str, command), *kinds], cwd=tmp_path) for kinds in (KINDS[:3], KINDS[:3])]
    assert [process.wait() for process in both] == [0, 0]
    found = said(run(pythons[version], CHECKING, tmp_path / "w", folder=tmp_path))
    assert found["findings"] == []
    statuses = [row["status"] for row in found["pipelines"]]
    once = len(statuses) // 2
    assert statuses == ["completed"] * 2 * once
    names = sorted(row["name"] for row in found["pipelines"])
    assert names[::2] == names[1::2]
    assert max(row["worst"] for row in found["pipelines"]) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize(("version", "engine"), ENGINES)
def test_without_install_nothing_of_it_changes(
    pythons: dict[str, Path], tmp_path: Path, version: str, engine: str
) -> None:
    program = "from nirs4all_training import train; print(train('w', 'sweep', {!r}).best['val_score'])"
    (tmp_path / "nirs4all_training.py").write_bytes(TRAINING.read_bytes())
    (tmp_path / "program.py").write_text(program.format(engine))
    own = run(pythons[version], "program.py", folder=tmp_path).splitlines()[-1]
    written = "store.sqlite" if version == "1.4.10" else "store.duckdb"
    assert (tmp_path / "w" / written).is_file()
    (tmp_path / "w").rename(tmp_path / "theirs")
    ours = run(pythons[version], *OURS, "program.py", folder=tmp_path).splitlines()[-1]
    assert float(ours) == float(own)


@pytest.mark.slow
def test_a_script_without_nirs4all_here_says_what_to_install(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path)
    run("python3", "-m", "venv", tmp_path / "env", folder=tmp_path)
    python = tmp_path / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", wheel, folder=tmp_path)
    done = subprocess.run([python, *OURS, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: nirs4all is not installed; install nirs4all 0.7.1 or 1.4.10")


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason="needs ../shared/old_workspaces")
def test_imported_workspaces_predict_what_was_checked(pythons: dict[str, Path], tmp_path: Path) -> None:
    found = said(run(pythons["1.4.10"], IMPORTING, *REAL, folder=tmp_path))
    assert {name: told["equal"] for name, told in found.items()} == {
        name: told["checked"] for name, told in found.items()
    }
    assert sum(told["checked"] for told in found.values()) >= len(REAL)
    assert {told["findings"] for told in found.values()} == {0}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["default", "legacy"])
def test_what_it_trained_by_itself_is_imported_and_verified(
    pythons: dict[str, Path], tmp_path: Path, engine: str
) -> None:
    kinds = [*KINDS, *MORE.get(("1.4.10", engine), [])]
    run(pythons["1.4.10"], TRAINING, tmp_path / "own", engine, *kinds, folder=tmp_path)
    program = (
        "import json; from nirs4all_store import WorkspaceStore; from nirs4all_training import X\n"
        "with WorkspaceStore('ours') as store:\n"
        f"    report = store.import_workspace('own', trusted=True, spectra=dict.fromkeys({kinds}, X))\n"
        "    print(json.dumps(report.verdicts))"
    )
    (tmp_path / "nirs4all_training.py").write_bytes(TRAINING.read_bytes())
    verdicts = said(run(pythons["1.4.10"], "-c", program, folder=tmp_path))
    assert verdicts.keys() <= {"verified", "no files"}
    assert verdicts["verified"] >= len(kinds)
