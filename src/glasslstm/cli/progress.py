"""How far a command is that reads block by block: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from time import monotonic

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from glasslstm.data import Sequences

__all__ = ["counted"]


def counted(blocks: Iterable[Sequences], steps: int, *, quiet: bool) -> Iterator[Sequences]:
    """Hand on blocks of series, and show on standard error how many of all their steps are done, and the time left."""
    if quiet:
        yield from blocks
    elif sys.stderr.isatty():
        yield from _with_bar(blocks, steps)
    else:
        yield from _with_lines(blocks, steps)


def _with_bar(blocks: Iterable[Sequences], steps: int) -> Iterator[Sequences]:
    columns = (TextColumn("rows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=steps)
        for series in blocks:
            yield series
            bar.advance(task, series.steps)


def _with_lines(blocks: Iterable[Sequences], steps: int) -> Iterator[Sequences]:
    done, start = 0, monotonic()
    last = start
    for series in blocks:
        yield series
        done += series.steps
        now = monotonic()
        if now - last > SECONDS:
            last, left = now, (now - start) / done * (steps - done)
            typer.echo(f"{done} of {steps} rows, {left:.0f} s left", err=True)


SECONDS = 10.0
