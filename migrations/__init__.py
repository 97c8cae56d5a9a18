"""Alembic imports this where it looks for the revisions of an installed package, by `installed.ini`."""

from nirs4all_store.engine.duckdb.migrator import refuse_to_change_the_package

refuse_to_change_the_package()
