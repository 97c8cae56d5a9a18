"""The bar that shows how much of a training is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress_bar(total: int, *, is_shown: bool) -> Iterator[Any]:
    """Show a bar on a terminal, and give what advances it by one and takes how many have failed so far."""
    console = Console(stderr=True)
    failures = TextColumn("[red]{task.fields[failed]}")
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), failures, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not (is_shown and console.is_terminal)) as bar:
        task = bar.add_task("", total=total, failed="")
        yield lambda failed: bar.update(task, advance=1, failed=f"failed {failed:,}" if failed else "")
