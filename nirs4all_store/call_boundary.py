"""The boundary of every public call: only errors of this package, or of a signal's handler, leave it.

While DuckDB waits it lets signal handlers run, throws away the exception that a handler raises, and raises a
`RuntimeError` of its own, "Query interrupted", which libraries between it and the caller may turn into another error.
So during a call our handlers stand in the place of the program's: they call them, and remember the exceptions.
See docs/decisions/0018.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # no types are known of it
import errno
import gc
import os
import re
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from types import FrameType
from typing import Any, ParamSpec, TypeVar

from polars.exceptions import PanicException

from .errors import StoreError, SystemRefusedError

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)

INTERRUPTED = "Query interrupted"
# What the engine makes of an error that Python raised when it gave rows to it.
ARROW_FAILED = re.compile(r"Invalid Input Error: [\w ]+ Arrow source[\w ]* failed: ")
SIGNALS = sorted(map(int, signal.valid_signals()))
# `signal.getsignal` takes ten times as long: it looks whether what this returns is a member of an enumeration.
_handler_of: Callable[[int], Any] = _signal.getsignal
# And `signal.signal` does so, in steps between which Ctrl-C may come.
_set_handler: Callable[[int, Any], object] = _signal.signal
# Whoever waits for another thread's collection of garbage gives up after so many.
COLLECTION_SECONDS = 0.5
COLLECTION_POLL_SECONDS = 0.005

ADVICE = {
    errno.EMFILE: "this process has too many files open: close some, or raise its limit (ulimit -n)",
    errno.ENFILE: "the machine has too many files open: close some",
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room, or ask for more of the disk",
    errno.EROFS: "it can only be read there",
    errno.EACCES: "ask for the right to it",
    errno.EPERM: "ask for the right to it",
    errno.ENOENT: "something was removed meanwhile: look whether the workspace and the folder you work in are there",
    errno.ESTALE: "the file system was lost and came back: open it again",
    errno.ELOOP: "links lead back to themselves: remove one of them",
    errno.EIO: "the disk fails: look after it",
}


class CallBoundary:
    """A public call, or a block that is a part of one; not for several threads.

    Ctrl-C may also come in the first step of what ends it: so whoever calls `end` calls `restore` in a `finally`.
    """

    _listening: Sequence[tuple[int, _Listening]] = ()

    def __init__(self) -> None:
        # Whatever the caller is in the middle of handling is none of what happens here.
        self._outside: BaseException | None = sys.exception()
        self._heard: list[BaseException] = []
        self.freed_after = 0

    def listen(self) -> None:
        """Hear from now on what handlers raise; Python calls them in its main thread only."""
        if threading.current_thread() is not threading.main_thread():
            return
        found: list[tuple[int, _Listening]] = []
        self._listening = found
        for number in SIGNALS:
            handler = _handler_of(number)
            around = None
            while isinstance(handler, _Listening) and (around := handler.call_that_listens()) is None:
                handler = handler.handler  # It was cut off.
            if around is not None:  # A call around this one listens already.
                self._heard = around.heard
            elif callable(handler) and handler is not signal.default_int_handler:
                found.append((number, _Listening(handler, self)))
        for number, listening in found:
            _set_handler(number, listening)

    def end(self, error: BaseException | None, *, is_ours: bool = True) -> None:
        """End it, and raise what is to leave it in the place of an error; `is_ours`: not one of the caller's."""
        try:
            raised = error and (self.interruption(error) or (_refusal(error) if is_ours else None))
            if raised is not None and raised is not error:
                raise raised
        finally:
            self.restore()

    def refuse(self, error: BaseException) -> None:
        """Raise the error of this package for one of the system, in the middle of it, if it has no name yet."""
        refusal = _refusal(error)
        if refusal is not None:
            raise refusal from error

    def restore(self) -> None:
        """Listen no more; twice is fine."""
        for number, listening in self._listening:
            if _handler_of(number) is listening:  # Else it was set anew meanwhile.
                _set_handler(number, listening.handler)
        if self._listening:  # What it has heard keeps alive all that it was raised in.
            self._heard.clear()
        self._outside = None

    @property
    def heard(self) -> list[BaseException]:
        """What handlers have raised in it, and in the calls around it."""
        return self._heard

    def interruption(self, error: BaseException) -> BaseException | None:
        """Return what a handler raised, Ctrl-C's own included, if that is what an error was made of."""
        seen: list[BaseException] = []
        link: BaseException | None = error
        while link is not None and not _has(seen, link) and link is not self._outside:
            if _has(self._heard, link):
                return link
            is_interrupted = type(link) is RuntimeError and str(link) == INTERRUPTED
            if is_interrupted or isinstance(link, PanicException) or _is_of_arrow(link):
                if self._heard:
                    return self._heard[-1]
                if is_interrupted or "KeyboardInterrupt" in str(link):
                    return KeyboardInterrupt()
            if isinstance(link, KeyboardInterrupt):
                return link if link is error else KeyboardInterrupt()
            seen.append(link)
            link = link.__cause__ or link.__context__
        return None


