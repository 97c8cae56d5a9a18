"""Tests for whoever writes a back end: `StoreContract`, every promise as a test, and `StoreMachine`.

Both need pytest and Hypothesis: `pip install 'nirs4all-store[test]'`.

Examples
--------
>>> class TestMyStore(StoreContract):  # doctest: +SKIP
...     def open_store(self, folder):
...         return MyStore(folder)
"""

from .contract import StoreContract
from .store_machine import StoreMachine

__all__ = ["StoreContract", "StoreMachine"]
