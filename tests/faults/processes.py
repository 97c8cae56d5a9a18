"""Children that tell what they do, are waited for with a bound, and are killed by their own id only."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

SECONDS_TO_HANG = 120.0
LONGEST_MESSAGE = 2**17

Say = Callable[[Any], None]
"""Called by a child with what has happened, as JSON has it; the message is with the parent when it returns."""


class Child:
    """A forked process at work; `work` is called in it with a function that tells this process something."""

    def __init__(self, work: Callable[[Child], object]) -> None:
        # Messages stay apart; and `send` is no system call that a fault is injected in.
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._is_over = False
        # The strace that watches it ends with it.
        self.tracer: subprocess.Popen[str] | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._socket.close()
            self._socket = theirs
            self._be(work)
        theirs.close()
        self._descriptor = os.pidfd_open(self.pid)

    def _be(self, work: Callable[[Child], object]) -> NoReturn:
        code = 1
        try:
            work(self)
            code = 0
        except BaseException:
            self.say({"failed": traceback.format_exc()[-20_000:]})
        finally:
            os._exit(code)

    def say(self, message: Any) -> None:
        """Send a message to the other side."""
        self._socket.send(json.dumps(message).encode())

    def hear(self, seconds: float = SECONDS_TO_HANG) -> Any:
        """Return the next message of the other side; None: it is gone."""
        self._socket.settimeout(seconds)
        try:
            message = self._socket.recv(LONGEST_MESSAGE)
        except ConnectionResetError:
            return None
        return json.loads(message) if message else None

    def hear_all(self) -> Iterator[Any]:
        """Yield the messages until the child is gone."""
        while (message := self.hear()) is not None:
            yield message

    def signal(self, number: int) -> None:
        """Send a signal to this child, which no other process can be mistaken for."""
        if not self._is_over:
            signal.pidfd_send_signal(self._descriptor, number)

    def kill(self) -> None:
        """End it as the power does, and wait for it."""
        self.signal(signal.SIGKILL)
        self.end()

    def end(self, seconds: float = SECONDS_TO_HANG) -> int:
        """Wait until it has ended; return its exit code. One that hangs is killed, and is a failure."""
        ready, _, _ = select.select([self._descriptor], [], [], seconds)
        if not ready:
            self.kill()
            raise AssertionError(f"process {self.pid} was at work for more than {seconds:g} s")
        self._is_over = True
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self._descriptor)
        if self.tracer is not None:
            self.tracer.communicate(timeout=seconds)
        return code

    def close(self) -> None:
        """Give up the messages that were not heard."""
        self._socket.close()


def in_new_process(work: Callable[[], Any], seconds: float = SECONDS_TO_HANG) -> Any:
    """Run something in a new process and return what it returns; what it raises is a failure here."""
    child = Child(lambda child: child.say({"returned": work()}))
    try:
        heard = child.hear(seconds)
        code = child.end(seconds)
    except TimeoutError:
        child.kill()
        raise AssertionError(f"process {child.pid} was at work for more than {seconds:g} s") from None
    finally:
        child.close()
    if code or heard is None or "failed" in heard:
        raise AssertionError(heard["failed"] if heard else f"it ended with exit code {code}")
    return heard["returned"]


def pause(seconds: float) -> None:
    """Let others run for a moment that a seed has chosen."""
    time.sleep(seconds)
