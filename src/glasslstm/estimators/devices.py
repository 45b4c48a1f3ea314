"""Where and in which precision training runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from glasslstm._extras import require
from glasslstm.errors import ArgumentError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["make_fabric"]


def make_fabric(device: str, precision: str) -> Fabric:
    """Return a Fabric for one device.

    Raises
    ------
    ArgumentError
        For a device that is not there, and for a precision that it does not have.
    """
    require("lightning_fabric", extra="train")
    from lightning_fabric import Fabric  # noqa: PLC0415 - takes a second, and only training needs it

    kind, _, index = str(device).partition(":")
    if index and (kind == "cpu" or not index.isdecimal()):
        raise ArgumentError(f"device: expected 'auto', 'cpu', 'cuda', 'cuda:1', ..., got {device!r}")
    place: dict[str, Any] = {"accelerator": kind, "devices": [int(index)] if index else 1}
    try:
        with _quiet("lightning_fabric.utilities.rank_zero"):  # it announces the precision just asked for
            unusable = precision == "16-mixed" and Fabric(**place).device.type == "cpu"
            fabric = None if unusable else Fabric(**place | {"precision": precision})
    except (ValueError, RuntimeError, TypeError) as error:
        raise ArgumentError(f"device: {device!r} cannot be used: {error}") from None
    if fabric is None:
        raise ArgumentError("precision: '16-mixed' needs an accelerator; on the CPU use 'bf16-mixed'")
    return fabric


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    log = logging.getLogger(name)
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)
