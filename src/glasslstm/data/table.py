"""A long table, where a row is one step of one series, becomes a list of series."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from glasslstm.data import columns as col
from glasslstm.data.files import TableSource, open_table, select_columns
from glasslstm.errors import ArgumentTypeError, DataError

__all__ = ["SeriesTable", "read_series"]


@dataclass(frozen=True)
class SeriesTable:
    """Series of a long table, in the order in which each first appears there.

    Attributes
    ----------
    ids
        What the id column says of each series, (N,).
    X
        One (T_i, F) array a series, steps in order of time; float32 where all channels are, else float64.
    y
        The label of each series in the type that the table has, (N,), or ``None`` without a target.
    channels
        The names of the F channels.

    Examples
    --------
    >>> import pyarrow as pa
    >>> table = pa.table({"run": ["a", "a", "b"], "t": [0, 1, 0], "x": [1.0, 2.0, 3.0]})
    >>> series = read_series(table, id="run", time="t")
    >>> len(series), series.ids.tolist(), [len(x) for x in series.X]
    (2, ['a', 'b'], [2, 1])
    """

    ids: NDArray[Any]
    X: list[NDArray[np.floating]]
    y: NDArray[Any] | None
    channels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.X)

    @property
    def labels(self) -> NDArray[Any]:
        """What `y` has, for a table that was read with a target.

        Raises
        ------
        DataError
            If the table was read without a target.
        """
        if self.y is None:
            raise DataError("the table was read without labels; name the column that has them with target=")
        return self.y


def read_series(
    source: TableSource,
    *,
    id: str,
    time: str,
    target: str | None = None,
    channels: Sequence[str] | None = None,
    sort: bool = False,
) -> SeriesTable:
    """Read a long table: one row is one step of one series.

    The rows of a series need not stand together.

    Ids and labels keep the type that a Parquet file or a dataframe gives them. A CSV file has no types: there
    they are integers if every value in the column is written as one, without a leading zero or a plus, with
    at most 18 digits; otherwise they are text as it stands, also ``1.0``, ``true``, ``nan`` and ``NA``. Only an
    empty field is a missing one. The other columns of a CSV file are numbers, dates or times if all of
    their values are.

    Parameters
    ----------
    source
        A path to a CSV or Parquet file (.csv, .parquet, .pq), or a dataframe of pandas, polars or pyarrow.
    id
        The column that says which series a row belongs to.
    time
        The column that says when: numbers, dates or times. Within a series no time may repeat.
    target
        The column with the label, the same in all rows of a series. Default: no labels are read.
    channels
        The columns with the values, in the order wanted. Default: all columns but `id`, `time`, `target`.
    sort
        Whether to sort each series by time. Default: the rows must come sorted, and it is an error if
        they do not, because that is often a sign of a wrong `id` or `time`.

    Raises
    ------
    DataError
        If a file cannot be read, a column is unknown or of a type that does not fit, a value is missing
        or infinite, time repeats or runs backwards, or the label changes within a series.

    Examples
    --------
    >>> import pyarrow as pa
    >>> table = pa.table({"run": ["a", "a", "b"], "t": [0, 1, 0], "x": [1.0, 2.0, 3.0], "ok": [1, 1, 0]})
    >>> series = read_series(table, id="run", time="t", target="ok")
    >>> series.ids, series.y, series.channels
    (array(['a', 'b'], dtype='<U1'), array([1, 0]), ('x',))
    >>> series.X[0]
    array([[1.],
           [2.]])
    """
    roles = {"id": id, "time": time} | ({} if target is None else {"target": target})
    frame, where = open_table(source, keys=[name for role, name in roles.items() if role != "time"])
    names = _choose_channels(frame.columns, roles, channels, where)
    rows = _Rows(where, id, time, select_columns(frame, [*roles.values(), *names], where))
    _check_keys(rows, roles)
    _check_channels(rows, names, chosen=channels is not None)
    order, starts = _arrange(rows, sort=sort)
    return SeriesTable(
        ids=col.to_numpy(rows.columns[id].take(order[starts])),
        X=np.split(_values(rows, names, order), starts[1:]),
        y=None if target is None else _labels(rows, target, order, starts),
        channels=names,
    )


@dataclass(frozen=True)
class _Rows:
    """The columns in use, and the words that name a place in them."""

    where: str
    id: str
    time: str
    columns: dict[str, pa.Array]

    def series(self, row: int) -> str:
        return f"{self.where}: series {self.show(self.id, row)}"

    def step(self, row: int) -> str:
        return f"{self.time} = {self.show(self.time, row)}"

    def show(self, column: str, row: int) -> str:
        value = self.columns[column].slice(row, 1)
        return repr(value[0].as_py()) if col.is_text(value.type) else str(value.cast(pa.string())[0])


def _choose_channels(
    existing: list[str], roles: dict[str, str], channels: Sequence[str] | None, where: str
) -> tuple[str, ...]:
    if isinstance(channels, str):
        raise ArgumentTypeError(f"channels: expected a list of column names; got the text {channels!r}")
    names = [name for name in existing if name not in roles.values()] if channels is None else list(channels)
    uses = [*roles.items(), *(("channel", name) for name in names)]
    for role, name in uses:
        if name not in existing:
            raise DataError(f"{where}: there is no column {name!r} ({role}). {_suggestion(name, existing)}")
    twice = [name for name, count in Counter(name for _, name in uses).items() if count > 1]
    if twice:
        jobs = " and ".join(role for role, name in uses if name == twice[0])
        raise DataError(f"{where}: column {twice[0]!r} is used twice, for {jobs}; each column has one use")
    if not names:
        raise DataError(
            f"{where}: there is no channel; expected at least one column beside {_list(existing)}"
        )
    return tuple(names)


def _suggestion(name: str, existing: list[str]) -> str:
    folded = {column.lower(): column for column in reversed(existing)}
    close = difflib.get_close_matches(str(name).lower(), folded, n=1, cutoff=0.65)
    meant = f"Did you mean {folded[close[0]]!r}? " if close else ""
    return f"{meant}The columns are {_list(existing)}"


def _list(names: list[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(map(repr, names[:20])) + more


def _check_keys(rows: _Rows, roles: dict[str, str]) -> None:
    for role, name in roles.items():
        row = col.first_missing(rows.columns[name])
        if row >= 0:
            raise DataError(
                f"{rows.where}: the {role} column {name!r} is empty in row {row + 1} (counted from 1, "
                "without a header); every row needs a value there: fill it in, or drop the row"
            )
        fits, expected = _KEYS[role]
        kind = rows.columns[name].type
        if not fits(kind):
            raise DataError(
                f"{rows.where}: the {role} column {name!r} holds {col.describe(kind)}; expected {expected}"
            )


_KEYS = {
    "id": (col.is_id, "text, numbers, dates or times"),
    "time": (col.is_time, "numbers, dates or times (in a CSV file as 2024-12-31 or 2024-12-31 23:59:59)"),
    "target": (col.is_label, "text, numbers, or true and false"),
}


def _check_channels(rows: _Rows, names: tuple[str, ...], *, chosen: bool) -> None:
    wrong = [name for name in names if not col.is_number(rows.columns[name].type)]
    if not wrong:
        return
    right = [name for name in names if name not in wrong]
    if chosen or not right:
        remedy = "turn it into numbers, or leave it out of the channels"
    else:
        remedy = f"name the channels: channels={right[:3]} (--channels {','.join(right[:3])})"
    column = rows.columns[wrong[0]]
    text = col.odd_text(column)
    raise DataError(
        f"{rows.where}: column {wrong[0]!r} holds {col.describe(column.type)}"
        f"{'' if text is None else f' such as {text!r}'}, and a channel must hold numbers; {remedy}"
    )


def _arrange(rows: _Rows, *, sort: bool) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows by series and time, and where in that order each series starts."""
    series, rank = col.to_codes(rows.columns[rows.id]), col.to_ranks(rows.columns[rows.time])
    order = np.lexsort((rank, series))
    same = series[order][1:] == series[order][:-1]
    _refuse_repeated_time(rows, order, np.flatnonzero(same & (rank[order][1:] == rank[order][:-1])))
    if not sort:
        given = np.argsort(series, kind="stable")
        _refuse_unsorted_time(rows, given, np.flatnonzero(same & (rank[given][1:] < rank[given][:-1])))
    return order, np.flatnonzero(np.concatenate(([True], ~same)))


