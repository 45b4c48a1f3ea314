"""One layer in one direction: kernels as torch operators, and their autograd."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from glasslstm.ops import equations, plain
from glasslstm.ops.plain import Gradients, Result, ResultGrad

__all__ = ["LayerWeights", "StateGradients", "layer"]


class LayerWeights(NamedTuple):
    """The parameters of one layer in one direction, as PyTorch stores them."""

    weight_ih: Tensor
    """(4H, I), rows in the order i, f, g, o."""
    weight_hh: Tensor
    """(4H, P)."""
    bias_ih: Tensor | None = None
    """(4H,)."""
    bias_hh: Tensor | None = None
    """(4H,)."""
    weight_hr: Tensor | None = None
    """(P, H), or ``None`` without a projection."""

    def map(self, function: Callable[[Tensor], Tensor]) -> LayerWeights:
        """Return the weights with `function` applied to each that is there."""
        there: dict[str, Tensor] = {name: w for name, w in self._asdict().items() if w is not None}
        return LayerWeights(**{name: function(w) for name, w in there.items()})

    def present(self) -> list[Tensor]:
        """Return the weights that are there, in torch's order."""
        return [w for w in self if w is not None]


@dataclass
class StateGradients:
    """Where a backward pass leaves dL/dc_t and dL/dh_t (``None`` until it has run)."""

    cell: Tensor | None = None
    hidden: Tensor | None = None


def layer(
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    weights: LayerWeights,
    *,
    lengths: Tensor | None = None,
    reverse: bool = False,
    kernel: str = "plain",
    state_gradients: StateGradients | None = None,
) -> Result:
    """Run one layer in one direction with a kernel that hands out its gates.

    Parameters
    ----------
    x
        Input, (T, B, I).
    h_0, c_0
        Initial states, (B, P) and (B, H).
    weights
        See :class:`LayerWeights`.
    lengths
        Valid steps of each sequence, (B,) int64 on the device of `x`; ``None``: all have T.
    reverse
        Read from each sequence's last valid step to its first.
    kernel
        ``"plain"`` (the time loop, also as an operator for ``torch.compile``) or ``"equations"``
        (slower; every ``torch.func`` transform goes through it).
    state_gradients
        Where the backward pass of the plain kernel leaves dL/dc_t and dL/dh_t.

    Returns
    -------
    Result
        ``output, h_n, c_n, gates, cell``, each of them differentiable.
    """
    dtype = x.dtype
    # Sixteen bits are enough to store a gate, not to add up a thousand of them.
    wide = torch.float32 if dtype.itemsize < 4 else dtype
    w = weights.map(lambda weight: weight.to(wide))
    bias = w.bias_ih if w.bias_ih is None or w.bias_hh is None else w.bias_ih + w.bias_hh
    states = (x.to(wide), h_0.to(wide), c_0.to(wide))
    arguments = (*states, w.weight_ih, w.weight_hh, bias, w.weight_hr, lengths, reverse)
    if kernel == "equations":
        result = _equations(*arguments, state_gradients)
    else:
        result = Result(*torch.ops.glasslstm.layer(*arguments))
        if state_gradients is not None and result.output.grad_fn is not None:
            # The node of the operator in the graph is the context that its backward function will see.
            result.output.grad_fn.state_gradients = state_gradients  # type: ignore[attr-defined]
    return Result(*(tensor.to(dtype) for tensor in result))


def _equations(
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    weight_hr: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
    state_gradients: StateGradients | None = None,
) -> Result:
    def on_step(t: int, now: equations.Step) -> None:
        for name in ("cell", "hidden"):
            state: Tensor = getattr(now, name)
            if state_gradients is not None and state.requires_grad:
                state.register_hook(partial(_keep_gradient, state_gradients, name, t, len(x)))

    weights = equations.concatenate_weights(weight_ih, weight_hh, bias)
    steps, h_n, c_n = equations.sequence(x, h_0, c_0, weights, weight_hr, lengths, reverse, on_step)
    gates = torch.cat([steps.input_gate, steps.forget_gate, steps.candidate, steps.output_gate], dim=-1)
    return Result(steps.hidden, h_n, c_n, gates, steps.cell)


def _keep_gradient(kept: StateGradients, name: str, t: int, time: int, grad: Tensor | None) -> None:
    if grad is None:  # the loss does not depend on it
        return
    if getattr(kept, name) is None:
        setattr(kept, name, grad.new_zeros(time, *grad.shape))
    getattr(kept, name)[t] = grad.detach()


