"""One layer, in one direction or two: kernels as torch operators, and their autograd."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from glasslstm.ops import cpu, equations, plain
from glasslstm.ops.transforms import transforms_active, without_autocast
from glasslstm.ops.values import (
    Keep,
    LayerWeights,
    Result,
    ResultGrad,
    StateGradients,
    directions_of,
)

__all__ = ["copy", "layer", "watched"]


def layer(
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    weights: Sequence[LayerWeights],
    *,
    lengths: Tensor | None = None,
    kernel: str = "plain",
    keep: Keep = "trace",
    state_gradients: Sequence[StateGradients] = (),
) -> Result:
    """Run one layer with a kernel of ours.

    Parameters
    ----------
    x
        Input, (T, B, I).
    h_0, c_0
        Initial states, (D, B, P) and (D, B, H).
    weights
        One for each direction; the second one reads from each sequence's last valid step to its first.
    lengths
        Valid steps of each sequence, (B,) int64 on the device of `x`; ``None``: all have T.
    kernel
        ``"native"`` or ``"plain"`` (both also as an operator for ``torch.compile``), or ``"equations"`` (slower;
        every ``torch.func`` transform goes through it).
    keep
        See :data:`~glasslstm.ops.values.Keep`. ``"equations"`` keeps everything.
    state_gradients
        One for each direction: where the backward pass leaves dL/dc_t and dL/dh_t. With ``keep="trace"`` only.

    Returns
    -------
    Result
        ``output, h_n, c_n, gates, cell``, each of them differentiable.
    """
    dtype = x.dtype
    # Sixteen bits are enough to store a gate, not to add up a thousand of them.
    wide = torch.float32 if dtype.itemsize < 4 else dtype
    states, flat = (x, h_0, c_0), [w for part in weights for w in part]
    if dtype != wide:
        states, flat = (
            (x.to(wide), h_0.to(wide), c_0.to(wide)),
            [None if w is None else w.to(wide) for w in flat],
        )
    if kernel == "equations":
        result = _equations(*states, flat, lengths, state_gradients)
    else:
        absent = [None] * (_WEIGHTS.count(",") - len(flat))
        result = Result(*_forward(*states, *flat, *absent, lengths, kernel, keep))
        if state_gradients and result.output.grad_fn is not None:
            # The node of the operator in the graph is the context that its backward function will see.
            result.output.grad_fn.state_gradients = state_gradients  # type: ignore[attr-defined]
    return result if dtype == wide else Result(*(tensor.to(dtype) for tensor in result))


def copy(x: Tensor) -> Tensor:
    """Return a copy of a result, differentiable."""
    return x.clone() if watched([x]) or not cpu.can_run(x) else cpu.empty(x, x.shape).copy_(x)


def _forward(*arguments: Any) -> tuple[Tensor, ...]:
    """Call the operator, or what it stands for where nobody is looking on: that takes half the time."""
    if watched(arguments[:-3]):
        found: tuple[Tensor, ...] = torch.ops.glasslstm.layer(*arguments)
        return found
    if arguments[-1] == "nothing" or not torch.is_grad_enabled():
        return _layer(*arguments)
    return _Layer.apply(*arguments)  # type: ignore[no-any-return]


def watched(tensors: Sequence[Tensor | None]) -> bool:
    """Tell whether a compiler, a tracer, a transform, a mode or a kind of tensor of torch must see the operator."""
    return (
        torch.compiler.is_compiling()
        or transforms_active()
        or torch.jit.is_tracing()  # type: ignore[attr-defined]
        or torch._C._len_torch_dispatch_stack() > 0
        or any(tensor is not None and _is_special(tensor) for tensor in tensors)
    )


def _is_special(tensor: Tensor) -> bool:
    """Tell whether a tensor has no numbers of its own at its address, or not those that it shows."""
    return (
        type(tensor) not in (Tensor, Parameter)
        or tensor.is_neg()
        or torch._C._functorch.is_legacy_batchedtensor(tensor)  # of is_grads_batched
    )


def _equations(
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    flat: Sequence[Tensor | None],
    lengths: Tensor | None,
    state_gradients: Sequence[StateGradients] = (),
) -> Result:
    outputs, rest = [], []
    for d, weights in enumerate(directions_of(flat)):
        on_step = partial(_keep_gradients, state_gradients[d], len(x)) if state_gradients else _ignore
        gate_weights = equations.concatenate_weights(weights.weight_ih, weights.weight_hh, weights.bias())
        steps, h_n, c_n = equations.sequence(
            x, h_0[d], c_0[d], gate_weights, weights.weight_hr, lengths, d == 1, on_step
        )
        gates = torch.cat([steps.input_gate, steps.forget_gate, steps.candidate, steps.output_gate], dim=-1)
        outputs.append(steps.hidden)
        rest.append((h_n, c_n, gates, steps.cell))
    return Result(torch.cat(outputs, dim=-1), *map(torch.stack, zip(*rest, strict=True)))


def _ignore(_: int, __: equations.Step) -> None:
    pass


def _keep_gradients(kept: StateGradients, time: int, t: int, now: equations.Step) -> None:
    for name in ("cell", "hidden"):
        state: Tensor = getattr(now, name)
        if state.requires_grad:
            state.register_hook(partial(_keep_gradient, kept, name, t, time))


def _keep_gradient(kept: StateGradients, name: str, t: int, time: int, grad: Tensor | None) -> None:
    if grad is None:  # the loss does not depend on it
        return
    if getattr(kept, name) is None:
        setattr(kept, name, grad.new_zeros(time, *grad.shape))
    getattr(kept, name)[t] = grad.detach()


_WEIGHTS = (
    "Tensor weight_ih, Tensor weight_hh, Tensor? bias_ih, Tensor? bias_hh, Tensor? weight_hr, "
    "Tensor? reverse_ih, Tensor? reverse_hh, Tensor? reverse_bias_ih, Tensor? reverse_bias_hh, Tensor? reverse_hr, "
)
_INPUTS = f"Tensor x, Tensor h_0, Tensor c_0, {_WEIGHTS}Tensor? lengths, str kernel, str keep"
torch.library.define("glasslstm::layer", f"({_INPUTS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)")
torch.library.define(
    "glasslstm::layer_backward",
    "(Tensor? grad_output, Tensor? grad_h_n, Tensor? grad_c_n, Tensor? grad_gates, Tensor? grad_cell, "
    f"{_INPUTS}, Tensor output, Tensor gates, Tensor cell, bool grad_x) "
    f"-> ({', '.join(['Tensor'] * 13)})",
)


def _layer(x: Tensor, h_0: Tensor, c_0: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    *flat, lengths, kernel, keep = rest
    return tuple(_module(kernel, x).forward(x, h_0, c_0, directions_of(flat), lengths, keep))


def _layer_backward(*arguments: Any) -> tuple[Any, ...]:
    found = _gradients(*arguments)
    absent = [found[0].new_empty(0) for _ in range(13 - len(found))]
    return *found, *absent


def _gradients(*arguments: Any) -> tuple[Tensor, ...]:
    grads, (x, h_0, c_0) = arguments[:5], arguments[5:8]
    *flat, lengths, kernel, keep, output, gates, cell, grad_x = arguments[8:]
    module, layer = _module(kernel, x), (x, h_0, c_0, directions_of(flat), lengths)
    with without_autocast(x.device.type):
        if keep == "nothing":  # exported without a gradient, and then one was asked for
            output, _, _, gates, cell = module.forward(*layer, "gates")
        found = module.backward(
            ResultGrad(*grads), *layer, output, gates, cell, grad_x=grad_x, trace=keep == "trace"
        )
    return *found[:5], *found.weights


def _module(kernel: str, x: Tensor) -> Any:
    """Return the kernel's code. An exported program may run where "native" does not."""
    return cpu if kernel == "native" and cpu.can_run(x) else plain


