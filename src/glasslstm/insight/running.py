"""Run a model to look at it, and leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from glasslstm.errors import ArgumentError

__all__ = ["first_tensor", "run", "undisturbed"]


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Put a model into ``eval()``, and give back afterwards all that a run changes.

    That is: the mode of every module, buffers, ``.grad`` of every parameter, torch's random numbers.
    """
    modes = {module: module.training for module in model.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    grads = [(parameter, parameter.grad) for parameter in model.parameters()]
    for parameter, _ in grads:
        parameter.grad = None
    model.eval()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
        for parameter, grad in grads:
            parameter.grad = grad


def run(model: nn.Module, inputs: Any) -> Any:
    """Call a model with a tuple of arguments, a mapping of keyword arguments, or the one argument that it takes.

    Raises
    ------
    ArgumentError
        Where the model refuses them; the model's own error is its cause.
    """
    try:
        if isinstance(inputs, Mapping):
            return model(**inputs)
        if isinstance(inputs, tuple) and not isinstance(inputs, PackedSequence):
            return model(*inputs)
        return model(inputs)
    except ArgumentError:
        raise
    except Exception as error:
        raise ArgumentError(
            f"inputs: the model refused them ({type(error).__name__}: {error}); got {_described(inputs)}; give a tuple "
            "of its arguments or a dict of its keyword arguments, on the device of its parameters"
        ) from error


def first_tensor(output: Any) -> Tensor | None:
    """Return the first tensor of real numbers in what a model returned, ``None`` where there is none."""
    if isinstance(output, Tensor):
        return output if output.is_floating_point() else None
    if isinstance(output, PackedSequence):
        return output.data
    if isinstance(output, Mapping):
        output = tuple(output.values())
    if isinstance(output, (tuple, list)):
        return next((found for part in output if (found := first_tensor(part)) is not None), None)
    return None


def _described(inputs: Any) -> str:
    if isinstance(inputs, Tensor):
        return f"a tensor {tuple(inputs.shape)} of {inputs.dtype} on {inputs.device}"
    if isinstance(inputs, Mapping):
        return ", ".join(f"{name}: {_described(part)}" for name, part in inputs.items())
    if isinstance(inputs, (tuple, list)) and not isinstance(inputs, PackedSequence):
        return f"({', '.join(map(_described, inputs))})"
    return type(inputs).__name__
