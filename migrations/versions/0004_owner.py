"""Owners of runs: NULL for those that began before they were known."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
rewrites: dict[str, set[str]] = {}


def upgrade() -> None:
    """Owners of runs."""
    op.execute("ALTER TABLE runs ADD COLUMN owner JSON")
