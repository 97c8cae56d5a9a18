"""One session, four repositories, one transaction: kept by `commit`, else gone."""

from __future__ import annotations

import time
import warnings
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from sqlalchemy.orm import Session

from ..artifacts import ArtifactFiles, normalize
from ..call_boundary import CallBoundary
from ..engine import ENGINE_ERRORS, Differences
from ..errors import CommitFailedError, EngineError, StoreError, TransactionAbortedError, UnitOfWorkError
from ..failpoints import Failpoint, hit
from ..identifiers import time_before
from .columns import Row
from .host import Host
from .repositories import ArtifactRepo, ChainRepo, IdPrefixes, Integrity, PredictionRepo, RunRepo
from .table_gateway import Tables
from .transaction_scope import Scope

# By the engine, or by the system to what is done around its commit.
REFUSALS = (*ENGINE_ERRORS, OSError)


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
    runs, chains, predictions, artifacts
        The repositories.
    in_call : bool
        Whether it is in the middle of a call, which another call of the thread must not join: signal handlers and
        finalizers come at any moment.
    """

    def __init__(self, workspace: Host, *, timeout: float, write: bool = True, read_only: bool = False) -> None:
        if write:
            workspace.check_writable(read_only=read_only)
        self._workspace = workspace
        self._timeout = timeout
        self._write = write
        self._failure: BaseException | None = None
        self._discarded: set[str] = set()
        self._is_handed_out = False
        self._scope: Scope | None = None
        self.in_call = True

    def __enter__(self) -> Self:
        self._boundary = CallBoundary().__enter__()
        try:
            began = time.monotonic()
            self._scope = scope = self._workspace.enter(self, write=self._write, timeout=self._timeout)
            self._timeout = max(0.0, self._timeout - (time.monotonic() - began))
            try:
                self._begin()
            except BaseException:  # Ctrl-C may come at any moment.
                self._workspace.leave(scope)
                raise
        except BaseException as error:
            try:
                self._boundary.end(error)
            finally:
                self._boundary.restore()
            raise
        self.in_call = False
        return self

    def _begin(self) -> None:
        database = self._workspace.database
        self._session = database.session()  # It connects at its first statement, not here.
        self._tables = Tables(database.row_io(self._session), self._workspace.cache if self._write else None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            try:
                self._leave(error)
            except BaseException as problem:
                self._boundary.end(problem)
                raise
            self._boundary.end(error, is_ours=False)
        finally:
            self._boundary.restore()

    def _leave(self, error: BaseException | None) -> None:
        # First: after Ctrl-C, nothing may join what will never be committed, and nothing but this call holds the turn.
        scope, self._scope = self._scope, None
        if scope is None:
            return
        scope.is_open = False
        if self._workspace.is_foreign:  # A forked child leaves its parent's block: nothing of it is the child's.
            return
        try:
            if error is None or (isinstance(error, StoreError) and not isinstance(error, EngineError)):
                self.rollback()
                self._session.close()
            else:  # What an error of the engine, or Ctrl-C, leaves of a connection is not to be used again.
                self._session.invalidate()
                self._workspace.mark_broken()
        finally:
            if self._is_handed_out:
                self._workspace.cache.invalidate()
            self._workspace.leave(scope)

    # Made when they are asked for, of the transaction that is open then: most units of work need one.

    @property
    def runs(self) -> RunRepo:
        """Runs, their pipelines, and what those logged."""
        return RunRepo(self._tables)

    @property
    def chains(self) -> ChainRepo:
        """Chains."""
        return ChainRepo(self._tables)

    @property
    def predictions(self) -> PredictionRepo:
        """Predictions and their arrays."""
        return PredictionRepo(self._tables)

    @property
    def artifacts(self) -> ArtifactRepo:
        """The rows of artifacts."""
        return ArtifactRepo(self._tables)

    @property
    def integrity(self) -> Integrity:
        """What must be true of all their rows together."""
        return Integrity(self._tables)

    @property
    def ids(self) -> IdPrefixes:
        """What has an id that begins so."""
        return IdPrefixes(self._tables)

    @property
    def session(self) -> Session:
        """The session; once it was asked for, nothing is taken for sure of the rows, which it may change."""
        self._is_handed_out = True
        self._tables.disable_cache()
        return self._session

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

    @property
    def writes(self) -> bool:
        """Whether it may write."""
        return self._write

    def time_before(self, grace: timedelta) -> datetime:
        """Return the date (UTC) that lies `grace` back for sure, however the clock was set; see `workspace.clock`."""
        return time_before(grace, self._workspace.put_forward) if grace != timedelta(0) else datetime.max

    @property
    def changes(self) -> int:
        """How many rows and statements it was given to write so far."""
        return self._tables.changes

    def is_interruption(self, error: BaseException) -> bool:
        """Tell whether a signal's handler has raised an error, or what it was made of: nobody may go on after it."""
        return self._boundary.interruption(error) is not None

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
            It is for reading only.
        TransactionAbortedError
            An error came before, maybe one that was caught: everything was rolled back.
            Or the engine failed in the commit itself, and nothing is there of what was committed.
        CommitFailedError
            The engine failed in the commit itself: whether the data was kept is not known.
        WorkspaceCorruptError
            The database was removed or replaced meanwhile: everything was rolled back.
        """
        if not self._write:
            raise UnitOfWorkError("a unit of work for reading has nothing to commit; open one for writing")
        if self._workspace.is_foreign:
            raise UnitOfWorkError("this process was forked from the one that opened this unit of work; open a new one")
        scope = self._scope
        if scope is None:
            raise UnitOfWorkError("this unit of work was left, and what was not committed is gone; open a new one")
        discarded = self._prepare()
        probe = self._tables.commit_probe
        self._check_place()
        hit(Failpoint.COMMIT_BEGINS)
        try:
            self._session.commit()
            self._workspace.database.after_commit()
        except Exception as error:
            # A signal handler's own, or what the engine made of one: nobody knows how far it came.
            if self._boundary.interruption(error) or not isinstance(error, REFUSALS):
                self._workspace.cache.invalidate()
                raise
            self._look_whether_it_was_kept(scope, probe, error)
        self._tables.committed()
        self._discarded.clear()
        hit(Failpoint.COMMIT_IS_DURABLE)
        for relative in discarded:
            try:
                self.blobs.remove(relative)
            except (OSError, StoreError) as error:  # The commit has happened: nothing may look as if it had not.
                warnings.warn(f"{relative} could not be removed: {error}; gc_artifacts() will try again", stacklevel=2)

    def _check_place(self) -> None:
        """Roll back where what is committed would not be found again; see `Database.before_commit`."""
        try:
            self._workspace.database.before_commit()
        except (StoreError, OSError) as error:
            self.rollback()
            self._boundary.refuse(error)
            raise

    def _look_whether_it_was_kept(self, scope: Scope, probe: Row | None, error: Exception) -> None:
        """Open the database anew and look for a row of a commit that failed; raise unless it is there."""
        self.rollback()
        self._workspace.cache.invalidate()
        where = f"the commit to {self._workspace.path} failed: {error}"
        unknown = CommitFailedError(f"{where}; look by id whether the last change is there before repeating it")
        try:
            self._workspace.reopen(scope, self._timeout)
            self._workspace.database.adopt(self._session)
            is_kept = probe is not None and self._tables.is_stored(*probe)
        except (*REFUSALS, StoreError) as problem:
            raise unknown from problem
        if probe is None:
            raise unknown from error
        if not is_kept:
            raise TransactionAbortedError(
                f"{where}; nothing of this transaction was kept: mend or make room on the disk, and repeat it"
            ) from error

    def _prepare(self) -> set[str]:
        """Insert what waits and prove that the transaction is alive; return the files to remove after it."""
        failure = self._failure
        if failure is None:
            try:
                self._tables.flush_and_check()
                return self._discarded - self.artifacts.named_among(self._discarded) if self._discarded else set()
            except Exception as error:
                if self._boundary.interruption(error):
                    raise
                failure = error
        self.rollback()
        raise TransactionAbortedError(
            f"nothing of this transaction was kept, because of an earlier {type(failure).__name__}: {failure}; "
            "repeat it from its start"
        ) from failure

    def rollback(self) -> None:
        """Undo everything since the last commit."""
        self._tables.discard_pending()
        self._discarded.clear()
        self._failure = None
        self._session.rollback()