def _has(errors: list[BaseException], error: BaseException) -> bool:
    """Tell whether an error is one of several: those of others may say that they equal anything."""
    return any(each is error for each in errors)


def _is_of_arrow(error: BaseException) -> bool:
    return type(error).__name__ == "InvalidInputException" and ARROW_FAILED.match(str(error)) is not None


class _Listening:
    """A signal's handler, of which is known what it raised.

    It does not keep the call alive that listens: a call that Ctrl-C has cut off, so that it could not end, is over
    when nobody has it any more. Else all that was at work when a handler raised would be kept for ever, and be open.
    """

    def __init__(self, handler: Callable[[int, FrameType | None], Any], boundary: CallBoundary) -> None:
        self.handler = handler
        self._boundary = weakref.ref(boundary)

    def __call__(self, number: int, frame: FrameType | None) -> Any:
        try:
            return self.handler(number, frame)
        except BaseException as error:
            self._note(error)
            raise

    def _note(self, error: BaseException) -> None:
        boundary = self._boundary()
        if boundary is not None:
            boundary.heard.append(error)

    def call_that_listens(self) -> CallBoundary | None:
        """Return the call, or None if it was cut off: what comes next may not become a part of it."""
        boundary = self._boundary()
        if boundary is None or boundary.freed_after == len(boundary.heard):
            return boundary
        boundary.freed_after = len(boundary.heard)
        del boundary  # What a handler has raised is held by the call that it may have cut off, and holds it.
        free_what_was_cut_off()
        return self._boundary()


def _refusal(error: BaseException) -> SystemRefusedError | None:
    """Return what to raise where the system refused something that nobody has put a name to."""
    around = error.__context__
    if type(error) is RuntimeError and isinstance(around, OSError) and around.errno == errno.ELOOP:
        error = around  # Python before 3.13 makes this of a path whose links lead back to themselves.
    if not isinstance(error, OSError) or isinstance(error, StoreError):
        return None
    advice = ADVICE.get(error.errno or 0, "look after it")
    if error.errno == errno.ENOENT and not _has_working_folder():
        advice = "the folder in which this process works was removed: change to another one, or give an absolute path"
    refused = SystemRefusedError(f"the system refused what this needs: {error}; {advice}, and try again")
    refused.errno, refused.filename = error.errno, error.filename
    return refused


def _has_working_folder() -> bool:
    try:
        os.getcwd()  # noqa: PTH109  # Path.cwd is this, and only an error of it is of interest
    except OSError:
        return False
    return True


def free_what_was_cut_off() -> None:
    """Free what Ctrl-C has cut off, which may keep a file open, or other writers waiting, until it is collected.

    While another thread collects garbage, which may be just that, `gc.collect` does nothing: so it is waited for.
    """
    deadline = time.monotonic() + COLLECTION_SECONDS
    while True:
        before = gc.get_stats()[-1]["collections"]
        gc.collect()
        if gc.get_stats()[-1]["collections"] != before or time.monotonic() >= deadline:
            return
        time.sleep(COLLECTION_POLL_SECONDS)


@contextmanager
def keeping_interrupts() -> Iterator[Callable[[], None]]:
    """Give a function that raises Ctrl-C if it was thrown away; a long call calls it between its parts.

    Python handles signals late while it collects garbage: in the first function that this calls, as a weak reference
    does, and there it throws away what the handler raises. At the end of the block it is raised, too.
    """
    handler = _handler_of(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield lambda: None
        return
    heard: list[BaseException] = []

    def note(number: int, frame: FrameType | None) -> Any:
        try:
            return handler(number, frame)
        except BaseException as error:
            heard.append(error)
            raise

    def check() -> None:
        if heard:
            raise heard.pop()

    _set_handler(signal.SIGINT, note)
    try:
        yield check
        check()
    finally:
        heard.clear()  # It keeps alive all that it was raised in.
        if _handler_of(signal.SIGINT) is note:
            _set_handler(signal.SIGINT, handler)


def public(call: Callable[P, R]) -> Callable[P, R]:
    """Let a function be a public call."""

    @wraps(call)
    def call_within_boundary(*args: P.args, **kwargs: P.kwargs) -> R:
        boundary = CallBoundary()
        try:
            boundary.listen()
            result = call(*args, **kwargs)
            boundary.restore()
            return result
        except BaseException as error:
            try:
                boundary.end(error)
            finally:
                boundary.restore()
            raise

    return call_within_boundary


def all_public(cls: C) -> C:
    """Let all public methods of a class be public calls, and what Python itself calls of it."""
    for name, member in list(vars(cls).items()):
        if callable(member) and not isinstance(member, type) and (not name.startswith("_") or name in MAGIC):
            setattr(cls, name, public(member))
    return cls


MAGIC = ("__init__", "__enter__", "__exit__")
