"""Identifies the process that runs a run, and tells whether it has certainly ended.

Only Linux tells enough for that. On other systems a process is never known to have ended.

Why a number alone does not identify a process: docs/decisions/0011.
"""

from __future__ import annotations

import hmac
import os
import platform
import re
from pathlib import Path
from typing import Any

ProcessId = dict[str, Any]

PROC = Path("/proc")
ONE_NAMESPACE = re.compile(r"^NSpid:[ \t]+\d+$", re.MULTILINE)
MACHINE = Path("/etc/machine-id")
# The first PID namespace of every machine has this number, and no container's has it (proc_ns.h of Linux).
FIRST_NAMESPACE = "pid:[4026531836]"
MAX_PID = 2**31


def this_process() -> ProcessId:
    """Return what distinguishes this process from every other one, as JSON values.

    The system is asked each time, since a forked child is another process.

    Returns
    -------
    dict
        `host` (the name of the machine), `machine` (a hash of its machine id), `boot` (the id of its last start),
        `pid_namespace`, `time_namespace` (whose clock `started` was read from), `pid`, and `started` (when the process
        began, in clock ticks since the boot). If the system does not tell a value, it is an empty text; `started` is
        None then.
    """
    status = _status("self")
    return {
        "host": platform.node().encode(errors="replace").decode(),
        "machine": _machine(),
        "boot": _text(PROC / "sys/kernel/random/boot_id"),
        "pid_namespace": _namespace("pid"),
        "time_namespace": _namespace("time"),
        "pid": os.getpid(),
        "started": status[2] if status else None,
    }


def this_session() -> str:
    """Return what distinguishes this session (a terminal, or a job without one) from others of this machine.

    The number of a session is given again to a later one. So the start of its first process (clock ticks since the
    boot) stands beside it, where the system tells it.
    """
    session = os.getsid(0)
    status = _status(str(session))
    return f"{session}-{status[2]}" if status else f"{session}"


def is_gone(owner: Any, here: ProcessId) -> bool:
    """Tell whether a process has certainly ended.

    Parameters
    ----------
    owner : JSON value
        What `this_process` returned in that process. For any other value the answer is False.
    here : dict
        What `this_process` returns here.
    """
    return _is_running(owner, here) is False


def is_alive(owner: Any, here: ProcessId) -> bool:
    """Tell whether a process is certainly alive; for the parameters see `is_gone`."""
    return _is_running(owner, here) is True


def is_same(owner: Any, here: ProcessId) -> bool:
    """Tell whether `owner` is this process, also if its machine was renamed since; see `is_gone`."""
    return bool(owner == here or (is_alive(owner, here) and owner["pid"] == here["pid"]))


def _is_running(owner: Any, here: ProcessId) -> bool | None:
    """Tell whether a process is alive; None if that cannot be known from here."""
    if not isinstance(owner, dict) or not here["boot"]:
        return None
    if _is_alike(owner, here, "boot", "pid_namespace", "time_namespace"):
        return _is_there(owner.get("pid"), owner.get("started"))
    if isinstance(owner.get("boot"), str) and owner["boot"] not in ("", here["boot"]) and _is_this_machine(owner, here):
        return False  # The machine was restarted since.
    return None


def _is_alike(owner: ProcessId, here: ProcessId, *names: str) -> bool:
    return [*map(owner.get, names)] == [*map(here.get, names)]


def _is_this_machine(owner: ProcessId, here: ProcessId) -> bool:
    """Tell whether a process ran on this machine, outside of a container.

    Containers of one image may have the same name and machine id, and run on different machines.
    """
    outside = owner.get("pid_namespace") == here["pid_namespace"] == FIRST_NAMESPACE
    return outside and here["machine"] != "" and _is_alike(owner, here, "host", "machine")


def _is_there(pid: Any, started: Any) -> bool | None:
    """Tell whether a process of this PID namespace exists and has not ended; None if that is not known."""
    if type(pid) is not int or type(started) is not int or not 0 < pid < MAX_PID or not _proc_is_ours():
        return None
    try:
        os.kill(pid, 0)  # Signal 0 does nothing, and works also where /proc hides the processes of other users.
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    status = _status(str(pid))
    if status is None:
        return None
    state, threads, found = status
    # A process with threads left looks like a zombie once its main thread has ended.
    has_ended = state in "ZX" and threads <= 1
    return found == started and not has_ended


def _status(process: str) -> tuple[str, int, int] | None:
    """Return a process's state, its number of threads, and its start (clock ticks since the boot), as in proc(5).

    None if the system does not tell.
    """
    try:
        content = (PROC / process / "stat").read_bytes()
    except OSError:
        return None
    # The second field is the command's name in parentheses, which may have spaces and parentheses itself.
    fields = content.rpartition(b")")[2].split()
    return fields[0].decode(), int(fields[17]), int(fields[19])


def _proc_is_ours() -> bool:
    """Tell whether the numbers in /proc are those of this process's PID namespace, and not of one around it."""
    return ONE_NAMESPACE.search(_text(PROC / "self/status")) is not None


def _machine() -> str:
    """Return a keyed hash of the machine id: the id itself must stay secret, says machine-id(5)."""
    text = _text(MACHINE)
    return hmac.digest(text.encode(), b"nirs4all_store", "sha256").hex()[:32] if text else ""


def _namespace(kind: str) -> str:
    try:
        return str((PROC / "self/ns" / kind).readlink())
    except OSError:
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
