"""What a training shows while it runs: a bar on a terminal, plain lines elsewhere, nothing on request."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["shown"]

Row = dict[str, float]


@contextmanager
def shown(verbose: bool, total: int, title: str) -> Iterator[Callable[[Row], None]]:
    """Give a function that takes the row of each epoch; what it shows goes to standard error."""
    console = Console(stderr=True)
    if not verbose:
        yield lambda _: None
    elif console.is_terminal:
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[now]}"))
        with Progress(TextColumn("{task.description}"), *columns, console=console) as bar:
            task = bar.add_task(title, total=total, now="")
            yield lambda row: bar.update(task, completed=int(row["epoch"]), now=_words(row))
    else:
        every = max(1, total // 10)

        def line(row: Row) -> None:
            if row["epoch"] == 1 or row["epoch"] % every == 0:
                print(f"{title}: epoch {row['epoch']} of at most {total}: {_words(row)}", file=sys.stderr)  # noqa: T201

        yield line


def _words(row: Row) -> str:
    parts = [f"loss {row['train_loss']:.4f}"]
    if "valid_loss" in row:
        parts.append(f"validation loss {row['valid_loss']:.4f}, accuracy {row['valid_accuracy']:.3f}")
    return ", ".join(parts)
