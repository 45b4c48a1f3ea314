"""A call of an LSTM once more, with every gate kept: what went on inside, whoever computed the call itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from glasslstm.errors import KernelError
from glasslstm.insight.call import Call, tracing_kernel
from glasslstm.nn.trace import QUANTITIES, GateTrace, Trace
from glasslstm.ops.dispatch import choose
from glasslstm.ops.layer import layer
from glasslstm.ops.transforms import without_autocast
from glasslstm.ops.values import Result, StateGradients

__all__ = ["Replay", "span"]


def span(steps: slice, total: int) -> tuple[int, int]:
    """Return the first step of a slice of `total` steps, and the one after the last."""
    start, stop, _ = steps.indices(total)
    return start, max(start, stop)


class Replay:
    """A call computed once more, apart from the model's graph, for its trace and its state gradients.

    Parameters
    ----------
    call
        The call.
    sequences
        How many sequences to replay, from the first on.
    steps
        The first step to keep and the one after the last. The others are computed, and not kept.
    gradients
        Whether :meth:`backward` will be called.
    random
        The state of torch's generator before the call, for the same dropout; needed where there is any.
    left_out
        For the trace.

    Attributes
    ----------
    trace
        The :class:`~glasslstm.Trace`, without a graph.
    """

    def __init__(
        self,
        call: Call,
        sequences: int,
        steps: tuple[int, int],
        *,
        gradients: bool = False,
        random: Tensor | None = None,
        left_out: str | None = None,
    ) -> None:
        self._layout, self._sequences = call.batch.layout, sequences
        with (
            torch.set_grad_enabled(gradients),
            without_autocast(call.batch.x.device.type),
            # Those of the model, such as a checkpoint's, shall not see the tensors that are saved here.
            torch.autograd.graph.saved_tensors_hooks(_as_it_is, _as_it_is),
        ):
            # Leaves to ask the gradient of: then the backward pass goes by every state.
            self._states = [
                state[:, :sequences].detach().clone().requires_grad_(gradients)
                for state in (call.h_0, call.c_0)
            ]
            h_0, c_0 = self._states
            x = call.batch.x[:, :sequences].detach().clone()  # the model may change its own in place
            *self._results, entries = _run(call, x, h_0, c_0, steps, random)
        layout = self._layout
        whole = {
            key: gates.map(lambda tensor: tensor.detach() if layout.batched else tensor.detach().squeeze(-2))
            for key, gates in entries.items()
        }
        x = x if steps == (0, len(x)) else x[slice(*steps)].clone()
        self.trace = Trace(whole, entries[0, 0].lengths, call.batch.steps(x), steps[0], left_out)

    def backward(self, grads: Sequence[Tensor | None]) -> None:
        """Leave dL/dc_t and dL/dh_t in the trace.

        Parameters
        ----------
        grads
            dL/d of output, h_n and c_n as the module returned them (of a packed output: of its data), ``None``
            where the loss does not depend on one.
        """
        views = (self._output_grad, self._state_grad, self._state_grad)
        pairs = [
            (result, view(grad).to(result.dtype))
            for result, view, grad in zip(self._results, views, grads, strict=True)
            if grad is not None
        ]
        results, wanted = zip(*pairs, strict=True)
        torch.autograd.grad(results, self._states, wanted, retain_graph=True, allow_unused=True)

    def _output_grad(self, grad: Tensor) -> Tensor:
        packed = self._layout.packed
        if packed is not None:
            same = PackedSequence(grad, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
            grad = pad_packed_sequence(same)[0]
        elif not self._layout.batched:
            grad = grad.unsqueeze(1)
        elif self._layout.batch_first:
            grad = grad.transpose(0, 1)
        return grad[:, : self._sequences]

    def _state_grad(self, grad: Tensor) -> Tensor:
        return (grad if self._layout.batched else grad.unsqueeze(1))[:, : self._sequences]


Entries: TypeAlias = dict[tuple[int, int], GateTrace]
States: TypeAlias = tuple[Tensor, Tensor]


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def _run(
    call: Call, x: Tensor, h_0: Tensor, c_0: Tensor, steps: tuple[int, int], random: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Entries]:
    """Run the layers, and return output, h_n, c_n and what each layer did in each direction."""
    D, sequences = call.directions, h_0.size(1)
    lengths = None if call.batch.lengths is None else call.batch.lengths[:sequences]
    kernel = tracing_kernel(call)
    masks = _dropout_masks(call, random)
    found, entries = [], Entries()
    for k in range(len(call.weights) // D):
        own = slice(k * D, (k + 1) * D)
        weights = [part.map(Tensor.detach) for part in call.weights[own]]
        if k and masks:
            x = x * masks[k - 1][:, :sequences]
        run = partial(layer, weights=weights, kernel=kernel)
        x, result, traces = _layer(run, x, (h_0[own], c_0[own]), lengths, *steps)
        found.append(result)
        entries |= {(k, d): gates for d, gates in enumerate(traces)}
    h_n, c_n = (torch.cat(states) for states in zip(*found, strict=True))
    return x, h_n, c_n, entries


def _layer(
    run: Callable[..., Result], x: Tensor, states: States, lengths: Tensor | None, start: int, stop: int
) -> tuple[Tensor, States, list[GateTrace]]:
    """Run one layer and keep what it did from `start` up to `stop`.

    The forward direction comes there from the steps before, the reverse one from those after; then each goes on to
    the other side.
    """
    both, kept = len(states[0]) == 2, [StateGradients() for _ in states[0]]
    part = partial(_part, run, x, lengths)
    quiet = partial(part, keep="states" if torch.is_grad_enabled() else "nothing")
    before = quiet(0, start, states)
    entering = _joined(before[1:3], quiet(stop, len(x), states)[1:3]) if both else before[1:3]
    now = part(start, stop, entering, keep="trace", state_gradients=kept)
    after = quiet(stop, len(x), _joined(now[1:3], states))
    if both:
        before = quiet(0, start, _joined(states, now[1:3]))
    outputs = [result.output for result in (before, now, after) if len(result.output)]
    output = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    traces = _traces(now, entering, _within(lengths, start, stop), kept)
    return output, _joined(after[1:3], before[1:3]), traces


def _part(
    run: Callable[..., Result],
    x: Tensor,
    lengths: Tensor | None,
    start: int,
    stop: int,
    states: States,
    **options: Any,
) -> Result:
    """Run one layer from `start` up to `stop`; where there is no step the states stay as they are."""
    if start < stop:
        return run(x[start:stop], *states, lengths=_within(lengths, start, stop), **options)
    (D, B, P), H = states[0].shape, states[1].size(2)
    empty = (x.new_empty(shape) for shape in ((0, B, D * P), (D, 0, B, 4 * H), (D, 0, B, H)))
    return Result(next(empty), *states, *empty)


def _within(lengths: Tensor | None, start: int, stop: int) -> Tensor | None:
    return None if lengths is None else (lengths - start).clamp(0, stop - start)


def _joined(forward: States, reverse: States) -> States:
    """Return the state of the forward direction from the one pair and that of the reverse one from the other."""
    h, c = (torch.cat([one[:1], other[1:]]) for one, other in zip(forward, reverse, strict=True))
    return h, c


def _traces(
    result: Result, entering: States, lengths: Tensor | None, kept: list[StateGradients]
) -> list[GateTrace]:
    h_0, c_0 = entering
    hidden = result.output.chunk(len(h_0), dim=-1)
    entries = []
    for d, gates in enumerate(kept):
        i, f, g, o = result.gates[d].chunk(4, dim=-1)
        steps = dict(zip(QUANTITIES, (i, f, g, o, result.cell[d], hidden[d]), strict=True))
        entries.append(
            GateTrace(
                **steps,
                initial_hidden=h_0[d],
                initial_cell=c_0[d],
                lengths=lengths,
                reverse=d == 1,
                gradients=gates,
            )
        )
    return entries


def _dropout_masks(call: Call, random: Tensor | None) -> list[Tensor]:
    """Draw once more what the call multiplied each layer's output but the last's by, (T, B, D * P)."""
    if not call.dropout:
        return []
    x = call.batch.x
    if x.device.type != "cpu" or random is None:
        raise KernelError(
            f"watch: what was dropped between the layers of this LSTM on {x.device.type} cannot be drawn once more; "
            "convert the model with gl.convert and call it under gl.use_kernel('plain'), or watch it with its "
            "dropout set to 0"
        )
    packed, some = _dropped_from(call)
    shape = x.shape[:2] if packed is None else packed.data.shape[:1]
    width = call.directions * call.h_0.size(2)
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(random)
        drawn = [
            torch.dropout(x.new_ones(*shape, width), call.dropout, True)
            for _ in range(len(call.weights) // call.directions - 1)
        ]
    if packed is None:
        return drawn
    padded = [pad_packed_sequence(packed._replace(data=mask), total_length=len(x))[0] for mask in drawn]
    return [x.new_zeros(*x.shape[:2], width).index_copy(1, some, mask) for mask in padded]


def _dropped_from(call: Call) -> tuple[PackedSequence | None, Tensor]:
    """Return the packed values, and of which sequences, from which torch's own LSTM drops; else ``None``."""
    x, lengths = call.batch.x, call.batch.lengths
    some = torch.arange(x.size(1)) if lengths is None else lengths.nonzero().squeeze(1)
    if not call.ours:
        return call.batch.layout.packed, some
    if lengths is None or not len(some) or choose(call.work(gates=False)).kernel != "torch":
        return None, some
    return pack_padded_sequence(x[:, some], lengths[some], enforce_sorted=False), some
