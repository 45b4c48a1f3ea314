"""Parquet that may be larger than memory: a file, or a folder of parts, checked by footers and read in pieces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pa_parquet

from glasslstm.data.columns import to_array, to_codes
from glasslstm.data.frames import Piece, reading
from glasslstm.errors import DataError

__all__ = ["ParquetParts", "open_parquet", "whole_series"]

_BATCH = 1 << 16  # rows that are decoded at once


@dataclass(frozen=True)
class ParquetParts:
    """The rows of Parquet files of one schema, one file after the other."""

    where: str
    parts: tuple[Path, ...]
    schema: pa.Schema
    rows: int
    is_folder: bool
    streams: bool = True
    """Whether the rows come piece by piece."""

    @property
    def names(self) -> list[str]:
        """The columns."""
        return list(self.schema.names)

    def only(self, names: Sequence[str]) -> ParquetParts:
        """Return the same files with these columns alone."""
        return replace(self, schema=pa.schema([self.schema.field(name) for name in names]))

    def categorical(self) -> set[str]:
        """Return the columns whose type is Arrow's dictionary, pandas' category and polars' Categorical or Enum."""
        return {field.name for field in self.schema if pa.types.is_dictionary(field.type)}

    def scan(self, names: Sequence[str], steps: int = _BATCH) -> Iterator[Piece]:
        """Yield the rows of these columns: some ten thousand at a time, or `steps` if that is less, or all at once."""
        for path in self.parts:
            first = 0
            with reading(path, "Parquet") as file:
                parquet = pa_parquet.ParquetFile(file)
                tables = (
                    map(_table, parquet.iter_batches(min(steps, _BATCH), columns=names))
                    if self.streams
                    else [parquet.read(columns=names)]
                )
                for table in filter(len, tables):
                    yield Piece(str(path), first, pa.table({name: to_array(table[name]) for name in names}))
                    first += table.num_rows


def open_parquet(path: Path) -> ParquetParts:
    """Return the rows of a Parquet file or a folder of them; only the footers are read, and they must agree.

    The parts of a folder are read in order of their names; names that begin with ``.`` or ``_`` are no parts.
    """
    paths = _parts_in(path) if path.is_dir() else [path]
    schemas, rows = zip(*map(_footer, paths), strict=True)
    for part, schema in zip(paths, schemas, strict=True):
        _refuse_another_schema(paths[0], schemas[0], part, schema)
    return ParquetParts(str(path), tuple(paths), schemas[0], sum(rows), path.is_dir())


def whole_series(pieces: Iterator[Piece], id: str, steps: int) -> Iterator[pa.Table]:
    """Yield the rows of whole series, about `steps` at a time, where the rows of a series stand together."""
    held: list[pa.Table] = []
    rows, last = 0, None
    for _, _, table in pieces:
        ids = table[id].combine_chunks()
        codes = to_codes(ids)
        start = int((codes == codes[-1]).argmax())  # of the last series, as far as this piece knows
        if rows + start >= steps and (start or ids[0] != last):
            yield pa.concat_tables([*held, table.slice(0, start)])
            held, rows, table = [], 0, table.slice(start)  # noqa: PLW2901 - what is left of it
        held.append(table)
        rows, last = rows + table.num_rows, ids[-1]
    yield pa.concat_tables(held)


def _table(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch])


def _parts_in(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith((".", "_")))
    for path in paths:
        if path.is_dir():
            raise DataError(f"{path} is a folder; expected Parquet files side by side in {folder}")
        if path.suffix.lower() not in (".parquet", ".pq"):
            raise DataError(
                f"{path} is no Parquet file (.parquet, .pq); a folder of parts has nothing else: move it away"
            )
    if not paths:
        raise DataError(f"{folder}: there are no Parquet files (.parquet, .pq) in this folder")
    return paths


def _footer(path: Path) -> tuple[pa.Schema, int]:
    with reading(path, "Parquet") as file:
        parquet = pa_parquet.ParquetFile(file)
        schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
        names = schema.names
    if not rows:
        raise DataError(f"{path}: the table has no rows; expected one row for each step of each series")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{path}: two columns share a name ({twice[0]!r}); rename one")
    return schema, rows


def _refuse_another_schema(first: Path, expected: pa.Schema, part: Path, schema: pa.Schema) -> None:
    theirs, ours = ({field.name: _kind(field.type) for field in one} for one in (schema, expected))
    for name in [*ours, *theirs]:
        if ours.get(name) == theirs.get(name):
            continue
        if name not in ours or name not in theirs:
            has, lacks = (part, first) if name in theirs else (first, part)
            wrong = f"column {name!r} is in {has.name} and not in {lacks.name}"
        else:
            wrong = f"column {name!r} is {theirs[name]} here and {ours[name]} in {first.name}"
        zones = {getattr(one.field(name).type, "tz", None) for one in (schema, expected) if name in one.names}
        remedy = "write all times in one time zone" if len(zones) > 1 else "write all parts with one schema"
        raise DataError(f"{part} has another schema than the first part: {wrong}; {remedy}")


def _kind(kind: pa.DataType) -> str:
    """Return the type in words; how wide the codes of categories are differs from part to part and says nothing."""
    return f"categories of {kind.value_type}" if pa.types.is_dictionary(kind) else str(kind)
