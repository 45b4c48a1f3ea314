"""Every gate, the cell and the hidden state of an LSTM, at every step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any

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


@dataclass(frozen=True, eq=False, repr=False)
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
    gradients: StateGradients | _Rows | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        direction = "reverse" if self.reverse else "forward"
        return f"GateTrace(cell={tuple(self.cell.shape)}, {direction})"

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

    def map(self, function: Callable[[Tensor], Tensor]) -> GateTrace:
        """Return the six quantities and the initial states with `function` applied to each."""
        names = (*QUANTITIES, "initial_hidden", "initial_cell")
        found: dict[str, Any] = {name: function(getattr(self, name)) for name in names}
        return replace(self, **found)

    def window(self, start: int, stop: int) -> GateTrace:
        """Return the steps from `start` up to `stop`, with the states in which this direction enters them.

        Raises
        ------
        ArgumentError
            Where the trace does not have these steps.
        """
        if not 0 <= start <= stop <= len(self.cell):
            raise ArgumentError(
                f"window: expected 0 <= start <= stop <= {len(self.cell)}, the number of steps; got {start} and {stop}"
            )
        names = {name: getattr(self, name)[start:stop] for name in QUANTITIES}
        lengths = None if self.lengths is None else (self.lengths - start).clamp(0, stop - start)
        gradients = None if self.gradients is None else _Rows(self.gradients, start, stop)
        return replace(
            self,
            **names,
            initial_hidden=self._entering("hidden", start, stop),
            initial_cell=self._entering("cell", start, stop),
            lengths=lengths,
            gradients=gradients,
        )

    def _entering(self, name: str, start: int, stop: int) -> Tensor:
        states: Tensor = getattr(self, name)
        initial: Tensor = getattr(self, f"initial_{name}")
        total = len(states)
        if self.lengths is None or not total:
            before = stop if self.reverse else start - 1
            return states[before] if 0 <= before < total else initial
        # A forward direction stays where its sequence ended; a reverse one starts there.
        row = torch.full_like(self.lengths, stop) if self.reverse else self.lengths.clamp(max=start) - 1
        inside = (row >= 0) & (row < self.lengths)
        found = states[row.clamp(0, total - 1), torch.arange(len(row), device=row.device)]
        return torch.where(inside[:, None], found, initial)


@dataclass(frozen=True)
class _Rows:
    """Some steps of the gradients that a backward pass leaves, looked up when they are asked for."""

    whole: StateGradients | _Rows
    start: int
    stop: int

    @property
    def cell(self) -> Tensor | None:
        return None if self.whole.cell is None else self.whole.cell[self.start : self.stop]

    @property
    def hidden(self) -> Tensor | None:
        return None if self.whole.hidden is None else self.whole.hidden[self.start : self.stop]


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
        start: int = 0,
        left_out: str | None = None,
    ) -> None:
        self._entries = entries
        self.lengths = lengths
        """The length of each sequence, (B,), or ``None`` where all have all steps."""
        self.input = input
        """What the first layer read, (T, B, I), or (T, I) for an unbatched input; ``None`` where it is not known."""
        self.start = start
        """The step of the call that is the first one here; 0 unless steps were left out."""
        self.left_out = left_out
        """What was left out of the call to save memory, in words; ``None`` for a whole one."""

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

    def map(self, function: Callable[[GateTrace], GateTrace]) -> Trace:
        """Return the trace with `function` applied to each entry, all else as it is."""
        entries = {key: function(gates) for key, gates in self._entries.items()}
        return Trace(entries, self.lengths, self.input, self.start, self.left_out)

    def window(self, start: int, stop: int) -> Trace:
        """Return the steps from `start` up to `stop`, with the states in which each direction enters them.

        Examples
        --------
        >>> import torch, glasslstm as gl
        >>> trace = gl.LSTM(3, 4)(torch.randn(9, 2, 3), return_trace=True)[2]
        >>> part = trace.window(6, 9)
        >>> part.start, torch.equal(part[0, 0].initial_cell, trace[0, 0].cell[5])
        (6, True)
        """
        found = self.map(lambda gates: gates.window(start, stop))
        found.lengths = next(iter(found._entries.values())).lengths
        found.input = None if self.input is None else self.input[start:stop]
        found.start = self.start + start
        return found

    @property
    def nbytes(self) -> int:
        """The bytes of the input, of the six quantities of all entries, and of their gradients where there are any."""
        names = (*QUANTITIES, *GRADIENTS)
        tensors = [self.input, *(getattr(gates, name) for gates in self._entries.values() for name in names)]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)

    def numpy(self) -> dict[tuple[int, int], dict[str, NDArray[np.floating]]]:
        """Return :meth:`GateTrace.numpy` of each entry, by ``(layer, direction)``."""
        return {key: gates.numpy() for key, gates in self._entries.items()}

    def table(self, layers: Collection[int] | None = None) -> dict[str, NDArray[Any]]:
        """Return a long table: a row for each layer, direction, sequence, valid step and unit, in this order.

        Parameters
        ----------
        layers
            Which layers, 0 to L - 1. Default: all. For some of the steps call :meth:`window` first.

        Returns
        -------
        dict
            Columns by name, as ``pandas.DataFrame``, ``polars.DataFrame`` and ``pyarrow.table`` take them: ``layer``,
            ``direction``, ``sequence``, ``step`` (counted in the call: from ``start``) and ``unit`` as integers; the
            six quantities; ``cell_grad`` and ``hidden_grad`` after a backward pass. Units that a projection does not
            have are NaN in ``hidden`` and ``hidden_grad``. With S valid steps in all sequences together the table has
            L * D * S * H rows, of 39 bytes in float32, or 47 with the gradients.

        Raises
        ------
        ArgumentError
            For a layer that is not there.

        Examples
        --------
        >>> import torch, glasslstm as gl
        >>> x = torch.randn(5, 2, 3)
        >>> trace = gl.LSTM(3, 4)(x, lengths=[5, 2], return_trace=True)[2]
        >>> table = trace.table()
        >>> len(table["cell"])  # 7 steps of 4 units
        28
        >>> table["step"][::4]
        array([0, 1, 2, 3, 4, 0, 1], dtype=int32)
        """
        from glasslstm.nn.tracefile import table  # noqa: PLC0415 - that module needs this one

        return table(self, layers)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the trace to one safetensors file, whole or not at all.

        Everything is kept in its own type: the quantities, the initial states, the gradients that are there, the
        lengths and the input. ``L.D.cell`` is the cell state of layer L in direction D, and so on.

        Parameters
        ----------
        path
            The file; one that is there is replaced. Folders are made.

        Raises
        ------
        ArgumentError
            Where no file can be written, and for numbers that the format does not know (complex128).

        Examples
        --------
        >>> import tempfile, torch, glasslstm as gl
        >>> path = tempfile.mkdtemp() + "/trace.safetensors"
        >>> trace = gl.LSTM(3, 4)(torch.randn(5, 1, 3), return_trace=True)[2]
        >>> trace.save(path)
        >>> torch.equal(gl.Trace.load(path)[0, 0].cell, trace[0, 0].cell)
        True
        """
        from glasslstm.nn.tracefile import save  # noqa: PLC0415 - that module needs this one

        save(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Trace:
        """Read a trace that :meth:`save` has written, onto the CPU.

        Parameters
        ----------
        path
            The file.

        Raises
        ------
        ModelFileError
            For a file that is not there, of another kind, from a newer version, damaged or incomplete.
        """
        from glasslstm.nn.tracefile import load  # noqa: PLC0415 - that module needs this one

        return load(path)

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
