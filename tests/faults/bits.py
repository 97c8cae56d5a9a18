"""One bit of one artifact is another: it is found by whoever reads it, before anything is unpickled."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path

from nirs4all_store import ArtifactCorruptError, WorkspaceStore

from . import content
from .operations import chain_of
from .processes import in_new_process
from .programme import Fault


def trial(folder: Path, seed: str) -> None:
    """Flip a bit in a copy, and read it in every way."""
    rng = random.Random(f"bits {seed}")
    workspace = content.copy_of(content.used, folder / "workspace")
    file = rng.choice(sorted((workspace / "artifacts").rglob("*.joblib")))
    bit = rng.randrange(8 * file.stat().st_size)
    whole = bytearray(file.read_bytes())
    whole[bit // 8] ^= 1 << bit % 8
    file.write_bytes(whole)
    in_new_process(lambda: look(workspace, folder / "out.n4a", file))


def look(workspace: Path, output: Path, file: Path) -> None:
    """Make sure that every way to the file finds it damaged, and unpickles nothing of it."""
    unpickled: list[str] = []
    with WorkspaceStore(workspace) as store:
        ids = store.sql("SELECT artifact_id FROM artifacts WHERE ends_with(artifact_path, ?)", [file.name])
        artifact_id = ids["artifact_id"][0]
        ways: list[Callable[[], object]] = [lambda: store.load_artifact(artifact_id)]
        for number in (901, 902, 903):
            chain_id = chain_of(store, number)
            if store.get_chain(chain_id)["fold_artifacts"]["all"] == artifact_id:
                ways += [
                    lambda chain_id=chain_id: store.replay_chain(chain_id, content.X),
                    lambda chain_id=chain_id: store.load_chain(chain_id),
                    lambda chain_id=chain_id: store.export_chain(chain_id, output),
                ]
        sys.addaudithook(lambda name, arguments: unpickled.append(name) if name == "pickle.find_class" else None)
        for way in ways:
            is_found = False
            try:
                way()
            except ArtifactCorruptError:
                is_found = True
            assert is_found, f"{way} took a damaged file"
        assert unpickled == [], "a damaged file was unpickled"
        assert not output.exists()
        findings = store.check(deep=True).findings
        assert [(found.code, found.subject.split("/")[-1]) for found in findings] == [("damaged-file", file.name)]
        others = store.sql("SELECT artifact_id FROM artifacts WHERE artifact_id <> ?", [artifact_id])
        store.load_artifact(others["artifact_id"][0])
        assert unpickled, "the hook hears nothing"


FAULT = Fault("bits", "it is found every time, before anything is unpickled", 1000, trial)
