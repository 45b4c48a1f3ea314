"""The whole measurement: works on shapes with numbers of threads, as one document."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from glasslstm.bench import machine
from glasslstm.bench.findings import Finding, reached
from glasslstm.bench.machine import Ticks
from glasslstm.bench.measure import Box
from glasslstm.bench.memory import TORCH
from glasslstm.bench.opponents import missing
from glasslstm.bench.shapes import Shape
from glasslstm.bench.works import WORKS, Work
from glasslstm.errors import ArgumentError

__all__ = ["in_words", "parse_threads", "run"]

FORMAT = 1
Row = dict[str, Any]


def run(
    works: Sequence[str],
    shapes: Sequence[Shape] = (),
    threads: Sequence[int] = (),
    box: Box = Box(),  # noqa: B008 - it cannot be changed
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure, and return the document that docs/bench.md describes.

    Parameters
    ----------
    works
        Names of :data:`glasslstm.bench.works.WORKS`.
    shapes
        Default: each work's own.
    threads
        Numbers of threads, one after the other. Default: torch's.
    box
        How long to measure each pair.
    progress
        Is called with a line for each finding.

    Examples
    --------
    >>> from glasslstm.bench import parse_shapes, parse_works, run
    >>> from glasslstm.bench.measure import Box
    >>> quick = Box(rounds=3, seconds=0, sample=0)
    >>> document = run(parse_works("training"), parse_shapes("2x1x3x4"), box=quick)
    >>> [(row["subject"], row["against"]) for row in document["rows"]]
    [('glasslstm', 'torch.nn.LSTM')]
    """
    start = Ticks.now()
    facts = machine.facts()
    rows: list[Row] = []
    for row in _rows(works, shapes, threads or [torch.get_num_threads()], box):
        progress(in_words(row))
        rows.append(row)
    found = [row for row in rows if "refused" not in row]
    taken = Ticks.now().percent_since(start)
    return {
        "format": FORMAT,
        "machine": facts,
        "versions": machine.versions(),
        **taken,
        "trusted": machine.trusted(taken),
        "missing": missing(),
        "rows": found,
        "means": _means(found),
        "growths": _growths(found),
        "refused": [row for row in rows if "refused" in row],
    }


def parse_threads(text: str) -> tuple[int, ...]:
    """Return the numbers of threads that `text` names, with commas between.

    Raises
    ------
    ArgumentError
        For what is no number of 1 or more.

    Examples
    --------
    >>> parse_threads("1, 2")
    (1, 2)
    """
    words = [word.strip() for word in text.split(",")]
    wrong = [word for word in words if not (word.isdecimal() and int(word))]
    if wrong:
        raise ArgumentError(f"{wrong[0]!r} is no number of threads; expected 1 or more, as in 1,2")
    return tuple(dict.fromkeys(map(int, words)))


def in_words(row: Row) -> str:
    """Return a row as one line."""
    start = f"{row['work']}, threads {row['threads']}, {Shape(**row['shape'])}"
    if "refused" in row:
        return f"{start}: {row['refused']} is refused: {row['reason']}"
    return f"{start}: {row['subject']} against {row['against']}, {row['kind']} {row['value']:.2f}"


def _rows(works: Sequence[str], shapes: Sequence[Shape], threads: Sequence[int], box: Box) -> Iterator[Row]:
    for count in threads:
        with _threads(count):
            for name in works:
                for shape in shapes or WORKS[name].shapes:
                    where = {"work": name, "threads": count, "shape": shape._asdict()}
                    for row in _rows_of(WORKS[name], shape, box):
                        yield where | row


def _rows_of(work: Work, shape: Shape, box: Box) -> Iterator[Row]:
    earlier = Ticks.now()
    for found in work.findings(shape, box):
        now = Ticks.now()
        if isinstance(found, Finding):
            goal = found.goal if shape in work.shapes else None
            yield replace(found, goal=goal).as_dict() | now.percent_since(earlier)
        else:
            yield {"refused": found.side, "reason": found.reason}
        earlier = now


def _growths(rows: Sequence[Row]) -> list[Row]:
    """Return how the time of a step and sequence of each side grew at most: 1 is linear or better."""
    curves: dict[tuple[Any, ...], list[tuple[Shape, float]]] = {}
    for row in rows:
        if row["unit"] == "s per step and sequence":
            for side in ("subject", "against"):
                curve = curves.setdefault((row["work"], row["threads"], row[side]), [])
                curve.append((Shape(**row["shape"]), row[f"{side}_value"]))
    keys = ("work", "threads", "side", "value", "shape")
    return [dict(zip(keys, (*key, *_steepest(curve)), strict=True)) for key, curve in curves.items()]


def _steepest(curve: Sequence[tuple[Shape, float]]) -> tuple[float, dict[str, int]]:
    """Return the largest ratio of a point to a smaller one, and its shape."""
    growths = [
        (value / smaller, shape._asdict())
        for shape, value in curve
        for least, smaller in curve
        if all(a <= b for a, b in zip(least, shape, strict=True))
    ]
    return max(growths, key=lambda growth: growth[0])


def _means(rows: Sequence[Row]) -> list[Row]:
    """Return the geometric mean of each comparison over its shapes."""
    keys = ("work", "threads", "subject", "against", "kind", "unit")
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return [dict(zip(keys, key, strict=True)) | _mean(group) for key, group in groups.items()]


def _mean(rows: Sequence[Row]) -> Row:
    """Return the mean; its goal holds for all shapes of the work, and for them alone."""
    work = WORKS[rows[0]["work"]]
    whole = [Shape(**row["shape"]) for row in rows] == list(work.shapes)
    goal = work.mean_goal if whole and rows[0]["against"] == TORCH else None
    value = statistics.geometric_mean(row["value"] for row in rows)
    return {
        "value": value,
        "shapes": len(rows),
        "goal": goal,
        "reached": reached(rows[0]["kind"], value, goal),
    }


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
