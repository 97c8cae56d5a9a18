"""What a unit of work does with its session: begin inside the workspace, commit, roll back, leave.

See docs/decisions/0018.
"""

from __future__ import annotations

import time

from ..call_boundary import CallBoundary
from ..engine import ENGINE_ERRORS, Database
from ..errors import CommitFailedError, EngineError, StoreError, TransactionAbortedError, UnitOfWorkError
from ..failpoints import Failpoint, hit
from .columns import Row
from .host import Host
from .table_gateway import Tables
from .transaction_scope import Scope

# By the engine, or by the system to what is done around its commit.
REFUSALS = (*ENGINE_ERRORS, OSError)


class Transaction:
    """One stay inside a workspace, with one session; it begins when this is made, and ends with `leave`.

    Whoever leaves it calls `boundary.restore` in a `finally` of its own.

    Parameters
    ----------
    unit : object
        The unit of work that it is for; it is over when nobody holds that any more.
    host : Host
        The open workspace.
    write : bool
        Wait until no other thread writes.
    timeout : float
        Seconds to wait for that, and if a commit fails, for what is left of them, to look what became of it.

    Attributes
    ----------
    boundary : CallBoundary
    session : sqlalchemy.orm.Session
    tables : Tables
    is_handed_out : bool
        Whether somebody else has the session, and may have changed any row.
    """

    def __init__(self, unit: object, host: Host, *, write: bool, timeout: float) -> None:
        self._host = host
        self.is_handed_out = False
        self.boundary = CallBoundary()
        try:
            self.boundary.listen()
            began = time.monotonic()
            scope = host.enter(unit, write=write, timeout=timeout)
            self._scope: Scope | None = scope
            self._timeout = max(0.0, timeout - (time.monotonic() - began))
            try:
                database = host.database
                self.session = database.session()  # It connects at its first statement, not here.
                self.tables = Tables(database.row_io(self.session), host.cache if write else None)
            except BaseException:  # Ctrl-C may come at any moment.
                host.leave(scope)
                raise
        except BaseException as error:
            try:
                self.boundary.end(error)
            finally:
                self.boundary.restore()
            raise

    def open_scope(self) -> Scope:
        """Return its leave to be inside.

        Raises
        ------
        UnitOfWorkError
            It was left.
        """
        if self._scope is None:
            raise UnitOfWorkError("this unit of work was left, and what was not committed is gone; open a new one")
        return self._scope

    def leave(self, error: BaseException | None) -> None:
        """Roll back what was not committed, leave the workspace, and raise what is to leave a block for an error."""
        try:
            self._leave(error)
        except BaseException as problem:
            self.boundary.end(problem)
            raise
        self.boundary.end(error, is_ours=False)

    def _leave(self, error: BaseException | None) -> None:
        # First: after Ctrl-C, nothing may join what will never be committed, and nothing but this call holds the turn.
        scope, self._scope = self._scope, None
        if scope is None:
            return
        scope.is_open = False
        if self._host.is_foreign:  # A forked child leaves its parent's block: nothing of it is the child's.
            return
        try:
            self.tables.discard_pending()  # Whoever asks it afterwards would insert them, in a transaction without end.
            if error is None or (isinstance(error, StoreError) and not isinstance(error, EngineError)):
                self.session.close()  # It rolls back what was not committed.
            else:  # What an error of the engine, or Ctrl-C, leaves of a connection is not to be used again.
                self.session.invalidate()
                self._host.mark_broken()
        finally:
            if self.is_handed_out:
                self._host.cache.invalidate()
            self._host.leave(scope)

    def commit(self, scope: Scope) -> None:
        """Make durable what was flushed, while it is open; see `UnitOfWork.commit` for the errors."""
        probe, database = self.tables.commit_probe, self._host.database
        self._check_place(database)
        hit(Failpoint.COMMIT_BEGINS)
        try:
            self.session.commit()
            database.after_commit()
        except Exception as error:
            # A signal handler's own, or what the engine made of one: nobody knows how far it came.
            if self.boundary.interruption(error) or not isinstance(error, REFUSALS):
                self._host.cache.invalidate()
                raise
            self._look_whether_it_was_kept(scope, probe, error)
        self.tables.committed()

    def roll_back(self) -> None:
        """Undo everything since the last commit."""
        self.tables.discard_pending()
        self.session.rollback()

    def _check_place(self, database: Database) -> None:
        """Roll back where what is committed would not be found again; see `Database.before_commit`."""
        try:
            database.before_commit()
        except (StoreError, OSError) as error:
            self.roll_back()
            self.boundary.refuse(error)
            raise

    def _look_whether_it_was_kept(self, scope: Scope, probe: Row | None, error: Exception) -> None:
        """Open the database anew and look for a row of a commit that failed; raise unless it is there."""
        self.roll_back()
        self._host.cache.invalidate()
        where = f"the commit to {self._host.path} failed: {error}"
        unknown = CommitFailedError(f"{where}; look by id whether the last change is there before repeating it")
        try:
            self._host.reopen(scope, self._timeout)
            self._host.database.adopt(self.session)
            is_kept = probe is not None and self.tables.is_stored(*probe)
        except (*REFUSALS, StoreError) as problem:
            raise unknown from problem
        if probe is None:
            raise unknown from error
        if not is_kept:
            raise TransactionAbortedError(
                f"{where}; nothing of this transaction was kept: mend or make room on the disk, and repeat it"
            ) from error
