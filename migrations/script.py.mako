"""${message[0].upper() + message[1:]}.

House rules. A revision is frozen once it has landed: one change each, ids 0001, 0002, ... It imports
no model and nothing of nirs4all_store, for those change. No foreign key, no secondary index. DuckDB's
ALTER adds a column; for anything else op.rebuild_table(table, columns, values) builds the table anew.
`rewrites` names the columns whose values may not be as they were: all others are compared with the
copy of the old database, and an upgrade that changed one is refused.
"""

from alembic import op

revision = "${up_revision}"
down_revision = "${down_revision}"
branch_labels = None
depends_on = None
rewrites: dict[str, set[str]] = {}


def upgrade() -> None:
    """${message[0].upper() + message[1:]}."""
    ${upgrades if upgrades else "raise NotImplementedError"}