torch.library.define(
    "glasslstm::layer",
    "(Tensor x, Tensor h_0, Tensor c_0, Tensor weight_ih, Tensor weight_hh, Tensor? bias, Tensor? weight_hr, "
    "Tensor? lengths, bool reverse) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
torch.library.define(
    "glasslstm::layer_backward",
    "(Tensor? grad_output, Tensor? grad_h_n, Tensor? grad_c_n, Tensor? grad_gates, Tensor? grad_cell, "
    "Tensor x, Tensor h_0, Tensor c_0, Tensor weight_ih, Tensor weight_hh, Tensor? weight_hr, "
    "Tensor? lengths, bool reverse, Tensor output, Tensor gates, Tensor cell) -> "
    "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)


@torch.library.impl("glasslstm::layer", "default")
def _layer(*arguments: Any) -> tuple[Tensor, ...]:
    return tuple(plain.forward(*arguments))


@torch.library.impl("glasslstm::layer_backward", "default")
def _layer_backward(*arguments: Any) -> tuple[Tensor, ...]:
    with torch.autocast(arguments[5].device.type, enabled=False):
        return tuple(plain.backward(ResultGrad(*arguments[:5]), *arguments[5:]))


@torch.library.register_fake("glasslstm::layer")
def _layer_fake(x: Tensor, h_0: Tensor, c_0: Tensor, weight_ih: Tensor, *_: Any) -> tuple[Tensor, ...]:
    steps = x.shape[:2]
    return (
        x.new_empty(*steps, h_0.size(1)),
        torch.empty_like(h_0, memory_format=torch.contiguous_format),
        torch.empty_like(c_0, memory_format=torch.contiguous_format),
        x.new_empty(*steps, weight_ih.size(0)),
        x.new_empty(*steps, c_0.size(1)),
    )


@torch.library.register_fake("glasslstm::layer_backward")
def _layer_backward_fake(*arguments: Any) -> tuple[Tensor, ...]:
    x, h_0, c_0, weight_ih, weight_hh, weight_hr, _, _, output, _, cell = arguments[5:]
    hr = x.new_empty(0) if weight_hr is None else weight_hr
    inputs = (x, h_0, c_0, weight_ih, weight_hh, weight_ih[:, 0], hr, cell, output)
    return tuple(torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in inputs)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    result = Result(*output)
    ctx.save_for_backward(*inputs[:-1], result.output, result.gates, result.cell)
    ctx.reverse = inputs[-1]
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    *inputs, output, gates, cell = ctx.saved_tensors
    if torch.is_grad_enabled():  # under create_graph: the gradient must itself be differentiable
        kept = getattr(ctx, "state_gradients", None)
        return *_differentiable_backward(grads, inputs, ctx.reverse, ctx.needs_input_grad, kept), None
    x, h_0, c_0, weight_ih, weight_hh, _, weight_hr, lengths = inputs
    saved = (x, h_0, c_0, weight_ih, weight_hh, weight_hr, lengths, ctx.reverse, output, gates, cell)
    found = Gradients(*torch.ops.glasslstm.layer_backward(*grads, *saved))
    left = getattr(ctx, "state_gradients", None)
    if left is not None:
        left.cell, left.hidden = found.cell, found.hidden
    parts = [*found[:7], None, None]
    return tuple(part if need else None for part, need in zip(parts, ctx.needs_input_grad, strict=True))


torch.library.register_autograd("glasslstm::layer", _backward, setup_context=_setup_context)


def _differentiable_backward(
    grads: tuple[Tensor | None, ...],
    inputs: list[Tensor | None],
    reverse: bool,
    needed: tuple[bool, ...],
    kept: StateGradients | None,
) -> list[Tensor | None]:
    """Return the gradients of `inputs` as a graph, by going through the equations once more."""
    # Views, so that an input that was computed from another one counts for itself alone.
    views = [None if tensor is None else tensor.view_as(tensor) for tensor in inputs]
    wanted = [view for view, need in zip(views, needed, strict=False) if need and view is not None]
    results = _equations(*views, reverse, kept)  # type: ignore[arg-type, call-arg]
    pairs = [
        (result, grad)
        for result, grad in zip(results, grads, strict=True)
        if grad is not None and result.requires_grad
    ]
    if not pairs:
        return [None] * len(inputs)
    outputs, grad_outputs = zip(*pairs, strict=True)
    found = iter(torch.autograd.grad(outputs, wanted, grad_outputs, create_graph=True, allow_unused=True))
    return [next(found) if need else None for _, need in zip(inputs, needed, strict=False)]
