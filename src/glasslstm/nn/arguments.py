"""What the constructors share: checks, parameter shapes and initial values."""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Iterable

import torch
from torch import nn

from glasslstm.errors import ArgumentError, ArgumentTypeError

__all__ = ["check_bools", "check_dropout", "check_proj_size", "check_sizes", "reset"]


def check_sizes(**sizes: int) -> None:
    """Refuse a size that is no integer, or not above zero."""
    for name, value in sizes.items():
        # Of these, torch takes numpy's integers for num_layers alone.
        if not isinstance(value, numbers.Integral if name == "num_layers" else int):
            raise ArgumentTypeError(f"{name}: expected an int, got {value!r} ({type(value).__name__})")
        if value <= 0:
            raise ArgumentError(f"{name}: expected 1 or more, got {value}")


def check_bools(**flags: bool) -> None:
    """Refuse a flag that is no bool."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ArgumentTypeError(f"{name}: expected True or False, got {value!r} ({type(value).__name__})")


def check_dropout(dropout: float, num_layers: int) -> None:
    """Refuse a dropout outside [0, 1]; warn where it has no effect."""
    if not isinstance(dropout, numbers.Real) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
        raise ArgumentError(f"dropout: expected a number from 0 to 1, the share to zero; got {dropout!r}")
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            f"dropout={dropout} has no effect with num_layers=1: it acts between layers; add a layer, or put a "
            "torch.nn.Dropout behind this one",
            UserWarning,
            stacklevel=3,
        )


def check_proj_size(proj_size: int, hidden_size: int) -> None:
    """Refuse a projection that does not make h smaller."""
    if not isinstance(proj_size, numbers.Integral):
        raise ArgumentTypeError(f"proj_size: expected an int, got {proj_size!r} ({type(proj_size).__name__})")
    if not 0 <= proj_size < hidden_size:
        raise ArgumentError(
            f"proj_size: expected 0 (no projection) or less than hidden_size={hidden_size}, got {proj_size}"
        )


@torch.no_grad()
def reset(parameters: Iterable[nn.Parameter], hidden_size: int) -> None:
    """Draw every parameter from U(-1/sqrt(H), 1/sqrt(H)) in order, as torch does."""
    bound = 1 / math.sqrt(hidden_size)
    for parameter in parameters:
        nn.init.uniform_(parameter, -bound, bound)
