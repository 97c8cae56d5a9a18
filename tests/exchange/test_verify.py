"""Chains are asked whether they predict what their training stored: imported ones, and those that were trained here."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from old_workspaces import TEST, TRAIN, OldWorkspace, X, Y, add_models, step, write_screening
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from sqlalchemy import text
from typer.testing import CliRunner

from nirs4all_store import InvalidInputError, NotFoundError, PipelineRunner, ReadOnlyError, WorkspaceStore, views
from nirs4all_store.chains import ChainLoader
from nirs4all_store.cli.app import app
from nirs4all_store.models import Chain

RNG = np.random.default_rng(5)
RIDGE = {"model": {"class": "sklearn.linear_model.Ridge"}}
FOLDS = {"class": "sklearn.model_selection.KFold", "params": {"n_splits": 2}}
X_NEW = RNG.normal(size=(5, 8))


@pytest.fixture
def chains(tmp_path: Path) -> tuple[str, str]:
    """Write a workspace of nirs4all, `old`; return its cross-validated and its refitted chain."""
    return write_screening(tmp_path / "old")


def verdict_of(store: WorkspaceStore, chain_id: str) -> dict[str, Any]:
    return (store.get_chain(chain_id) or {})["verification"] or {}


def test_to_check_what_was_imported_it_had_to_be_imported_again(
    store: WorkspaceStore, chains: tuple[str, str], tmp_path: Path
) -> None:
    report = store.import_workspace(tmp_path / "old")
    assert "nirs4all-store verify --trusted" in str(report.chains[chains[0]]["reason"])
    assert store.verify(spectra={"wheat": X}).verdicts == {"not checked": 2}
    (reason,) = {told["reason"] for told in store.verify(trusted=True).chains.values()}
    assert str(reason).startswith("the spectra of 'wheat' were not given; `nirs4all-store verify")
    assert str(reason).endswith("--spectra wheat=FILE` checks it")
    found = store.verify(trusted=True, spectra={"wheat": X})
    assert (found.verdicts, found.is_sound, found.frame()["verdict"].to_list()) == (
        {"verified": 2},
        True,
        ["verified"] * 2,
    )
    kept = verdict_of(store, chains[0])
    assert (kept["verdict"], kept["compared"], kept["versions"]["numpy"]) == ("verified", 2, np.__version__)
    assert kept["difference"] < 1e-12
    assert store.verify().chains == {}
    assert store.import_workspace(tmp_path / "old", trusted=True, spectra={"wheat": X}).chains == {}


def test_wrong_spectra_do_not_decide_for_ever(store: WorkspaceStore, chains: tuple[str, str], tmp_path: Path) -> None:
    store.import_workspace(tmp_path / "old")
    wrong = store.verify(trusted=True, spectra={"wheat": X[::-1]})
    assert (wrong.verdicts, wrong.is_sound) == ({"differs": 2}, False)
    assert store.verify().verdicts == {"not checked": 2}
    assert verdict_of(store, chains[0])["verdict"] == "differs"
    assert store.verify(spectra={"wheat": [X[TRAIN], X[TEST]]}).verdicts == {"verified": 2}
    assert store.verify("the run", spectra={"wheat": X[TRAIN]}).verdicts == {"not checked": 2}
    assert verdict_of(store, chains[0])["verdict"] == "verified"
    assert store.verify(chains[0], spectra={"wheat": X[::-1]}).verdicts == {"differs": 1}
    assert store.verify(chains, spectra={"the run": X}).verdicts == {"verified": 2}
    assert verdict_of(store, chains[0])["verdict"] == "verified"


def test_models_of_an_earlier_run_of_the_same_name_are_replaced(store: WorkspaceStore, tmp_path: Path) -> None:
    other_x = RNG.normal(size=X.shape)
    other_y = other_x @ RNG.normal(size=8)
    old = OldWorkspace(tmp_path / "old")
    add_models(old, old.run("same", run_id="first"), "same_p0")
    chains = add_models(old, old.run("same", run_id="second"), "same_p0", other_x, other_y, with_row=False)
    old.close()
    store.import_workspace(tmp_path / "old")
    report = store.verify(spectra={"wheat": X, "second": other_x}, trusted=True)
    assert report.verdicts == {"verified": 4}
    assert {chain_id for chain_id, told in report.chains.items() if "replaced" in told} == {*chains}
    scaler = StandardScaler().fit(other_x[TRAIN])
    expected = Ridge().fit(scaler.transform(other_x[TRAIN]), other_y[TRAIN]).predict(scaler.transform(X_NEW))
    np.testing.assert_allclose(store.replay_chain(chains[1], X_NEW), expected)
    assert (store.get_chain(chains[1]) or {})["attachments"] is None
    assert store.check(deep=True).findings == []


@pytest.mark.in_a_folder
def test_a_chain_that_cannot_be_checked_is_no_error_of_the_others(
    store: WorkspaceStore, chains: tuple[str, str], tmp_path: Path
) -> None:
    store.import_workspace(tmp_path / "old")
    with store.unit_of_work() as uow:
        odd = (uow.chains.get(chains[0]) or {})["steps"] + ["what no program writes"]
        uow.whole_rows.change(Chain, chains[0], {"steps": odd, "verification": ["by hand"]})
        uow.commit()
    report = store.verify(trusted=True, spectra={"wheat": X})
    assert len(report.chains) == 2
    assert [report.chains[one]["verdict"] for one in chains] == ["fails", "verified"]
    assert verdict_of(store, chains[0])["verdict"] == "fails"
    final = (store.get_chain(chains[1]) or {})["fold_artifacts"]["fold_final"]
    store.get_artifact_path(final).unlink()
    report = store.verify(chains[1])
    assert (report.verdicts, report.is_sound) == ({"no files": 1}, True)


def test_who_wrote_waited_while_a_chain_was_loaded_and_predicted(
    store: WorkspaceStore, chains: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.import_workspace(tmp_path / "old")
    load, fitted, seen = ChainLoader.load, ChainLoader.fitted, []

    def watch(call: Any) -> Any:
        def watched(*args: Any, **kwargs: Any) -> Any:
            seen.append(store.is_in_transaction)
            return call(*args, **kwargs)

        return watched

    monkeypatch.setattr(ChainLoader, "load", watch(load))
    monkeypatch.setattr(ChainLoader, "fitted", watch(fitted))
    again = store.import_workspace(tmp_path / "old", trusted=True, spectra={"wheat": X[::-1]})
    assert again.verdicts == {"differs": 2}
    assert store.verify(spectra={"wheat": X[::-1]}).verdicts == {"differs": 2}
    assert store.verify(spectra={"wheat": X}).verdicts == {"verified": 2}
    assert seen
    assert not any(seen)


def test_a_chain_that_somebody_deletes_meanwhile_is_not_told_of(
    store: WorkspaceStore, chains: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.import_workspace(tmp_path / "old")
    load = ChainLoader.load

    def delete(*args: Any) -> Any:
        if store.get_run("the run"):
            store.delete_run("the run")
        return load(*args)

    monkeypatch.setattr(ChainLoader, "load", delete)
    assert store.verify(trusted=True, spectra={"wheat": X}).chains == {}
    assert store.check(deep=True).findings == []


@pytest.mark.parametrize("folds", [{}, []])
def test_a_chain_of_which_nothing_was_compared_was_verified(
    store: WorkspaceStore, chains: tuple[str, str], tmp_path: Path, folds: Any
) -> None:
    store.import_workspace(tmp_path / "old")
    with store.unit_of_work() as uow:
        uow.whole_rows.change(Chain, chains[0], {"fold_artifacts": folds})
        uow.commit()
    told = store.verify(chains[0], trusted=True, spectra={"wheat": X}).chains[chains[0]]
    assert (told["verdict"], told["reason"]) == ("not checked", "its row names no model that predicts")


def test_damaged_arrays_of_one_chain_kept_all_others_from_being_verified(
    store: WorkspaceStore, chains: tuple[str, str], tmp_path: Path
) -> None:
    store.import_workspace(tmp_path / "old")
    damage = "UPDATE prediction_arrays SET layout = '{\"y_pred\": 3}' WHERE prediction_id IN "
    with store.unit_of_work() as uow:
        rows = "(SELECT prediction_id FROM predictions WHERE chain_id = :chain_id)"
        uow.session.execute(text(damage + rows), {"chain_id": chains[0]})
        uow.commit()
    report = store.verify(trusted=True, spectra={"wheat": X})
    assert [report.chains[one]["verdict"] for one in chains] == ["fails", "verified"]
    again = store.import_workspace(tmp_path / "old", trusted=True, spectra={"wheat": X})
    assert again.chains[chains[0]]["verdict"] == "fails"


def test_a_file_of_spectra_that_is_not_there_was_said_to_have_another_width(store: WorkspaceStore) -> None:
    with pytest.raises(InvalidInputError, match=r"^no\.csv cannot be read: there is no such file"):
        store.verify(spectra={"wheat": "no.csv"})
    with pytest.raises(InvalidInputError, match="spectra is str; give a dict"):
        store.verify(spectra="wheat=train.csv")  # type: ignore[arg-type]


def test_what_is_told_of_wrong_spectra_named_each_chain_and_not_the_run_to_give_them_by(
    store: WorkspaceStore, chains: tuple[str, str], tmp_path: Path
) -> None:
    store.import_workspace(tmp_path / "old")
    wrong = store.verify(trusted=True, spectra={"wheat": X[::-1]})
    (reason,) = {str(told["reason"]) for told in wrong.chains.values()}
    assert reason.endswith("by the id of the run: `nirs4all-store verify --trusted --spectra 'the run=FILE'`")
    narrow = store.verify(spectra={"wheat": X[:, 1:]})
    (reason,) = {str(told["reason"]) for told in narrow.chains.values()}
    assert reason.startswith("step 0 (StandardScaler) refused X of shape")
    few = store.verify(spectra={"wheat": X[:5]}).frame()["reason"][0]
    assert few.endswith("give the whole calibration, then the test set")


def test_the_command_that_checks_a_chain_that_does_not_wait_did_not_name_it(
    store: WorkspaceStore, chains: tuple[str, str], tmp_path: Path
) -> None:
    store.import_workspace(tmp_path / "old", trusted=True, spectra={"wheat": X})
    assert store.verify().chains == {}
    (reason,) = {str(told["reason"]) for told in store.verify("the run").chains.values()}
    assert "`nirs4all-store verify 'the run' --trusted --spectra wheat=FILE`" in reason


def test_ctrl_c_leaves_whole_chains(store: WorkspaceStore, chains: tuple[str, str], tmp_path: Path) -> None:
    store.import_workspace(tmp_path / "old")

    def stop(what: str, done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.verify(trusted=True, spectra={"wheat": X}, progress=stop)
    assert sorted(verdict_of(store, one)["verdict"] for one in chains) == ["not checked", "verified"]
    assert store.check(deep=True).findings == []


class Trap:
    """Writes a file when it is loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (Path(self.path),)


