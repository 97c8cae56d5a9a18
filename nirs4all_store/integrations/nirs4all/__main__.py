"""Runs a script in which nirs4all keeps its workspaces in this store."""

import argparse
import runpy
import sys
from pathlib import Path

from ...errors import StoreError, WorkspaceError
from .installation import ALL, KEPT, install

USAGE = "python -m nirs4all_store.integrations.nirs4all [--keep {all,final}] SCRIPT [ARGUMENTS]"


def main() -> None:
    """Run the script that the command line names, as `python SCRIPT` does."""
    parser = argparse.ArgumentParser(usage=USAGE, description=__doc__)
    parser.add_argument("--keep", choices=KEPT, default=ALL, help="whose fitted objects are kept after a refit")
    parser.add_argument("script")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    try:
        install(given.keep)
    except StoreError as error:
        sys.exit(f"Error: {error}")
    sys.argv = [given.script, *given.arguments]
    sys.path[0] = str(Path(given.script).resolve().parent)
    try:
        runpy.run_path(given.script, run_name="__main__")
    except WorkspaceError as error:  # What to do stands in it, and not in the script.
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
