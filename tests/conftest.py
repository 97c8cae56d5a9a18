from collections.abc import Iterator
from pathlib import Path

import pytest

from nirs4all_store import WorkspaceStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[WorkspaceStore]:
    with WorkspaceStore(tmp_path / "workspace") as store:
        yield store
