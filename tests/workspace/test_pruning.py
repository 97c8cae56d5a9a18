"""Pruning takes the fitted objects of the losers of a run, and nothing else."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler
from sqlalchemy import text
from typer.testing import CliRunner

from nirs4all_store import ChainReplayError, InvalidInputError, NotFoundError, PipelineRunner, WorkspaceStore, views
from nirs4all_store.cli import app
from nirs4all_store.testing.contract import X as CONTRACT_X
from nirs4all_store.testing.contract import add_chain, add_pipeline, add_prediction

rng = np.random.default_rng(0)
X = rng.normal(size=(30, 6))
Y = X[:, 0] + rng.normal(size=30) / 10
ALPHAS = [1e3, 1.0, 10.0, 1e2]
CONFIG = [KFold(3), StandardScaler(), {"_or_": [Ridge(alpha) for alpha in ALPHAS]}]


def trained(store: WorkspaceStore, config: Any = CONFIG, data: Any = (X, Y)) -> tuple[str, list[str]]:
    """Train; return the run's id, and the chains, best first."""
    runner = PipelineRunner(store)
    ranked = runner.run(config, data)
    assert runner.run_id is not None
    return runner.run_id, ranked["chain_id"].unique(maintain_order=True).to_list()


def on_disk(store: WorkspaceStore) -> dict[str, int]:
    return dict(store.sql("SELECT artifact_path, size_bytes FROM artifacts").iter_rows())


def test_losers_lose_their_objects_and_keep_their_scores(store: WorkspaceStore, tmp_path: Path) -> None:
    run_id, chains = trained(store)
    _, others = trained(store, [KFold(3), Ridge(3.0)])
    expected, before = store.replay_chain(chains[0], X), on_disk(store)
    predictions = store.query_predictions()
    store.replay_chain(chains[2], X)  # What was loaded is kept for the next replay.
    plan = store.prune(run_id, 2, dry_run=True)
    assert (on_disk(store), store.replay_chain(chains[2], X).shape) == (before, (30,))
    report = store.prune(run_id, 2)
    assert set(report.chains["chain_id"]) == set(plan.chains["chain_id"]) == set(chains[2:])
    assert report.chains.columns[-1] == "val_score"
    gone = {path: size for path, size in before.items() if path not in on_disk(store)}
    # Four models each; the scalers are those of the winners, too.
    assert (report.files, report.size_bytes) == (plan.files, plan.size_bytes) == (len(gone), sum(gone.values()))
    assert len(gone) == 2 * 4
    np.testing.assert_array_equal(store.replay_chain(chains[0], X), expected)
    assert store.replay_chain(others[0], X).shape == (30,)
    for chain_id in chains[2:]:
        asked: list[tuple[Any, Any]] = [
            (store.replay_chain, X),
            (store.load_chain, None),
            (store.export_chain, tmp_path / "m"),
        ]
        for ask, argument in asked:
            with pytest.raises(ChainReplayError, match="was pruned: its scores and predictions are kept"):
                ask(chain_id, argument)
        assert views.show(store, "chains", chain_id).answer.endswith("not kept, so that it cannot predict")
    assert store.query_predictions().equals(predictions)
    assert store.get_prediction(predictions["prediction_id"][-1], load_arrays=True)["y_pred"] is not None
    assert store.check(deep=True).is_sound
    assert store.prune(run_id, 2).chains.is_empty()
    assert set(store.prune(run_id, 1).chains["chain_id"]) == {chains[1]}
    assert store.prune(run_id, 2).chains.is_empty(), "what was pruned before is not damaged"
    store.delete_run(run_id)
    assert store.check(deep=True).is_sound


def test_what_is_shared_by_losers_alone_goes_and_unread_saves_stay(store: WorkspaceStore) -> None:
    run_id, chains = trained(store, [KFold(3), {"_or_": [[StandardScaler(), Ridge(1e3)], Ridge()]}])
    loser = store.get_chain(chains[1])
    assert loser is not None
    scaler = loser["fold_artifacts"]["fold_0"][0]
    again = store.save_artifact(store.load_artifact(scaler), "StandardScaler", "transformer")
    assert again == scaler, "this save waits for its chain"
    # Of three folds and of all samples a scaler and a model, of which one stays, and what the calibration covers.
    assert store.prune(run_id, 1).files == 8
    assert store.load_artifact(scaler) is not None
    assert store.check(deep=True).is_sound


