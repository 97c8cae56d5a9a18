"""One call's share of a unit of work."""

from __future__ import annotations

from types import TracebackType

from ..engine import ENGINE_ERRORS
from ..errors import EngineError
from .transaction_scope import refuse_reentrant_call
from .unit_of_work import UnitOfWork


class Call:
    """One call's share of a unit of work: all of a new one, or a part of one that goes on.

    What the engine raises becomes an error of this package and ends the transaction: the engine itself ends it after
    most errors, reads included, but not after all of them. A call that fails halfway dooms the one it has joined.
    """

    def __init__(self, uow: UnitOfWork, *, is_joined: bool, is_block: bool = False) -> None:
        self._uow = uow
        self._is_joined = is_joined
        self._is_block = is_block

    def __enter__(self) -> UnitOfWork:
        uow = self._uow
        if self._is_joined:
            refuse_reentrant_call(uow.in_call)
            self._before = uow.changes
        else:
            uow.__enter__()
        uow.in_call = not self._is_block
        return uow

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_joined:
            self._doom_if_halfway(error)
            self._uow.in_call = False
        else:
            self._end(kind, error, trace)
        if isinstance(error, ENGINE_ERRORS):
            raise EngineError(
                f"the database refused a statement: {error}; nothing of this transaction is kept"
            ) from error

    def _doom_if_halfway(self, error: BaseException | None) -> None:
        if error is not None and (isinstance(error, ENGINE_ERRORS) or self._uow.changes != self._before):
            self._uow.doom(error)

    def _end(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._uow.in_call = True
        try:
            if error is None and self._uow.writes:
                self._uow.commit()
        except BaseException as problem:
            self._uow.__exit__(type(problem), problem, problem.__traceback__)
            raise
        self._uow.__exit__(kind, error, trace)
