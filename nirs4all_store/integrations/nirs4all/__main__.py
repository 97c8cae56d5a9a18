"""Runs a script in which nirs4all keeps its workspaces in this store."""

import runpy
import sys
from pathlib import Path

from ...errors import StoreError
from .installation import install

USAGE = "usage: python -m nirs4all_store.integrations.nirs4all SCRIPT [ARGUMENTS]"


def main() -> None:
    """Run the script that the command line names, as `python SCRIPT` does."""
    if len(sys.argv) < 2:
        sys.exit(USAGE)
    try:
        install()
    except StoreError as error:
        sys.exit(f"Error: {error}")
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