def test_nothing_is_loaded_that_nobody_trusts(store: WorkspaceStore, tmp_path: Path) -> None:
    old = OldWorkspace(tmp_path / "old")
    pipeline_id = old.pipeline(old.run("r"), "p")
    steps = [step(1, "Trap", old.artifact(Trap(str(tmp_path / "x")), "m"))]
    chain_id = old.chain(pipeline_id, steps, {"final": "m"}, {})
    old.prediction(pipeline_id, chain_id, "final", "test", y_pred=Y[TEST], sample_indices=TEST.tolist())
    old.close()
    store.import_workspace(tmp_path / "old")
    assert store.verify(spectra={"wheat": X}).verdicts == {"not checked": 1}
    assert not (tmp_path / "x").exists()


@pytest.fixture
def trained(store: WorkspaceStore) -> Iterator[tuple[WorkspaceStore, str]]:
    """Give a store that keeps the spectra of a run, with folds, a final model and a test set; and the chain's id."""
    data = {"X": X[TRAIN], "y": Y[TRAIN], "X_test": X[TEST], "y_test": Y[TEST], "name": "wheat"}
    config = [{"class": "sklearn.preprocessing.StandardScaler"}, FOLDS, RIDGE]
    rows = PipelineRunner(store, progress=False).run(config, data, name="trained", keep_spectra=True)
    yield store, rows["chain_id"][0]


