"""Every gate, the cell and the hidden state of an LSTM, at every step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glasslstm.errors import ArgumentError
from glasslstm.ops.values import StateGradients

__all__ = ["GRADIENTS", "QUANTITIES", "GateTrace", "Trace"]

QUANTITIES = ("input_gate", "forget_gate", "candidate", "output_gate", "cell", "hidden")
"""The names of the six recorded quantities, in the order in which the equations produce them."""

GRADIENTS = ("cell_grad", "hidden_grad")
"""The names of what a backward pass adds to them."""


@dataclass(frozen=True, eq=False)
class GateTrace:
    """What one layer did in one direction.

    Every tensor is in the input's time order (for the reverse direction too) and zero past the length
    of a sequence. Shapes: (T, B, H), or (T, H) for an unbatched input, or (B, H) for a single step of
    :class:`glasslstm.LSTMCell`. ``hidden`` and ``hidden_grad`` have the projection's P in place of H
    where ``proj_size`` is set.

    Attributes
    ----------
    input_gate, forget_gate, output_gate
        i_t, f_t and o_t, each in (0, 1).
    candidate
        g_t, in (-1, 1).
    cell
        c_t.
    hidden
        h_t, what the next layer sees.
    initial_hidden, initial_cell
        h_0 and c_0, what this direction started from: (B, P) and (B, H), without B for an unbatched input.
    lengths
        The valid steps of each sequence, (B,), or ``None`` where all have all steps.
    reverse
        Whether this direction reads each sequence from its last valid step to its first.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> trace = gl.LSTM(3, 4)(torch.zeros(5, 1, 3), return_trace=True)[2]
    >>> gates = trace[0, 0]
    >>> torch.allclose(gates.hidden, gates.output_gate * gates.cell.tanh())
    True
    >>> sorted(gates.numpy())
    ['candidate', 'cell', 'forget_gate', 'hidden', 'input_gate', 'output_gate']
    """

    input_gate: Tensor
    forget_gate: Tensor
    candidate: Tensor
    output_gate: Tensor
    cell: Tensor
    hidden: Tensor
    initial_hidden: Tensor
    initial_cell: Tensor
    lengths: Tensor | None = None
    reverse: bool = False
    gradients: StateGradients | None = field(default=None, repr=False)

    @property
    def cell_grad(self) -> Tensor | None:
        """dL/dc_t, through every path, after a backward pass through a traced LSTM; else ``None``."""
        grad = None if self.gradients is None else self.gradients.cell
        return None if grad is None else grad.view(self.cell.shape)

    @property
    def hidden_grad(self) -> Tensor | None:
        """dL/dh_t, through every path, after a backward pass through a traced LSTM; else ``None``."""
        grad = None if self.gradients is None else self.gradients.hidden
        return None if grad is None else grad.view(self.hidden.shape)

    @property
    def valid(self) -> Tensor:
        """Where there is a step and no padding, (T, B), or (T,) for an unbatched input."""
        steps = torch.arange(len(self.cell), device=self.cell.device)
        if self.lengths is None:
            return (steps >= 0).view(-1, *[1] * (self.cell.dim() - 2)).expand(self.cell.shape[:-1])
        return steps[:, None] < self.lengths

    def numpy(self) -> dict[str, NDArray[np.floating]]:
        """Return the six quantities by name as numpy arrays, detached and on the CPU.

        After a backward pass ``cell_grad`` and ``hidden_grad`` are there too.
        """
        found = {name: getattr(self, name) for name in (*QUANTITIES, *GRADIENTS)}
        return {name: _to_numpy(tensor) for name, tensor in found.items() if tensor is not None}


class Trace:
    """The record of one call of an LSTM: ``trace[layer, direction]`` is a :class:`GateTrace`.

    Direction 0 reads forward in time, direction 1 (``bidirectional=True``) backward. Iteration goes
    over the ``(layer, direction)`` pairs in the order of the parameters.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> lstm = gl.LSTM(3, 4, num_layers=2)
    >>> output, (h_n, c_n), trace = lstm(torch.zeros(5, 1, 3), return_trace=True)
    >>> trace[1, 0].forget_gate.shape
    torch.Size([5, 1, 4])
    >>> list(trace)
    [(0, 0), (1, 0)]
    """

    def __init__(
        self,
        entries: dict[tuple[int, int], GateTrace],
        lengths: Tensor | None = None,
        input: Tensor | None = None,
    ) -> None:
        self._entries = entries
        self.lengths = lengths
        """The length of each sequence, (B,), or ``None`` where all have all steps."""
        self.input = input
        """What the first layer read, (T, B, I), or (T, I) for an unbatched input; ``None`` where it is not known."""

    @property
    def num_layers(self) -> int:
        """The number of layers, L."""
        return 1 + max(layer for layer, _ in self._entries)

    @property
    def num_directions(self) -> int:
        """The number of directions, D: 1 or 2."""
        return 1 + max(direction for _, direction in self._entries)

    def __getitem__(self, key: tuple[int, int]) -> GateTrace:
        try:
            return self._entries[key]
        except (KeyError, TypeError):
            raise ArgumentError(
                f"trace[{key!r}]: there is no such entry; the index is [layer, direction] with "
                f"layer 0 to {self.num_layers - 1} and direction 0 to {self.num_directions - 1}"
            ) from None

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        steps = tuple(self._entries[0, 0].cell.shape)
        return f"Trace(num_layers={self.num_layers}, num_directions={self.num_directions}, cell={steps})"


def _to_numpy(tensor: Tensor) -> NDArray[np.floating]:
    tensor = tensor.detach().cpu()
    if tensor.dtype.itemsize < 4:  # numpy has no bfloat16
        tensor = tensor.float()
    return np.asarray(tensor.numpy())
