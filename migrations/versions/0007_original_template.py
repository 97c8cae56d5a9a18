"""Configurations as they were written: NULL for the pipelines so far, of which only the expanded ones are known."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None
rewrites: dict[str, set[str]] = {}


def upgrade() -> None:
    """Add the configuration as its author wrote it."""
    op.execute("ALTER TABLE pipelines ADD COLUMN original_template JSON")
