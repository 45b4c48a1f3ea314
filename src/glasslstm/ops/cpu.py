"""The native kernels on the CPU: one layer, forward and backward, on torch's tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from glasslstm.errors import ArgumentError, ShapeError
from glasslstm.ops.values import Gradients, Keep, LayerWeights, Result, ResultGrad, parameter_shapes

__all__ = ["NATIVE", "backward", "can_run", "check_weights", "empty", "forward", "run"]


def _load() -> Any:
    try:
        module = import_module("glasslstm._native")
    except ImportError:  # not built, or built for what is no longer here
        return None
    try:
        module.instruction_set()
    except ValueError as error:
        there = ", ".join(map(repr, module.instruction_sets()))
        raise ArgumentError(f"{error}; choose from {there}, or leave it unset") from None
    return module


NATIVE = _load()
"""The compiled module, ``None`` where it was not built."""


def can_run(x: Tensor) -> bool:
    """Tell whether the native kernels are here and know the type and the device of `x`."""
    return x.device.type == "cpu" and x.dtype in _SUFFIXES and NATIVE is not None


_SUFFIXES = {torch.float32: "f32", torch.float64: "f64"}


def forward(
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    weights: Sequence[LayerWeights],
    lengths: Tensor | None,
    keep: Keep,
) -> Result:
    """Run the layer; arguments as in :func:`glasslstm.ops.layer.layer`, without a projection."""
    (T, B, _), (D, _, H) = x.shape, c_0.shape
    output, h_n, c_n = empty(x, T, B, D * H), empty(x, D, B, H), empty(x, D, B, H)
    gates = empty(x, (D, T, B, 4 * H) if keep in ("gates", "trace") else 0)
    cell = empty(x, (D, T, B, H) if keep != "nothing" else 0)
    layer = _Layer(x, h_0, c_0, weights, lengths)
    _function("forward", x)(
        *layer.arguments,
        output.data_ptr(),
        *output.stride()[:2],
        h_n.data_ptr(),
        c_n.data_ptr(),
        _address(gates),
        _address(cell),
        keep == "trace",
    )
    return Result(output, h_n, c_n, gates, cell)


def run(
    x: Tensor,
    weights: Sequence[int],
    states: tuple[int, int],
    final: tuple[int, int],
    hidden: int,
) -> Tensor:
    """Run the layer and keep nothing, by addresses: the least that a call can be.

    Parameters
    ----------
    x
        Input, (T, B, I), contiguous in its last dimension.
    weights
        Four for each direction, each contiguous; 0 for no bias.
    states, final
        h and c, (D, B, H) and contiguous: to begin with, and where the last ones go.
    hidden
        H.
    """
    T, B, input_size = x.shape
    columns = len(weights) // 4 * hidden
    output = empty(x, (T, B, columns))
    _function("forward", x)(
        [T, B, input_size, hidden],
        torch.get_num_threads(),
        weights,
        0,
        x.data_ptr(),
        *x.stride()[:2],
        *states,
        output.data_ptr(),
        B * columns,
        columns,
        *final,
        0,
        0,
        False,
    )
    return output


def backward(
    grad: ResultGrad,
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    weights: Sequence[LayerWeights],
    lengths: Tensor | None,
    output: Tensor,
    gates: Tensor,
    cell: Tensor,
    *,
    grad_x: bool,
    trace: bool,
) -> Gradients:
    """Return the gradient of everything, given the gradients of the results."""
    (T, B, _), (D, _, H) = x.shape, c_0.shape
    layer = _Layer(x, h_0, c_0, weights, lengths)
    of_output = grad.output if grad.output is None or grad.output.stride(2) == 1 else grad.output.contiguous()
    others = [None if part is None else part.contiguous() for part in grad[1:]]
    found = Gradients(
        x=empty(x, x.shape if grad_x else 0),
        h_0=empty(x, D, B, H),
        c_0=empty(x, D, B, H),
        cell=empty(x, (D, T, B, H) if trace else 0),
        hidden=empty(x, (D, T, B, H) if trace else 0),
        weights=[empty(x, shape) for w in weights for shape in (w[0].shape, w[1].shape, 4 * H, 0)],
    )
    _function("backward", x)(
        *layer.arguments,
        output.data_ptr(),
        *output.stride()[:2],
        _address(gates),
        _address(cell),
        _address(of_output),
        *((0, 0) if of_output is None else of_output.stride()[:2]),
        *map(_address, others),
        _address(found.x),
        _address(found.h_0),
        _address(found.c_0),
        [_address(w) for k, w in enumerate(found.weights) if k % 4 < 3],
        _address(found.cell),
        _address(found.hidden),
        _BLOCK_BYTES,
    )
    return found


# Of the gates' gradients that the kernel works on at a time; 0: what suits the caches.
_BLOCK_BYTES = 0


class _Layer:
    """What the native functions take first; holds on to the tensors whose addresses it gives."""

    def __init__(
        self, x: Tensor, h_0: Tensor, c_0: Tensor, weights: Sequence[LayerWeights], lengths: Tensor | None
    ) -> None:
        check_weights(weights, x, c_0.size(2))
        self.x = x if x.stride(2) == 1 else x.contiguous()
        self.tensors = [h_0.contiguous(), c_0.contiguous(), None if lengths is None else lengths.contiguous()]
        flat = [None if w is None else w.contiguous() for part in weights for w in part[:4]]
        self.tensors += flat
        self.arguments = (
            [*x.shape, c_0.size(2)],
            torch.get_num_threads(),
            [_address(w) for w in flat],
            _address(self.tensors[2]),
            self.x.data_ptr(),
            *self.x.stride()[:2],
            _address(self.tensors[0]),
            _address(self.tensors[1]),
        )


def check_weights(weights: Sequence[LayerWeights], x: Tensor, hidden: int) -> None:
    """Refuse weights that are not what `x` (..., I) and H ask for: the kernels would read past their end."""
    shapes = parameter_shapes(x.size(-1), hidden, bias=True)
    for part in weights:
        for weight, (name, shape) in zip(part, shapes.items(), strict=False):
            if weight is None or (weight.shape == shape and weight.dtype == x.dtype and weight.is_cpu):
                continue
            raise ShapeError(
                f"{name}: expected {shape}, {x.dtype} on the CPU, for {x.size(-1)} inputs and {hidden} units; "
                f"got {tuple(weight.shape)}, {weight.dtype} on {weight.device}"
            )


def empty(like: Tensor, *shape: Any) -> Tensor:
    """Return a new tensor with any content; a large one of memory that is kept from call to call."""
    sizes = shape[0] if isinstance(shape[0], (tuple, torch.Size)) else shape
    if math.prod(sizes) * like.itemsize < _LARGE:
        return like.new_empty(sizes)
    found: Tensor = _function("empty", like)(sizes)
    return found


_LARGE = 1 << 16


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _function(name: str, like: Tensor) -> Any:
    return getattr(NATIVE, f"{name}_{_SUFFIXES[like.dtype]}")
