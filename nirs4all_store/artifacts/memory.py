"""`MemoryBlobs` keeps bytes in a dict until the process ends, for a workspace in memory and for tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator

from ..errors import ArtifactMissingError
from ..filesystem import FILE
from .store import Blob


class MemoryBlobs:
    """A `BlobStore` in memory.

    Parameters
    ----------
    address : str
        How error messages name it.
    """

    folder = None

    def __init__(self, address: str = "memory") -> None:
        self._address = address
        self._contents: dict[str, tuple[bytes, float]] = {}
        self._lock = threading.Lock()

    def __str__(self) -> str:
        return self._address

    def put(self, name: str, content: bytes) -> None:
        """Store bytes under a name, unless it has the same bytes already."""
        with self._lock:
            if name not in self._contents or self._contents[name][0] != content:
                self._contents[name] = content, time.time()

    def put_many(self, contents: Iterable[tuple[str, bytes]]) -> None:
        """Store the bytes of several names."""
        for name, content in contents:
            self.put(name, content)

    def read(self, name: str) -> bytes:
        """Return the bytes of a name; for errors see `BlobStore`."""
        with self._lock:
            return self._found(name)[0]

    def stat(self, name: str) -> Blob | None:
        """Return the entry of a name, or None."""
        with self._lock:
            content, written = self._contents.get(name, (None, 0.0))
        return None if content is None else Blob(name, FILE, len(content), written)

    def list(self) -> Iterator[Blob]:
        """Return an iterator over all entries that there are now."""
        with self._lock:
            items = tuple(self._contents.items())
        return (Blob(name, FILE, len(content), written) for name, (content, written) in items)

    def move(self, name: str, new_name: str) -> bool:
        """Give bytes another name, unless something has that name; for errors see `BlobStore`."""
        with self._lock:
            found = self._found(name)
            if new_name in self._contents:
                return False
            self._contents[new_name] = found
            del self._contents[name]
        return True

    def delete(self, name: str) -> bool:
        """Remove a name and its bytes; return whether the name was there."""
        with self._lock:
            return self._contents.pop(name, None) is not None

    def _found(self, name: str) -> tuple[bytes, float]:
        try:
            return self._contents[name]
        except KeyError:
            raise ArtifactMissingError(f"nothing in {self} is called {name}; train again, or import it") from None
