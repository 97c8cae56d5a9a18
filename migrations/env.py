"""Run the migrations on the connection that `nirs4all_store.migrate` hands over."""

from alembic import context
from alembic.ddl.impl import DefaultImpl


class DuckDBImpl(DefaultImpl):
    """Tells Alembic what it has to know of DuckDB: DDL is part of a transaction."""

    __dialect__ = "duckdb"
    transactional_ddl = True


connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("open the workspace with WorkspaceStore(folder, upgrade=True) to upgrade it")
context.configure(connection=connection)
with context.begin_transaction():
    context.run_migrations()
