"""What a column of a table holds, and its values as numpy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = [
    "describe",
    "distinct",
    "first",
    "infinite",
    "is_category",
    "is_exact",
    "is_id",
    "is_label",
    "is_number",
    "is_real",
    "is_text",
    "is_time",
    "missing",
    "odd_text",
    "place_in",
    "to_array",
    "to_codes",
    "to_integers",
    "to_numbers",
    "to_numpy",
    "to_times",
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


def to_numbers(column: pa.Array) -> pa.Array:
    """Return text as integers, or else as floats, where each is written as a number of that kind; or as it is."""
    column = to_integers(column)
    if is_text(column.type) and pc.all(pc.match_substring_regex(column, _REAL)).as_py():
        return column.cast(pa.float64())
    return column


def to_codes(column: pa.Array) -> NDArray[np.integer]:
    """Return a number for each distinct value, in the order in which each first appears."""
    return np.asarray(column.dictionary_encode().indices)


def to_numpy(column: pa.Array) -> NDArray[Any]:
    """Return the values in the type that the column has."""
    if is_text(column.type):
        encoded = column.dictionary_encode()  # few texts stand for many rows
        texts: NDArray[Any] = np.asarray(encoded.dictionary.to_pylist(), dtype=np.str_)
        return np.asarray(texts[np.asarray(encoded.indices)])
    return np.asarray(column.to_numpy(zero_copy_only=False))


def to_times(column: pa.Array) -> NDArray[Any]:
    """Return time stamps: dates as numpy's, in UTC, times of day and durations in seconds, numbers as they are."""
    kind = column.type
    if pa.types.is_time(kind) or pa.types.is_duration(kind):
        units = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
        column = column.cast(pa.int32() if pa.types.is_time32(kind) else pa.int64())
        return np.asarray(column) / units
    if pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    return np.asarray(column.to_numpy(zero_copy_only=False))


def distinct(column: pa.Array) -> pa.Array:
    """Return the values that there are, sorted, without missing ones."""
    values = pc.unique(column.filter(pc.invert(missing(column))))
    return values.take(pc.array_sort_indices(values))


def place_in(column: pa.Array, known: pa.Array) -> NDArray[np.float64]:
    """Return the position of each value in `known`, NaN where it is missing."""
    return np.asarray(pc.index_in(column, value_set=known).cast(pa.float64()).to_numpy(zero_copy_only=False))


def missing(column: pa.Array) -> pa.Array:
    """Tell of each row whether it has no value: null, NaN or empty text."""
    nothing = pc.is_null(column, nan_is_null=True)
    return pc.or_kleene(nothing, pc.equal(column, "")) if is_text(column.type) else nothing


def infinite(column: pa.Array) -> pa.Array:
    """Tell of each row whether it is infinite."""
    if pa.types.is_floating(column.type):
        return pc.fill_null(pc.is_inf(column.cast(pa.float64())), fill_value=False)
    return pa.array(np.zeros(len(column), dtype=bool))


def first(mask: pa.Array) -> int:
    """Return the first row that a mask tells of, -1 where it tells of none."""
    return int(pc.index(mask, True).as_py())


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


def is_exact(kind: pa.DataType) -> bool:
    """Tell whether float32 has every value of the type `kind`."""
    return bool(is_number(kind) and not pa.types.is_decimal(kind) and kind not in _WIDE)


def is_category(kind: pa.DataType) -> bool:
    """Tell whether categories may have the type `kind`."""
    return is_text(kind) or bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def is_id(kind: pa.DataType) -> bool:
    """Tell whether an id may have the type `kind`."""
    return is_text(kind) or is_number(kind) or _is_date(kind)


def is_time(kind: pa.DataType) -> bool:
    """Tell whether a time may have the type `kind`."""
    return _is_date(kind) or (is_number(kind) and kind not in (pa.bool_(), pa.float16()))


def is_label(kind: pa.DataType) -> bool:
    """Tell whether a label may have the type `kind`."""
    return is_text(kind) or is_real(kind)


def is_real(kind: pa.DataType) -> bool:
    """Tell whether one of several targets may have the type `kind`."""
    return is_number(kind) and not pa.types.is_decimal(kind)


def describe(kind: pa.DataType) -> str:
    """Return the type `kind` in a user's words."""
    if is_text(kind):
        return "text"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "bytes that are not UTF-8 text"
    return "dates or times" if _is_date(kind) else f"values of the type {kind}"


_INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"  # any of 18 digits fits into 64 bits
_REAL = r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?([eE][-+]?[0-9]{1,2})?$"  # 15 digits fit into a float
_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"
_WIDE = (pa.float64(), pa.int64(), pa.uint64(), pa.int32(), pa.uint32())


def _is_date(kind: pa.DataType) -> bool:
    return bool(pa.types.is_temporal(kind) and not pa.types.is_interval(kind))
