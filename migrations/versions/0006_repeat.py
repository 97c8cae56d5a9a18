"""Repeats of a cross-validation: NULL where there was one only, or nobody knows."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None
rewrites: dict[str, set[str]] = {}


def upgrade() -> None:
    """Add the repeat of a cross-validation that a fold belongs to."""
    op.execute("ALTER TABLE predictions ADD COLUMN repeat INTEGER")
