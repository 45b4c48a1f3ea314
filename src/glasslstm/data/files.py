"""Tables written to CSV and Parquet files, block by block, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
from numpy.typing import NDArray

from glasslstm._files import check_writable, written_whole
from glasslstm.errors import DataError

__all__ = ["TableWriter", "check_table_path", "write_table"]

_WRITERS = {".csv": pa_csv.CSVWriter, ".parquet": pa_parquet.ParquetWriter, ".pq": pa_parquet.ParquetWriter}


class TableWriter:
    """Write a table to a CSV or Parquet file block by block, whole or not at all.

    An existing file is replaced, and a missing folder is made, when the ``with`` statement ends well. If it ends with
    an error, or nothing was written, all stays as it was.

    Parameters
    ----------
    path
        The file to write; its suffix is the format: .csv, .parquet or .pq.

    Raises
    ------
    DataError
        If the suffix is none of .csv, .parquet and .pq.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> path = Path(tempfile.mkdtemp()) / "new" / "table.csv"
    >>> with TableWriter(path) as table:
    ...     for k in range(2):
    ...         table.write({"id": np.array([f"run {k}"]), "x": np.array([k])})
    >>> print(path.read_text())
    "id","x"
    "run 0",0
    "run 1",1
    <BLANKLINE>
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._open = _WRITERS[_suffix(self.path)]
        self._opened = ExitStack()
        self._writer: Any = None
        self._schema: pa.Schema = None

    def __enter__(self) -> TableWriter:
        return self

    def write(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Write some rows: the name of each column, and its values, (N,).

        Raises
        ------
        DataError
            If the columns or their types are not those of the first block.
        OSError
            If the disk is full or the like; nothing of the file stays.
        """
        table = pa.table({name: pa.array(values) for name, values in columns.items()})
        if self._writer is None:
            self._schema = table.schema
        elif table.schema != self._schema:
            raise DataError(
                f"{self.path}: a block has the columns {_columns(table.schema)}; expected {_columns(self._schema)}, as "
                "in the first block"
            )
        try:
            if self._writer is None:
                partial = self._opened.enter_context(written_whole(self.path))
                file = self._opened.enter_context(partial.open("wb"))
                self._writer = self._opened.enter_context(self._open(file, table.schema))
            self._writer.write_table(table)
        except OSError as error:
            raise _cannot(self.path, error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._opened.__exit__(kind, error, trace)
        except OSError as failure:
            if failure is not error:
                raise _cannot(self.path, failure) from failure


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
    >>> path = Path(tempfile.mkdtemp()) / "table.csv"
    >>> write_table(path, {"id": np.array(["a", "b"]), "x": np.array([1, 2])})
    >>> print(path.read_text())
    "id","x"
    "a",1
    "b",2
    <BLANKLINE>
    """
    with TableWriter(path) as table:
        table.write(columns)


def check_table_path(path: str | os.PathLike[str]) -> None:
    """Raise an error where `write_table` could not write `path`: before the work, not after it."""
    path = Path(path)
    _suffix(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder; expected the name of a file to write")
    check_writable(path)


def _suffix(path: Path) -> str:
    if path.suffix.lower() not in _WRITERS:
        raise DataError(f"{path}: expected a name that ends in .csv, .parquet or .pq")
    return path.suffix.lower()


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)


def _cannot(path: Path, error: OSError) -> OSError:
    said = OSError(f"{path} cannot be written: {error.strerror or error}; nothing of it was kept")
    said.errno = error.errno
    return said
