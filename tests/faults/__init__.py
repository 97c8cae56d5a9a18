"""Faults, tried on real files and real processes: `python -m tests.faults`; see docs/reliability.md."""

import os
import sys
from pathlib import Path

# Every trial forks from a process that has imported everything and opened nothing: it must have no threads that matter.
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
sys.path.insert(0, str(Path(__file__).parents[1]))  # For the modules of tests/ that are in no package.

FAULTS = ("kill", "steps", "states", "syscall_kill", "syscalls", "disk", "wal", "bits", "gc", "sharing")
