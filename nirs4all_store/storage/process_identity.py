"""Which process runs a run, and whether it is sure to be gone.

Only Linux tells enough to be sure of anything; elsewhere an owner is a name, and never known to be gone.

See docs/decisions/0011.
"""

from __future__ import annotations

import hmac
import os
import platform
from pathlib import Path
from typing import Any

ProcessId = dict[str, Any]

PROC = Path("/proc")
MACHINE = Path("/etc/machine-id")
# Every machine's own first PID namespace has this number, and no container's has.
FIRST_NAMESPACE = "pid:[4026531836]"
MAX_PID = 2**31


def this_process() -> ProcessId:
    """Return what tells this process from every other one, as JSON has it.

    It is asked anew each time, since a forked child is another process.

    Returns
    -------
    dict
        `host` (its name), `machine` (a hash of its id), `boot` (the id of its start), `pid_namespace`,
        `time_namespace` (the clock that `started` is read from), `pid`, `started` (clock ticks since the boot). Where
        the system does not tell, a text is empty and `started` None.
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


def is_gone(owner: Any, here: ProcessId) -> bool:
    """Tell whether a process is sure to be gone.

    Parameters
    ----------
    owner : JSON value
        What `this_process` returned there; of anything else nothing is sure.
    here : dict
        What it returns here.
    """
    return _is_running(owner, here) is False


def is_alive(owner: Any, here: ProcessId) -> bool:
    """Tell whether a process is sure to be alive; see `is_gone`."""
    return _is_running(owner, here) is True


def is_same(owner: Any, here: ProcessId) -> bool:
    """Tell whether an owner is the process here, whose machine may have got another name since; see `is_gone`."""
    return bool(owner == here or (is_alive(owner, here) and owner["pid"] == here["pid"]))


def _is_running(owner: Any, here: ProcessId) -> bool | None:
    """Tell whether a process lives; None: from here that cannot be known."""
    if not isinstance(owner, dict) or not here["boot"]:
        return None
    if all(owner.get(name) == here[name] for name in ("boot", "pid_namespace", "time_namespace")):
        return _is_there(owner.get("pid"), owner.get("started"))
    if isinstance(owner.get("boot"), str) and owner["boot"] not in ("", here["boot"]) and _is_this_machine(owner, here):
        return False  # The machine was started anew since.
    return None


def _is_this_machine(owner: ProcessId, here: ProcessId) -> bool:
    """Tell whether a process was one of this very machine, not of a container.

    Containers made from one image may have one name and one machine id, and be on different machines.
    """
    outside = owner.get("pid_namespace") == here["pid_namespace"] == FIRST_NAMESPACE
    return outside and here["machine"] != "" and all(owner.get(name) == here[name] for name in ("host", "machine"))


def _is_there(pid: Any, started: Any) -> bool | None:
    """Tell whether a process of this PID namespace is there and has not ended; None: that is not known."""
    if type(pid) is not int or type(started) is not int or not 0 < pid < MAX_PID or not _proc_is_ours():
        return None
    try:
        os.kill(pid, 0)  # Signal 0 only asks, and is answered where /proc hides the processes of other users.
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    status = _status(str(pid))
    if status is None:
        return None
    state, threads, found = status
    # With threads left, only the main one has ended.
    has_ended = state in "ZX" and threads <= 1
    return found == started and not has_ended


def _status(process: str) -> tuple[str, int, int] | None:
    """Return a process's state, how many threads it has, and when it started; None if that is not told."""
    try:
        content = (PROC / process / "stat").read_bytes()
    except OSError:
        return None
    # The second field is the command's name in parentheses, which may hold spaces and parentheses itself.
    fields = content.rpartition(b")")[2].split()
    return fields[0].decode(), int(fields[17]), int(fields[19])


def _proc_is_ours() -> bool:
    """Tell whether the numbers in /proc are those of this process's PID namespace, and not of one around it."""
    lines = [line.split() for line in _text(PROC / "self/status").splitlines()]
    return any(line[:1] == ["NSpid:"] and len(line) == 2 for line in lines)


def _machine() -> str:
    """Return a hash of the machine's id, which itself is for no one else to see: machine-id(5)."""
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
