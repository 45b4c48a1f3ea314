"""The units of a layer: in which order they are shown, and what a trace records of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glasslstm.errors import ArgumentError
from glasslstm.insight.figures.timeline import steps_of
from glasslstm.insight.memory import contributions, half_life
from glasslstm.nn.trace import GateTrace

__all__ = ["ORDERS", "SHOWN", "Order", "Quantity", "batched", "colour_limits", "only", "unit_order"]

Order: TypeAlias = Literal["half-life", "activity", "contribution", "unit"]

ORDERS: dict[Order, str] = {
    "half-life": "longest half-life on top",
    "activity": "most active on top",
    "contribution": "largest contribution on top",
    "unit": "by number",
}
"""The orders of the units, and how a heading puts them."""


class Quantity(NamedTuple):
    """One of the six that a trace records, as the figures show it."""

    heading: str
    symbol: str
    """Its letter in the equations."""
    limits: tuple[float, float] | None
    """Between which it lies; ``None`` where nothing bounds it."""


SHOWN: dict[str, Quantity] = {
    "forget_gate": Quantity("Forget gate: 1 keeps, 0 clears", "f", (0.0, 1.0)),
    "input_gate": Quantity("Input gate: 1 writes, 0 ignores", "i", (0.0, 1.0)),
    "candidate": Quantity("Candidate: what may be written", "g", (-1.0, 1.0)),
    "cell": Quantity("Cell state: the memory", "c", None),
    "output_gate": Quantity("Output gate: 1 shows, 0 hides", "o", (0.0, 1.0)),
    "hidden": Quantity("Hidden state: what is passed on", "h", None),
}
"""The six quantities by name, in the order of the equations and of the panels of :func:`unit`."""


def unit_order(gates: GateTrace, order: Order, sequence: int | None = None) -> NDArray[np.int64]:
    """Return the numbers of the units, from the top.

    Parameters
    ----------
    gates
        One direction of one layer.
    order
        "half-life": the units that keep longest first (:func:`~glasslstm.insight.memory.half_life`). "activity": the
        largest mean ``|o tanh(c)|``, which is |h| where nothing projects it. "contribution": the largest sum of the
        magnitudes of what the steps put into the final cell state
        (:func:`~glasslstm.insight.memory.contributions`). "unit": by number.
    sequence
        The sequence that decides. Default: all of them.

    Returns
    -------
    numpy.ndarray
        (H,). Equals are sorted by number; units without a figure (NaN) come last.

    Raises
    ------
    ArgumentError
        For an order or a sequence that is not there, and a single step of a cell.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> _, _, trace = gl.LSTM(3, 4)(torch.randn(5, 2, 3), return_trace=True)
    >>> unit_order(trace[0, 0], "unit").tolist()
    [0, 1, 2, 3]
    """
    if order not in ORDERS:
        raise ArgumentError(f"order: expected one of {', '.join(ORDERS)}; got {order!r}")
    gates = batched(gates)
    if sequence is not None:
        gates = only(gates, sequence)
    return np.argsort(-_figures(gates, order).double().cpu().numpy(), kind="stable")


def _figures(gates: GateTrace, order: Order) -> Tensor:
    """Return the figure of each unit by which it is sorted, (H,)."""
    if order == "half-life":
        return half_life(gates)
    if order == "contribution":
        return contributions(gates).steps.abs().sum((0, 1))
    if order == "activity":
        return (gates.output_gate * gates.cell.tanh()).detach().abs().sum((0, 1))  # zero in the padding
    return torch.zeros(gates.cell.size(-1))


def colour_limits(gates: GateTrace, quantity: str) -> tuple[float, float]:
    """Return the ends of a quantity's colour scale: its own limits, or the largest magnitude in any sequence.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> _, _, trace = gl.LSTM(3, 4)(torch.randn(5, 2, 3), return_trace=True)
    >>> colour_limits(trace[0, 0], "candidate")
    (-1.0, 1.0)
    """
    limits = SHOWN[quantity].limits
    if limits:
        return limits
    values = getattr(gates, quantity).detach()
    largest = float(torch.where(values.isfinite(), values, 0.0).abs().max()) if values.numel() else 0.0
    return (-largest, largest) if largest else (-1.0, 1.0)


def batched(gates: GateTrace) -> GateTrace:
    """Return the trace with a batch of one where it has none."""
    if gates.cell.dim() == gates.initial_cell.dim():
        raise ArgumentError(
            "trace: is a single step of an LSTMCell; record the loop, as glasslstm.watch does, for a trace over time"
        )
    return gates if gates.cell.dim() == 3 else gates.map(lambda tensor: tensor.unsqueeze(-2))


def only(gates: GateTrace, sequence: int) -> GateTrace:
    """Return the trace of one sequence, still with a batch."""
    steps_of(gates.valid.cpu().numpy(), sequence)
    lengths = None if gates.lengths is None else gates.lengths[[sequence]]
    one = gates.map(lambda tensor: tensor[..., [sequence], :])
    return replace(one, lengths=lengths, gradients=None)