torch.library.impl("glasslstm::layer", "default", _layer)
torch.library.impl("glasslstm::layer_backward", "default", _layer_backward)


@torch.library.register_fake("glasslstm::layer")
def _layer_fake(x: Tensor, h_0: Tensor, c_0: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    keep, (D, _, P), H, steps = rest[-1], h_0.shape, c_0.size(2), x.shape[:2]
    gates, cell = {"nothing": (False, False), "states": (False, True)}.get(keep, (True, True))
    return (
        x.new_empty(*steps, D * P),
        x.new_empty(h_0.shape),
        x.new_empty(c_0.shape),
        x.new_empty(D, *steps, 4 * H) if gates else x.new_empty(0),
        x.new_empty(D, *steps, H) if cell else x.new_empty(0),
    )


@torch.library.register_fake("glasslstm::layer_backward")
def _layer_backward_fake(*arguments: Any) -> tuple[Any, ...]:
    x, h_0, c_0 = arguments[5:8]
    *flat, _, _, keep, output, _, _, grad_x = arguments[8:]
    steps, trace, D = output.shape[:2], keep == "trace", h_0.size(0)
    weights = []
    for w in directions_of(flat):
        hr = x.new_empty(0 if w.weight_hr is None else w.weight_hr.shape)
        weights += [
            x.new_empty(shape) for shape in (w.weight_ih.shape, w.weight_hh.shape, w.weight_ih.shape[:1])
        ]
        weights.append(hr)
    return (
        x.new_empty(x.shape if grad_x else 0),
        x.new_empty(h_0.shape),
        x.new_empty(c_0.shape),
        x.new_empty((D, *steps, c_0.size(2)) if trace else 0),
        x.new_empty((D, *steps, h_0.size(2)) if trace else 0),
        *weights,
        *(x.new_empty(0) for _ in range(8 - len(weights))),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    result = Result(*output)
    *tensors, ctx.kernel, ctx.keep = inputs
    ctx.save_for_backward(*tensors, result.output, result.gates, result.cell)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    *inputs, output, gates, cell = ctx.saved_tensors
    kept = getattr(ctx, "state_gradients", ())
    if torch.is_grad_enabled():  # under create_graph: the gradient must itself be differentiable
        return *_differentiable_backward(grads, inputs, ctx.needs_input_grad, kept), None, None
    run = torch.ops.glasslstm.layer_backward if watched([*grads, *inputs]) else _gradients
    d_x, d_h_0, d_c_0, d_cell, d_hidden, *d_weights = run(
        *_of_kept(grads, gates, cell),
        *inputs,
        ctx.kernel,
        ctx.keep,
        output,
        gates,
        cell,
        ctx.needs_input_grad[0],
    )
    for d, left in enumerate(kept):
        left.cell, left.hidden = d_cell[d], d_hidden[d]
    weights = []
    for start in range(0, len(d_weights), 4):
        ih, hh, bias, hr = d_weights[start : start + 4]
        other = bias.clone() if bias.numel() else bias  # of two biases with one gradient, each has its own
        weights += [ih, hh, bias, other, hr]
    parts = [d_x, d_h_0, d_c_0, *weights, *[None] * (len(ctx.needs_input_grad) - 3 - len(weights))]
    return tuple(part if need else None for part, need in zip(parts, ctx.needs_input_grad, strict=True))


torch.library.register_autograd("glasslstm::layer", _backward, setup_context=_setup_context)


class _Layer(torch.autograd.Function):
    """The operator without the dispatcher."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        found = _layer(*arguments)
        # Not as a method setup_context: for one, torch reads the signature of forward() in every call.
        _setup_context(ctx, arguments, found)
        return found

    backward = staticmethod(_backward)


def _of_kept(grads: tuple[Tensor | None, ...], gates: Tensor, cell: Tensor) -> tuple[Tensor | None, ...]:
    """Leave out the gradients of results that were not kept: they are empty."""
    return *grads[:3], grads[3] if gates.numel() else None, grads[4] if cell.numel() else None


def _differentiable_backward(
    grads: tuple[Tensor | None, ...],
    inputs: list[Tensor | None],
    needed: tuple[bool, ...],
    kept: Sequence[StateGradients],
) -> list[Tensor | None]:
    """Return the gradients of `inputs` as a graph, by going through the equations once more."""
    # Views, so that an input that was computed from another one counts for itself alone.
    views = [None if tensor is None else tensor.view_as(tensor) for tensor in inputs]
    wanted = [view for view, need in zip(views, needed, strict=False) if need and view is not None]
    x, h_0, c_0, *flat, lengths = views
    assert x is not None
    assert h_0 is not None
    assert c_0 is not None
    results = _equations(x, h_0, c_0, flat, lengths, kept)
    pairs = [
        (result, grad)
        for result, grad in zip(results, grads, strict=True)
        if grad is not None and grad.shape == result.shape and result.requires_grad
    ]
    if not pairs:
        return [None] * len(inputs)
    outputs, grad_outputs = zip(*pairs, strict=True)
    found = iter(torch.autograd.grad(outputs, wanted, grad_outputs, create_graph=True, allow_unused=True))
    return [next(found) if need else None for _, need in zip(inputs, needed, strict=False)]
