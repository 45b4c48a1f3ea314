"""Where and in which precision training runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from glasslstm._extras import require
from glasslstm.errors import ArgumentError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["make_fabric"]


def make_fabric(device: str, precision: str, loggers: Any = ()) -> Fabric:
    """Return a Fabric for one device; or, in a process that ``torchrun`` started, for this one of several processes.

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
    several = int(os.environ.get("WORLD_SIZE", "1")) if torch.distributed.is_torchelastic_launched() else 1
    if several > 1:
        here = int(os.environ.get("LOCAL_WORLD_SIZE", several))
        place |= {"devices": here, "num_nodes": several // here, "strategy": "ddp"}
    try:
        with _quiet("lightning_fabric"):  # it announces the precision just asked for, and each process
            unusable = precision == "16-mixed" and Fabric(**place).device.type == "cpu"
            fabric = (
                None
                if unusable
                else Fabric(
                    **place | {"precision": precision},
                    loggers=list(loggers) if isinstance(loggers, (list, tuple)) else [loggers],
                )
            )
            if fabric is not None and several > 1:
                fabric.launch()  # meets the other processes
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
