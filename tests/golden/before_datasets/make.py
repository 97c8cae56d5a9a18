"""Made `workspace.zip`, once, with the package of commit d2f5c78, before datasets were rows. Not to be run again.

    python make.py

A workspace in which `PipelineRunner` trained on arrays, and on a table. `tests/test_before_datasets.py` trains the same
again with `resume=True`.
"""

import tempfile
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, KFold

from nirs4all_store import PipelineRunner, WorkspaceStore

X = np.sin(np.arange(60.0)).reshape(15, 4)
TABLE = pl.DataFrame(X, schema=["1100", "1200", "1300", "1400"]).with_columns(protein=X[:, 0] + 10, batch=pl.lit("a"))
ARRAYS = (
    [GroupKFold(3), Ridge(2.0)],
    {"X": X, "y": X[:, 1], "groups": list("abcab" * 3), "X_test": X[:2], "name": "arrays"},
)
TRAINED = [ARRAYS, ([KFold(3), Ridge(2.0)], {"X": TABLE, "y": "protein", "name": "table"})]

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "workspace"
        runner = PipelineRunner(workspace, progress=False)
        for config, data in TRAINED:
            runner.run(config, data)
        with WorkspaceStore(workspace) as store:
            store.vacuum()
        with zipfile.ZipFile(Path(__file__).with_name("workspace.zip"), "x", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(workspace.rglob("*")):
                if path.is_file() and path.name != ".store.lock":
                    archive.write(path, path.relative_to(workspace))
