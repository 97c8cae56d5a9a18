"""Trust in artifacts that came from elsewhere: NULL for what the workspace saved itself, as all of it was so far."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None
rewrites: dict[str, set[str]] = {}


def upgrade() -> None:
    """Trust in artifacts that came from elsewhere."""
    op.execute("ALTER TABLE artifacts ADD COLUMN trust JSON")
