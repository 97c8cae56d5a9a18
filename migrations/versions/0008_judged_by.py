"""By what pipelines were judged: NULL for those that were trained before it was known."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None
rewrites: dict[str, set[str]] = {}


def upgrade() -> None:
    """Add by what a pipeline was judged."""
    op.execute("ALTER TABLE pipelines ADD COLUMN judged_by JSON")
