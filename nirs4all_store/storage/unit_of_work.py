"""One session, all repositories, one transaction: kept by `commit`, else gone."""

from __future__ import annotations

import warnings
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from sqlalchemy.orm import Session

from ..artifacts import ArtifactFiles, normalize
from ..engine import Differences
from ..errors import StoreError, TransactionAbortedError, UnitOfWorkError
from ..failpoints import Failpoint, hit
from ..identifiers import time_before
from .host import Host
from .repositories import (
    ArtifactRepo,
    ChainRepo,
    DatasetRepo,
    IdLookup,
    Integrity,
    LabelRepo,
    PredictionRepo,
    Progress,
    ResultRepo,
    RunRepo,
    Summaries,
    Usage,
    WholeRows,
)
from .transaction import Transaction


class UnitOfWork:
    """A transaction with a repository per aggregate.

    Use it with `with`. Leaving the block without `commit()` rolls back, and so does any exception.
    Writers take turns: while one is open for writing, another thread's waits.

    Parameters
    ----------
    workspace : Host
        The open workspace.
    timeout : float
        Seconds to wait for another thread's turn to end, and if a commit fails, for what is left of them, to look
        what became of it.
    write : bool
        False for reading only: it waits for nobody.
    read_only : bool
        Refuse to write, whatever the workspace allows: the store that asks is a reader's.

    Attributes
    ----------
    session : sqlalchemy.orm.Session
    runs, datasets, chains, predictions, artifacts, results, labels, summaries, progress, usage
        The repositories.
    writes : bool
        Whether it may write.
    in_call : bool
        Whether it is in the middle of a call, which another call of the thread must not join: signal handlers and
        finalizers come at any moment.
    """

    def __init__(self, workspace: Host, *, timeout: float, write: bool = True, read_only: bool = False) -> None:
        if write:
            workspace.check_writable(read_only=read_only)
        self.writes = write
        self.in_call = True
        self._workspace = workspace
        self._timeout = timeout

    def __enter__(self) -> Self:
        self._transaction = Transaction(self, self._workspace, write=self.writes, timeout=self._timeout)
        self._tables = self._transaction.tables
        self._failure: BaseException | None = None
        self._discarded: set[str] = set()
        self.in_call = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._transaction.leave(error)
        finally:  # Ctrl-C may come in the first step of `leave`.
            self._transaction.boundary.restore()

    # Made when they are asked for, of the transaction that is open then: most units of work need one.

    @property
    def runs(self) -> RunRepo:
        """Runs, their pipelines, and what those logged."""
        return RunRepo(self._tables)

    @property
    def datasets(self) -> DatasetRepo:
        """What is known of the data that pipelines are trained on."""
        return DatasetRepo(self._tables)

    @property
    def chains(self) -> ChainRepo:
        """Chains."""
        return ChainRepo(self._tables)

    @property
    def predictions(self) -> PredictionRepo:
        """Predictions and their arrays."""
        return PredictionRepo(self._tables)

    @property
    def summaries(self) -> Summaries:
        """What is told of many predictions at once."""
        return Summaries(self._tables)

    @property
    def progress(self) -> Progress:
        """What happens."""
        return Progress(self._tables)

    @property
    def usage(self) -> Usage:
        """What takes how much room."""
        return Usage(self._tables)

    @property
    def artifacts(self) -> ArtifactRepo:
        """The rows of artifacts."""
        return ArtifactRepo(self._tables)

    @property
    def results(self) -> ResultRepo:
        """Documents about runs, pipelines, chains and predictions."""
        return ResultRepo(self._tables)

    @property
    def labels(self) -> LabelRepo:
        """Names for what belongs together."""
        return LabelRepo(self._tables)

    @property
    def whole_rows(self) -> WholeRows:
        """Rows as another workspace has them."""
        return WholeRows(self._tables)

    @property
    def integrity(self) -> Integrity:
        """What must be true of all their rows together."""
        return Integrity(self._tables)

    @property
    def ids(self) -> IdLookup:
        """What has an id that begins so."""
        return IdLookup(self._tables)

    @property
    def session(self) -> Session:
        """The session; once it was asked for, nothing is taken for sure of the rows, which it may change."""
        self._transaction.is_handed_out = True
        self._tables.disable_cache()
        return self._transaction.session

    @property
    def other_contents(self) -> list[str]:
        """The tables that hold something else than was written down when this backup was made."""
        return self._workspace.database.other_contents(self.session)

    @property
    def differences(self) -> Differences:
        """In what the schema differs from the newest revision's."""
        return self._workspace.database.differences(self.session)

    @property
    def blobs(self) -> ArtifactFiles:
        """The artifacts' files."""
        return self._workspace.blobs

    def time_before(self, grace: timedelta) -> datetime:
        """Return the date (UTC) that lies `grace` back for sure, however the clock was set; see `workspace.clock`."""
        return time_before(grace, self._workspace.put_forward) if grace != timedelta(0) else datetime.max

    @property
    def changes(self) -> int:
        """How many rows and statements it was given to write so far."""
        return self._tables.changes

    def is_interruption(self, error: BaseException) -> bool:
        """Tell whether a signal's handler has raised an error, or what it was made of: nobody may go on after it."""
        return self._transaction.boundary.interruption(error) is not None

    def doom(self, error: BaseException) -> None:
        """Make every later `commit` fail: a change was made in part only."""
        self._failure = self._failure or error

    def discard_blob(self, relative: str) -> None:
        """Remove an artifact's file once the commit has made sure that no row names it."""
        self._discarded.add(normalize(relative))

    def commit(self) -> None:
        """Make everything since the last commit durable, then remove the files that were given up.

        Raises
        ------
        UnitOfWorkError
            It is for reading only, has not begun, was left, or is that of the process from which this one was forked.
        TransactionAbortedError
            An error came before, maybe one that was caught: everything was rolled back.
            Or the engine failed in the commit itself, and nothing is there of what was committed.
        CommitFailedError
            The engine failed in the commit itself: whether the data was kept is not known.
        WorkspaceCorruptError
            The database was removed or replaced meanwhile: everything was rolled back.
        """
        if not self.writes:
            raise UnitOfWorkError("a unit of work for reading has nothing to commit; open one for writing")
        if self._workspace.is_foreign:
            raise UnitOfWorkError("this process was forked from the one that opened this unit of work; open a new one")
        if not hasattr(self, "_transaction"):
            raise UnitOfWorkError("this unit of work has not begun; use it in a `with` block")
        scope = self._transaction.open_scope()
        was_in_call, self.in_call = self.in_call, True
        try:
            discarded = self._prepare()
            self._transaction.commit(scope)
        finally:
            self.in_call = was_in_call
        self._discarded.clear()
        hit(Failpoint.COMMIT_IS_DURABLE)
        for relative in discarded:
            try:
                self.blobs.remove(relative)
            except (OSError, StoreError) as error:  # The commit has happened: nothing may look as if it had not.
                warnings.warn(f"{relative} could not be removed: {error}; gc_artifacts() will try again", stacklevel=2)

    def _prepare(self) -> set[str]:
        """Insert what waits and prove that the transaction is alive; return the files to remove after it."""
        failure = self._failure
        if failure is None:
            try:
                self._tables.flush_and_check()
                return self._discarded - self.artifacts.named_among(self._discarded) if self._discarded else set()
            except Exception as error:
                if self.is_interruption(error):
                    raise
                failure = error
        self.rollback()
        raise TransactionAbortedError(
            f"nothing of this transaction was kept, because of an earlier {type(failure).__name__}: {failure}; "
            "repeat it from its start"
        ) from failure

    def rollback(self) -> None:
        """Undo everything since the last commit."""
        self._discarded.clear()
        self._failure = None
        self._transaction.roll_back()
