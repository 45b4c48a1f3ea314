"""torch's own LSTM: a stack of layers in one call, on every device that torch has a kernel for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from glasslstm.ops.values import LayerWeights

__all__ = ["flatten_for_cudnn", "stack"]


def stack(
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    weights: Sequence[LayerWeights],
    *,
    lengths: Tensor | None,
    directions: int,
    dropout: float,
    train: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run all layers; arguments and results as in :func:`glasslstm.ops.stack.stack`.

    `train` is torch's flag: keep what a backward pass needs, and apply the dropout.
    """
    has_bias = weights[0].bias_ih is not None
    settings = (
        [w for layer in weights for w in layer.present()],
        has_bias,
        len(weights) // directions,
        dropout,
        train,
        directions == 2,
    )
    if lengths is None:
        return torch.lstm(x, (h_0, c_0), *settings, False)
    on_host = lengths.cpu()
    some = on_host.nonzero().squeeze(1)
    if len(some) == len(on_host) > 0:
        return _packed(x, h_0, c_0, on_host, settings)
    # A packed sequence cannot hold an empty one: its output is zero, and its states stay as they are.
    output = x.new_zeros(x.size(0), x.size(1), directions * h_0.size(2))
    if not len(some):
        # Nothing depends on the input or the weights, and yet a backward pass must find them: with gradients zero.
        link = x[:0].sum() + sum(w[:0].sum() for w in settings[0])
        return output + link, h_0 + link, c_0 + link
    here = some.to(x.device)
    states = (h_0.index_select(1, here), c_0.index_select(1, here))
    found, h_n, c_n = _packed(x.index_select(1, here), *states, on_host[some], settings)
    return output.index_copy(1, here, found), h_0.index_copy(1, here, h_n), c_0.index_copy(1, here, c_n)


def _packed(
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    lengths: Tensor,
    settings: tuple[list[Tensor], bool, int, float, bool, bool],
) -> tuple[Tensor, Tensor, Tensor]:
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    order, back = packed.sorted_indices, packed.unsorted_indices
    assert order is not None
    assert back is not None
    sorted_states = (h_0.index_select(1, order), c_0.index_select(1, order))
    data, h_n, c_n = torch.lstm(packed.data, packed.batch_sizes, sorted_states, *settings)
    output, _ = pad_packed_sequence(
        PackedSequence(data, packed.batch_sizes, order, back), total_length=x.size(0)
    )
    return output, h_n.index_select(1, back), c_n.index_select(1, back)


@torch.no_grad()
def flatten_for_cudnn(weights: Sequence[LayerWeights], input_size: int, bidirectional: bool) -> None:
    """Move the weights, in place, into one block of memory as cuDNN wants them.

    Does nothing where cuDNN would not take them, or where two of them share memory.
    """
    flat = [w for layer in weights for w in layer.present()]
    first = flat[0]
    if not all(w.dtype == first.dtype and torch.backends.cudnn.is_acceptable(w) for w in flat):
        return
    if len({w.data_ptr() for w in flat}) < len(flat) or not torch._use_cudnn_rnn_flatten_weight():
        return
    from torch.backends.cudnn import rnn  # noqa: PLC0415 - loads cuDNN

    hr = weights[0].weight_hr
    with torch.cuda.device_of(first):
        torch._cudnn_rnn_flatten_weight(
            flat,
            len(flat) // len(weights),
            input_size,
            rnn.get_cudnn_mode("LSTM"),
            weights[0].weight_hh.size(0) // 4,
            0 if hr is None else hr.size(0),
            len(weights) // (2 if bidirectional else 1),
            False,
            bidirectional,
        )
