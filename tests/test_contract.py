from pathlib import Path

from nirs4all_store import WorkspaceStore
from nirs4all_store.testing import StoreContract


class TestWorkspaceStore(StoreContract):
    def open_store(self, folder: Path) -> WorkspaceStore:
        return WorkspaceStore(folder)
