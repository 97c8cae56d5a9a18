"""${message}.

House rules. A revision is frozen once it has landed. One change each, ids 0001, 0002, ... It
imports no model and nothing of nirs4all_store. DuckDB alters nothing that has a key: build the
table anew, fill it, drop the old one, rename (see 0002). No foreign key, no secondary index.
"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """${message}."""
    ${upgrades if upgrades else "raise NotImplementedError"}
