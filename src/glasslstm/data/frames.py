"""Tables that are read at once: dataframes of pandas, polars and pyarrow, and CSV files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import narwhals as nw
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from narwhals.typing import IntoDataFrame

from glasslstm.data.checks import named
from glasslstm.data.columns import to_array, to_integers, to_numbers
from glasslstm.errors import ArgumentTypeError, DataError

__all__ = ["Piece", "Source", "TableSource", "open_csv", "open_frame", "reading"]

TableSource: TypeAlias = "str | os.PathLike[str] | IntoDataFrame"
"""A path to a CSV or Parquet file or a folder of Parquet parts, or a dataframe of pandas, polars or pyarrow."""


class Piece(NamedTuple):
    """Some rows of a table, and where they are from."""

    where: str
    first: int
    """How many rows of the file stand before these."""
    table: pa.Table


class Source(Protocol):
    """What has the columns of a long table."""

    @property
    def where(self) -> str:
        """What the table is called in messages."""

    @property
    def names(self) -> list[str]:
        """The columns."""

    @property
    def rows(self) -> int:
        """How many rows there are."""

    @property
    def streams(self) -> bool:
        """Whether the rows come piece by piece, the series one after the other."""

    def only(self, names: Sequence[str]) -> Source:
        """Return the source with these columns alone."""

    def categorical(self) -> set[str]:
        """Return the columns that the source itself types as categories."""

    def scan(self, names: Sequence[str], steps: int = ...) -> Iterator[Piece]:
        """Yield the rows of these columns, categories as what they stand for; at most `steps` where it streams."""


@dataclass(frozen=True)
class _Frame:
    """A table in memory."""

    where: str
    frame: nw.DataFrame[Any]
    streams: bool = False

    @property
    def names(self) -> list[str]:
        return self.frame.columns

    @property
    def rows(self) -> int:
        return len(self.frame)

    def only(self, names: Sequence[str]) -> Source:
        try:
            table = self.frame.select(*names).to_arrow()
        except pa.ArrowException as error:  # a column of pandas objects that have no type in common
            raise DataError(
                f"{self.where}: {error.args[-1]}; all values of a column must have one type"
            ) from error
        if table.num_rows == 0:
            raise DataError(
                f"{self.where}: the table has no rows; expected one row for each step of each series"
            )
        return _Frame(self.where, nw.from_native(table, eager_only=True))

    def categorical(self) -> set[str]:
        return {field.name for field in self.frame.to_arrow().schema if pa.types.is_dictionary(field.type)}

    def scan(self, names: Sequence[str], steps: int = 0) -> Iterator[Piece]:  # noqa: ARG002 - all at once
        table = self.frame.select(*names).to_arrow()
        yield Piece(self.where, 0, pa.table({name: to_array(table[name]) for name in names}))


def open_frame(
    source: Any, where: str = "the table", *, id: str | None = None, time: str | None = None
) -> Source:
    """Return the dataframe in `source`, whose column `time` may have one time zone only, in all series of `id`."""
    try:
        frame: nw.DataFrame[Any] = nw.from_native(source, eager_only=True)
        names = frame.columns
    except TypeError as error:
        raise ArgumentTypeError(
            "expected a path to a CSV or Parquet file, or a dataframe of pandas, polars or pyarrow "
            f"(collect a lazy one first); got {type(source).__name__}"
        ) from error
    except nw.exceptions.DuplicateError as error:
        raise DataError(f"{where}: two columns share a name ({_one_line(error)}); rename one") from error
    if not all(isinstance(name, str) for name in names):
        raise DataError(f"{where}: column names must be text; got {names!r}: rename the columns")
    if time is not None and time in names and frame[time].dtype == nw.Object:
        # Dates of Python in pandas: Arrow would take the first zone for all.
        zones = [str(getattr(value, "tzinfo", None)) for value in frame[time].to_list()]
        _refuse_two_zones(where, time, zones, frame[id].to_list() if id in names else ())
    return _Frame(where, frame)


def open_csv(path: Path, *, keys: Sequence[str], targets: Collection[str], time: str | None) -> Source:
    """Return the table in a CSV file. Its columns `keys` and `targets` have the types that their texts allow.

    The first of `keys` is the id.
    See :func:`glasslstm.data.read_series` for the rules.
    """
    with reading(path, "CSV (UTF-8, separated by commas)") as file:
        table = pa_csv.read_csv(
            file,
            parse_options=_WITH_LINE_BREAKS,
            # A guess would merge what differs: "07" and "7", long digits as floats, the label "NA" as no value.
            convert_options=pa_csv.ConvertOptions(column_types=dict.fromkeys([*keys, *targets], pa.string())),
        )
        table.column_names  # noqa: B018 - decodes the names
        if time and time in table.column_names and getattr(table.schema.field(time).type, "tz", None):
            file.seek(0)
            ids = table[keys[0]].to_pylist() if keys and keys[0] in table.column_names else ()
            _refuse_two_zones(str(path), time, _csv_zones(file, time), ids)
    typed = {**dict.fromkeys(keys, to_integers), **dict.fromkeys(targets, to_numbers)}
    columns = zip(table.column_names, table.columns, strict=True)
    arrays = [typed[name](column) if name in typed else column for name, column in columns]
    return open_frame(pa.table(arrays, names=table.column_names), str(path))


@contextmanager
def reading(path: Path, form: str) -> Iterator[pa.NativeFile]:
    """Open a file for Arrow, and turn what Arrow raises of it into one line.

    Arrow's own file, because Arrow's threads may still read when they find it damaged: with a file of Python's that
    aborts the interpreter at exit. Damage can come as an OSError too.
    """
    try:
        with pa.OSFile(str(path)) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as {form}: {_one_line(error)}") from error


# Without this, whether a quoted line break is an error depends on where a block ends.
_WITH_LINE_BREAKS = pa_csv.ParseOptions(newlines_in_values=True)


def _csv_zones(file: pa.NativeFile, time: str) -> list[str]:
    """Return of each row the distance from UTC as it is written; Arrow turns them all into UTC."""
    options = pa_csv.ConvertOptions(column_types={time: pa.string()}, include_columns=[time])
    texts = pa_csv.read_csv(file, parse_options=_WITH_LINE_BREAKS, convert_options=options)[time]
    zones = pc.extract_regex(texts, r"(?P<zone>Z|[-+]\d{2}:?\d{2}|[-+]\d{2})\s*$")
    found = pc.struct_field(zones, "zone").to_pylist()
    return ["+00:00" if zone == "Z" else str(zone) for zone in found]


def _refuse_two_zones(where: str, time: str, zones: Sequence[str], ids: Sequence[Any]) -> None:
    """Refuse more than one zone, and say which series have another than most rows."""
    counts = Counter(zones)
    if len(counts) < 2:
        return
    usual = counts.most_common(1)[0][0]
    rows = zip(zones, ids, strict=False)  # there may be no ids
    others = list(dict.fromkeys(one for zone, one in rows if zone != usual))
    which = f"; {len(others)} series have another than {usual}: {named(others)}" if others else ""
    raise DataError(
        f"{where}: the time column {time!r} has {len(counts)} time zones: {', '.join(sorted(counts)[:3])}; write all "
        f"times in one, such as UTC{which}"
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
