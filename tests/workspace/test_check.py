"""Check names whatever is not as it must be and changes nothing; repair does what it said, once."""

import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import bundles
import numpy as np
import pytest
from programs import run
from samples import all_but_few, slow
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from sqlalchemy import text
from typer.testing import CliRunner

from nirs4all_store import (
    ArtifactLoadError,
    ChainReplayError,
    CheckReport,
    OutputPathError,
    ReadOnlyError,
    RepairReport,
    UnitOfWorkError,
    WorkspaceCorruptError,
    WorkspaceStore,
)
from nirs4all_store.artifacts import folder
from nirs4all_store.artifacts.artifact_files import sha256
from nirs4all_store.cli import app
from nirs4all_store.storage.repositories.integrity import Integrity
from nirs4all_store.testing.contract import add_chain, add_prediction

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(20, 4)), RNG.normal(size=20)
FEW_FLIPS = 20
OLD = 10**9


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound workspace that has some of everything, and an artifact that no chain claims."""
    folder = tmp_path_factory.mktemp("filled") / "w"
    with WorkspaceStore(folder) as opened:
        run_id = opened.begin_run("wheat", {}, [{"name": "wheat"}])
        pipeline_id = opened.begin_pipeline(run_id, "ridge", {}, [], "wheat", "hash")
        scaler = opened.save_artifact(StandardScaler().fit(X), "Scaler", "transformer", "joblib")
        folds = {str(i): opened.save_artifact(Ridge(i + 1).fit(X, Y), "Ridge", "model", "joblib") for i in range(3)}
        steps = [
            {"step_idx": i, "operator_class": name, "params": {}, "artifact_id": None, "stateless": False}
            for i, name in enumerate(["Scaler", "Ridge"])
        ]
        opened.save_chain(pipeline_id, steps, 1, "Ridge", "SS", "per_fold", folds, {"0": scaler})
        other = add_chain(opened, opened.begin_pipeline(run_id, "other", {}, [], "wheat", "hash"))
        prediction_id = add_prediction(opened, opened.get_chain(other)["pipeline_id"], chain_id=other)  # type: ignore[index]
        opened.save_prediction_arrays(prediction_id, Y, Y, sample_indices=np.arange(20))
        opened.log_step(pipeline_id, 0, "Ridge", "end", 3)
        opened.save_artifact({"not": "claimed"}, "dict", "other", "joblib")
    return folder


@pytest.fixture
def store(filled: Path, tmp_path: Path) -> Iterator[WorkspaceStore]:
    with WorkspaceStore(shutil.copytree(filled, tmp_path / "w")) as opened:
        yield opened


def codes(report: CheckReport | RepairReport) -> set[str]:
    return {finding.code for finding in (report.findings if isinstance(report, CheckReport) else report.repaired)}


def change(store: WorkspaceStore, statement: str) -> None:
    """Change rows behind the store's back."""
    with store.unit_of_work() as uow:
        uow.session.execute(text(statement))
        uow.commit()


def snapshot(store: WorkspaceStore) -> Any:
    files = {path: path.read_bytes() for path in (store.workspace_path / "artifacts").rglob("*") if path.is_file()}
    with store.unit_of_work() as uow:
        tables = ("runs", "pipelines", "chains", "predictions", "prediction_arrays", "artifacts", "logs")
        rows = {name: uow.session.execute(text(f"SELECT * FROM {name} ORDER BY ALL")).all() for name in tables}
    return files, str(rows)


def first_file(store: WorkspaceStore, name: str = "Ridge") -> Path:
    found = store.sql("SELECT artifact_id FROM artifacts WHERE operator_class = ? ORDER BY created_at", [name])
    return store.get_artifact_path(found.item(0, 0))


def test_a_sound_workspace_has_no_findings(store: WorkspaceStore) -> None:
    for deep in (False, True):
        report = store.check(deep)
        assert report.findings == []
        assert report.is_sound
        assert report.rows["runs"] == 1
    assert store.repair(dry_run=False).repaired == []