def test_a_chain_that_was_trained_here_tells_whether_it_still_predicts_the_same(
    trained: tuple[WorkspaceStore, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, chain_id = trained
    assert store.verify().chains == {}, "nobody doubts it"
    report = store.verify(store.list_runs()["run_id"])
    assert report.verdicts == {"verified": 1}
    assert verdict_of(store, chain_id)["compared"] == 1, "of the final model the test set"
    attached = (store.get_chain(chain_id) or {})["attachments"]
    assert "domain" in attached
    predict = Ridge.predict
    with monkeypatch.context() as newer:
        newer.setattr(Ridge, "predict", lambda self, X: predict(self, X) + 0.01)
        found = store.verify(chain_id)
    told = found.chains[chain_id]
    assert (told["verdict"], "environment()" in str(told["reason"]), found.is_sound) == ("differs", True, False)
    assert told["difference"] == pytest.approx(0.01 / np.abs(store.replay_chain(chain_id, X[TEST])).max())
    assert verdict_of(store, chain_id)["verdict"] == "differs"
    assert store.verify().verdicts == {"verified": 1}
    assert (store.get_chain(chain_id) or {})["attachments"] == attached
    store.prune(store.list_runs()["run_id"][0], 1)
    assert store.check(deep=True).findings == []


def test_samples_are_those_that_training_saw_whatever_stands_between_them(store: WorkspaceStore) -> None:
    """Rows that were left out, test rows among the others, and a class that one of the folds has not seen."""
    kinds = [None if row == 3 else "ripe" if y > 0 else "unripe" for row, y in enumerate(Y)]
    kinds[0] = "green"
    table = pl.DataFrame({f"{1000 + 10 * place}": X[:, place] for place in range(8)})
    table = table.with_columns(kind=pl.Series(kinds), part=pl.Series(["cal", "cal", "test"] * 10))
    config = [FOLDS, {"model": {"class": "sklearn.linear_model.LogisticRegression"}}]
    data = {"X": table, "y": "kind", "split": "part"}
    rows = PipelineRunner(store, progress=False).run(config, data, refit=False, keep_spectra=True)
    assert {*rows["exclusion_count"]} == {0, 1}
    found = store.verify(rows["chain_id"][0])
    assert (found.verdicts, found.chains[rows["chain_id"][0]]["compared"]) == ({"verified": 1}, 2)


def test_spectra_that_are_not_kept_are_asked_for(store: WorkspaceStore) -> None:
    rows = PipelineRunner(store, progress=False).run([FOLDS, RIDGE], (X, Y), refit=False)
    (told,) = store.verify(rows["chain_id"][0], spectra={"dataset": X[::-1]}).chains.values()
    assert (told["verdict"], "dataset attach" in str(told["reason"])) == ("not checked", True)
    assert verdict_of(store, rows["chain_id"][0]) == {}
    store.attach_dataset((X, Y))
    assert store.verify(rows["chain_id"][0]).verdicts == {"verified": 1}


def test_what_is_not_there_is_named(store: WorkspaceStore, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no chain and no run 'nobody'"):
        store.verify("nobody")
    with pytest.raises(InvalidInputError, match="one width"):
        store.verify(spectra={"wheat": [X, X[:, :3]]})


def test_the_command_asks_all_that_wait_or_what_is_named(chains: tuple[str, str], tmp_path: Path) -> None:
    folder = str(tmp_path / "new")
    for name, rows in (("train", TRAIN), ("test", TEST)):
        pl.DataFrame(X[rows], schema=[str(number) for number in range(8)]).write_csv(tmp_path / f"{name}.csv")
    with WorkspaceStore(folder) as store:
        store.import_workspace(tmp_path / "old")

    def run(code: int, *more: str) -> str:
        done = CliRunner().invoke(app, ["verify", "-w", folder, *more])
        assert done.exit_code == code, done.output
        return " ".join(done.output.split())

    wrong = run(1, "--trusted", *(f"--spectra=wheat={tmp_path / name}.csv" for name in ("test", "train")))
    assert "chains differs by up to" in wrong
    spectra = [f"--spectra=wheat={tmp_path / name}.csv" for name in ("train", "test")]
    assert json.loads(run(0, "screen", "--json", *spectra))["verdicts"] == {"verified": 2}
    assert "no imported chain waits" in run(0)
    with WorkspaceStore(folder, read_only=True) as store:
        shown = dict(views.lines_of(views.details_of(store, "chains", chains[0])))
        assert '"verdict": "verified"' in shown["verification"]
        with pytest.raises(ReadOnlyError):
            store.verify()
