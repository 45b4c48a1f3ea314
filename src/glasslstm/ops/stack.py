"""A stack of layers: each reads the one below, in one direction or two, with dropout between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from glasslstm.ops import delegate
from glasslstm.ops.dispatch import Work, choose
from glasslstm.ops.layer import copy, layer
from glasslstm.ops.transforms import differentiable_code_needed
from glasslstm.ops.values import Keep, LayerWeights, Result, StateGradients

__all__ = ["StackResult", "stack"]


class StackResult(NamedTuple):
    """What a stack returns."""

    output: Tensor
    """The last layer's h_t, both directions side by side, (T, B, D * P); zero past a sequence's length."""
    h_n: Tensor
    """(L * D, B, P)."""
    c_n: Tensor
    """(L * D, B, H)."""
    layers: list[tuple[Result, list[StateGradients]]]
    """Where the gates were asked for: one entry for each layer, else empty."""


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
    recompute: bool = False,
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
    recompute
        Keep the states alone for the backward pass, which computes the gates once more.
    """
    compiled = torch.compiler.is_compiling()
    # A trace is checked against a second one, without gradients: the same operators must come.
    gradient = (torch.is_grad_enabled() or torch.jit.is_tracing()) and any(  # type: ignore[attr-defined]
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
        sixteen=x.dtype.itemsize == 2,
        projection=weights[0].weight_hr is not None,
        recompute=recompute,
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
    keep: Keep = "trace" if gates else "nothing" if not gradient else "states" if recompute else "gates"
    return _layer_by_layer(x, h_0, c_0, weights, lengths, directions, dropout, keep, kernel)


def _layer_by_layer(
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    weights: Sequence[LayerWeights],
    lengths: Tensor | None,
    directions: int,
    dropout: float,
    keep: Keep,
    kernel: str,
) -> StackResult:
    trace, one_layer = keep == "trace", len(weights) == directions
    found: list[tuple[Result, list[StateGradients]]] = []
    for start in range(0, len(weights), directions):
        if start and dropout:
            x = torch.dropout(x, dropout, True)
        own = slice(start, start + directions)
        kept = [StateGradients() for _ in range(directions if trace else 0)]
        left = () if torch.compiler.is_compiling() else kept
        result = layer(
            x,
            h_0 if one_layer else h_0[own],
            c_0 if one_layer else c_0[own],
            weights[own],
            lengths=lengths,
            kernel=kernel,
            keep=keep,
            state_gradients=left,
        )
        found.append((result, kept))
        x = result.output
    if trace or (lengths is not None and keep != "nothing"):
        # The caller may change it, as what comes of pad_packed_sequence; the original is still needed.
        x = copy(x)
    h_n = _joined([result.h_n for result, _ in found])
    c_n = _joined([result.c_n for result, _ in found])
    return StackResult(x, h_n, c_n, found if trace else [])


def _joined(states: list[Tensor]) -> Tensor:
    return states[0] if len(states) == 1 else torch.cat(states)
