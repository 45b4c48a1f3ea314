"""What plants a fault in an LSTM: a few rows of its weights are set, all else stays as it was."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

__all__ = ["broken", "constant", "copy_unit", "integrating", "jam", "scale_recurrent", "silence"]

AnyModule = TypeVar("AnyModule", bound=nn.Module)


@torch.no_grad()
def jam(
    lstm: AnyModule, gate: str, bias: float, units: Iterable[int] | None = None, at: str = "_l0"
) -> AnyModule:
    """Set the bias of one gate (``i``, ``f``, ``g`` or ``o``) in some units; `at` ends the parameters' names."""
    rows = _rows(lstm, gate, units)
    lstm.get_parameter(f"bias_ih{at}")[rows] = bias
    return lstm


@torch.no_grad()
def silence(lstm: AnyModule, units: Iterable[int], at: str = "_l0") -> AnyModule:
    """Make the candidates of some units zero at every step."""
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        lstm.get_parameter(name + at)[_rows(lstm, "g", units)] = 0
    return lstm


@torch.no_grad()
def copy_unit(lstm: AnyModule, unit: int, others: Iterable[int], at: str = "_l0") -> AnyModule:
    """Give other units the weights of one, in every gate."""
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        weight = lstm.get_parameter(name + at)
        for gate in "ifgo":
            weight[_rows(lstm, gate, others)] = weight[_rows(lstm, gate, [unit])]
    return lstm


@torch.no_grad()
def scale_recurrent(lstm: AnyModule, factor: float, at: str = "_l0") -> AnyModule:
    """Multiply the recurrent weights."""
    lstm.get_parameter(f"weight_hh{at}").mul_(factor)
    return lstm


@torch.no_grad()
def constant(module: AnyModule, value: float = 0.1) -> AnyModule:
    """Give all weights the same value."""
    for weight in module.parameters():
        weight.fill_(value)
    return module


@torch.no_grad()
def broken(module: AnyModule, name: str, row: int) -> AnyModule:
    """Make one row of the weights NaN."""
    module.get_parameter(name)[row] = torch.nan
    return module


def integrating(module: AnyModule, units: int, at: str = "_l0") -> AnyModule:
    """Let some units add up about 1 at every step, and forget nothing."""
    for gate, bias in (("f", 20), ("i", 20), ("g", 3)):
        jam(module, gate, bias, range(units), at)
    return module


def _rows(lstm: Any, gate: str, units: Iterable[int] | None = None) -> Tensor:
    """Return the rows of a gate in the weights, of some or of all units."""
    H: int = lstm.hidden_size
    return "ifgo".index(gate) * H + torch.tensor(list(range(H) if units is None else units))
