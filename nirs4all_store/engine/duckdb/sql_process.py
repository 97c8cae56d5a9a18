"""`SqlProcess` runs a query in another process, on a copy of the tables. It can be killed, and has memory of its own.

The program of that process is `sql_worker.py`. Why some queries run there: docs/decisions/0016.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterable
from types import TracebackType
from typing import IO, Any, Self, cast

import polars as pl
import pyarrow as pa

from ...errors import QueryError, QueryTimeoutError
from ..base import Question
from .sql_results import frame_of, limited

THREADS = 4
TOO_LATE = "the query took longer than {:g} s; ask for less, or give more"


class RemoteError(Exception):
    """An error that DuckDB raised in the other process.

    Parameters
    ----------
    kind : str
        The name of its class.
    message : str
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class SqlProcess:
    """A process that answers one query; at the end of its `with` block it has ended.

    Parameters
    ----------
    question : Question
        With checked values.
    memory : int
        How many bytes of memory its DuckDB may use before it moves data to temporary files.
    """

    def __init__(self, question: Question, memory: int) -> None:
        self._question = question
        self._memory = memory
        self._is_late = False

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            # Finalizers run at the interpreter's end, too, which does not wait for a daemon thread that runs a query.
            self._folder = tempfile.mkdtemp(prefix="nirs4all_store-")
            stack.callback(weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True))
            self._process = stack.enter_context(_started())
            stack.callback(weakref.finalize(self, self._process.kill))
            timer = threading.Timer(self._question.timeout, self._kill_late)
            timer.daemon = True
            timer.start()
            stack.callback(timer.join)
            stack.callback(timer.cancel)
            self._stack = stack.pop_all()
        return self

    def _kill_late(self) -> None:
        self._is_late = True
        self.kill()

    def kill(self) -> None:
        """Kill the process; a `result` that waits for its answer then raises."""
        self._process.kill()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(BrokenPipeError):  # Some input may not have been written when it ended.
            self._stack.close()

    def submit(self, tables: dict[str, list[tuple[str, str]]], rows: Iterable[pa.RecordBatchReader]) -> None:
        """Send the query and its tables to the process.

        Parameters
        ----------
        tables : dict
            For each table by name, the names and SQL types of its columns.
        rows : iterable of pyarrow.RecordBatchReader
            The rows of each of these tables, in the same order.
        """
        seconds = self._question.timeout
        config = {"memory_limit": f"{self._memory}B", "temp_directory": self._folder, "threads": THREADS}
        header = {
            "query": self._question.query,
            "params": self._question.params,
            "tables": list(tables.items()),
            "config": config,
            "seconds": seconds if seconds < threading.TIMEOUT_MAX else None,
        }
        with contextlib.suppress(BrokenPipeError):  # It has ended; `result` says why.
            content, pipe = pickle.dumps(header), cast(IO[bytes], self._process.stdin)
            pipe.write(len(content).to_bytes(8, "little") + content)
            for reader in rows:
                with pa.ipc.new_stream(pipe, reader.schema) as stream:
                    for batch in reader:
                        stream.write_batch(batch)
            pipe.close()

    def result(self) -> pl.DataFrame:
        """Wait for the answer, and return it as a frame.

        Raises
        ------
        QueryTimeoutError
            The query took too long.
        QueryError
            The answer is too large, or the process ended, for instance because it took too much memory.
        RemoteError
            DuckDB refused the query.
        """
        pipe = cast(IO[bytes], self._process.stdout)
        try:
            types = self._told()["types"]
            with pa.ipc.open_stream(pipe) as stream:
                batches = limited(stream, self._question)
                schema = stream.schema
            self._told()
        except (OSError, ValueError, pa.ArrowInvalid) as error:
            if isinstance(error, QueryError):
                raise
            raise self._ended() from error
        return frame_of(schema, types, batches)

    def _told(self) -> dict[str, Any]:
        pipe = cast(IO[bytes], self._process.stdout)
        told: dict[str, Any] = json.loads(pipe.readline())
        if "error" in told:
            raise RemoteError(told["error"], told["message"])
        return told

    def _ended(self) -> QueryError:
        code = self._process.wait()
        if self._is_late:
            return QueryTimeoutError(TOO_LATE.format(self._question.timeout))
        return QueryError(
            f"the process that was to answer the query ended ({code}), as one of the engine's functions ends it or it "
            "took too much memory; nothing else was harmed: ask for less, or in another way"
        )


def _started() -> subprocess.Popen[bytes]:
    """Start the process, with the same paths to import modules from as this one."""
    return subprocess.Popen(  # noqa: S603  # this Python, with a module of this package
        [sys.executable, "-P", "-m", f"{__package__}.sql_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},  # noqa: PTH109
        start_new_session=True,  # The terminal sends Ctrl-C to this process only, which then kills the other one.
    )
