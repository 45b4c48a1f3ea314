"""Columns of text and numbers as tensors and back, for files that hold tensors alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glasslstm.errors import ArgumentError

__all__ = ["Texts", "columns_from_tensors", "columns_to_tensors"]

Texts: TypeAlias = dict[str, list[str] | None]
"""The columns in their order: of text each that occurs, once; of numbers ``None``."""


def columns_to_tensors(columns: Mapping[str, NDArray[Any]]) -> tuple[Texts, dict[str, Tensor]]:
    """Return what texts there are, and a tensor for each column: its numbers, or the position of each of its texts.

    Raises
    ------
    ArgumentError
        For a column of other things, or of another length than the first.

    Examples
    --------
    >>> columns_to_tensors({"name": np.array(["b", "a", "b"])})
    ({'name': ['a', 'b']}, {'name': tensor([1, 0, 1])})
    """
    texts: Texts = {}
    tensors = {}
    for name, column in columns.items():
        if column.dtype.kind not in "Uif" or column.shape != (len(next(iter(columns.values()))),):
            raise ArgumentError(
                f"column {name!r}: got {column.dtype} of shape {column.shape}; expected text, whole or real numbers, "
                "as many as in the other columns"
            )
        if column.dtype.kind == "U":
            known, places = np.unique(column, return_inverse=True)
            texts[name], tensors[name] = known.tolist(), torch.tensor(places)
        else:
            texts[name], tensors[name] = None, torch.tensor(column)
    return texts, tensors


def columns_from_tensors(texts: Texts, tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """Return the columns that :func:`columns_to_tensors` took apart.

    Raises
    ------
    ValueError
        For a column without its tensor or the reverse, columns of different lengths, and a text that is not listed.

    Examples
    --------
    >>> columns_from_tensors({"name": ["a", "b"]}, {"name": torch.tensor([1, 0, 1])})
    {'name': array(['b', 'a', 'b'], dtype='<U1')}
    """
    if texts.keys() != tensors.keys():
        raise ValueError(f"columns {', '.join(texts)}: there are tensors for {', '.join(tensors) or 'none'}")
    if len({tuple(tensor.shape) for tensor in tensors.values()}) > 1:
        raise ValueError(f"columns {', '.join(texts)}: their lengths differ")
    return {name: _column(name, known, tensors[name].numpy()) for name, known in texts.items()}


def _column(name: str, known: list[str] | None, numbers: NDArray[Any]) -> NDArray[Any]:
    if numbers.ndim != 1 or numbers.dtype.kind not in ("if" if known is None else "i"):
        raise ValueError(f"column {name!r}: {numbers.dtype} of shape {numbers.shape}")
    if known is None:
        return numbers
    if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(known):
        raise ValueError(f"column {name!r}: a text that is not listed")
    texts: NDArray[Any] = np.array(known, dtype=np.str_)[numbers]
    return texts
