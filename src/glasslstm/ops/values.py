"""What goes in and out of one layer: its weights, its results, their gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from torch import Tensor

__all__ = [
    "Gradients",
    "Keep",
    "LayerWeights",
    "Result",
    "ResultGrad",
    "StateGradients",
    "directions_of",
    "parameter_shapes",
]

Keep: TypeAlias = Literal["nothing", "states", "gates", "trace"]
"""What a forward pass keeps: nothing, because no backward pass follows; the cell states, from which the backward
pass computes the gates once more; the gates too; or all of it to be read, zero past a sequence's length, and in
the backward pass the gradients of the states besides."""


class LayerWeights(NamedTuple):
    """The parameters of one layer in one direction, as PyTorch stores them."""

    weight_ih: Tensor
    """(4H, I), rows in the order i, f, g, o."""
    weight_hh: Tensor
    """(4H, P)."""
    bias_ih: Tensor | None = None
    """(4H,)."""
    bias_hh: Tensor | None = None
    """(4H,)."""
    weight_hr: Tensor | None = None
    """(P, H), or ``None`` without a projection."""

    def map(self, function: Callable[[Tensor], Tensor]) -> LayerWeights:
        """Return the weights with `function` applied to each that is there."""
        there: dict[str, Tensor] = {name: w for name, w in self._asdict().items() if w is not None}
        return LayerWeights(**{name: function(w) for name, w in there.items()})

    def present(self) -> list[Tensor]:
        """Return the weights that are there, in torch's order."""
        return [w for w in self if w is not None]

    def bias(self) -> Tensor | None:
        """Return the sum of the two biases, ``None`` where there are none."""
        if self.bias_ih is None or self.bias_hh is None:
            return self.bias_ih
        return self.bias_ih + self.bias_hh


def parameter_shapes(
    input_size: int, hidden_size: int, bias: bool, proj_size: int = 0
) -> dict[str, tuple[int, ...]]:
    """Return name and shape of one layer's parameters in one direction, in torch's order."""
    shapes: dict[str, tuple[int, ...]] = {
        "weight_ih": (4 * hidden_size, input_size),
        "weight_hh": (4 * hidden_size, proj_size or hidden_size),
    }
    if bias:
        shapes |= {"bias_ih": (4 * hidden_size,), "bias_hh": (4 * hidden_size,)}
    if proj_size:
        shapes |= {"weight_hr": (proj_size, hidden_size)}
    return shapes


def directions_of(flat: Sequence[Tensor | None]) -> list[LayerWeights]:
    """Put weights that stand one after the other together again; a direction without any is not there."""
    width = len(LayerWeights._fields)
    parts = (flat[start : start + width] for start in range(0, len(flat), width))
    return [LayerWeights(*part) for part in parts if part[0] is not None]  # type: ignore[arg-type]


class Result(NamedTuple):
    """What the forward pass of a layer leaves behind; also what the backward pass reads."""

    output: Tensor
    """h_t, the directions side by side, (T, B, D * P)."""
    h_n: Tensor
    """(D, B, P)."""
    c_n: Tensor
    """(D, B, H)."""
    gates: Tensor
    """i, f, g, o after their activations, side by side, (D, T, B, 4H); empty where not kept."""
    cell: Tensor
    """c_t, (D, T, B, H); empty where not kept."""


class ResultGrad(NamedTuple):
    """dL/d of each field of :class:`Result`, ``None`` where the loss does not depend on it."""

    output: Tensor | None
    h_n: Tensor | None
    c_n: Tensor | None
    gates: Tensor | None
    cell: Tensor | None


class Gradients(NamedTuple):
    """What the backward pass of a layer returns."""

    x: Tensor
    """(T, B, I); empty where not asked for."""
    h_0: Tensor
    """(D, B, P)."""
    c_0: Tensor
    """(D, B, H)."""
    cell: Tensor
    """dL/dc_t through every path, (D, T, B, H); empty unless a trace is kept."""
    hidden: Tensor
    """dL/dh_t through every path, (D, T, B, P); empty unless a trace is kept."""
    weights: list[Tensor]
    """For each direction of weight_ih, of weight_hh, of each bias, of weight_hr (empty without a projection)."""


@dataclass
class StateGradients:
    """Where a backward pass leaves dL/dc_t and dL/dh_t of one direction (``None`` until it has run)."""

    cell: Tensor | None = None
    hidden: Tensor | None = None
