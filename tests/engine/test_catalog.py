"""What acts by itself in a database is refused by name, with what removes it, and not a byte is changed."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from legacy import make_legacy
from programs import run
from samples import all_but_few, slow

from nirs4all_store import (
    UntrustedArtifactError,
    WorkspaceCorruptError,
    WorkspaceStore,
    inspect_workspace,
    recover_workspace,
    upgrade_workspace,
)
from nirs4all_store.engine.duckdb import migrator
from nirs4all_store.engine.duckdb.catalog import Extra, differences
from nirs4all_store.testing.contract import X, add_chain, add_pipeline

SHARED = Path(__file__).parents[3] / "shared" / "old_workspaces"

# What makes a table of ours, as a name: it was taken for the table itself.
AS_A_TABLE = next(
    line
    for line in migrator.printed_schema(migrator.HEAD).replace(",\n    ", ", ").splitlines()
    if line.startswith("CREATE TABLE logs(")
).replace('"', '""')
# What is put into a sound workspace, and how the message names it.
MORE = {
    "trigger": (
        "CREATE TRIGGER steal AFTER INSERT ON runs FOR EACH STATEMENT UPDATE artifacts SET trust = NULL",
        "trigger steal on runs",
        "DROP TRIGGER steal ON runs",
    ),
    "odd-trigger": (
        """CREATE TABLE lab_notes(text VARCHAR); CREATE TRIGGER "order; -- " BEFORE DELETE ON artifacts
                    FOR EACH STATEMENT INSERT INTO lab_notes VALUES ('x')""",
        'trigger "order; -- " on artifacts',
        'DROP TRIGGER "order; -- " ON artifacts',
    ),
    "trigger-named-as-a-table": (
        f'CREATE TRIGGER "{AS_A_TABLE}" AFTER INSERT ON runs FOR EACH STATEMENT UPDATE artifacts SET trust = NULL',
        f'trigger "{AS_A_TABLE}" on runs',
        f'DROP TRIGGER "{AS_A_TABLE}" ON runs',
    ),
    "view-named-as-a-table": (
        f'CREATE VIEW "{AS_A_TABLE}" AS SELECT 1 AS one',
        f'view "{AS_A_TABLE}"',
        f'DROP VIEW "{AS_A_TABLE}"',
    ),
    "view": ("CREATE VIEW best AS SELECT max(val_score) AS score FROM predictions", "view best", "DROP VIEW best"),
    "catalog-view": ("CREATE VIEW duckdb_tables AS SELECT 1 AS one", "view duckdb_tables", "DROP VIEW duckdb_tables"),
    "view-elsewhere": (
        'CREATE SCHEMA "select"; CREATE VIEW "select".best AS SELECT 1 AS one',
        'view "select".best',
        'DROP VIEW "select".best',
    ),
    "macro": ("CREATE MACRO lower(a) AS error('a macro was run')", "macro lower", "DROP MACRO lower"),
    "table-macro": ("CREATE MACRO rows() AS TABLE SELECT * FROM runs", "macro rows", "DROP MACRO TABLE rows"),
    "function": ("CREATE SCHEMA lab; CREATE FUNCTION lab.f(a) AS a + 1", "macro lab.f", "DROP MACRO lab.f"),
    "sequence": ("CREATE SEQUENCE numbers", "sequence numbers", "DROP SEQUENCE numbers"),
    "type": ("CREATE TYPE mood AS ENUM ('good', 'bad')", "type mood", "DROP TYPE mood"),
    "index": ("CREATE INDEX by_name ON runs(name)", "index by_name", "DROP INDEX by_name"),
    "computing-index": ("CREATE INDEX by_name ON runs((upper(name)))", "index by_name", "DROP INDEX by_name"),
    "column": (
        "ALTER TABLE chains ADD COLUMN notes VARCHAR",
        "column chains.notes",
        "ALTER TABLE chains DROP COLUMN notes",
    ),
    "default": (
        "ALTER TABLE runs ALTER COLUMN summary SET DEFAULT to_json(now()::VARCHAR)",
        "default of runs.summary",
        "ALTER TABLE runs ALTER COLUMN summary DROP DEFAULT",
    ),
    "own-default": (
        "CREATE TABLE notes(text VARCHAR DEFAULT concat('a', 'b, c'), n INTEGER)",
        'default of notes."text"',
        'ALTER TABLE notes ALTER COLUMN "text" DROP DEFAULT',
    ),
    "own-generated": (
        "CREATE TABLE notes(n INTEGER, twice INTEGER GENERATED ALWAYS AS (n * 2))",
        "column notes.twice",
        "CREATE TABLE notes_new AS FROM notes; DROP TABLE notes; ALTER TABLE notes_new RENAME TO notes",
    ),
    "own-check": (
        "CREATE TABLE notes(n INTEGER CHECK (n IN (1, 2)), m INTEGER UNIQUE)",
        "CHECK((n IN (1, 2))) of notes",
        "CREATE TABLE notes_new AS FROM notes; DROP TABLE notes; ALTER TABLE notes_new RENAME TO notes",
    ),
    "foreign-key": (
        "CREATE TABLE notes(run_id VARCHAR REFERENCES runs(run_id))",
        "FOREIGN KEY",
        "CREATE TABLE notes_new AS FROM notes; DROP TABLE notes; ALTER TABLE notes_new RENAME TO notes",
    ),
    "nested-schema": (
        "CREATE SCHEMA lab; CREATE SCHEMA lab.hidden",
        "schema lab.hidden",
        "DROP SCHEMA lab.hidden CASCADE",
    ),
}
FEW_MORE = (
    "trigger",
    "trigger-named-as-a-table",
    "view-named-as-a-table",
    "macro",
    "index",
    "own-default",
    "own-generated",
    "own-check",
)
# A table of ours made anew: its columns, as they are printed, with something in one of them.
ANEW = {
    "generated": (
        '"name" VARCHAR NOT NULL',
        "\"name\" VARCHAR GENERATED ALWAYS AS (concat(run_id, 'x'))",
        'runs."name"',
    ),
    "check": ("summary JSON", "summary JSON CHECK (summary IS NULL)", "CHECK("),
    "unique": ("summary JSON", "summary JSON UNIQUE", "UNIQUE(summary)"),
    "collation": ("run_id VARCHAR", "run_id VARCHAR COLLATE NOCASE", "column runs.run_id"),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a workspace with some of everything, which stays as it is."""
    folder = tmp_path_factory.mktemp("sound") / "w"
    with WorkspaceStore(folder) as store:
        add_chain(store, add_pipeline(store)[1])
    return folder


