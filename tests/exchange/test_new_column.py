"""A column that is added as docs/how-to/add-a-column.md says travels in bundles; those from before are read."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bundles import X, Y, chain_in
from sklearn.linear_model import Ridge

import nirs4all_store
from nirs4all_store import BundleError, WorkspaceStore
from nirs4all_store.engine.duckdb import migrator
from nirs4all_store.exchange.bundle_reader import read_bundle

REVISION = '''
"""Notes on predictions and chains."""

from alembic import op

revision = "0005"
down_revision = "0004"
rewrites = {}


def upgrade():
    for table in ("predictions", "chains"):
        op.execute(f"ALTER TABLE {table} ADD COLUMN notes VARCHAR")
'''
PROGRAM = """
import sys
from pathlib import Path
import nirs4all_store
from nirs4all_store import ChainRecord, PredictionRecord, WorkspaceStore

assert Path(nirs4all_store.__file__).is_relative_to(Path.cwd())
folder = Path(sys.argv[1])
with WorkspaceStore(folder / "here") as store:
    imported = store.import_bundle(folder / "before.n4a")
    store.export_chain(imported.chain_id, folder / "again.n4a")
    with store.unit_of_work() as uow:
        chain = uow.chains.get(imported.chain_id) | {"chain_id": None, "notes": "of a chain"}
        del chain["created_at"]
        chain_id = uow.chains.add(ChainRecord.of(chain))
        uow.artifacts.claim(uow.chains.artifact_ids(chain_id))
        for row in uow.predictions.of_chain(imported.chain_id):
            del row["created_at"]
            row |= {"prediction_id": None, "chain_id": chain_id, "notes": "of a prediction"}
            uow.predictions.add(PredictionRecord.of(row))
        uow.commit()
    store.export_chain(chain_id, folder / "noted.n4a")
with WorkspaceStore(folder / "there") as store:
    imported = store.import_bundle(folder / "noted.n4a")
    assert store.get_chain(imported.chain_id)["notes"] == "of a chain"
    assert store.query_predictions()["notes"].to_list() == 2 * ["of a prediction"]
    assert not store.import_bundle(folder / "noted.n4a").is_new
"""


def replaced(path: Path, old: str, new: str, times: int = 1) -> None:
    content = path.read_text()
    assert content.count(old) == times, (path, old)
    path.write_text(content.replace(old, new))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of the package with a column more in two tables."""
    package = Path(nirs4all_store.__file__).parent
    shutil.copytree(package, tmp_path / "nirs4all_store", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(migrator.script_folder(), tmp_path / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "migrations" / "versions" / "0005_notes.py").write_text(REVISION)
    replaced(tmp_path / "nirs4all_store/engine/duckdb/revisions.py", '"0004_owner")', '"0004_owner", "0005_notes")')
    models, records = (tmp_path / f"nirs4all_store/storage/{name}.py" for name in ("models", "records"))
    catalog = tmp_path / "migrations" / "catalogs" / "0005.sql"
    shutil.copy(catalog.with_name("0004.sql"), catalog)
    for last, kind, told in (("refit_context", "str", "VARCHAR"), ("source_index", "int", "INTEGER")):
        before = f"    {last}: Mapped[{kind} | None]\n    created_at: Mapped[datetime]\n"
        replaced(models, before, f"{before}    notes: Mapped[str | None]\n")
        replaced(records, f"    {last}: {kind} | None\n", f"    {last}: {kind} | None\n    notes: str | None = None\n")
        before = f"    {last} {told},\n    created_at TIMESTAMP NOT NULL"
        replaced(catalog, before, f"{before},\n    notes VARCHAR")
    return tmp_path


def test_a_new_column_travels_in_bundles_by_itself(checkout: Path, store: WorkspaceStore) -> None:
    store.export_chain(chain_in(store, [Ridge().fit(X, Y)]), checkout / "before.n4a")
    done = subprocess.run([sys.executable, "-c", PROGRAM, checkout], cwd=checkout, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr.decode()
    # What makes no use of the column is the same as before, here and there.
    before, again = (read_bundle(checkout / f"{name}.n4a") for name in ("before", "again"))
    assert before.content_sha256 == again.content_sha256
    with pytest.raises(BundleError, match=r"\['notes'\], where only"):
        read_bundle(checkout / "noted.n4a")
