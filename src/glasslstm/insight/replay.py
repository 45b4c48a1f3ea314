"""A call of an LSTM once more, with every gate kept: what went on inside, whoever computed the call itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from glasslstm.errors import KernelError
from glasslstm.nn import inputs
from glasslstm.nn.lstm import LSTM, LSTMCell, _autocast, _cast
from glasslstm.nn.trace import QUANTITIES, GateTrace, Trace
from glasslstm.ops.dispatch import Work, choose
from glasslstm.ops.layer import layer
from glasslstm.ops.values import LayerWeights, Result, StateGradients

__all__ = ["Call", "Replay", "weights_of"]


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
        return cls(
            replace(batch, x=_cast(batch.x, cast)),
            _cast(states[0], cast),
            _cast(states[1], cast),
            [part.map(lambda weight: _cast(weight, cast)) for part in weights_of(module)],
            directions=2 if module.bidirectional else 1,
            dropout=module.dropout if module.training and module.num_layers > 1 else 0.0,
            ours=isinstance(module, LSTM),
        )

    def work(self, *, gates: bool, gradient: bool) -> Work:
        """Return what :func:`glasslstm.ops.dispatch.choose` needs to know."""
        x = self.batch.x
        return Work(
            device=x.device.type,
            gates=gates,
            ragged=self.batch.lengths is not None,
            gradient=gradient,
            states=self.c_0[0].numel(),
            complex=x.is_complex(),
            sixteen=x.dtype.itemsize == 2,
            projection=self.weights[0].weight_hr is not None,
        )

    @property
    def bytes(self) -> int:
        """The bytes that the trace of the whole call takes."""
        T, B = self.batch.x.shape[:2]
        widths = (len(QUANTITIES) - 1) * self.c_0.size(2) + self.h_0.size(2)
        return T * B * widths * len(self.weights) * self.batch.x.element_size()


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


class Replay:
    """A call computed once more, apart from the model's graph, for its trace and its state gradients.

    Parameters
    ----------
    call
        The call.
    sequences
        How many sequences to replay, from the first on.
    start
        The first step to keep. The steps before it are computed, and not kept.
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
        *,
        sequences: int,
        start: int = 0,
        gradients: bool = False,
        random: Tensor | None = None,
        left_out: str | None = None,
    ) -> None:
        self._layout, self._sequences = call.batch.layout, sequences
        with torch.set_grad_enabled(gradients), torch.autocast(call.batch.x.device.type, enabled=False):
            # Leaves to ask the gradient of: then the backward pass goes by every state.
            self._states = [
                state[:, :sequences].detach().clone().requires_grad_(gradients)
                for state in (call.h_0, call.c_0)
            ]
            h_0, c_0 = self._states
            *self._results, entries = _run(call, h_0, c_0, start, random)
        layout = self._layout
        whole = {
            key: gates.map(lambda tensor: tensor.detach() if layout.batched else tensor.detach().squeeze(-2))
            for key, gates in entries.items()
        }
        x = call.batch.steps(call.batch.x[start:, :sequences].detach())
        self.trace = Trace(whole, entries[0, 0].lengths, x, start, left_out)

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


def _run(
    call: Call, h_0: Tensor, c_0: Tensor, start: int, random: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Entries]:
    """Run the layers, and return output, h_n, c_n and what each layer did in each direction."""
    D, sequences = call.directions, h_0.size(1)
    lengths = None if call.batch.lengths is None else call.batch.lengths[:sequences]
    kernel = choose(call.work(gates=True, gradient=torch.is_grad_enabled())).kernel
    masks = _dropout_masks(call, random)
    x, found = call.batch.x[:, :sequences].detach(), []
    entries: Entries = {}
    for k in range(len(call.weights) // D):
        own = slice(k * D, (k + 1) * D)
        weights = [part.map(Tensor.detach) for part in call.weights[own]]
        if k and masks:
            x = x * masks[k - 1][:, :sequences]
        run = partial(layer, weights=weights, kernel=kernel)
        x, result, traces = _layer(run, x, h_0[own], c_0[own], lengths, start)
        found.append(result)
        entries |= {(k, d): gates for d, gates in enumerate(traces)}
    h_n, c_n = (torch.cat(states) for states in zip(*found, strict=True))
    return x, h_n, c_n, entries


def _layer(
    run: Callable[..., Result], x: Tensor, h_0: Tensor, c_0: Tensor, lengths: Tensor | None, start: int
) -> tuple[Tensor, tuple[Tensor, Tensor], list[GateTrace]]:
    """Run one layer and keep what it did from `start` on: the forward direction comes from the steps before.

    The reverse direction goes on to the steps before, and these are run once more with what it comes with.
    """
    early = late = lengths
    if start:
        if lengths is not None:
            early, late = lengths.clamp(max=start), (lengths - start).clamp(min=0)
        quiet = partial(
            run, x[:start], lengths=early, keep="states" if torch.is_grad_enabled() else "nothing"
        )
        before = quiet(h_0=h_0, c_0=c_0)
        h_0, c_0 = torch.cat([before.h_n[:1], h_0[1:]]), torch.cat([before.c_n[:1], c_0[1:]])
    kept = [StateGradients() for _ in h_0]
    now = run(x[start:], h_0, c_0, lengths=late, keep="trace", state_gradients=kept)
    traces = _traces(now, h_0, c_0, late, kept)
    if not start:
        return now.output, (now.h_n, now.c_n), traces
    output, h_n, c_n = before.output, now.h_n, now.c_n
    if len(h_0) == 2:
        after = quiet(h_0=torch.cat([h_0[:1], now.h_n[1:]]), c_0=torch.cat([c_0[:1], now.c_n[1:]]))
        P = h_0.size(2)
        output = torch.cat([before.output[..., :P], after.output[..., P:]], dim=-1)
        h_n, c_n = torch.cat([now.h_n[:1], after.h_n[1:]]), torch.cat([now.c_n[:1], after.c_n[1:]])
    return torch.cat([output, now.output]), (h_n, c_n), traces


def _traces(
    result: Result, h_0: Tensor, c_0: Tensor, lengths: Tensor | None, kept: list[StateGradients]
) -> list[GateTrace]:
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
    x, packed = call.batch.x, call.batch.layout.packed
    delegated = (
        call.ours and choose(call.work(gates=False, gradient=torch.is_grad_enabled())).kernel == "torch"
    )
    if x.device.type != "cpu" or random is None or (delegated and call.batch.lengths is not None):
        raise KernelError(
            "watch: what was dropped between the layers of this LSTM cannot be drawn once more "
            f"({x.device.type}, torch's kernel); convert the model with gl.convert and call it under "
            "gl.use_kernel('plain'), or watch it with its dropout set to 0"
        )
    width = call.directions * call.h_0.size(2)
    if call.ours:
        packed = None
    shape = x.shape[:2] if packed is None else packed.data.shape[:1]
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(random)
        drawn = [
            torch.dropout(x.new_ones(*shape, width), call.dropout, True)
            for _ in range(len(call.weights) // call.directions - 1)
        ]
    if packed is None:
        return drawn
    # torch's own LSTM drops from the packed values.
    return [pad_packed_sequence(packed._replace(data=mask))[0] for mask in drawn]
