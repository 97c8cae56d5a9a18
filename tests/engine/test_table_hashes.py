"""Blocks of a backup that were swapped, or are older than the rest, are found: the engine's own checksums miss them."""

import json
import random
import shutil
from pathlib import Path

import duckdb
import numpy as np

from nirs4all_store import WorkspaceStore
from nirs4all_store.engine.duckdb.table_hashes import NAME
from nirs4all_store.testing.contract import add_chain, add_pipeline

BLOCK = 2**18
FIRST_BLOCK = 3 * 4096


def filled(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    with WorkspaceStore(folder) as store:
        _, pipeline_id = add_pipeline(store)
        chain_id = add_chain(store, pipeline_id)
        record = {
            "chain_id": chain_id,
            "dataset_name": "wheat",
            "model_class": "PLS",
            "fold_id": "0",
            "partition": "val",
            "metric": "rmse",
            "task_type": "regression",
        }
        store.save_predictions(
            pipeline_id,
            [record | {"model_name": f"m{i}", "val_score": i, "y_pred": rng.random(200)} for i in range(3000)],
        )
        return store.backup(folder.with_name("backup"))


def values_of(database: Path) -> list[object]:
    with duckdb.connect(str(database), read_only=True) as connection:
        tables = ("predictions", "prediction_arrays")
        return [connection.execute(f"SELECT bit_xor(hash(t)) FROM {table} t").fetchall() for table in tables]


def test_swapped_blocks_of_a_backup_once_gave_other_values_silently(tmp_path: Path) -> None:
    backup = filled(tmp_path / "w")
    database = backup / "store.duckdb"
    whole, values, rng, silent = database.read_bytes(), values_of(database), random.Random(0), 0
    with WorkspaceStore(backup, read_only=True) as store:
        assert store.check(deep=True).is_sound
    blocks = range((len(whole) - FIRST_BLOCK) // BLOCK)
    for _ in range(6):
        one, other = (
            slice(start, start + BLOCK) for start in (FIRST_BLOCK + BLOCK * block for block in rng.sample(blocks, 2))
        )
        swapped = bytearray(whole)
        swapped[one], swapped[other] = whole[other], whole[one]
        database.write_bytes(swapped)
        try:
            has_other_values = values_of(database) != values
        except duckdb.Error:
            continue
        with WorkspaceStore(backup, read_only=True) as store:
            findings = store.check(deep=True).findings
        assert findings or not has_other_values
        silent += {finding.code for finding in findings} == {"other-content"}
    assert silent  # Else the engine has found them all, and nothing was tried.


def test_a_backup_that_was_written_to_is_not_compared_with_what_it_was(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path / "w") as store:
        store.begin_run("r")
        backup = store.backup(tmp_path / "backup")
    with WorkspaceStore(backup) as store:
        store.begin_run("another")
        assert store.check(deep=True).is_sound
    with WorkspaceStore(backup) as store:
        assert store.check(deep=True).is_sound
    shutil.copytree(backup, tmp_path / "copied")
    (tmp_path / "copied" / "store.duckdb.contents").write_text("[]")
    with WorkspaceStore(tmp_path / "copied") as store:
        assert [finding.code for finding in store.check(deep=True).findings] == ["other-content"]


def test_hashes_of_another_engine_made_a_sound_backup_damaged(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path / "w") as store:
        store.begin_run("r")
        backup = store.backup(tmp_path / "backup")
    told = json.loads((backup / NAME).read_text())
    told["tables"] = dict.fromkeys(told["tables"], "1 2")
    for version, codes in ((told["duckdb"], ["other-content"]), ("0.0.1", [])):
        (backup / NAME).write_text(json.dumps(told | {"duckdb": version}))
        with WorkspaceStore(backup, read_only=True) as store:
            assert sorted({finding.code for finding in store.check(deep=True).findings}) == codes