def _refuse_repeated_time(rows: _Rows, order: NDArray[np.intp], places: NDArray[np.intp]) -> None:
    if places.size:
        row = int(order[places[0]])
        raise DataError(
            f"{rows.series(row)} has {rows.step(row)} more than once; within a series each time must be "
            f"there once: drop the duplicates, or check that {rows.id!r} tells all series apart"
        )


def _refuse_unsorted_time(rows: _Rows, order: NDArray[np.intp], places: NDArray[np.intp]) -> None:
    if places.size:
        before, after = (int(row) for row in order[places[0] : places[0] + 2])
        raise DataError(
            f"{rows.series(before)} is not sorted by time: {rows.step(after)} comes after {rows.step(before)}"
            "; rows sorted by time are required: sort the table, or ask for it with sort=True (--sort)"
        )


def _values(rows: _Rows, names: tuple[str, ...], order: NDArray[np.intp]) -> NDArray[np.floating]:
    small = all(rows.columns[name].type == pa.float32() for name in names)
    values = np.empty((len(order), len(names)), np.float32 if small else np.float64)
    for k, name in enumerate(names):
        floats = rows.columns[name].cast(pa.from_numpy_dtype(values.dtype), safe=False)
        values[:, k] = floats.to_numpy(zero_copy_only=False)[order]
    _refuse_gaps(rows, names, order, values)
    return values


def _refuse_gaps(
    rows: _Rows, names: tuple[str, ...], order: NDArray[np.intp], values: NDArray[np.floating]
) -> None:
    places = np.argwhere(~np.isfinite(values))
    if len(places):
        step, k = places[0]
        row = int(order[step])
        what = "missing" if np.isnan(values[step, k]) else "infinite"
        raise DataError(
            f"{rows.series(row)} at {rows.step(row)}: channel {names[k]!r} is {what}; such "
            f"values in the table: {len(places)}; every value must be a finite number: fill the gap, or drop the row"
        )


def _labels(rows: _Rows, target: str, order: NDArray[np.intp], starts: NDArray[np.intp]) -> NDArray[Any]:
    label = col.to_codes(rows.columns[target])[order]
    changes = np.setdiff1d(np.flatnonzero(np.diff(label)) + 1, starts)
    if changes.size:
        before, after = (int(row) for row in order[changes[0] - 1 : changes[0] + 1])
        raise DataError(
            f"{rows.series(before)} has two labels: {target} = {rows.show(target, before)} and "
            f"{rows.show(target, after)}; a series has one label, the same in all its rows"
        )
    return col.to_numpy(rows.columns[target].take(order[starts]))
