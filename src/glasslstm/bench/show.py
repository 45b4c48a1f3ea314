"""The document of a measurement as tables for people."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from glasslstm._console import print_table, say
from glasslstm.bench.run import in_words
from glasslstm.bench.shapes import Shape
from glasslstm.bench.works import WORKS

__all__ = ["show"]

Row = dict[str, Any]

_UNITS = {
    "s per run": ("ms", 1e3),
    "s per step": ("us a step", 1e6),
    "s per step and sequence": ("us a step and sequence", 1e6),
    "bytes": ("MiB", 2**-20),
}


def show(document: Row) -> None:
    """Print machine, measurements, means and goals."""
    print_table("machine", document["machine"].items())
    print_table("versions", document["versions"].items())
    for (work, threads), group in groupby(document["rows"], key=lambda row: (row["work"], row["threads"])):
        rows = [_cells(row) for row in group]
        header = ["shape", "kind", "side", "its value", "against", "its value", "unit"]
        header += ["compared", "middle half", "goal"]
        print_table(f"{work}, threads {threads}: {WORKS[work].words}", rows, header=header)
    means = [_mean_cells(row) for row in document["means"]]
    header = ["work", "threads", "side", "against", "kind", "unit", "shapes", "mean", "goal"]
    if means:
        print_table("geometric means", means, header=header)
    if document["growths"]:
        rows = [_growth_cells(row) for row in document["growths"]]
        print_table(
            "largest growth of a step and sequence's time",
            rows,
            header=["work", "threads", "side", "times", "at"],
        )
    for line in _warnings(document):
        say(line)


def _cells(row: Row) -> list[str]:
    values = [_value(row["subject_value"], row["unit"]), _value(row["against_value"], row["unit"])]
    half = "" if row["low"] is None else f"{row['low']:.2f} - {row['high']:.2f}"
    return [
        str(Shape(**row["shape"])),
        row["kind"],
        row["subject"],
        values[0],
        row["against"],
        values[1],
        "GFLOP/s" if row["unit"] == "s per flop" else _UNITS[row["unit"]][0],
        f"{row['value']:.2f}",
        half,
        _goal(row),
    ]


def _mean_cells(row: Row) -> list[Any]:
    start = [row[key] for key in ("work", "threads", "subject", "against", "kind", "unit", "shapes")]
    return [*start, f"{row['value']:.2f}", _goal(row)]


def _growth_cells(row: Row) -> list[Any]:
    start = [row[key] for key in ("work", "threads", "side")]
    return [*start, f"{row['value']:.2f}", Shape(**row["shape"])]


def _value(value: float, unit: str) -> str:
    return f"{1e-9 / value:.1f}" if unit == "s per flop" else f"{value * _UNITS[unit][1]:.3g}"


def _goal(row: Row) -> str:
    if row["goal"] is None:
        return ""
    bound = "at most" if row["kind"] == "cost" else "at least"
    return f"{bound} {row['goal']:g}: {'reached' if row['reached'] else 'MISSED'}"


def _warnings(document: Row) -> Iterator[str]:
    for row in document["refused"]:
        yield in_words(row)
    for opponent, remedy in document["missing"].items():
        yield f"{opponent} is left out: {remedy}"
    if not document["trusted"]:
        yield (
            f"other machines took {document['stolen_percent']} % of the processors' time, other processes "
            f"{document['others_percent']} %: these figures are not to be trusted"
        )
