"""Rows of whole series become :class:`Sequences`, or one clear error."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from glasslstm.data import columns as col
from glasslstm.data.checks import others
from glasslstm.data.layout import Layout
from glasslstm.data.sequences import Sequences
from glasslstm.errors import DataError

__all__ = ["Rows", "assemble", "changes", "refuse_return"]


@dataclass(frozen=True)
class Rows:
    """Rows of whole series, and the words that name a place in them."""

    where: str
    columns: dict[str, pa.Array]
    layout: Layout
    together: bool
    """Whether the rows of a series must stand together, because more rows come after these."""

    def __len__(self) -> int:
        return len(self.columns[self.layout.id])

    @property
    def scope(self) -> str:
        """What is counted."""
        return "in this block of rows" if self.together else "in the table"

    def series(self, row: int) -> str:
        """Name the series of a row."""
        return f"{self.where}: series {self.show(self.layout.id, row)}"

    def others(self, found: NDArray[Any]) -> str:
        """Name all series of some rows, if they are of more than one."""
        ids = self.columns[self.layout.id].take(found)
        return others(pc.unique(ids).to_pylist(), self.scope)

    def step(self, row: int) -> str:
        """Name the time of a row."""
        return f"{self.layout.time} = {self.show(self.layout.time, row)}"

    def show(self, column: str, row: int) -> str:
        """Return a value in words."""
        value = self.columns[column].slice(row, 1)
        return repr(value[0].as_py()) if col.is_text(value.type) else str(value.cast(pa.string())[0])


def assemble(rows: Rows) -> Sequences:
    """Return the series in order of first appearance, values in float64 unless float32 has all of them."""
    rows, times, starts = _arrange(rows)
    layout = rows.layout
    targets, step_targets = _targets(rows, starts)
    return Sequences(
        values=_values(rows),
        starts=starts,
        stops=np.append(starts[1:], len(rows)),
        ids=col.to_numpy(rows.columns[layout.id].take(starts)),
        channel_names=layout.channels,
        times=times,
        targets=targets,
        step_targets=step_targets,
        static=_static(rows, starts) if layout.static else None,
        static_names=layout.static,
        target_names=layout.targets,
        categories={name: _texts(known) for name, known in layout.categories.items()},
    )


def changes(ids: pa.Array, column: pa.Array) -> bool:
    """Tell whether the values of a column change within a series."""
    series, values = col.to_codes(ids), col.to_codes(column)
    order = np.argsort(series, kind="stable")
    return bool(((np.diff(series[order]) == 0) & (np.diff(values[order]) != 0)).any())


def _arrange(rows: Rows) -> tuple[Rows, NDArray[Any], NDArray[np.int64]]:
    """Return the rows by series and time, the times, and where each series starts."""
    series = col.to_codes(rows.columns[rows.layout.id])  # in order of first appearance
    times = col.to_times(rows.columns[rows.layout.time])
    back = np.flatnonzero(series[1:] < series[:-1])
    if rows.together and len(back):
        refuse_return(rows.where, rows.show(rows.layout.id, int(back[0]) + 1), rows.layout)
    same = series[1:] == series[:-1]
    if len(back) or not (times[1:] > times[:-1])[same].all():
        order = np.lexsort((times, series))
        given = np.argsort(series, kind="stable")
        rows, times, series = _reordered(rows, times, series, order, given)
        same = series[1:] == series[:-1]
    return rows, times, np.flatnonzero(np.concatenate(([True], ~same)))


def _reordered(
    rows: Rows, times: NDArray[Any], series: NDArray[Any], order: NDArray[Any], given: NDArray[Any]
) -> tuple[Rows, NDArray[Any], NDArray[Any]]:
    """Sort the rows where that is allowed and no time is there twice."""
    same = series[order][1:] == series[order][:-1]
    twice = np.flatnonzero(same & (times[order][1:] == times[order][:-1]))
    if len(twice):
        row = int(order[twice[0]])
        raise DataError(
            f"{rows.series(row)} has {rows.step(row)} more than once; within a series each time must be "
            f"there once: drop the duplicates, or check that {rows.layout.id!r} tells all series apart"
            f"{rows.others(order[twice])}"
        )
    falls = np.flatnonzero(same & (times[given][1:] < times[given][:-1]))
    if len(falls) and not rows.layout.sort:
        before, after = (int(row) for row in given[falls[0] : falls[0] + 2])
        raise DataError(
            f"{rows.series(before)} is not sorted by time: {rows.step(after)} comes after {rows.step(before)}"
            "; rows sorted by time are required: sort the table, or ask for it with sort=True (--sort)"
            f"{rows.others(given[falls])}"
        )
    columns = {name: column.take(order) for name, column in rows.columns.items()}
    return replace(rows, columns=columns), times[order], series[order]


def refuse_return(where: str, series: str, layout: Layout) -> None:
    """Raise the error for a series whose rows do not stand together, where they must."""
    raise DataError(
        f"{where}: series {series} comes back after other series; what does not fit into memory must have the rows of "
        f"each series together: sort it by {layout.id!r} and {layout.time!r}, or give one file and more memory="
    )


def _values(rows: Rows) -> NDArray[np.floating]:
    layout = rows.layout
    columns = [rows.columns[name] for name in layout.channels]
    exact = all(
        name in layout.categories or col.is_exact(column.type)
        for name, column in zip(layout.channels, columns, strict=True)
    )
    values = np.empty((len(rows), len(columns)), np.float32 if exact else np.float64)
    for k, name in enumerate(layout.channels):
        values[:, k] = _floats(rows, name)
    _refuse_gaps(rows, values)
    return values


def _floats(rows: Rows, name: str) -> NDArray[np.floating]:
    column = rows.columns[name]
    if name in rows.layout.categories:
        return col.place_in(column, rows.layout.categories[name])
    kind = pa.float32() if col.is_exact(column.type) else pa.float64()
    return np.asarray(column.cast(kind, safe=False).to_numpy(zero_copy_only=False))


def _refuse_gaps(rows: Rows, values: NDArray[np.floating]) -> None:
    fine = np.isfinite(values) if rows.layout.missing == "error" else ~np.isinf(values)
    if fine.all():
        return
    row, k = np.argwhere(~fine)[0]
    gap = bool(np.isnan(values[row, k]))
    count = int(values.size - fine.sum())
    remedy = (
        "fill the gaps, drop the rows, or train with missing='mask' (--missing mask), which keeps them"
        if gap
        else "every value must be a finite number: replace it, or drop the row"
    )
    raise DataError(
        f"{rows.series(row)} at {rows.step(row)}: channel {rows.layout.channels[k]!r} is "
        f"{'missing' if gap else 'infinite'}; such values {rows.scope}: {count} of {values.size} "
        f"({count / values.size:.2%}); {remedy}{rows.others(np.flatnonzero(~fine.all(axis=1)))}"
    )


def _targets(rows: Rows, starts: NDArray[np.int64]) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """Return the targets of the series, or of the steps."""
    layout = rows.layout
    for name in layout.targets:
        _refuse_no_value(rows, name, "target", starts)
    if not layout.targets:
        return None, None
    if layout.per_step:
        return None, col.to_numpy(rows.columns[layout.targets[0]])
    for name in layout.targets:
        _refuse_change(rows, name, starts)
    first = [rows.columns[name].take(starts) for name in layout.targets]
    if not layout.several:
        return col.to_numpy(first[0]), None
    return np.column_stack([col.to_numpy(column).astype(np.float64) for column in first]), None


def _static(rows: Rows, starts: NDArray[np.int64]) -> NDArray[np.float64]:
    for name in rows.layout.static:
        _refuse_no_value(rows, name, "static feature", starts)
        _refuse_change(rows, name, starts)
    return np.column_stack([_floats(rows, name)[starts] for name in rows.layout.static]).astype(np.float64)


def _refuse_no_value(rows: Rows, name: str, job: str, starts: NDArray[np.int64]) -> None:
    column = rows.columns[name]
    lost = col.missing(column)
    wrong = np.flatnonzero(pc.or_(lost, col.infinite(column)).to_numpy(zero_copy_only=False))
    if len(wrong):
        row = int(wrong[0])
        count = len(np.unique(np.searchsorted(starts, wrong, side="right")))
        raise DataError(
            f"{rows.series(row)} at {rows.step(row)}: the {job} {name!r} is "
            f"{'missing' if lost[row].as_py() else 'infinite'}; such series {rows.scope}: {count} of {len(starts)}; "
            f"fill it in, or drop them{rows.others(wrong)}"
        )


def _refuse_change(rows: Rows, name: str, starts: NDArray[np.int64]) -> None:
    codes = col.to_codes(rows.columns[name])
    changed = codes[1:] != codes[:-1]
    changed[starts[1:] - 1] = False
    if not changed.any():
        return
    before = int(changed.argmax())
    both = f"{name} = {rows.show(name, before)} and {rows.show(name, before + 1)}"
    if name in rows.layout.static:
        raise DataError(
            f"{rows.series(before)} has two values of a static feature: {both}; it must be the same in all rows "
            f"of a series: make it a channel{rows.others(np.flatnonzero(changed))}"
        )
    raise DataError(
        f"{rows.series(before)} has two labels: {both}; a series has one label, the same in all its rows; "
        f"for a label at each step, per_step=True{rows.others(np.flatnonzero(changed))}"
    )


def _texts(known: pa.Array) -> tuple[str, ...]:
    return tuple(known.cast(pa.string()).to_pylist())
