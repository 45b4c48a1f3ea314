"""A long table, where a row is one step of one series, becomes series."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from glasslstm.data.frames import TableSource
from glasslstm.data.gather import gather
from glasslstm.data.opened import BLOCK, open_source, open_table
from glasslstm.data.sequences import Missing, Sequences
from glasslstm.errors import ArgumentError

__all__ = ["column_names", "iter_series", "read_series"]

_MEMORY = 1 << 30  # bytes


def read_series(
    source: TableSource,
    *,
    id: str,
    time: str,
    target: str | Sequence[str] | None = None,
    channels: Sequence[str] | None = None,
    categories: Sequence[str] = (),
    static: Sequence[str] = (),
    per_step: bool | None = False,
    missing: Missing = "error",
    sort: bool = False,
    memory: int = _MEMORY,
) -> Sequences:
    """Read a long table: one row is one step of one series.

    The rows of a series need not stand together, but for two kinds of source: a folder of Parquet parts, which are
    read in order of their names, and a Parquet file whose values have more than `memory` bytes (4 for each). These
    are read piece by piece, and their values are held in 32 bits. If values and times have more than `memory` bytes,
    they are held in temporary files, which vanish by themselves (in the folder that TMPDIR names).

    Ids and targets keep the type that a Parquet file or a dataframe gives them. A CSV file has no types: there
    they are integers if every value in the column is written as one, without a leading zero or a plus, with
    at most 18 digits; otherwise they are text as it stands, also ``1.0``, ``true``, ``nan`` and ``NA``, but targets
    that are all written as numbers are numbers. Only an empty field is a missing one. Categories are read as ids are.
    The other columns of a CSV file are numbers, dates or times if all of their values are.

    Parameters
    ----------
    source
        A path to a CSV or Parquet file (.csv, .parquet, .pq), a folder of Parquet files of one schema, or a
        dataframe of pandas, polars or pyarrow.
    id
        The column that says which series a row belongs to.
    time
        The column that says when: numbers, dates or times. Within a series no time may repeat. Time stamps with a time
        zone become UTC.
    target
        The column with the target, the same in all rows of a series, or a list of columns with numbers. Default: no
        targets are read.
    channels
        The columns with the values, in the order wanted. Default: all columns without another job.
    categories
        The columns whose text, whole numbers or booleans are categories: channels, unless they are in `static`. Columns
        that the table itself types as categories need not be named.
    static
        The columns that do not change within a series: numbers or categories.
    per_step
        ``True``: the target is one of each step. ``None``: it is if it changes within a series.
    missing
        ``"error"``: a missing value in a channel is refused. ``"mask"``: it stays, as NaN. Infinity is always refused,
        and so is a target or static feature without a value.
    sort
        Whether to sort each series by time. Default: the rows must come sorted, and it is an error if
        they do not, because that is often a sign of a wrong `id` or `time`.
    memory
        How many bytes of values may be held in memory where the source is read piece by piece; 1 GiB.

    Returns
    -------
    Sequences
        In order of first appearance. Its values are in 32 bits, or in 64 where 32 would blur a channel.

    Raises
    ------
    DataError
        If a file cannot be read, a part has another schema or no rows, a column is unknown or of a type that does not
        fit, a value is missing or infinite, time repeats or runs backwards or has two zones, a label or static feature
        changes within a series, the rows of a series that should stand together do not, or 32 bits do not do where
        they must.

    Examples
    --------
    >>> import pyarrow as pa
    >>> table = pa.table({"run": ["a", "a", "b"], "t": [0, 1, 0], "x": [1.0, 2.0, 3.0], "ok": [1, 1, 0]})
    >>> series = read_series(table, id="run", time="t", target="ok")
    >>> series.ids, series.targets, series.channel_names
    (array(['a', 'b'], dtype='<U1'), array([1, 0]), ('x',))
    >>> series[0]
    array([[1.],
           [2.]], dtype=float32)
    """
    table = open_table(
        source,
        memory,
        id=id,
        time=time,
        target=target,
        channels=channels,
        categories=categories,
        static=static,
        per_step=per_step,
        missing=missing,
        sort=sort,
    )
    if not table.source.streams:
        return table.narrowed(next(table.blocks(BLOCK)))
    blocks = table.blocks(max(1, BLOCK // len(table.layout.channels)))
    return gather(blocks, table.source.rows, wide=table.wide, where=table.source.where, memory=memory)


def iter_series(
    source: TableSource,
    *,
    id: str,
    time: str,
    target: str | Sequence[str] | None = None,
    channels: Sequence[str] | None = None,
    categories: Sequence[str] = (),
    static: Sequence[str] = (),
    per_step: bool | None = False,
    missing: Missing = "error",
    sort: bool = False,
    memory: int = _MEMORY,
    steps: int = 1 << 20,
) -> Iterator[Sequences]:
    """Read a long table as :func:`read_series` does, some whole series at a time.

    What is read piece by piece is never held as a whole; of what fits into memory, parts are handed out.

    Parameters
    ----------
    source, id, time, target, channels, categories, static, per_step, missing, sort, memory
        As in :func:`read_series`.
    steps
        About how many rows to hand out at once; more only where one series has more.

    Yields
    ------
    Sequences
        The next series, with the same channels and categories each time.

    Raises
    ------
    ArgumentError, DataError
        As :func:`read_series`; for the values only once their rows are reached.

    Examples
    --------
    >>> import pyarrow as pa
    >>> table = pa.table({"run": [1, 1, 2, 3], "t": [0, 1, 0, 0], "x": [1.0, 2.0, 3.0, 4.0]})
    >>> [part.ids.tolist() for part in iter_series(table, id="run", time="t", steps=2)]
    [[1], [2, 3]]
    """
    if not isinstance(steps, (int, np.integer)) or steps < 1:
        raise ArgumentError(f"steps: expected a whole number of 1 or more, got {steps!r}")
    table = open_table(
        source,
        memory,
        id=id,
        time=time,
        target=target,
        channels=channels,
        categories=categories,
        static=static,
        per_step=per_step,
        missing=missing,
        sort=sort,
    )
    if table.source.streams:
        return map(table.narrowed, table.blocks(int(steps)))
    whole = table.narrowed(next(table.blocks(BLOCK)))
    return (whole[chosen[0] : chosen[-1] + 1] for chosen, _ in whole.blocks(int(steps)))


def column_names(source: TableSource) -> list[str]:
    """Return the names of the columns of a table, as :func:`read_series` takes it.

    Examples
    --------
    >>> import pyarrow as pa
    >>> column_names(pa.table({"run": [1], "t": [0]}))
    ['run', 't']
    """
    return open_source(source).names
