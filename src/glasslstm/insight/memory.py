"""What the memory kept, exactly: retention, half-life, saturation, and what each step put into the final state.

Unrolling the cell update gives ``c_T = (prod f) c_0 + sum_t (prod_{s>t} f_s) i_t g_t``. With the gates measured, each
term is known and not estimated. "Later" is later in the order in which a direction reads. Results are float64, whatever
the trace's type (float32 where a device has no more), and without a graph.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import NamedTuple

import torch
from torch import Tensor

from glasslstm.errors import ArgumentError, ArgumentTypeError
from glasslstm.nn.trace import GateTrace, Trace

__all__ = [
    "Contributions",
    "Saturation",
    "contributions",
    "half_life",
    "retention",
    "retention_by_lag",
    "retention_to_final",
    "saturation",
]


def half_life(gates: GateTrace) -> Tensor:
    """Return the steps after which half of what stood in each unit is left, from its measured forget gates.

    The time in which a value decays to one half at the unit's geometric mean forget gate, ``ln 2 / -mean(ln f)``. The
    mean is over all valid steps of all sequences.

    Parameters
    ----------
    gates
        One direction of one layer, such as ``trace[0, 0]``.

    Returns
    -------
    Tensor
        (H,), in steps. Infinite for a unit whose f is 1 at every step; in float32 that is any f above
        1 - 2**-25, which is rounded to 1. Zero for a unit whose f is 0 at any step, for there all was forgotten; in
        float32 the logistic function comes to 0 between -88 and -104. NaN where there is no valid step.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        For a single step of a cell, and for what is no GateTrace.

    References
    ----------
    Gers, Schmidhuber and Cummins 2000, "Learning to forget", Neural Computation 12(10) (the forget gate as decay);
    Tallec and Ollivier 2018, "Can recurrent neural networks warp time?", ICLR (characteristic forgetting time).

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> lstm = gl.LSTM(1, 1)
    >>> for weight in lstm.parameters():
    ...     _ = torch.nn.init.zeros_(weight)
    >>> half_life(lstm(torch.zeros(5, 1, 1), return_trace=True)[2][0, 0])  # f = 1/2 at every step
    tensor([1.], dtype=torch.float64)
    """
    f = _forget(gates)
    steps = f.flatten(0, -2)
    lost = steps.log().sum(0).abs() / gates.valid.sum()  # padding counts as f = 1
    return math.log(2) / lost


def retention(gates: GateTrace, start: int | None = None, stop: int | None = None) -> Tensor:
    """Return the share of what stood in the cell after one step that is left after a later one.

    The product of f over the steps that are read after `start`, up to and with `stop`.

    Parameters
    ----------
    gates
        One direction of one layer.
    start, stop
        Steps, 0 to T - 1 in the input's time order; `stop` is `start` or is read after it. Default of `start`: the
        initial state. Default of `stop`: the final state of each sequence.

    Returns
    -------
    Tensor
        (B, H), or (H,) for an unbatched input; 0 where a sequence has no such step.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        For steps that are not there or in the wrong order, a single step of a cell, and what is no GateTrace.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> gates = gl.LSTM(3, 4)(torch.randn(5, 1, 3), return_trace=True)[2][0, 0]
    >>> f = gates.forget_gate.double()
    >>> torch.allclose(retention(gates, 1, 3), f[2] * f[3])
    True
    """
    f = _forget(gates)
    first, last = _check_steps(gates, start, stop)
    left = (f[last:first] if gates.reverse else f[first + 1 : last + 1]).prod(0)
    for step in (start, stop):
        if step is not None:
            left = left * gates.valid[step].unsqueeze(-1)
    return left


def retention_to_final(gates: GateTrace) -> Tensor:
    """Return the share of what stood in the cell after each step that is left in the final state.

    Parameters
    ----------
    gates
        One direction of one layer.

    Returns
    -------
    Tensor
        (T, B, H), or (T, H) for an unbatched input, in the input's time order; zero past a sequence's length.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        As :func:`half_life`.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> gates = gl.LSTM(3, 4)(torch.randn(5, 1, 3), return_trace=True)[2][0, 0]
    >>> torch.equal(retention_to_final(gates)[2], retention(gates, 2))
    True
    """
    f = _reading_from_end(_forget(gates), gates)
    after = torch.cat([torch.ones_like(f[:1]), f[:-1]]).cumprod(0)
    return _reading_from_end(after, gates) * gates.valid.unsqueeze(-1)


def retention_by_lag(gates: GateTrace, lags: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
    """Return how much of each unit's memory is left after k steps, on average.

    Parameters
    ----------
    gates
        One direction of one layer.
    lags
        The k, each 0 to T - 1. Default: 0, and about two for each power of two up to the longest sequence, so that the
        cost grows as T log T.

    Returns
    -------
    lags
        (K,), in steps.
    retention
        (K, H): at lag k the mean over all pairs of valid steps that are k apart, of all sequences. NaN at a lag at
        which there is no such pair. ``retention.mean(1)`` is the curve of the layer.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        For lags out of range, and as :func:`half_life`.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> gates = gl.LSTM(3, 4)(torch.randn(20, 1, 3), return_trace=True)[2][0, 0]
    >>> lags, kept = retention_by_lag(gates)
    >>> lags
    tensor([ 0,  1,  2,  3,  4,  6,  8, 12, 16])
    >>> torch.allclose(kept[1], gates.forget_gate[1:].double().mean((0, 1)))
    True
    """
    f, valid = _forget(gates), gates.valid.unsqueeze(-1)
    chosen = _default_lags(gates) if lags is None else _check_lags(lags, len(f))
    # A gate of 0 would be -inf here, and the difference of two of them NaN.
    logs = f.clamp(min=torch.finfo(f.dtype).tiny).log()
    total = logs.cumsum(0) - logs if gates.reverse else logs.cumsum(0)
    curve = []
    for lag in chosen:
        pairs = valid[lag:]
        kept = (total[lag:] - total[: len(f) - lag]).exp_() * pairs
        curve.append(kept.flatten(0, -2).sum(0) / pairs.sum())
    return torch.tensor(chosen, device=f.device), torch.stack(curve)


class Saturation(NamedTuple):
    """How often a gate is as good as shut or open, for each unit."""

    left: Tensor
    """The share of valid steps below `low`, (H,)."""
    right: Tensor
    """The share of valid steps above `high`, (H,)."""


def saturation(gates: GateTrace, low: float = 0.1, high: float = 0.9) -> dict[str, Saturation]:
    """Return for each gate how often each unit is left- and right-saturated.

    Parameters
    ----------
    gates
        One direction of one layer.
    low, high
        A gate below `low` is left-saturated, one above `high` right-saturated. Defaults: 0.1 and 0.9, the source's.

    Returns
    -------
    dict
        By the names ``input_gate``, ``forget_gate`` and ``output_gate``; NaN where there is no valid step.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        For thresholds that are not 0 <= low < high <= 1, and as :func:`half_life`.

    References
    ----------
    Karpathy, Johnson and Fei-Fei 2015, "Visualizing and understanding recurrent networks", section 4.2.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> gates = gl.LSTM(3, 2)(torch.zeros(5, 1, 3), return_trace=True)[2][0, 0]
    >>> saturation(gates)["forget_gate"].left
    tensor([0., 0.], dtype=torch.float64)
    """
    if not 0 <= low < high <= 1:
        raise ArgumentError(f"low, high: expected 0 <= low < high <= 1, got {low} and {high}")
    _check(gates)
    valid = gates.valid.unsqueeze(-1)

    def share(found: Tensor) -> Tensor:
        return _precise(found & valid).flatten(0, -2).sum(0) / valid.sum()

    named = {name: getattr(gates, name) for name in ("input_gate", "forget_gate", "output_gate")}
    return {name: Saturation(share(gate < low), share(gate > high)) for name, gate in named.items()}


@dataclass(frozen=True, eq=False, repr=False)
class Contributions:
    """The terms of the unrolled cell update: they add up to the final cell state."""

    steps: Tensor
    """What each step put there and is left of it, (prod_{s>t} f_s) i_t g_t: (T, B, H); zero past a length."""
    initial: Tensor
    """What is left of the initial state, (prod f) c_0: (B, H)."""
    final: Tensor
    """The measured final state c_T: (B, H)."""

    def __repr__(self) -> str:
        return f"Contributions(steps={tuple(self.steps.shape)})"

    @property
    def residual(self) -> Tensor:
        """What does not add up: rounding, unless the trace, or the model the state on the way, was changed. (B, H)."""
        return self.final - self.initial - self.steps.sum(0)


def contributions(gates: GateTrace) -> Contributions:
    """Return what each step put into each cell of the final state.

    Parameters
    ----------
    gates
        One direction of one layer.

    Returns
    -------
    Contributions
        In the input's time order, for the reverse direction too; without B for an unbatched input.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        As :func:`half_life`.

    References
    ----------
    Hochreiter and Schmidhuber 1997, "Long short-term memory", Neural Computation 9(8), unrolled, with the forget gate
    of Gers, Schmidhuber and Cummins 2000, "Learning to forget", Neural Computation 12(10).

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> output, (h_n, c_n), trace = gl.LSTM(3, 4)(torch.randn(5, 1, 3), return_trace=True)
    >>> parts = contributions(trace[0, 0])
    >>> torch.allclose(parts.initial + parts.steps.sum(0), c_n[0].double(), atol=1e-6)
    True
    """
    return Contributions(
        steps=retention_to_final(gates) * _precise(gates.input_gate) * _precise(gates.candidate),
        initial=retention(gates) * _precise(gates.initial_cell),
        final=_final(_precise(gates.cell), _precise(gates.initial_cell), gates),
    )


def _precise(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float32 if tensor.device.type == "mps" else torch.float64)


def _forget(gates: GateTrace) -> Tensor:
    """Return f with 1 in the padding, where nothing is forgotten."""
    _check(gates)
    return torch.where(gates.valid.unsqueeze(-1), _precise(gates.forget_gate), 1.0)


def _reading_from_end(tensor: Tensor, gates: GateTrace) -> Tensor:
    """Turn the time order to the order from the step read last to the one read first, or back."""
    return tensor if gates.reverse else tensor.flip(0)


def _final(steps: Tensor, initial: Tensor, gates: GateTrace) -> Tensor:
    """Return what `steps` has at the step that each sequence reads last; `initial` where there is none."""
    if not len(steps):
        return initial
    if gates.lengths is None:
        return steps[0 if gates.reverse else -1]
    last = torch.zeros_like(gates.lengths) if gates.reverse else (gates.lengths - 1).clamp(min=0)
    found = steps[last, torch.arange(len(last), device=last.device)]
    return torch.where(gates.lengths.unsqueeze(-1) > 0, found, initial)


def _default_lags(gates: GateTrace) -> list[int]:
    longest = len(gates.cell) if gates.lengths is None else max(gates.lengths.tolist(), default=0)
    powers = [2**k for k in range(longest.bit_length())]
    return [0, *(lag for lag in sorted({*powers, *(3 * power for power in powers)}) if lag < longest)]


def _check(gates: GateTrace) -> None:
    if not isinstance(gates, GateTrace):
        hint = "; choose a layer and a direction, as in trace[0, 0]" if isinstance(gates, Trace) else ""
        raise ArgumentTypeError(f"gates: expected a GateTrace, got {type(gates).__name__}{hint}")
    if gates.cell.dim() == gates.initial_cell.dim():
        raise ArgumentError(
            "gates: is a single step of an LSTMCell; record the loop, as glasslstm.watch does, for a trace over time"
        )


def _check_steps(gates: GateTrace, start: int | None, stop: int | None) -> tuple[int, int]:
    time = len(gates.cell)
    for name, step in (("start", start), ("stop", stop)):
        if step is not None and (not isinstance(step, Integral) or not 0 <= step < time):
            raise ArgumentError(f"{name}: expected a step, 0 to {time - 1}, or None, got {step!r}")
    before, final = (time, 0) if gates.reverse else (-1, time - 1)
    first, last = before if start is None else start, final if stop is None else stop
    if (last > first) if gates.reverse else (last < first):
        order = "its last step to its first" if gates.reverse else "its first step to its last"
        raise ArgumentError(
            f"start={start}, stop={stop}: this direction reads a sequence from {order}, so stop comes before start"
        )
    return first, last


def _check_lags(lags: Sequence[int], time: int) -> list[int]:
    chosen = [int(lag) for lag in lags]
    if not chosen or min(chosen) < 0 or max(chosen) >= time:
        raise ArgumentError(
            f"lags: expected one or more, each 0 to {time - 1}, the steps less one; got {chosen}"
        )
    return chosen
