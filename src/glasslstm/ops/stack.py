"""A stack of layers: each reads the one below, in one direction or two, with dropout between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from glasslstm.ops import delegate
from glasslstm.ops.dispatch import Work, choose, differentiable_code_needed
from glasslstm.ops.layer import LayerWeights, StateGradients, layer
from glasslstm.ops.plain import Result

__all__ = ["StackResult", "stack"]


class StackResult(NamedTuple):
    """What a stack returns."""

    output: Tensor
    """The last layer's h_t, both directions side by side, (T, B, D * P); zero past a sequence's length."""
    h_n: Tensor
    """(L * D, B, P)."""
    c_n: Tensor
    """(L * D, B, H)."""
    layers: list[tuple[Result, StateGradients]]
    """Where the gates were asked for: one entry for each layer and direction, else empty."""


def stack(
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    weights: Sequence[LayerWeights],
    *,
    lengths: Tensor | None = None,
    directions: int = 1,
    dropout: float = 0.0,
    gates: bool = False,
) -> StackResult:
    """Run a stack with the kernel that :mod:`glasslstm.ops.dispatch` chooses.

    Parameters
    ----------
    x
        Input, (T, B, I).
    h_0, c_0
        Initial states, (L * D, B, P) and (L * D, B, H).
    weights
        For each layer the forward direction, then the reverse one where there are two.
    lengths
        Valid steps of each sequence, (B,) int64 on the device of `x`; ``None``: all have T.
    directions
        D: 1 or 2.
    dropout
        Share of each layer's output, but the last's, that is zeroed; 0 outside training.
    gates
        Keep the gates and cell states of every layer in the result.
    """
    compiled = torch.compiler.is_compiling()
    gradient = torch.is_grad_enabled() and any(
        tensor.requires_grad
        for tensor in (x, h_0, c_0, *(w for part in weights for w in part if w is not None))
    )
    work = Work(
        device=x.device.type,
        gates=gates,
        ragged=lengths is not None,
        gradient=gradient,
        states=0 if compiled else c_0[0].numel(),
        compiled=compiled,
        complex=x.is_complex(),
        transform=differentiable_code_needed(),
    )
    kernel = choose(work).kernel
    if kernel == "torch":
        # cuDNN keeps what a backward pass needs only when told that it trains, in eval() too.
        train = dropout > 0 or (gradient and x.device.type != "cpu")
        found = delegate.stack(
            x, h_0, c_0, weights, lengths=lengths, directions=directions, dropout=dropout, train=train
        )
        return StackResult(*found, [])
    return _layer_by_layer(x, h_0, c_0, weights, lengths, directions, dropout, gates, kernel)


def _layer_by_layer(
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    weights: Sequence[LayerWeights],
    lengths: Tensor | None,
    directions: int,
    dropout: float,
    gates: bool,
    kernel: str,
) -> StackResult:
    found: list[tuple[Result, StateGradients]] = []
    for start in range(0, len(weights), directions):
        if start and dropout:
            x = torch.dropout(x, dropout, True)
        outputs = []
        for k in range(start, start + directions):
            gradients = StateGradients()
            result = layer(
                x,
                h_0[k],
                c_0[k],
                weights[k],
                lengths=lengths,
                reverse=k > start,
                kernel=kernel,
                state_gradients=gradients if gates and not torch.compiler.is_compiling() else None,
            )
            outputs.append(result.output)
            found.append((result, gradients))
        # Copied where nothing is joined: the trace keeps the original, and the caller may change the output.
        x = outputs[0].clone() if directions == 1 else torch.cat(outputs, dim=-1)
    h_n = torch.stack([result.h_n for result, _ in found])
    c_n = torch.stack([result.c_n for result, _ in found])
    return StackResult(x, h_n, c_n, found if gates else [])
