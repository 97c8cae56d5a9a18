"""Imports real workspaces of nirs4all where nirs4all is installed, and compares each replay with what was checked.

`python nirs4all_importing.py FOLDER...`: prints, for each, how many replays were checked and how many are equal.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from nirs4all_store import WorkspaceStore


def equal(found, truth):
    """Tell whether predictions are those that were checked."""
    found, truth = np.ravel(found), np.ravel(truth)
    if found.dtype.kind in "fiu" and truth.dtype.kind in "fiu":
        return bool(np.allclose(found, truth, rtol=1e-5, atol=1e-8))
    return found.astype(str).tolist() == truth.astype(str).tolist()


def check(folder):
    """Import a workspace, and return what came of it."""
    truths = {
        key.split("|")[0]: value
        for key, value in np.load(folder / "expected_replay.npz").items()
        if key.endswith("|truth")
    }
    x_new = np.load(folder / "spectra.npz")["X_new"]
    with tempfile.TemporaryDirectory() as place, WorkspaceStore(Path(place) / "w") as store:
        report = store.import_workspace(folder / "workspace", trusted=True)
        good = [chain_id for chain_id, truth in truths.items() if equal(store.replay_chain(chain_id, x_new), truth)]
        findings = len(store.check(deep=True).findings)
    return {"checked": len(truths), "equal": len(good), "findings": findings, "chains": len(report.chains)}


if __name__ == "__main__":
    print(json.dumps({Path(name).name: check(Path(name)) for name in sys.argv[1:]}))  # noqa: T201