FEW_DAMAGES = ("a pipeline is gone", "an artifact's row is gone", "a file is cut", "a path leads out")
DAMAGE: dict[str, tuple[Callable[[WorkspaceStore], None], set[str], set[str]]] = {
    "a run is gone": (lambda s: change(s, "DELETE FROM runs"), {"orphan", "wrong-count"}, set()),
    "a pipeline is gone": (
        lambda s: change(s, "DELETE FROM pipelines WHERE name = 'ridge'"),
        {"orphan", "wrong-count"},
        set(),
    ),
    "chains are gone": (
        lambda s: change(s, "DELETE FROM chains"),
        {"chain-gone", "wrong-count"},
        set(),
    ),
    "predictions are gone": (lambda s: change(s, "DELETE FROM predictions"), {"orphan"}, set()),
    "counts are wrong": (lambda s: change(s, "UPDATE artifacts SET ref_count = 7"), {"wrong-count"}, set()),
    "unclaimed is negative": (lambda s: change(s, "UPDATE artifacts SET unclaimed = -1"), {"wrong-count"}, set()),
    "an artifact's row is gone": (
        lambda s: change(s, "DELETE FROM artifacts WHERE operator_class = 'Ridge'"),
        {"artifact-gone"},
        {"artifact-gone"},
    ),
    "a file is gone": (lambda s: first_file(s).unlink(), {"missing-file"}, {"missing-file"}),
    "a file is cut": (lambda s: cut(first_file(s)), {"damaged-file"}, {"missing-file"}),
    "a path leads out": (
        lambda s: change(s, "UPDATE artifacts SET artifact_path = '../../etc/passwd' WHERE operator_class = 'dict'"),
        {"bad-path"},
        {"bad-path"},
    ),
}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def test_a_database_that_a_session_had_attached_was_once_checked_in_the_place_of_ours(store: WorkspaceStore) -> None:
    with store.unit_of_work() as uow:
        uow.session.execute(text("ATTACH ':memory:' AS scratch"))
        uow.commit()
    assert store.check().findings == []


@pytest.mark.parametrize("name", all_but_few(DAMAGE, FEW_DAMAGES))
def test_each_damage_is_named_and_repaired_as_far_as_can_be(store: WorkspaceStore, name: str) -> None:
    damage, found, left = DAMAGE[name]
    damage(store)
    before = snapshot(store)
    report = store.check(deep=True)
    assert codes(report) - {"unlisted-file"} == found
    assert all(finding.subject and finding.message for finding in report.findings)
    planned = store.repair(deep=True)
    assert snapshot(store) == before
    done = store.repair(dry_run=False, deep=True)
    assert (planned.repaired, planned.left) == (done.repaired, done.left)
    assert codes(store.check(deep=True)) - {"unlisted-file"} == left
    after = snapshot(store)
    assert store.repair(dry_run=False, deep=True).repaired == []
    assert snapshot(store) == after
    kept = {path.read_bytes() for path in (store.workspace_path / "artifacts").rglob("*") if path.is_file()}
    assert set(before[0].values()) <= kept


def test_one_flipped_bit_is_found_by_a_deep_check_and_named_for_its_fold(store: WorkspaceStore) -> None:
    path = first_file(store)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert store.check().is_sound
    (finding,) = store.check(deep=True).findings
    assert finding.code == "damaged-file"
    assert "fold 0" in finding.message
    store.repair(dry_run=False, deep=True)
    quarantined = store.workspace_path / "artifacts" / ".quarantine" / finding.subject
    assert quarantined.read_bytes() == content


