"""A call of an LSTM, glasslstm's or torch's, in the form in which the layers see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from glasslstm.errors import KernelError
from glasslstm.nn import inputs
from glasslstm.nn.lstm import LSTM, LSTMCell, _cast
from glasslstm.nn.trace import QUANTITIES
from glasslstm.ops.dispatch import Work, choose
from glasslstm.ops.transforms import autocast_dtype
from glasslstm.ops.values import LayerWeights

__all__ = ["Call", "tracing_kernel", "weights_of"]


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
        cast = autocast_dtype(batch.x.device.type)
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


def tracing_kernel(call: Call) -> str:
    """Return the kernel that keeps the gates of a call: where one was asked for that cannot, the equations."""
    try:
        return choose(call.work(gates=True)).kernel
    except KernelError:
        return "equations"


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
