"""What a training shows while it runs: a bar on a terminal, plain lines elsewhere, nothing on request."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

__all__ = ["Show", "shown"]

Row = dict[str, float]


class Show:
    """Shows nothing."""

    def epoch(self, row: Row) -> None:
        """Take the row of an epoch that is over."""

    def batch(self, epochs: float, loss: float) -> None:
        """Take how many epochs are over, with fractions, and the loss of the present one so far."""


@contextmanager
def shown(verbose: bool, total: int, title: str) -> Iterator[Show]:
    """Give what takes the rows of epochs; what it shows goes to standard error."""
    console = Console(stderr=True)
    if not verbose:
        yield Show()
    elif console.is_terminal:
        columns = (BarColumn(), TextColumn("{task.completed:.1f}/{task.total} epochs"), TimeRemainingColumn())
        text = (TextColumn("{task.description}"), *columns, TextColumn("{task.fields[now]}"))
        with Progress(*text, console=console) as bar:
            yield _Bar(bar, bar.add_task(title, total=total, now=""))
    else:
        yield _Lines(total, title)


class _Bar(Show):
    """A bar with the time that is left, and the latest figures."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self.bar, self.task = bar, task

    def epoch(self, row: Row) -> None:
        self.bar.update(self.task, completed=int(row["epoch"]), now=_words(row))

    def batch(self, epochs: float, loss: float) -> None:
        if epochs < 1:
            self.bar.update(self.task, completed=epochs, now=f"loss {loss:.4f}")
        else:
            self.bar.update(self.task, completed=epochs)


class _Lines(Show):
    """A line for the first epoch and every tenth of them; within long epochs, one every half minute."""

    def __init__(self, total: int, title: str) -> None:
        self.total, self.title, self.every = total, title, max(1, total // 10)
        self.start = self.last = monotonic()

    def epoch(self, row: Row) -> None:
        if row["epoch"] == 1 or row["epoch"] % self.every == 0:
            self._line(f"epoch {row['epoch']} of at most {self.total}: {_words(row)}")

    def batch(self, epochs: float, loss: float) -> None:
        if monotonic() - self.last > _SECONDS:
            left = (monotonic() - self.start) / epochs * (self.total - epochs)
            self._line(
                f"{epochs:.2f} of at most {self.total} epochs: loss {loss:.4f}, {left:.0f} s left at most"
            )

    def _line(self, words: str) -> None:
        self.last = monotonic()
        print(f"{self.title}: {words}", file=sys.stderr, flush=True)  # noqa: T201


_SECONDS = 30.0


def _words(row: Row) -> str:
    parts = [f"loss {row['train_loss']:.4f}"]
    parts += [
        f"validation {name.removeprefix('valid_').replace('_', ' ')} {value:.4f}"
        for name, value in row.items()
        if name.startswith("valid_")
    ]
    return ", ".join(parts)