def test_a_file_that_no_row_names_is_moved_once_it_is_old_and_never_deleted(store: WorkspaceStore) -> None:
    stray = store.workspace_path / "artifacts" / "ab" / "stray.joblib"
    stray.parent.mkdir()
    for content in (b"first", b"second"):
        stray.write_bytes(content)
        assert store.check().is_sound
        os.utime(stray, (OLD, OLD))
        assert codes(store.check()) == {"unlisted-file"}
        store.repair(dry_run=False)
        assert store.check().is_sound
    store.gc_artifacts()
    kept = sorted((store.workspace_path / "artifacts" / ".quarantine" / "ab").iterdir())
    assert [path.read_bytes() for path in kept] == [b"first", b"second"]


def test_values_that_cannot_be_read_are_named_by_their_row(store: WorkspaceStore) -> None:
    change(store, 'UPDATE prediction_arrays SET layout = \'{"y_true": {"dtype": "<f8", "shape": [7]}}\'')
    assert store.check().is_sound
    (finding,) = store.check(deep=True).findings
    assert (finding.code, finding.subject.split()[0]) == ("unreadable-value", "prediction_arrays")


def test_a_link_in_the_folder_is_not_followed(store: WorkspaceStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    path = first_file(store)
    path.rename(outside / path.name)
    path.parent.rename(tmp_path / "shard")
    path.parent.symlink_to(outside)
    report = store.check(deep=True)
    assert "bad-path" in codes(report)
    store.repair(dry_run=False, deep=True)
    assert (outside / path.name).exists()


def test_check_is_not_for_the_middle_of_a_transaction_and_a_reader_may_only_check(
    store: WorkspaceStore, tmp_path: Path
) -> None:
    with store.transaction():
        for use in (store.check, store.repair):
            with pytest.raises(UnitOfWorkError):
                use()
    store.close()
    with WorkspaceStore(tmp_path / "w", read_only=True) as reader:
        assert reader.check(deep=True).is_sound
        with pytest.raises(ReadOnlyError):
            reader.repair(dry_run=False)


def test_what_gc_would_remove_is_shown_with_reasons_and_is_what_it_removes(store: WorkspaceStore) -> None:
    change(store, "UPDATE chains SET fold_artifacts = '{}' WHERE model_class = 'Ridge'")
    store.repair(dry_run=False)
    stray = store.workspace_path / "artifacts" / "stray.joblib"
    stray.write_bytes(b"stray")
    assert store.plan_gc(grace=timedelta(days=2)).height == 3
    plan = store.plan_gc(grace=timedelta(0))
    assert plan.columns == ["path", "artifact_id", "size_bytes", "reason"]
    assert sorted(set(plan["reason"])) == [
        "it was saved, and no chain claimed it",
        "no artifact names it",
        "nothing uses it any more",
    ]
    files = {path for path in plan["path"] if (store.workspace_path / "artifacts" / path).is_file()}
    assert len(files) == plan.height == 5
    assert store.gc_artifacts(grace=timedelta(0)) == 5
    assert not {path for path in files if (store.workspace_path / "artifacts" / path).exists()}
    assert store.plan_gc(grace=timedelta(0)).rows() == []


def test_vacuum_tells_the_bytes_before_and_after(store: WorkspaceStore) -> None:
    before, after = store.vacuum()
    assert before >= after == (store.workspace_path / "store.duckdb").stat().st_size


def test_the_command_line_ends_with_0_1_or_2(store: WorkspaceStore, tmp_path: Path) -> None:
    change(store, "UPDATE artifacts SET ref_count = 7")
    store.close()
    folder = str(tmp_path / "w")
    found = CliRunner().invoke(app, ["check", folder, "--deep"])
    assert (found.exit_code, "wrong-count" in found.stdout) == (1, True)
    assert "--apply" in CliRunner().invoke(app, ["repair", folder]).stdout
    assert "done: artifacts" in CliRunner().invoke(app, ["repair", folder, "--apply"]).stdout
    assert CliRunner().invoke(app, ["check", folder]).exit_code == 0
    (tmp_path / "w" / "store.duckdb").write_bytes(b"no database")
    assert CliRunner().invoke(app, ["check", folder]).exit_code == 2
    assert CliRunner().invoke(app, ["check", str(tmp_path / "nowhere")]).exit_code == 2


@pytest.mark.parametrize("flips", [FEW_FLIPS, slow(60)])
def test_a_flipped_bit_of_the_database_is_found_wherever_it_changes_what_is_read(
    store: WorkspaceStore, tmp_path: Path, flips: int
) -> None:
    folder, damaged, rng = store.workspace_path, tmp_path / "damaged", np.random.default_rng(0)
    with store.transaction():
        for pipeline_id in store.list_pipelines()["pipeline_id"]:
            for _ in range(60):
                prediction_id = add_prediction(store, pipeline_id)
                store.save_prediction_arrays(prediction_id, rng.normal(size=100), rng.normal(size=100))
    store.vacuum()
    _, sound = snapshot(store)
    store.close()
    content = (folder / "store.duckdb").read_bytes()
    shutil.copytree(folder, damaged)
    outcomes = Counter[int]()
    for at in rng.integers(len(content), size=flips).tolist():
        flipped = bytearray(content)
        flipped[at] ^= 1 << int(rng.integers(8))
        (damaged / "store.duckdb").write_bytes(flipped)
        try:
            with WorkspaceStore(damaged) as opened:
                is_sound = opened.check(deep=True).is_sound
                assert not is_sound or snapshot(opened)[1] == sound
                expected = 0 if is_sound else 1
        except WorkspaceCorruptError as error:
            assert str(damaged) in str(error)
            expected = 2
        outcomes[expected] += 1
        if outcomes[expected] == 1 or flips > FEW_FLIPS:
            assert CliRunner().invoke(app, ["check", "--deep", str(damaged)]).exit_code == expected
    assert len(outcomes) == 3
    assert min(outcomes.values()) > flips // 20


def test_a_whole_file_was_once_taken_away_because_its_row_had_a_wrong_size(store: WorkspaceStore) -> None:
    change(store, "UPDATE artifacts SET size_bytes = 5 WHERE operator_class = 'Scaler'")
    report = store.check()
    assert codes(report) == {"wrong-size"}
    assert store.repair(dry_run=False).repaired == report.findings
    assert store.check(deep=True).is_sound
    for chain_id in store.sql("SELECT chain_id FROM chains WHERE model_class = 'Ridge'")["chain_id"]:
        assert store.replay_chain(chain_id, X).shape == (20,)


def test_a_file_of_another_size_is_damaged_unless_its_hash_says_otherwise(store: WorkspaceStore) -> None:
    path = store.get_artifact_path(store.sql("FROM artifacts WHERE operator_class = 'Scaler'")["artifact_id"][0])
    path.write_bytes(path.read_bytes()[:-1])
    assert codes(store.check()) == {"damaged-file"}


def test_a_hash_that_is_none_is_named_and_the_file_stays_where_it_is(store: WorkspaceStore) -> None:
    change(store, "UPDATE artifacts SET content_hash = 'none' WHERE operator_class = 'Scaler'")
    for deep in (False, True):
        assert codes(store.check(deep=deep)) == {"bad-hash"}
    before = snapshot(store)
    assert store.repair(dry_run=False, deep=True).repaired == []
    assert snapshot(store) == before


@pytest.mark.parametrize("adopted", [False, True])
def test_a_whole_file_was_once_taken_away_because_a_row_had_another_hash(store: WorkspaceStore, adopted: bool) -> None:
    path = store.get_artifact_path(store.sql("FROM artifacts WHERE operator_class = 'Scaler'")["artifact_id"][0])
    if adopted:  # Two rows of one file, whose name does not tell.
        content = path.read_bytes()
        (store.workspace_path / "artifacts" / "scaler.joblib").write_bytes(content)
        for artifact_id in ("one", "two"):
            store.register_existing_artifact(
                artifact_id, "scaler.joblib", sha256(content), "Scaler", "transformer", "joblib", len(content)
            )
    wrong = "artifact_id = 'two'" if adopted else "operator_class = 'Scaler'"
    change(store, f"UPDATE artifacts SET content_hash = '{'0' * 64}' WHERE {wrong}")
    assert codes(store.check(deep=True)) == {"bad-hash"}
    before = snapshot(store)
    assert store.repair(dry_run=False, deep=True).repaired == []
    assert snapshot(store) == before


def test_a_path_that_is_spelled_otherwise_once_made_its_file_look_unlisted(store: WorkspaceStore) -> None:
    change(store, "UPDATE artifacts SET artifact_path = './' || replace(artifact_path, '/', '//')")
    for path in (store.workspace_path / "artifacts").rglob("*.joblib"):
        os.utime(path, (OLD, OLD))
    assert store.check(deep=True).is_sound
    store.gc_artifacts()
    assert store.check(deep=True).is_sound


DEEP = "[" * 3000 + "]" * 3000
BAD_ROWS = {
    "a path that is too long": ("artifacts", "artifact_path = repeat('a/', 3000) || 'x'", "bad-path"),
    "steps that are too deep": ("chains", f"steps = '{DEEP}'", "unreadable-value"),
    "a branch that is too deep": ("chains", f"branch_path = '{DEEP}'", "unreadable-value"),
    "a provenance that is too deep": ("artifacts", f"provenance = '{DEEP}'", "unreadable-value"),
}


@pytest.mark.parametrize("name", all_but_few(BAD_ROWS, ("a path that is too long", "steps that are too deep")))
def test_one_bad_row_once_hid_all_others(store: WorkspaceStore, name: str) -> None:
    table, values, code = BAD_ROWS[name]
    chain_id, artifact_id = store.sql(
        "SELECT chain_id, artifact_id FROM chains, artifacts WHERE model_class = 'Ridge' AND operator_class = 'Ridge'"
    ).row(0)
    key = {"chains": f"chain_id = '{chain_id}'", "artifacts": f"artifact_id = '{artifact_id}'"}[table]
    change(store, f"UPDATE {table} SET {values} WHERE {key}")
    row = f"{table} {chain_id if table == 'chains' else artifact_id}"
    gone, cut_file = [
        store.get_artifact_path(other)
        for (other,) in store.sql(
            "SELECT artifact_id FROM artifacts WHERE artifact_id <> ? ORDER BY created_at LIMIT 2", [artifact_id]
        ).rows()
    ]
    gone.unlink()
    cut(cut_file)
    change(store, "UPDATE artifacts SET ref_count = 9 WHERE operator_class = 'dict'")
    found = store.check(deep=True).findings
    assert [finding.subject for finding in found if finding.code == code] == [row]
    assert {"missing-file", "damaged-file", "wrong-count"} <= {finding.code for finding in found}
    assert "unreadable" not in {finding.code for finding in found}
    assert {finding.code for finding in store.repair(dry_run=False, deep=True).repaired} == {
        "damaged-file",
        "wrong-count",
    }
    assert store.plan_gc(grace=timedelta(0)).height == store.gc_artifacts(grace=timedelta(0))


def test_what_a_chain_that_cannot_be_read_names_is_kept_and_counted_until_it_is_deleted(store: WorkspaceStore) -> None:
    chain_id, pipeline_id = store.sql("SELECT chain_id, pipeline_id FROM chains WHERE model_class = 'Ridge'").row(0)
    change(store, f"UPDATE chains SET steps = '{DEEP}' WHERE chain_id = '{chain_id}'")
    before = store.sql("SELECT artifact_id, ref_count FROM artifacts ORDER BY ALL").rows()
    store.repair(dry_run=False, deep=True)
    assert store.plan_gc(grace=timedelta(0)).height == 1 == store.gc_artifacts(grace=timedelta(0))  # The unclaimed one.
    left = store.sql("SELECT artifact_id, ref_count FROM artifacts ORDER BY ALL").rows()
    assert len(left) == len(before) - 1 and {*left} < {*before}
    assert store.delete_pipeline(pipeline_id) == 2 + 1  # Its log.
    assert codes(store.repair(dry_run=False, deep=True)) == {"wrong-count"}
    assert store.gc_artifacts(grace=timedelta(0)) == 4
    assert store.check(deep=True).is_sound


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs a user who may become another")
def test_a_file_that_may_not_be_read_once_hid_all_others() -> None:
    program = """
import os, sys
sys.path.insert(0, sys.argv[2])
from bundles import X, Y, chain_in
from sklearn.linear_model import Ridge
from nirs4all_store import WorkspaceStore

def look(folder):
    with WorkspaceStore(folder) as store:
        chain_id = chain_in(store, [Ridge(alpha).fit(X, Y) for alpha in (1, 2, 3)])
        folds = sorted(store.get_chain(chain_id)["fold_artifacts"].values())
        closed, cut, gone = [store.get_artifact_path(artifact_id) for artifact_id in folds]
        closed.chmod(0); cut.write_bytes(b"x"); gone.unlink()
        print(sorted(finding.code for finding in store.check(deep=True).findings))
        print([finding.code for finding in store.repair(dry_run=False, deep=True).repaired])

look(sys.argv[1] + "/root")  # It loads what the other user may not read.
os.setgid(65534); os.setuid(65534)
look(sys.argv[1] + "/other")
"""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        printed = run(program, folder, Path(__file__).parents[1])
    assert printed.splitlines()[2:] == [
        "['damaged-file', 'missing-file', 'unreadable-file']",
        "['damaged-file']",
    ]


def leave_stray(store: WorkspaceStore, name: str) -> Path:
    """Put an old file where no artifact is."""
    path = store.workspace_path / "artifacts" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"stray")
    os.utime(path, (OLD, OLD))
    return path


