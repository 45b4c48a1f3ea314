"""Series from ``.ts`` files, the text format of the time-series archive."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glasslstm.data.sequences import Missing, Sequences
from glasslstm.errors import DataError

__all__ = ["read_ts"]


def read_ts(path: str | os.PathLike[str], *, missing: Missing = "error") -> Sequences:
    r"""Read a ``.ts`` file of timeseriesclassification.com, as aeon and sktime do.

    A line is a series: its dimensions, which become channels, are separated by ``:``, and the class or target is last.

    Parameters
    ----------
    path
        The file.
    missing
        ``"error"``: a missing value (``?``) is refused. ``"mask"``: it stays, as NaN.

    Returns
    -------
    Sequences
        With the classes as text, as they are written, or the targets of a regression as float64.

    Raises
    ------
    DataError
        If the file is not there or is no ``.ts`` file, a line does not fit the header or the other lines, time stamps
        are not ``(stamp,value)`` and the same in all dimensions, and for what :meth:`Sequences.from_arrays` refuses.

    References
    ----------
    A. Bagnall et al. (2018), "The UEA multivariate time series classification archive, 2018", arXiv:1811.00075.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "two.ts"
    >>> _ = path.write_text("@classLabel true up down\n@data\n1,2,3:4,5,6:up\n3,2:6,5:down\n")
    >>> series = read_ts(path)
    >>> series.targets.tolist(), series[1].tolist()
    (['up', 'down'], [[3.0, 6.0], [2.0, 5.0]])
    """
    path = Path(path)
    try:
        return _read(_lines(path), missing)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _read(lines: Iterator[tuple[str, str]], missing: Missing) -> Sequences:
    header = _header(lines)
    cases = [_case(line, header, where) for where, line in lines]
    if not cases:
        raise DataError("there are no series after @data")
    arrays, times, labels = zip(*cases, strict=True)
    series = Sequences.from_arrays(
        list(arrays), missing=missing, times=list(times) if header.stamps else None
    )
    if header.label is None:
        return series
    return replace(series, targets=np.array(labels, dtype=np.str_ if header.label == "class" else np.float64))


@dataclass
class _Header:
    """What the tags say."""

    stamps: bool = False
    label: str | None = None
    """"class", "target", or none."""
    classes: tuple[str, ...] = ()
    dimensions: int | None = None
    length: int | None = None
    """Of every series."""


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the lines that say something, and what they are called in messages."""
    if not path.is_file():
        raise DataError("there is no such file; expected a .ts file")
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                text = line.strip()
                if text and not text.startswith(("#", "%")):
                    yield f"line {number}", text
    except UnicodeDecodeError as error:
        raise DataError(f"it is no .ts file, for it is not UTF-8 text ({error.reason})") from None


def _header(lines: Iterator[tuple[str, str]]) -> _Header:
    tags: dict[str, str] = {}
    for where, line in lines:
        tag, _, value = line.partition(" ")
        if tag.lower() == "@data":
            return _understood(tags)
        if not tag.startswith("@"):
            raise DataError(
                f"{where}: expected a tag such as @classLabel, or @data before the series, got {line[:40]!r}"
            )
        tags[tag.lower()] = value.strip()
    raise DataError("there is no @data; expected a .ts file: tags, @data, and a line for each series")


def _understood(tags: dict[str, str]) -> _Header:
    kind, *classes = tags.get("@classlabel", "false").split() or ["false"]
    has_class = _is_true("@classLabel", kind)
    has_target = _is_true("@targetLabel", tags.get("@targetlabel", "false"))
    equal = _is_true("@equalLength", tags.get("@equallength", "false"))
    univariate = _is_true("@univariate", tags.get("@univariate", "false"))
    if has_class and has_target:
        raise DataError("@classLabel and @targetLabel are both true; expected one of them")
    return _Header(
        stamps=_is_true("@timeStamps", tags.get("@timestamps", "false")),
        label="class" if has_class else "target" if has_target else None,
        classes=tuple(classes),
        dimensions=1 if univariate else _count("@dimensions", tags),
        length=_count("@seriesLength", tags) if equal else None,
    )


def _is_true(tag: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise DataError(f"{tag}: expected true or false, got {value!r}")
    return value.lower() == "true"


def _count(tag: str, tags: dict[str, str]) -> int | None:
    value = tags.get(tag.lower())
    if value is not None and not value.isdecimal():
        raise DataError(f"{tag}: expected a whole number, got {value!r}")
    return None if value is None else int(value)


def _case(
    line: str, header: _Header, where: str
) -> tuple[NDArray[np.float64], NDArray[Any] | None, str | float]:
    """Return the values of a series, (T, F), its time stamps, and its class or target."""
    *dimensions, last = _BETWEEN_STAMPS.split(line) if header.stamps else line.split(":")
    label: str | float = _label(last.strip(), header, where) if header.label else ""
    if not header.label:
        dimensions = [*dimensions, last]
    columns = [_numbers(text, header, where) for text in dimensions]
    lengths = [len(values) for _, values in columns]
    if header.dimensions not in (None, len(columns)) or not columns:
        raise DataError(
            f"{where}: expected {header.dimensions or 'at least 1'} dimensions, got {len(columns)}"
        )
    if len(set(lengths)) > 1:
        raise DataError(f"{where}: the dimensions have {lengths} steps; expected as many in each of them")
    if header.length not in (None, lengths[0]):
        raise DataError(f"{where}: expected {header.length} steps, as @seriesLength says, got {lengths[0]}")
    stamps = columns[0][0]
    if stamps is not None and not all(np.array_equal(stamps, np.asarray(other)) for other, _ in columns):
        raise DataError(
            f"{where}: the time stamps of the dimensions differ; expected the same in all of them"
        )
    return np.column_stack([values for _, values in columns]), stamps, label


_BETWEEN_STAMPS = re.compile(r":(?![^(]*\))")  # a time of day has colons too
_STAMP = re.compile(r"\(([^(),]+),([^(),]+)\)(?:,|$)")


def _numbers(text: str, header: _Header, where: str) -> tuple[NDArray[Any] | None, NDArray[np.float64]]:
    """Return the time stamps of a dimension, if any, and its values."""
    if not header.stamps:
        return None, _floats(text.split(","), where)
    text = re.sub(r"\s*([(),])\s*", r"\1", text.strip())
    pairs = _STAMP.findall(text)
    if not pairs or _STAMP.sub("", text):
        raise DataError(f"{where}: expected time stamps as (stamp,value),(stamp,value), got {text[:40]!r}")
    stamps, values = zip(*pairs, strict=True)
    try:
        times = np.array(stamps, dtype=np.float64)
    except ValueError:
        try:
            times = np.array([stamp.replace(" ", "T") for stamp in stamps], dtype="datetime64[us]")
        except ValueError as error:
            raise DataError(f"{where}: expected time stamps that are numbers or dates: {error}") from None
    return times, _floats(list(values), where)


def _floats(texts: list[str], where: str) -> NDArray[np.float64]:
    try:
        return np.array(["nan" if text.strip() == "?" else text for text in texts], dtype=np.float64)
    except ValueError as error:
        raise DataError(
            f"{where}: expected numbers separated by commas, ? where one is missing: {error}"
        ) from None


def _label(text: str, header: _Header, where: str) -> str | float:
    if header.label == "class":
        if header.classes and text not in header.classes:
            raise DataError(f"{where}: its class {text!r} is not in @classLabel: {', '.join(header.classes)}")
        return text
    value = _floats([text], where)[0]
    if not np.isfinite(value):
        raise DataError(f"{where}: its target is {text!r}; expected a finite number")
    return float(value)
