"""Tables in and out of files: CSV and Parquet by suffix, each failure one line."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import narwhals as nw
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
from narwhals.typing import IntoDataFrame
from numpy.typing import NDArray

from glasslstm._files import check_writable, written_whole
from glasslstm.data.columns import to_array, to_integers
from glasslstm.errors import ArgumentTypeError, DataError

__all__ = ["TableSource", "check_table_path", "open_table", "select_columns", "write_table"]

TableSource: TypeAlias = "str | os.PathLike[str] | IntoDataFrame"
"""A path to a CSV or Parquet file, or a dataframe of pandas, polars or pyarrow."""


def open_table(source: TableSource, *, keys: Collection[str]) -> tuple[nw.DataFrame[Any], str]:
    """Return the table in `source` as a narwhals frame, and its name for messages.

    In a CSV file, which has no types, the columns `keys` are text or integers: see :func:`read_series`.
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        return _to_narwhals(_read(path, keys), str(path)), str(path)
    return _to_narwhals(source, "the table"), "the table"


def select_columns(frame: nw.DataFrame[Any], names: list[str], where: str) -> dict[str, pa.Array]:
    """Return the columns of `frame` as Arrow arrays, at least one row long."""
    try:
        table = frame.select(names).to_arrow()
    except pa.ArrowException as error:  # a column of pandas objects that have no type in common
        raise DataError(f"{where}: {error.args[-1]}; all values of a column must have one type") from error
    if table.num_rows == 0:
        raise DataError(f"{where}: the table has no rows; expected one row for each step of each series")
    return {name: to_array(table[name]) for name in names}


def write_table(path: str | os.PathLike[str], columns: Mapping[str, NDArray[Any]]) -> None:
    """Write `columns` to a CSV or Parquet file, whole or not at all.

    An existing file is replaced, and a missing folder is made.

    Parameters
    ----------
    path
        The file to write; its suffix is the format: .csv, .parquet or .pq.
    columns
        The name of each column, and its values, (N,).

    Raises
    ------
    DataError
        If the suffix is none of .csv, .parquet and .pq.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> path = Path(tempfile.mkdtemp()) / "new" / "table.csv"
    >>> write_table(path, {"id": np.array(["a", "b"]), "x": np.array([1, 2])})
    >>> print(path.read_text())
    "id","x"
    "a",1
    "b",2
    <BLANKLINE>
    """
    path = Path(path)
    write = _format_of(path).write
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    with written_whole(path) as partial, partial.open("wb") as file:
        write(table, file)


def check_table_path(path: str | os.PathLike[str]) -> None:
    """Raise an error where `write_table` could not write `path`: before the work, not after it."""
    path = Path(path)
    _format_of(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder; expected the name of a file to write")
    check_writable(path)


@dataclass(frozen=True)
class _Format:
    name: str
    read: Callable[[pa.NativeFile, Collection[str]], pa.Table]
    write: Callable[[pa.Table, Any], None]


def _read_csv(file: pa.NativeFile, keys: Collection[str]) -> pa.Table:
    table = pa_csv.read_csv(
        file,
        # Without this, whether a quoted line break is an error depends on where a block ends.
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
        # A guess would merge what differs: "07" and "7", long digits as floats, the label "NA" as no value.
        convert_options=pa_csv.ConvertOptions(column_types=dict.fromkeys(keys, pa.string())),
    )
    columns = zip(table.column_names, table.columns, strict=True)
    arrays = [to_integers(column) if name in keys else column for name, column in columns]
    return pa.table(arrays, names=table.column_names)


def _read_parquet(file: pa.NativeFile, _: Collection[str]) -> pa.Table:
    return pa_parquet.ParquetFile(file).read()


_CSV = _Format("CSV (UTF-8, separated by commas)", _read_csv, pa_csv.write_csv)
_PARQUET = _Format("Parquet", _read_parquet, pa_parquet.write_table)
_FORMATS = {".csv": _CSV, ".parquet": _PARQUET, ".pq": _PARQUET}


def _format_of(path: Path) -> _Format:
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        raise DataError(f"{path}: expected a name that ends in .csv, .parquet or .pq") from None


def _read(path: Path, keys: Collection[str]) -> pa.Table:
    if not path.exists():
        raise DataError(f"{path}: there is no such file; expected a table as .csv, .parquet or .pq")
    if path.is_dir():
        raise DataError(f"{path} is a folder; expected one file, a table as .csv, .parquet or .pq")
    form = _format_of(path)
    # Arrow's own file, because Arrow's threads may still read when they find it damaged: with a file of
    # Python's that aborts the interpreter at exit. Damage can come as an OSError too.
    with pa.OSFile(str(path)) as file:
        try:
            table = form.read(file, keys)
            table.column_names  # noqa: B018 - decodes the names
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path} cannot be read as {form.name}: {_one_line(error)}") from error
    return table


def _to_narwhals(source: Any, where: str) -> nw.DataFrame[Any]:
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
    return frame


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
