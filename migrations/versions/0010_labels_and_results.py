"""Labels name what belongs together, as the runs of a project; results are documents about rows."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None
rewrites: dict[str, set[str]] = {}

LABELS = """
CREATE TABLE labels(
    label_id VARCHAR PRIMARY KEY, kind VARCHAR NOT NULL, name VARCHAR NOT NULL, description VARCHAR, color VARCHAR,
    created_at TIMESTAMP NOT NULL, updated_at TIMESTAMP NOT NULL
)
"""
LINKS = """
CREATE TABLE label_links(
    link_id VARCHAR PRIMARY KEY, label_id VARCHAR NOT NULL, owner_kind VARCHAR NOT NULL, owner_id VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL
)
"""
RESULTS = """
CREATE TABLE results(
    result_id VARCHAR PRIMARY KEY, kind VARCHAR NOT NULL, name VARCHAR, run_id VARCHAR, pipeline_id VARCHAR,
    chain_id VARCHAR, prediction_id VARCHAR, fingerprint VARCHAR NOT NULL, document VARCHAR NOT NULL, details JSON,
    created_at TIMESTAMP NOT NULL
)
"""


def upgrade() -> None:
    """Make the three tables, which are empty."""
    for table in (LABELS, LINKS, RESULTS):
        op.execute(table)
