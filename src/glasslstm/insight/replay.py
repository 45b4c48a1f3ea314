"""A call of an LSTM once more, with every gate kept: what went on inside, whoever computed the call itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from glasslstm.errors import KernelError
from glasslstm.nn import inputs
from glasslstm.nn.lstm import LSTM, LSTMCell, _autocast, _cast
from glasslstm.nn.trace import QUANTITIES, GateTrace, Trace
from glasslstm.ops.dispatch import Work, choose
from glasslstm.ops.layer import layer
from glasslstm.ops.values import LayerWeights, Result, StateGradients

__all__ = ["Call", "Replay", "span", "tracing_kernel", "weights_of"]


class Call(NamedTuple):
    """One call of an LSTM, glasslstm's or torch's, in the form in which the layers see it."""

    batch: inputs.Batch
    h_0: Tensor
    """(L * D, B, P)."""
    c_0: Tensor
    """(L * D, B, H)."""
    weights: list[LayerWeights]
    """For each layer the forward direction, then the reverse one where there are two."""
    directions: int
    dropout: float
    """Between the layers; 0 outside training, and where there is one layer."""
    ours: bool
    """Whether the module is glasslstm's."""
    gradient: bool
    """Whether a backward pass may follow."""
    recompute: bool
    """Whether the module computes its gates once more for it."""

    @classmethod
    def of(
        cls,
        module: nn.LSTM | LSTM,
        input: Tensor | PackedSequence,
        hx: Sequence[Tensor] | None,
        lengths: Any = None,
    ) -> Call:
        """Read a call off the module's arguments, and its parameters as they are now."""
        batch = inputs.canonical(
            input, input_size=module.input_size, batch_first=module.batch_first, lengths=lengths
        )
        cast, _ = _autocast(batch.x.device.type)
        if isinstance(module, LSTM):
            states = module._initial_states(hx, batch, any_dtype=True)
        else:
            states = _torch_states(module, hx, batch)
        weights = weights_of(module)
        tensors = (batch.x, *states, *(weight for part in weights for weight in part.present()))
        return cls(
            replace(batch, x=_cast(batch.x, cast)),
            _cast(states[0], cast),
            _cast(states[1], cast),
            [part.map(lambda weight: _cast(weight, cast)) for part in weights],
            directions=2 if module.bidirectional else 1,
            dropout=module.dropout if module.training and module.num_layers > 1 else 0.0,
            ours=isinstance(module, LSTM),
            gradient=torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors),
            recompute=isinstance(module, LSTM) and module.recompute,
        )

    def work(self, *, gates: bool) -> Work:
        """Return what :func:`glasslstm.ops.dispatch.choose` needs to know."""
        x = self.batch.x
        return Work(
            device=x.device.type,
            gates=gates,
            ragged=self.batch.lengths is not None,
            gradient=self.gradient,
            states=self.c_0[0].numel(),
            complex=x.is_complex(),
            sixteen=x.dtype.itemsize == 2,
            projection=self.weights[0].weight_hr is not None,
            recompute=self.recompute,
        )

    def bytes(self, *, gradients: bool) -> int:
        """Return the bytes that the trace takes for each step of each sequence."""
        H, P = self.c_0.size(2), self.h_0.size(2)
        each = (len(QUANTITIES) - 1) * H + P + (H + P if gradients else 0)
        return (each * len(self.weights) + self.batch.x.size(2)) * self.batch.x.element_size()


def weights_of(module: nn.LSTM | LSTM | nn.LSTMCell | LSTMCell) -> list[LayerWeights]:
    """Return the weights of each layer, the forward direction and then the reverse one; of a cell its own."""
    if isinstance(module, LSTM):
        return module._weights()
    names = module._all_weights if isinstance(module, nn.LSTM) else [[*LayerWeights._fields[:4]]]
    fields = LayerWeights._fields
    found = []
    for own in names:
        by_field = {field: name for field in fields for name in own if name.startswith(field)}
        found.append(LayerWeights(**{field: getattr(module, name) for field, name in by_field.items()}))
    return found


def _torch_states(module: nn.LSTM, hx: Sequence[Tensor] | None, batch: inputs.Batch) -> tuple[Tensor, Tensor]:
    h_0, c_0 = hx if hx is not None else (None, None)
    count = len(module._all_weights)
    return (
        batch.initial(h_0, module.proj_size or module.hidden_size, count),
        batch.initial(c_0, module.hidden_size, count),
    )


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
            _autocast(call.batch.x.device.type)[1],
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


def tracing_kernel(call: Call) -> str:
    """Return the kernel that keeps the gates of a call: where one was asked for that cannot, the equations."""
    try:
        return choose(call.work(gates=True)).kernel
    except KernelError:
        return "equations"


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
