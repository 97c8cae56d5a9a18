from collections.abc import Iterator
from pathlib import Path

import fence
import pytest
from legacy import make_legacy

from nirs4all_store import WorkspaceStore

fence.stand()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[WorkspaceStore]:
    with WorkspaceStore(tmp_path / "workspace") as store:
        yield store


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Give an old workspace."""
    make_legacy(tmp_path / "old", "0.7.1")
    return tmp_path / "old"
