"""A table, its columns chosen and checked, and its rows on the way to series."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from glasslstm.data import columns as col
from glasslstm.data.arrays import narrowed
from glasslstm.data.assemble import Rows, assemble, changes, refuse_return
from glasslstm.data.frames import Piece, Source, TableSource, open_csv, open_frame
from glasslstm.data.layout import Layout, choose_columns
from glasslstm.data.parquet import ParquetParts, open_parquet, whole_series
from glasslstm.data.sequences import Sequences
from glasslstm.errors import ArgumentError, DataError

__all__ = ["BLOCK", "Table", "open_source", "open_table"]

BLOCK = 1 << 23
"""How many values are held at once on the way into one array."""


def open_table(source: TableSource, memory: int, **jobs: Any) -> Table:
    """Return the table in `source` with its columns checked; `jobs` as for :func:`choose_columns`."""
    if not isinstance(memory, (int, np.integer)) or memory < 0:
        raise ArgumentError(f"memory: expected a number of bytes, 0 or more, got {memory!r}")
    target = jobs["target"]
    opened = open_source(
        source,
        keys=[jobs["id"], *jobs["categories"]],
        targets=[target] if isinstance(target, str) else target or (),
        time=jobs["time"],
    )
    layout = choose_columns(opened, **jobs)
    opened = opened.only(layout.columns)
    named = {*layout.named, *opened.categorical()} & {*layout.channels, *layout.static}
    layout = replace(layout, categories={name: None for name in layout.columns if name in named})
    head = next(opened.scan(layout.columns))
    layout.check_types(head)
    if isinstance(opened, ParquetParts) and not opened.is_folder:
        opened = replace(opened, streams=opened.rows * len(layout.channels) * 4 > memory)
    exact = {name for name in layout.channels if col.is_exact(head.table.schema.field(name).type)} | named
    wide = [k for k, name in enumerate(layout.channels) if name not in exact]
    return Table(opened, layout, wide).surveyed(BLOCK)


@dataclass(frozen=True)
class Table:
    """A source with its columns chosen and checked."""

    source: Source
    layout: Layout
    wide: list[int]
    """The channels that have values which float32 does not."""

    def narrowed(self, series: Sequences) -> Sequences:
        """Return the series in float32, or as they are where that would blur a channel."""
        return replace(series, values=narrowed(series.values, self.wide))

    def blocks(self, steps: int) -> Iterator[Sequences]:
        """Yield whole series, about `steps` rows at a time where the source streams, else all."""
        seen: set[Any] = set()
        for columns in self.tables(self.layout.columns, steps):
            rows = Rows(self.source.where, columns, self.layout, together=self.source.streams)
            series = assemble(rows)
            self._refuse_seen(seen, pa.array(series.ids).to_pylist())
            yield series

    def tables(self, names: list[str], steps: int) -> Iterator[dict[str, pa.Array]]:
        """Yield the columns of whole series."""
        pieces = map(self._with_keys, self.source.scan(names, steps))
        tables = (
            whole_series(pieces, self.layout.id, steps)
            if self.source.streams
            else (piece.table for piece in pieces)
        )
        return ({name: table[name].combine_chunks() for name in names} for table in tables)

    def surveyed(self, steps: int) -> Table:
        """Return the table with what only all of its rows tell: the categories, and whether the target changes."""
        layout = self.layout
        known = {name: pa.array([], pa.null()) for name in layout.categories}
        for piece in self.source.scan(list(known)) if known else ():
            for name, before in known.items():
                column = piece.table[name].combine_chunks()
                known[name] = col.distinct(pa.concat_arrays([before.cast(column.type), column]))
        found = replace(self, layout=replace(layout, categories=known))
        if layout.per_step is not None:
            return found
        target = layout.targets[0]
        tables = self.tables([layout.id, layout.time, target], steps)
        per_step = any(changes(columns[layout.id], columns[target]) for columns in tables)
        return replace(found, layout=replace(found.layout, per_step=per_step))

    def _with_keys(self, piece: Piece) -> Piece:
        for role, name in (("id", self.layout.id), ("time", self.layout.time)):
            column = piece.table[name].combine_chunks()
            for word, row in (
                ("empty", col.first(col.missing(column))),
                ("infinite", col.first(col.infinite(column))),
            ):
                if row >= 0:
                    raise DataError(
                        f"{piece.where}: the {role} column {name!r} is {word} in row {piece.first + row + 1} (counted "
                        "from 1, without a header); every row needs a value there: fill it in, or drop the row"
                    )
        return piece

    def _refuse_seen(self, seen: set[Any], ids: list[Any]) -> None:
        if not seen.isdisjoint(ids):
            again = next(one for one in ids if one in seen)
            refuse_return(self.source.where, repr(again), self.layout)
        if self.source.streams:
            seen.update(ids)


def open_source(
    source: TableSource, *, keys: Sequence[str] = (), targets: Sequence[str] = (), time: str | None = None
) -> Source:
    """Return the table in `source`, all columns.

    In a CSV file, which has no types, the columns `keys` and `targets` are typed by their texts. The first of `keys` is
    the id.
    """
    if not isinstance(source, (str, os.PathLike)):
        return open_frame(source, id=next(iter(keys), None), time=time)
    path = Path(source)
    suffix = path.suffix.lower()
    if not path.exists():
        raise DataError(f"{path}: there is no such file; expected a table as .csv, .parquet or .pq")
    if path.is_dir() or suffix in (".parquet", ".pq"):
        return open_parquet(path)
    if suffix == ".ts":
        raise DataError(
            f"{path} is no table but series in the .ts format: read it with glasslstm.data.read_ts"
        )
    if suffix != ".csv":
        raise DataError(f"{path}: expected a name that ends in .csv, .parquet or .pq")
    return open_csv(path, keys=keys, targets=targets, time=time)
