"""Parquet is written range by range, and holds what a query returns, in its order."""

import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from samples import slow
from sqlalchemy import text

from nirs4all_store import OutputPathError, WorkspaceStore
from nirs4all_store.engine.duckdb import row_io
from nirs4all_store.testing.contract import add_pipeline, add_prediction


def fill(store: WorkspaceStore) -> None:
    _, pipeline_id = add_pipeline(store)
    with store.transaction():
        for number in range(100):
            add_prediction(store, pipeline_id, prediction_id=f"p{number * 7 % 100:03}", val_score=number / 10)


@pytest.fixture
def filled(store: WorkspaceStore) -> WorkspaceStore:
    fill(store)
    return store


@pytest.fixture(scope="module")
def only_read(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkspaceStore]:
    with WorkspaceStore(tmp_path_factory.mktemp("parquet") / "workspace") as store:
        fill(store)
        yield store


@pytest.mark.parametrize("at_once", [7, 100, *(slow(n) for n in (1, 99, 101))])
@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"limit": 13},
        {"offset": 95},
        {"limit": 30, "offset": 33},
        {"limit": 0},
        {"offset": 500},
        {"limit": 500, "offset": 1},
        {"fold_id": "0", "limit": 50},
        {"fold_id": "no"},
    ],
)
def test_the_rows_are_those_of_the_query(
    only_read: WorkspaceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int, filters: dict[str, Any]
) -> None:
    monkeypatch.setattr(row_io, "BATCH_ROWS", at_once)
    path = only_read.export_predictions_parquet(tmp_path / "rows", **filters)
    expected = only_read.query_predictions(**filters)
    assert pl.read_parquet(path).equals(expected)
    assert pl.read_parquet(path).schema == expected.schema


def test_many_rows_of_one_time_are_written_too(
    filled: WorkspaceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled.unit_of_work() as uow:
        same = "CASE WHEN prediction_id < 'p050' THEN TIMESTAMP '2020-01-01' ELSE created_at END"
        uow.session.execute(text(f"UPDATE predictions SET created_at = {same}"))
        uow.commit()
    monkeypatch.setattr(row_io, "BATCH_ROWS", 9)
    path = filled.export_predictions_parquet(tmp_path / "rows")
    assert pl.read_parquet(path).equals(filled.query_predictions())


@pytest.mark.parametrize(("limit", "offset"), [(0, 0), (1, 0), (7, 3), (50, 45), (49, 51), (100, 0), (5, 98), (9, 100)])
def test_a_page_of_a_query_is_a_slice_of_it(filled: WorkspaceStore, limit: int, offset: int) -> None:
    with filled.unit_of_work() as uow:
        uow.session.execute(
            text("UPDATE predictions SET created_at = date_trunc('day', created_at) WHERE prediction_id > 'p040'")
        )
        uow.commit()
    whole = filled.query_predictions(dataset_name="wheat")
    assert whole.height == 100
    page = filled.query_predictions(dataset_name="wheat", limit=limit, offset=offset)
    assert page.equals(whole.slice(offset, limit))


PEAK = 'int(re.search(r"VmHWM:\\s*([0-9]+) kB", open("/proc/self/status").read())[1]) // 1024'


@pytest.mark.slow
def test_a_million_predictions_with_arrays_in_one_transaction_take_less_than_a_gigabyte(tmp_path: Path) -> None:
    program = f"""
import re, sys
import numpy as np
from nirs4all_store import WorkspaceStore
from nirs4all_store.testing.contract import add_pipeline, add_prediction
y, indices = np.random.default_rng(0).normal(size=200), np.arange(200)
with WorkspaceStore({str(tmp_path)!r}) as store:
    _, pipeline_id = add_pipeline(store)
    with store.transaction():
        for _ in range(1_000_000):
            store.save_prediction_arrays(add_prediction(store, pipeline_id), y, y, None, indices)
    saved = {PEAK}
    store.export_predictions_parquet({str(tmp_path / "rows")!r})
    print(saved, {PEAK})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    saved, exported = map(int, re.findall(r"\d+", done.stdout))
    assert saved < 1000
    assert exported < 1000
    assert pl.scan_parquet(tmp_path / "rows.parquet").select(pl.len()).collect().item() == 1_000_000


def test_a_disk_that_was_full_in_the_middle_once_was_an_error_of_the_engine(
    filled: WorkspaceStore, tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OutputPathError, match=r"rows\.parquet"):
            filled.export_predictions_parquet(tmp_path / "rows")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.glob("*rows*"))
    assert pl.read_parquet(filled.export_predictions_parquet(tmp_path / "rows")).height == 100
