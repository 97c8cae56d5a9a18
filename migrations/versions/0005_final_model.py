"""What hangs on a chain: attached objects, which model predicts, what it is a refit of, whether it was verified.

NULL for all chains so far: nothing is attached, and the models of all folds predict together.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None
rewrites: dict[str, set[str]] = {}


def upgrade() -> None:
    """Add what hangs on a chain."""
    op.execute("ALTER TABLE chains ADD COLUMN attachments JSON")
    op.execute("ALTER TABLE chains ADD COLUMN predict_fold VARCHAR")
    op.execute("ALTER TABLE chains ADD COLUMN refit_of VARCHAR")
    op.execute("ALTER TABLE chains ADD COLUMN verification JSON")
