"""A process that has imported everything and opened nothing; it forks one for each program that tests want to run.

Importing takes a program of a test longer than all that it does. `programs.py` sends what to run, and is told the
process id, and later how it ended.

What multiprocessing's `forkserver` forks is no such program: it ends by `os._exit`, before the handlers of `atexit` and
what else the interpreter does at its end, which is what many tests look at.
"""

import gc
import importlib
import json
import os
import pkgutil
import selectors
import socket
import sys
import types
import warnings

import joblib  # noqa: F401
import pyarrow.parquet  # noqa: F401
import sklearn.cross_decomposition
import sklearn.linear_model
import sklearn.model_selection
import sklearn.preprocessing  # noqa: F401
from sqlalchemy import create_engine

import nirs4all_store
from nirs4all_store.engine.duckdb.dialect import DRIVER

LONGEST_REQUEST = 2**20


def warm_up() -> None:
    """Import what every program would import again, and open nothing."""
    for module in pkgutil.walk_packages(nirs4all_store.__path__, "nirs4all_store."):
        # An installed package has its migrations in it, which Alembic runs.
        if not module.name.startswith(("nirs4all_store.testing", "nirs4all_store.migrations")):
            importlib.import_module(module.name)
    create_engine(f"{DRIVER}://").dispose()
    nirs4all_store.engine.duckdb.migrator.missing("0001")


def serve(requests: socket.socket) -> dict:
    """Fork for each request; return it in the child. Ends with the process that asks."""
    waiting = selectors.DefaultSelector()
    waiting.register(requests, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.data is not None:
                waiting.unregister(key.fd)
                pid, answers = key.data
                answers.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
                answers.close()
                os.close(key.fd)
                continue
            message, descriptors, _, _ = socket.recv_fds(requests, LONGEST_REQUEST, 4)
            if not message:
                os._exit(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # numpy has threads; they wait.
                pid = os.fork()
            if pid == 0:
                for other in [key for key in waiting.get_map().values() if key.data is not None]:
                    other.data[1].close()
                    os.close(other.fd)
                waiting.close()
                requests.close()
                for number, descriptor in enumerate(descriptors[:3]):
                    os.dup2(descriptor, number)
                for descriptor in descriptors:
                    os.close(descriptor)
                return json.loads(message)
            for descriptor in descriptors[:3]:
                os.close(descriptor)
            answers = socket.socket(fileno=descriptors[3])
            answers.send(str(pid).encode())
            waiting.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, answers))


if __name__ == "__main__":
    warm_up()
    gc.freeze()  # A collection in a child need not look at, and so copy, what is here.
    request = serve(socket.socket(fileno=int(sys.argv[1])))
    os.chdir(request["folder"])
    # What Python has learnt of the old ones (that they can seek) is not true of these.
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["-c", *request["arguments"]]
    sys.path[0] = ""
    if request["strict"]:
        sys.warnoptions.append("error")
        warnings.simplefilter("error")
    # As it is for `python -c`: what is forked or spawned from it finds no file to run again.
    sys.modules["__main__"] = main = types.ModuleType("__main__")
    exec(compile(request["program"], "<string>", "exec"), main.__dict__)
