from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from nirs4all_store import WorkspaceStore
from nirs4all_store.testing import StoreMachine

SETTINGS = {"deadline": None, "suppress_health_check": list(HealthCheck)}


class MemoryMachine(StoreMachine):
    def open_store(self, folder: Path) -> WorkspaceStore:
        return WorkspaceStore(f"memory:{folder}")


class TestStore(StoreMachine.TestCase):
    settings = settings(max_examples=3, stateful_step_count=30, **SETTINGS)


class TestMemory(MemoryMachine.TestCase):
    settings = settings(max_examples=2, stateful_step_count=30, **SETTINGS)


@pytest.mark.slow
class TestStoreAtLength(StoreMachine.TestCase):
    settings = settings(max_examples=300, stateful_step_count=60, **SETTINGS)


@pytest.mark.slow
class TestMemoryAtLength(MemoryMachine.TestCase):
    settings = settings(max_examples=300, stateful_step_count=60, **SETTINGS)
