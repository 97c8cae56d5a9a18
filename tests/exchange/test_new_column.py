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

NEXT = f"{int(migrator.HEAD) + 1:04}"
REVISION = f'''
"""Notes on predictions and chains."""

from alembic import op

revision = "{NEXT}"
down_revision = "{migrator.HEAD}"
rewrites = {{}}


def upgrade():
    for table in ("predictions", "chains"):
        op.execute(f"ALTER TABLE {{table}} ADD COLUMN notes VARCHAR")
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
    # With what was compiled: of the files that stay as they are, it need not be done again.
    shutil.copytree(package, tmp_path / "nirs4all_store")
    shutil.copytree(migrator.script_folder(), tmp_path / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "migrations" / "versions" / f"{NEXT}_notes.py").write_text(REVISION)
    head = f'"{migrator.REVISIONS[-1]}"'
    replaced(tmp_path / "nirs4all_store/engine/duckdb/revisions.py", head, f'{head}, "{NEXT}_notes"')
    models, records = (tmp_path / f"nirs4all_store/storage/{name}.py" for name in ("models", "records"))
    catalog = tmp_path / "migrations" / "catalogs" / f"{NEXT}.sql"
    shutil.copy(catalog.with_name(f"{migrator.HEAD}.sql"), catalog)
    for name, table in (("Prediction", "predictions"), ("Chain", "chains")):
        # After the last column, whichever it is.
        for path, beginning, end, line in (
            (models, f"class {name}(Base):", "\n", "    notes: Mapped[str | None]\n"),
            (records, f"class {name}Record(Record):", "\n", "    notes: str | None = None\n"),
            (catalog, f"CREATE TABLE {table}(", ");\n", ",\n    notes VARCHAR"),
        ):
            before, _, rest = path.read_text().partition(beginning)
            fields, _, after = rest.partition("\n\n\n" if end == "\n" else end)
            path.write_text(
                f"{before}{beginning}{fields}{end}{line}\n\n{after}"
                if end == "\n"
                else f"{before}{beginning}{fields}{line}{end}{after}"
            )
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
