"""Runs of any size: what is done to all of one is done to some of its rows at a time."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from bundles import X, Y
from sklearn.linear_model import Ridge
from sqlalchemy import Select

from nirs4all_store import WorkspaceStore
from nirs4all_store.storage.repositories import artifact_references
from nirs4all_store.storage.table_gateway import Tables
from nirs4all_store.testing.contract import add_chain, add_pipeline, add_prediction

AT_ONCE = 2


def test_deleting_a_run_once_held_all_of_its_chains_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heights: list[int] = []
    frame = Tables.frame

    def counted(tables: Tables, query: Select[Any], *more: Any) -> pl.DataFrame:
        found = frame(tables, query, *more)
        heights.extend([found.height] * ("fold_artifacts" in found.columns))
        return found

    monkeypatch.setattr(Tables, "frame", counted)
    monkeypatch.setattr(artifact_references, "CHAINS_AT_ONCE", AT_ONCE)
    with WorkspaceStore(tmp_path) as store:
        run_id, pipeline_id = add_pipeline(store)
        _, other_pipeline = add_pipeline(store)
        kept = add_chain(store, other_pipeline)
        chains = [add_chain(store, pipeline_id) for _ in range(3 * AT_ONCE + 1)]
        foreign = add_prediction(store, other_pipeline, chain_id=chains[-1])
        model = store.save_artifact(Ridge(alpha=3.0).fit(X, Y), "Ridge", "model")
        last = store.save_chain(
            pipeline_id,
            [{"step_idx": 0, "operator_class": "Ridge", "params": {}, "artifact_id": None, "stateless": False}],
            0,
            "Ridge",
            fold_artifacts={"0": model},
        )
        path = store.get_artifact_path(model)
        heights.clear()
        assert store.delete_run(run_id) > len(chains)
        assert max(heights) <= AT_ONCE
        assert sum(heights) >= len(chains) + 1
        assert [store.get_chain(chain_id) for chain_id in (*chains, last)] == [None] * (len(chains) + 1)
        prediction = store.get_prediction(foreign)
        assert prediction is not None
        assert prediction["chain_id"] is None
        assert not path.exists()
        assert store.get_chain(kept) is not None
        assert store.check(deep=True).findings == []
