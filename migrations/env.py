"""Run the migrations: on the connection that the package hands over, or through the package's own upgrade."""

import os
from typing import Any

from alembic import context
from alembic.ddl.impl import DefaultImpl
from alembic.operations import MigrateOperation, Operations
from alembic.util import CommandError
from sqlalchemy import Connection, text


class DuckDBImpl(DefaultImpl):
    """Tells Alembic what it has to know of DuckDB: DDL is part of a transaction."""

    __dialect__ = "duckdb"
    transactional_ddl = True


@Operations.register_operation("rebuild_table")
class RebuildTable(MigrateOperation):
    """Gives a table other columns: DuckDB's ALTER can do little but add one where there is a key.

    Parameters
    ----------
    table : str
    columns : str
        All columns of the table as it shall be, as in CREATE TABLE.
    values : dict of str to str, optional
        For a column that does not come from the old one of the same name: the SQL that it comes from.
    """

    def __init__(self, table: str, columns: str, values: dict[str, str] | None = None) -> None:
        self.table, self.columns, self.values = table, columns, values or {}

    @classmethod
    def rebuild_table(cls, operations: Any, table: str, columns: str, values: dict[str, str] | None = None) -> None:
        """Build the table anew, fill it, drop the old one, and take its name."""
        operations.invoke(cls(table, columns, values))


@Operations.implementation_for(RebuildTable, replace=True)
def rebuild_table(operations: Any, operation: RebuildTable) -> None:
    """See `RebuildTable`."""
    table, new = operation.table, f"{operation.table}_new"
    connection = operations.get_bind()
    # As the driver has it: a colon in a value is no parameter.
    connection.exec_driver_sql(f"CREATE TABLE {new} ({operation.columns})")
    names = text(
        "SELECT column_name FROM duckdb_columns() WHERE schema_name = 'main' AND table_name = :table "
        "ORDER BY column_index"
    )
    old_names, new_names = (connection.execute(names, {"table": name}).scalars().all() for name in (table, new))
    unknown = operation.values.keys() - set(new_names)
    if unknown:
        raise CommandError(f"{table} would have no column {sorted(unknown)}; it has {list(new_names)}")
    filled = [name for name in new_names if name in operation.values or name in old_names]
    into = ", ".join(f'"{name}"' for name in filled)
    values = ", ".join(operation.values.get(name, f'"{name}"') for name in filled)
    connection.exec_driver_sql(f"INSERT INTO {new} ({into}) SELECT {values} FROM {table}")
    connection.exec_driver_sql(f"DROP TABLE {table}")
    connection.exec_driver_sql(f"ALTER TABLE {new} RENAME TO {table}")


def run_migrations(connection: Connection) -> None:
    """Run what Alembic was asked for, inside the connection's transaction."""
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()


def run_command() -> None:
    """Do what Alembic's command line was asked for, in the way that the package does it, or refuse."""
    from nirs4all_store import StoreError, cli, inspect_workspace

    options = context.config.cmd_opts
    command = options.cmd[0].__name__ if options else "this"
    workspace = context.get_x_argument(as_dictionary=True).get("workspace") or os.environ.get("NIRS4ALL_WORKSPACE")
    folder = workspace or "workspace"
    try:
        if command == "current":
            context.config.print_stdout(inspect_workspace(folder).revision)
        elif command == "check":
            found = inspect_workspace(folder).revision
            if found != context.get_head_revision():
                raise CommandError(f"{folder} stands at revision {found}: `upgrade head` is the way up")
        elif command != "upgrade" or context.is_offline_mode() or not to_head():
            raise CommandError(
                f"alembic {command} cannot do this to a workspace: `upgrade head` is the way up, "
                "the copy that it keeps the way back"
            )
        else:
            cli.show_upgrade(folder, migrations=run_migrations)
    except StoreError as error:
        raise CommandError(str(error)) from error


def to_head() -> bool:
    """Tell whether the newest revision was asked for."""
    return context.get_revision_argument() == context.get_head_revision()


connection = context.config.attributes.get("connection")
if connection is not None:
    run_migrations(connection)
else:
    run_command()