def test_the_best_of_each_metric_are_kept(store: WorkspaceStore) -> None:
    y = np.arange(30) % 2
    config = [KFold(3), {"_or_": [Ridge(), Ridge(1e4), LogisticRegression(), LogisticRegression(C=1e-6)]}]
    run_id, _ = trained(store, config, (X, y))
    pruned = store.prune(run_id, 1, dry_run=True).chains
    assert sorted(pruned["metric"]) == ["balanced_accuracy", "rmse"]


def test_a_pruned_pipeline_is_not_trained_again_by_resume(store: WorkspaceStore) -> None:
    run_id, _ = trained(store)
    store.prune(run_id, 1)
    PipelineRunner(store).run(CONFIG, (X, Y), resume=True)
    assert store.list_pipelines().height == len(ALPHAS)


@pytest.mark.parametrize("damage", ["fold_artifacts = '5'", "steps = '[5]'", "chain_id = 'other'"])
def test_sound_losers_once_lost_their_objects_to_a_best_chain_that_is_damaged(
    store: WorkspaceStore, damage: str
) -> None:
    _, pipeline_id = add_pipeline(store)
    best, second = add_chain(store, pipeline_id), add_chain(store, pipeline_id, 3)
    for chain_id, score in ((best, 0.1), (second, 0.2)):
        add_prediction(store, pipeline_id, chain_id=chain_id, fold_id="avg", val_score=score)
    with store.unit_of_work() as uow:
        uow.session.execute(text(f"UPDATE chains SET {damage} WHERE chain_id = :chain_id"), {"chain_id": best})
        uow.commit()
    before, run_id = on_disk(store), store.list_runs()["run_id"][0]
    for dry_run in (True, False):
        with pytest.raises(ChainReplayError, match=f"chain {best} is among the best.*; nothing was pruned"):
            store.prune(run_id, keep_best=1, dry_run=dry_run)
    assert on_disk(store) == before
    assert store.replay_chain(second, CONTRACT_X).shape[0] == len(CONTRACT_X)


def test_what_cannot_be_pruned_is_refused(store: WorkspaceStore) -> None:
    run_id, _ = trained(store)
    with pytest.raises(InvalidInputError, match="keep one chain at least"):
        store.prune(run_id, 0)
    with pytest.raises(NotFoundError, match="no run 'x'"):
        store.prune("x", 1)


def test_the_shell_shows_what_would_go_and_asks(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path / "w") as store:
        run_id, _ = trained(store)
        before = on_disk(store)

    def command(*arguments: str, answer: str = "n\n") -> str:
        line = ["prune", run_id, "--keep-best", "1", "--workspace", str(tmp_path / "w"), *arguments]
        return CliRunner().invoke(app, line, input=answer).output

    told = command("--dry-run")
    assert told.count("Ridge") == 3 and "would remove the fitted objects of 3 chains: 12 files, " in told
    assert [row["metric"] for row in json.loads(command("--dry-run", "--json"))] == ["rmse"] * 3
    assert "give them with --dry-run" in command("--json")
    for answer in ("n\n", ""):
        told = command(answer=answer)
        assert f"Of run {run_id[-8:]} (" in told, "the question named nothing"
        assert "nothing was removed; answer y, or give --yes not to be asked\n" in told
    with WorkspaceStore(tmp_path / "w") as store:
        assert on_disk(store) == before
    assert "removed the fitted objects of 3 chains: 12 files" in command("--yes")
    with WorkspaceStore(tmp_path / "w", read_only=True) as store:
        assert len(on_disk(store)) == len(before) - 12
        assert store.sql("SELECT count(*) AS n FROM chains WHERE fold_strategy = 'score_only'").equals(
            pl.DataFrame({"n": [3]})
        )