FEW_OBSTACLES = {("file", ".quarantine"), ("link", ".quarantine/ab"), ("broken link", ".quarantine/ab/cd")}


def test_one_damaged_file_of_two_rows_once_ended_a_repair_halfway(store: WorkspaceStore) -> None:
    path = first_file(store, "Scaler")
    row = store.sql("FROM artifacts WHERE operator_class = 'Scaler'").to_dicts()[0]
    store.register_existing_artifact("also", row["artifact_path"], row["content_hash"], "S", "t", "joblib", None)
    change(store, "UPDATE artifacts SET artifact_path = './' || artifact_path WHERE artifact_id = 'also'")
    cut(path)
    stray = leave_stray(store, "zz")
    planned, done = store.repair(deep=True), store.repair(dry_run=False, deep=True)
    assert (planned.repaired, planned.left, done.left) == (done.repaired, [], [])
    assert sorted(finding.code for finding in done.repaired) == ["damaged-file", "damaged-file", "unlisted-file"]
    assert not path.exists() and not stray.exists()
    assert codes(store.check(deep=True)) == {"missing-file"}


@pytest.mark.parametrize(
    ("by", "blocked"),
    [
        pytest.param(by, blocked, marks=[pytest.mark.slow] * ((by, blocked) not in FEW_OBSTACLES))
        for by in ("file", "link", "broken link")
        for blocked in (".quarantine", ".quarantine/ab", ".quarantine/ab/cd")
    ],
)
def test_a_file_or_link_in_the_place_of_quarantine_once_ended_a_repair_halfway_or_was_followed(
    store: WorkspaceStore, tmp_path: Path, blocked: str, by: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    strays = [leave_stray(store, name) for name in ("ab/one", "ab/cd/two")]
    other = leave_stray(store, "zz")
    obstacle = store.workspace_path / "artifacts" / blocked
    obstacle.parent.mkdir(parents=True, exist_ok=True)
    if by == "file":
        obstacle.write_bytes(b"")
    else:
        obstacle.symlink_to(outside if by == "link" else tmp_path / "nowhere")
    change(store, "UPDATE artifacts SET ref_count = 7")
    planned, done = store.repair(), store.repair(dry_run=False)
    assert (planned.repaired, planned.left) == (done.repaired, done.left)
    assert "wrong-count" in codes(done)
    blocks = {".quarantine": 3, ".quarantine/ab": 2, ".quarantine/ab/cd": 1}[blocked]
    left = [finding for finding in done.left if finding.code == "unlisted-file"]
    assert len(left) == blocks
    assert all(blocked in finding.message and finding.repair is None for finding in left)
    assert sum(path.exists() for path in (*strays, other)) == blocks
    assert [*outside.iterdir()] == []
    assert not (tmp_path / "nowhere").exists()


def test_a_long_name_once_had_no_room_for_what_tells_it_from_the_one_in_quarantine(store: WorkspaceStore) -> None:
    name = "é" * 127
    for _ in range(12):
        leave_stray(store, name)
        assert store.repair(dry_run=False).left == []
    kept = list((store.workspace_path / "artifacts" / ".quarantine").iterdir())
    assert len(kept) == 12
    assert {path.read_bytes() for path in kept} == {b"stray"}


CANNOT_WORK = {
    "no steps": ("UPDATE chains SET steps = '[]'", "bad-chain"),
    "a step too few": ("UPDATE chains SET steps = '[{\"step_idx\": 1}]'", "bad-chain"),
    "another model": ("UPDATE chains SET model_step_idx = 0", "bad-chain"),
    "a model that is no step": ("UPDATE chains SET model_step_idx = 99", "bad-chain"),
    "no folds": ("UPDATE chains SET fold_artifacts = '{}'", "bad-chain"),
    "an empty fold": ("UPDATE chains SET fold_artifacts = '{\"0\": []}'", "bad-chain"),
    "folds that are none": ("UPDATE chains SET fold_artifacts = '[1]'", "bad-chain"),
    "a final model that is no fold": ("UPDATE chains SET predict_fold = 'final'", "bad-chain"),
    "steps that are none": ("UPDATE chains SET steps = '[null]'", "bad-chain"),
    "a format that is none": ("UPDATE artifacts SET format = 'exe'", "bad-format"),
}


FEW_THAT_CANNOT = ("a step too few", "another model", "no folds", "steps that are none", "a format that is none")


@pytest.mark.parametrize("name", all_but_few(CANNOT_WORK, FEW_THAT_CANNOT))
def test_a_chain_that_cannot_work_was_once_called_sound(tmp_path: Path, name: str) -> None:
    statement, code = CANNOT_WORK[name]
    scaler = StandardScaler().fit(5 * bundles.X + 3)
    with WorkspaceStore(tmp_path / "w") as store:
        chain_id = bundles.chain_in(store, [Ridge().fit(scaler.transform(bundles.X), bundles.Y)], scaler)
        assert store.check().is_sound
        change(store, statement)
        assert code in codes(store.check())
        assert all(finding.repair is None for finding in store.check().findings if finding.code == code)
        with pytest.raises((ChainReplayError, ArtifactLoadError)):
            store.replay_chain(chain_id, bundles.X)


def test_a_prediction_that_names_a_chain_of_another_pipeline_is_found(store: WorkspaceStore) -> None:
    change(store, "UPDATE predictions SET pipeline_id = (SELECT pipeline_id FROM pipelines WHERE name = 'ridge')")
    (finding,) = store.check().findings
    assert (finding.code, finding.subject.split()[0]) == ("other-pipeline", "predictions")


def test_a_dry_run_once_needed_a_store_that_may_write(store: WorkspaceStore) -> None:
    change(store, "UPDATE artifacts SET ref_count = 7")
    leave_stray(store, "zz")
    expected = store.repair()
    store.close()
    with WorkspaceStore(store.workspace_path, read_only=True) as reader:
        assert reader.repair() == expected
        with pytest.raises(ReadOnlyError):
            reader.repair(dry_run=False)
    assert CliRunner().invoke(app, ["repair", str(store.workspace_path)]).exit_code == 0


def test_a_wrong_size_once_came_with_the_advice_to_restore_a_backup(store: WorkspaceStore) -> None:
    change(store, "UPDATE artifacts SET size_bytes = 5 WHERE operator_class = 'Scaler'")
    (finding,) = store.check().findings
    assert "it is used by chain" in finding.message and "backup" not in finding.message
    first_file(store).unlink()
    (missing,) = [finding for finding in store.check().findings if finding.code == "missing-file"]
    assert "backup" in missing.message


def test_links_that_no_row_names_were_once_not_told(store: WorkspaceStore, tmp_path: Path) -> None:
    artifacts = store.workspace_path / "artifacts"
    (artifacts / "folder").symlink_to(tmp_path)
    (artifacts / "ab").mkdir(exist_ok=True)
    (artifacts / "ab" / "file").symlink_to(tmp_path / "nowhere")
    report = store.check()
    assert [(found.code, found.subject, found.repair) for found in report.findings] == [
        ("link", "ab/file", None),
        ("link", "folder", None),
    ]
    assert store.repair(dry_run=False).left == report.findings
    assert (artifacts / "folder").is_symlink()


def test_a_file_name_once_forged_lines_of_what_check_prints(store: WorkspaceStore) -> None:
    for name in ("a\n0 findings in nothing", "b\x1b[2Jc", "d\u202ee", ":smile:", os.fsdecode(b"f\xff")):
        leave_stray(store, name)
    change(store, "INSERT INTO logs SELECT 'l' || chr(10) || 'x', 'gone', 0, 'o', 'end', 1, NULL, NULL, 'info', now()")
    store.close()
    folder = str(store.workspace_path)
    for command in (["check", folder], ["repair", folder], ["repair", folder, "--apply"]):
        shown = CliRunner().invoke(app, command).stdout
        assert all(line.isprintable() for line in shown.splitlines())
        assert "\\n0 findings in nothing" in shown and ":smile:" in shown and "\\udcff" in shown
        assert "l\\nx" in shown
        assert not any(line.startswith("0 findings") for line in shown.splitlines())


def test_a_file_in_the_place_of_artifacts_once_was_a_raw_error(tmp_path: Path) -> None:
    WorkspaceStore(tmp_path).close()
    (tmp_path / "artifacts").rmdir()
    (tmp_path / "artifacts").touch()
    with pytest.raises(OutputPathError, match="artifacts: it is no folder"):
        WorkspaceStore(tmp_path)
    with WorkspaceStore(tmp_path, read_only=True) as reader:
        assert reader.list_runs().height == 0


def test_a_damaged_block_hid_what_other_parts_have(store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(_: Integrity) -> list[str]:
        raise RuntimeError("as what no code expects of a damaged block")

    change(store, "UPDATE artifacts SET ref_count = 7")
    monkeypatch.setattr(Integrity, "without_chain", damaged)
    assert codes(store.check()) == {"unreadable", "wrong-count"}


def test_a_handlers_deadline_once_was_an_unreadable_file(
    store: WorkspaceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*_: Any) -> None:
        raise TimeoutError("it takes too long")

    store.save_artifact([1], "list", "model", "pickle")
    monkeypatch.setattr(folder, "_content", lambda *_: signal.raise_signal(signal.SIGUSR1))
    before = signal.signal(signal.SIGUSR1, late)
    try:
        with pytest.raises(TimeoutError, match="it takes too long"):
            store.check(deep=True)
    finally:
        signal.signal(signal.SIGUSR1, before)
