"""What a column of a table holds, and its values as numpy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = [
    "describe",
    "first_missing",
    "is_id",
    "is_label",
    "is_number",
    "is_text",
    "is_time",
    "odd_text",
    "to_array",
    "to_codes",
    "to_integers",
    "to_numpy",
    "to_ranks",
]


def to_array(column: pa.ChunkedArray) -> pa.Array:
    """Return `column` in one piece; a categorical one as what its categories are."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.combine_chunks()


def to_integers(column: pa.Array) -> pa.Array:
    """Return text as integers where that loses nothing: where each is written as Python writes it."""
    if is_text(column.type) and pc.all(pc.match_substring_regex(column, _INTEGER)).as_py():
        return column.cast(pa.int64())
    return column


def to_codes(column: pa.Array) -> NDArray[np.integer]:
    """Return a number for each distinct value, in the order in which each first appears."""
    return np.asarray(column.dictionary_encode().indices)


def to_ranks(column: pa.Array) -> NDArray[np.integer]:
    """Return numbers that are ordered as the values are, and equal where they are."""
    return np.asarray(pc.rank(column, sort_keys="ascending", tiebreaker="dense"))


def to_numpy(column: pa.Array) -> NDArray[Any]:
    """Return the values in the type that the column has."""
    if is_text(column.type):
        return np.asarray(column.to_pylist(), dtype=np.str_)
    return np.asarray(column.to_numpy(zero_copy_only=False))


def first_missing(column: pa.Array) -> int:
    """Return the first row without a value (null, NaN or empty text), -1 where all have one."""
    missing = pc.is_null(column, nan_is_null=True)
    if is_text(column.type):
        missing = pc.or_kleene(missing, pc.equal(column, ""))
    return int(pc.index(missing, True).as_py())


def odd_text(column: pa.Array) -> str | None:
    """Return the first text in `column` that cannot be read as a number."""
    if not is_text(column.type):
        return None
    row = pc.index(pc.match_substring_regex(column, _NUMBER), False).as_py()
    return None if row < 0 else str(column[row].as_py())


def is_text(kind: pa.DataType) -> bool:
    """Tell whether `kind` is a type of text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_number(kind: pa.DataType) -> bool:
    """Tell whether a channel may have the type `kind`: numbers, booleans, or nothing but gaps."""
    tests = ("is_integer", "is_floating", "is_decimal", "is_boolean", "is_null")
    return any(getattr(pa.types, test)(kind) for test in tests)


def is_id(kind: pa.DataType) -> bool:
    """Tell whether an id may have the type `kind`."""
    return is_text(kind) or is_number(kind) or _is_date(kind)


def is_time(kind: pa.DataType) -> bool:
    """Tell whether a time may have the type `kind`."""
    return _is_date(kind) or (is_number(kind) and kind not in (pa.bool_(), pa.float16()))


def is_label(kind: pa.DataType) -> bool:
    """Tell whether a label may have the type `kind`."""
    return is_text(kind) or (is_number(kind) and not pa.types.is_decimal(kind))


def describe(kind: pa.DataType) -> str:
    """Return the type `kind` in a user's words."""
    if is_text(kind):
        return "text"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "bytes that are not UTF-8 text"
    return "dates or times" if _is_date(kind) else f"values of the type {kind}"


_INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"  # any of 18 digits fits into 64 bits
_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"


def _is_date(kind: pa.DataType) -> bool:
    return bool(pa.types.is_temporal(kind) and not pa.types.is_interval(kind))
