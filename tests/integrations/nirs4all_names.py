"""Compares the methods of nirs4all's store with those of ours in its place; prints JSON.

`python nirs4all_names.py FOLDER`
"""

import inspect
import json
import sys

from nirs4all.pipeline.storage.workspace_store import WorkspaceStore

from nirs4all_store.integrations.nirs4all.installation import their_store


def parameters(method):
    """Return the names of a method's parameters, and whether it takes others, too."""
    given = inspect.signature(method).parameters
    return [*given], any(one.kind is one.VAR_KEYWORD for one in given.values())


def lacking(store):
    """Return what our store does not have: `method` or `method.parameter`."""
    found = []
    for name, theirs in inspect.getmembers(their_store(), callable):
        if name.startswith("_"):
            continue
        if not hasattr(store, name):
            found.append(name)
            continue
        ours = getattr(store, name)
        ours = ours.args[1] if hasattr(ours, "func") else ours  # It is passed on to our store.
        names, takes_others = parameters(ours)
        wanted = [] if takes_others else parameters(theirs)[0]
        found += [f"{name}.{parameter}" for parameter in wanted if parameter not in ("self", *names)]
    return found


if __name__ == "__main__":
    with WorkspaceStore(sys.argv[1]) as store:
        print(json.dumps(lacking(store)))  # noqa: T201