def put_into(folder: Path, statements: str) -> None:
    with duckdb.connect(str(folder / "store.duckdb")) as connection:
        connection.execute(statements)


def bytes_of(folder: Path) -> dict[str, str]:
    """Return what every file but the lock file's own holds."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".store.lock"
    }


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(WorkspaceCorruptError) as error:
        act()
    return str(error.value)


def is_refused_everywhere(folder: Path) -> str:
    """Make sure that nothing works on a workspace, and changes nothing; return why."""
    before = bytes_of(folder)
    messages = [
        refused(lambda: WorkspaceStore(folder, upgrade=True)),
        refused(lambda: upgrade_workspace(folder)),
        refused(lambda: recover_workspace(folder)),
        refused(lambda: upgrade_workspace(folder, dry_run=True)),
    ]
    assert len(set(messages)) == 1
    inspect_workspace(folder)
    assert bytes_of(folder) == before
    return messages[0]


def more_in(folder: Path) -> list[Extra]:
    with duckdb.connect(str(folder / "store.duckdb"), read_only=True) as connection:
        connection.execute("SET search_path = 'system.main,store.main'")
        return differences(connection, "store", migrator.printed_schema(migrator.HEAD)).more


@pytest.mark.parametrize("kind", all_but_few(MORE, FEW_MORE))
def test_what_acts_by_itself_is_named_with_what_removes_it(tmp_path: Path, sound: Path, kind: str) -> None:
    statements, name, drop = MORE[kind]
    folder = shutil.copytree(sound, tmp_path / "w")
    put_into(folder, statements)
    (found,) = more_in(folder)
    assert name in found.what
    assert found.drop == drop
    put_into(folder, found.drop)
    assert more_in(folder) == []


def test_what_uses_another_thing_once_was_to_be_removed_after_it(tmp_path: Path, sound: Path) -> None:
    folder = shutil.copytree(sound, tmp_path / "w")
    put_into(folder, "CREATE SEQUENCE numbers; CREATE TABLE notes(n BIGINT DEFAULT nextval('numbers'))")
    put_into(folder, "CREATE TYPE mood AS ENUM ('good'); ALTER TABLE chains ADD COLUMN mood mood")
    put_into(folder, "CREATE INDEX by_mood ON chains(mood)")
    put_into(folder, "; ".join(found.drop for found in more_in(folder)))
    assert more_in(folder) == []


@pytest.mark.parametrize("kind", all_but_few(ANEW, ("generated", "check")))
def test_a_table_of_ours_that_computes_or_refuses_is_named(tmp_path: Path, sound: Path, kind: str) -> None:
    old, new, name = ANEW[kind]
    folder = shutil.copytree(sound, tmp_path / "w")
    with duckdb.connect(str(folder / "store.duckdb")) as connection:
        ((sql,),) = connection.execute("SELECT sql FROM duckdb_tables() WHERE table_name = 'runs'").fetchall()
        assert old in sql
        connection.execute(sql.replace(old, new).replace("runs(", "other("))
        generated = "EXCLUDE (name)" if kind == "generated" else ""
        connection.execute(f"INSERT INTO other BY NAME SELECT * {generated} FROM runs")
        connection.execute("DROP TABLE runs; ALTER TABLE other RENAME TO runs")
    (found,) = more_in(folder)
    assert name in found.what
    put_into(folder, found.drop)
    assert more_in(folder) == []
    with WorkspaceStore(folder) as store:
        assert store.list_runs().height == 1


@pytest.mark.parametrize(
    "kinds",
    [
        ["trigger"],
        slow(["macro"]),
        slow(["column", "own-generated", "view", "sequence"]),
    ],
)
def test_what_acts_by_itself_in_a_database_once_acted_in_our_own_writes(
    tmp_path: Path, sound: Path, kinds: list[str]
) -> None:
    folder = shutil.copytree(sound, tmp_path / "w")
    for kind in kinds:
        put_into(folder, MORE[kind][0])
    before = bytes_of(folder)
    message = is_refused_everywhere(folder)
    assert refused(lambda: WorkspaceStore(folder)) == message
    with WorkspaceStore(folder, read_only=True) as reader:
        assert reader.list_runs().height == 1
        found = [finding for finding in reader.check().findings if finding.code == "not-ours"]
        assert refused(lambda: reader.backup(tmp_path / "backup")) == message
    assert bytes_of(folder) == before
    assert not (tmp_path / "backup").exists()
    assert len(found) == len(kinds)
    for kind in kinds:
        _, name, drop = MORE[kind]
        assert name in message
        assert drop in message
        assert any(name in finding.subject and drop in finding.message for finding in found)
        put_into(folder, drop)
    with WorkspaceStore(folder) as store:
        store.begin_run("it works again")
        assert store.check(deep=True).is_sound


def test_a_trigger_once_had_an_untrusted_bundle_unpickled(tmp_path: Path) -> None:
    with WorkspaceStore(tmp_path / "origin") as origin:
        chain_id = add_chain(origin, add_pipeline(origin)[1])
        bundle = origin.export_chain(chain_id, tmp_path / "from-anywhere.n4a")
    WorkspaceStore(tmp_path / "w").close()
    for table in ("runs", "chains", "predictions"):
        put_into(
            tmp_path / "w",
            f"CREATE TRIGGER t_{table} AFTER INSERT ON {table} FOR EACH STATEMENT UPDATE artifacts SET trust = NULL",
        )
    with pytest.raises(WorkspaceCorruptError, match="trigger t_runs on runs"), WorkspaceStore(tmp_path / "w") as store:
        imported = store.import_bundle(bundle)
        with pytest.raises(UntrustedArtifactError):
            store.replay_chain(imported.chain_id, X)


def test_a_trigger_in_the_log_alone_once_was_folded_into_the_database(tmp_path: Path, sound: Path) -> None:
    folder = shutil.copytree(sound, tmp_path / "w")
    program = (
        f"import duckdb, os; c = duckdb.connect({str(folder / 'store.duckdb')!r}); c.execute({MORE['trigger'][0]!r}); "
        "os._exit(0)"
    )
    run(program)
    assert (folder / "store.duckdb.wal").exists()
    assert "DROP TRIGGER steal ON runs" in is_refused_everywhere(folder)


def test_a_trigger_in_a_damaged_log_was_recovered(tmp_path: Path, sound: Path) -> None:
    folder = shutil.copytree(sound, tmp_path / "w")
    statements = [MORE["trigger"][0], "CREATE TABLE notes (text VARCHAR)"]
    program = (
        f"import duckdb, os; c = duckdb.connect({str(folder / 'store.duckdb')!r}); "
        f"[c.execute(statement) for statement in {statements}]; os._exit(0)"
    )
    run(program)
    log = folder / "store.duckdb.wal"
    log.write_bytes(log.read_bytes()[:-20] + bytes(20))
    before = bytes_of(folder)
    assert "DROP TRIGGER steal ON runs" in refused(lambda: recover_workspace(folder))
    assert bytes_of(folder) == before


def test_what_comes_while_another_process_has_the_workspace_is_refused_too(tmp_path: Path, sound: Path) -> None:
    folder = shutil.copytree(sound, tmp_path / "w")
    with WorkspaceStore(folder) as store:
        with store._workspace._lock:  # A thread of its own looks whether it is to be let go.
            store._workspace._close()
        put_into(folder, MORE["trigger"][0])
        with pytest.raises(WorkspaceCorruptError, match="DROP TRIGGER steal ON runs"):
            store.begin_run("no")
        put_into(folder, MORE["trigger"][2])
        store.begin_run("yes")


@pytest.mark.parametrize("version", ["0.7.0", "0.7.1"])
def test_what_nirs4all_itself_wrote_has_nothing_more(tmp_path: Path, version: str) -> None:
    make_legacy(tmp_path / "w", version)
    with duckdb.connect(str(tmp_path / "w" / "store.duckdb"), read_only=True) as connection:
        assert differences(connection, "store", migrator.printed_schema("0001")).more == []
    if (SHARED / f"nirs4all-{version}").exists():
        shutil.copyfile(SHARED / f"nirs4all-{version}" / "store.duckdb", tmp_path / "real.duckdb")
        with duckdb.connect(str(tmp_path / "real.duckdb"), read_only=True) as connection:
            assert differences(connection, "real", migrator.printed_schema("0001")).more == []


def test_an_old_database_with_more_is_refused_before_its_upgrade(tmp_path: Path) -> None:
    make_legacy(tmp_path, "0.7.1")
    put_into(
        tmp_path,
        "CREATE INDEX mine ON runs((upper(name))); CREATE SEQUENCE s; "
        "ALTER TABLE logs ADD COLUMN more INTEGER DEFAULT nextval('s'); "
        "CREATE TRIGGER t AFTER INSERT ON logs FOR EACH STATEMENT DELETE FROM artifacts",
    )
    message = is_refused_everywhere(tmp_path)
    for statement in (
        "DROP TRIGGER t ON logs",
        "DROP INDEX mine",
        "DROP SEQUENCE s",
        "ALTER TABLE logs DROP COLUMN more",
    ):
        assert statement in message


@pytest.mark.parametrize(
    ("statement", "column", "wanted", "here"),
    [
        slow("ALTER TABLE runs DROP COLUMN summary", "runs.summary", "JSON", ""),
        ("ALTER TABLE predictions ALTER COLUMN val_score TYPE VARCHAR", "predictions.val_score", "DOUBLE", "VARCHAR"),
        ('ALTER TABLE logs ALTER COLUMN "event" TYPE DECIMAL(9, 2)', 'logs."event"', "VARCHAR", "DECIMAL(9,2)"),
    ],
)
def test_a_column_that_was_dropped_or_had_its_type_changed_once_was_not_reported(
    tmp_path: Path, sound: Path, statement: str, column: str, wanted: str, here: str
) -> None:
    folder = shutil.copytree(sound, tmp_path / "w")
    put_into(folder, f"DELETE FROM logs; {statement}")
    before = bytes_of(folder)
    with WorkspaceStore(folder, read_only=True) as reader:
        (found,) = (finding for finding in reader.check().findings if finding.code == "other-column")
    assert found.subject == column
    for text in (wanted, here or "no such column"):
        assert f"`{text}`" in found.message or text in found.message
    message = refused(lambda: WorkspaceStore(folder))
    assert f"column {column} is to be {wanted}, and is {here or 'not there'}" in message
    assert bytes_of(folder) == before


def test_an_upgrade_once_let_columns_of_another_type_come_along(tmp_path: Path) -> None:
    shutil.unpack_archive(Path(__file__).parents[1] / "golden" / "0003.zip", tmp_path)
    put_into(tmp_path, "ALTER TABLE runs ALTER COLUMN error TYPE JSON USING NULL")
    before = bytes_of(tmp_path)
    assert 'column runs."error" is to be VARCHAR, and is JSON' in refused(lambda: upgrade_workspace(tmp_path))
    assert bytes_of(tmp_path) == before


def test_each_revision_prints_as_it_is_written_down_so_that_looking_stays_fast(tmp_path: Path) -> None:
    WorkspaceStore(tmp_path / "new").close()
    make_legacy(tmp_path / "old")
    upgrade_workspace(tmp_path / "old")
    for name in ("new", "old"):
        with duckdb.connect(str(tmp_path / name / "store.duckdb"), read_only=True) as connection:
            # What is not printed the same is compared with a database that is made of this, which then fails.
            unusable = migrator.printed_schema(migrator.HEAD) + "SELECT error('compared');\n"
            assert differences(connection, "store", unusable) == ([], [])


def test_tables_that_only_hold_rows_stay(tmp_path: Path, sound: Path) -> None:
    folder = shutil.copytree(sound, tmp_path / "w")
    put_into(
        folder,
        """
        CREATE TABLE "my, (notes"(id INTEGER PRIMARY KEY, "DEFAULT" VARCHAR NOT NULL UNIQUE, "CHECK(" INTEGER);
        INSERT INTO "my, (notes" VALUES (1, 'x', 2); CREATE SCHEMA lab; CREATE TABLE lab.runs AS SELECT 1 AS one
        """,
    )
    with WorkspaceStore(folder) as store:
        store.begin_run("r")
        store.vacuum()
        assert store.sql('SELECT "DEFAULT" FROM "my, (notes"').item() == "x"
