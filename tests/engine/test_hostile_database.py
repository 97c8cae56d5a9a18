"""A database from somebody else: opening and using it runs nothing of what is in it."""

from pathlib import Path

import duckdb
import pytest
from legacy import make_legacy
from sqlalchemy import text

from nirs4all_store import WorkspaceCorruptError, WorkspaceStore
from nirs4all_store.engine.duckdb import migrator
from nirs4all_store.testing.contract import add_chain, add_pipeline, add_prediction

FUNCTIONS = [
    '"+"(a, b)',
    '"-"(a, b)',
    '"~~"(a, b)',
    "greatest(a, b)",
    "count_star()",
    "count(a)",
    "sum(a)",
    "min(a)",
    "max(a)",
    "lower(a)",
    "row_number()",
    "isnan(a)",
    "coalesce(a, b)",
    "hash(a)",
    "current_database()",
]


def use(store: WorkspaceStore) -> None:
    run_id, pipeline_id = add_pipeline(store)
    chain_id = add_chain(store, pipeline_id)
    add_prediction(store, pipeline_id, chain_id=chain_id)
    look(store)
    store.delete_run(run_id)
    store.gc_artifacts()


def look(store: WorkspaceStore) -> None:
    assert store.top_predictions(3).height >= 1
    assert store.top_predictions(3, group_by="model_name").height >= 1
    assert store.query_predictions(model_class="PLS%", limit=1).height == 1
    run_id = store.list_runs(limit=5)["run_id"][0]
    assert store.get_run_log_summary(run_id).height == 1
    assert {finding.code for finding in store.check(deep=True).findings} == {"not-ours"}


def test_macros_that_have_the_names_of_functions_are_not_run(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path) as store:
        _, pipeline_id = add_pipeline(store)
        add_prediction(store, pipeline_id, chain_id=add_chain(store, pipeline_id))
        with store.unit_of_work() as uow:
            for function in FUNCTIONS:
                uow.session.execute(text(f"CREATE MACRO store.main.{function} AS error('a macro was run')"))
            for name in ("duckdb_tables", "duckdb_databases", "duckdb_columns", "duckdb_functions", "duckdb_triggers"):
                uow.session.execute(text(f"CREATE MACRO store.main.{name}() AS TABLE SELECT error('a macro was run')"))
            uow.commit()
        use(store)
    with pytest.raises(WorkspaceCorruptError, match=r"DROP MACRO \"\+\".*DROP MACRO TABLE duckdb_tables"):
        WorkspaceStore(tmp_path)
    with WorkspaceStore(tmp_path, read_only=True) as reader:
        look(reader)


def test_macros_in_an_old_database_are_not_run_by_its_upgrade(tmp_path: Path) -> None:
    make_legacy(tmp_path)
    with duckdb.connect(str(tmp_path / "store.duckdb")) as connection:
        connection.execute("CREATE MACRO coalesce(a, b) AS error('a macro was run')")
        connection.execute("CREATE MACRO to_json(a) AS error('a macro was run')")
    before = (tmp_path / "store.duckdb").read_bytes()
    with pytest.raises(WorkspaceCorruptError, match=r"macro \"coalesce\" .*macro to_json"):
        WorkspaceStore(tmp_path, upgrade=True)
    assert (tmp_path / "store.duckdb").read_bytes() == before


def test_migrations_alone_ran_the_macros_of_a_file(tmp_path: Path) -> None:
    make_legacy(tmp_path)
    database = tmp_path / "store.duckdb"
    with duckdb.connect(str(database)) as connection:
        connection.execute("CREATE MACRO coalesce(a, b) AS error('a macro was run')")
    with pytest.raises(WorkspaceCorruptError, match="DROP MACRO"):
        migrator.run(database, migrator.run_migrations, is_stamped=False)


@pytest.mark.parametrize("table", ["runs", "predictions", "alembic_version"])
def test_a_view_in_the_place_of_a_table_is_refused_and_not_run(tmp_path: Path, table: str) -> None:
    WorkspaceStore(tmp_path).close()
    with duckdb.connect(str(tmp_path / "store.duckdb")) as connection:
        connection.execute(f"ALTER TABLE {table} RENAME TO hidden")
        connection.execute(f"CREATE VIEW {table} AS SELECT *, error('a view was run') AS more FROM hidden")
    before = (tmp_path / "store.duckdb").read_bytes()
    for read_only in (False, True):
        with pytest.raises(WorkspaceCorruptError, match="view"):
            WorkspaceStore(tmp_path, read_only=read_only)
    assert (tmp_path / "store.duckdb").read_bytes() == before
