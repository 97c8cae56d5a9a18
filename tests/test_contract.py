from pathlib import Path

from nirs4all_store import WorkspaceStore
from nirs4all_store.testing import StoreContract


class TestAFolder(StoreContract):
    pass


class TestMemory(StoreContract):
    frees_space = False

    def open_store(self, folder: Path) -> WorkspaceStore:
        return WorkspaceStore(f"memory:{folder}")
