"""The usual call in inference, straight to the native kernel.

With a small layer a call takes less time in the kernel than on the way there: through packed, ragged and unbatched
input, initial states, autocast, transforms, traces, gradients and the choice of a kernel. Where nothing of that is
asked for, this is the same call of the same kernel, and its result the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from glasslstm.ops import cpu, dispatch
from glasslstm.ops.layer import watched
from glasslstm.ops.transforms import autocast_dtype, differentiable_code_needed
from glasslstm.ops.values import parameter_shapes

if TYPE_CHECKING:
    from glasslstm.nn.lstm import LSTM

__all__ = ["infer"]


def infer(lstm: LSTM, x: object) -> tuple[Tensor, tuple[Tensor, Tensor]] | None:
    """Return what the layer returns for an input alone, or ``None`` where the call is not a usual one.

    Parameters
    ----------
    lstm
        The layer.
    x
        Whatever it was called with.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined]
        return None
    if not isinstance(x, Tensor) or x.dim() != 3:
        return None
    known: Mapping[str, Tensor | None] = lstm._parameters
    H, D = lstm.hidden_size, lstm._directions
    widths = [lstm.input_size if k < D else D * H for k in range(len(lstm._names))]
    found = [
        (known.get(names[field]), shape)
        for names, width in zip(lstm._names, widths, strict=True)
        for field, shape in parameter_shapes(width, H, lstm.bias).items()
    ]
    weights = [w for w, shape in found if w is not None and w.shape == shape]
    if (
        len(weights) < len(found)  # some are parametrized, or wrong
        or x.numel() == 0
        or x.size(2) != lstm.input_size
        or x.stride(2) != 1
        or not cpu.can_run(x)
        or dispatch.asked() != "auto"
        or lstm.proj_size
        or lstm.h_0 is not None
        or (lstm.dropout and lstm.training)
        or any(w.dtype != x.dtype or not w.is_cpu or not w.is_contiguous() for w in weights)
        or watched([x, *weights])
        or differentiable_code_needed()
        or autocast_dtype("cpu")
    ):
        return None
    if lstm.batch_first:
        x = x.transpose(0, 1)
    B = x.size(1)
    start, h_n, c_n = x.new_zeros(D, B, H), *(x.new_empty(len(lstm._names), B, H) for _ in range(2))
    addresses = [w.data_ptr() for w in weights]
    if not lstm.bias:
        addresses = [address for k in range(0, len(weights), 2) for address in (*addresses[k : k + 2], 0, 0)]
    for k in range(len(lstm._names) // D):
        before = k * D * B * H * x.element_size()
        output = cpu.run(
            x,
            addresses[4 * D * k : 4 * D * (k + 1)],
            (start.data_ptr(), start.data_ptr()),
            (h_n.data_ptr() + before, c_n.data_ptr() + before),
            H,
        )
        x = output
    return output.transpose(0, 1) if lstm.batch_first else output, (h_n, c_n)
