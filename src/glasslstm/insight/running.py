"""Run a model to look at it, and leave it as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from glasslstm.errors import ArgumentError

__all__ = ["described", "first_tensor", "rewound", "run", "seed", "tensors", "undisturbed"]

_TORCHS_OWN = frozenset(vars(nn.Module())) - {"_buffers"}


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Put a model into ``eval()``, and give back afterwards all that a run changes.

    That is: the mode of every module, ``.grad`` of every parameter, the random numbers of torch, Python and numpy, and
    what :func:`rewound` gives back.
    """
    modes = {module: module.training for module in model.modules()}
    grads = [(parameter, parameter.grad) for parameter in model.parameters()]
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - what models draw from
    gradients = torch.is_grad_enabled()
    try:
        for parameter, _ in grads:
            parameter.grad = None
        model.eval()
        with (
            torch.random.fork_rng(devices=range(torch.cuda.device_count())),
            torch.inference_mode(False),  # which turns gradients on, too
            torch.set_grad_enabled(gradients),
            torch.backends.cudnn.flags(enabled=False),  # its LSTM has no backward pass in eval()
            rewound(model),
        ):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parameter, grad in grads:
            parameter.grad = grad
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def seed() -> None:
    """Let torch's, Python's and numpy's random numbers begin anew, the same in every run."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002


@contextmanager
def rewound(model: nn.Module) -> Iterator[None]:
    """Let the modules go on with copies of what they keep, and put back afterwards what they had.

    That is: buffers, and tensors in attributes, such as a state that is carried from one call to the next; not what
    they keep in objects of other classes.
    """
    before = {module: _attributes(module) for module in model.modules()}
    copies: dict[int, Any] = {}
    try:
        for module, own in before.items():
            vars(module).update({name: _copied(value, copies) for name, value in own.items()})
        yield
    finally:
        for module, own in before.items():
            for name in _attributes(module).keys() - own.keys():
                del vars(module)[name]
            vars(module).update(own)


def run(model: nn.Module, inputs: Any) -> Any:
    """Call a model with a tuple of arguments, a mapping of keyword arguments, or the one argument that it takes.

    Raises
    ------
    ArgumentError
        Where the model refuses them; the model's own error is its cause.
    """
    inputs = _cloned(inputs)  # a model may change its input in place
    try:
        if isinstance(inputs, Mapping):
            return model(**inputs)
        if isinstance(inputs, tuple) and not isinstance(inputs, PackedSequence):
            return model(*inputs)
        return model(inputs)
    except (ArgumentError, Warning):
        raise
    except Exception as error:
        raise ArgumentError(
            f"inputs: the model refused them ({type(error).__name__}: {error}); got {described(inputs)}; give a tuple "
            "of its arguments or a dict of its keyword arguments, on the device of its parameters"
        ) from error


def _cloned(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, PackedSequence):
        return value._replace(data=value.data.clone())
    if isinstance(value, dict):
        return {key: _cloned(part) for key, part in value.items()}
    return type(value)(map(_cloned, value)) if type(value) in (tuple, list) else value


def first_tensor(output: Any) -> Tensor | None:
    """Return the first tensor of real numbers in what a model returned, ``None`` where there is none."""
    return next(tensors(output), None)


def tensors(output: Any) -> Iterator[Tensor]:
    """Yield every tensor of real numbers in what a model returned; of a packed sequence its data."""
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, PackedSequence):
        yield output.data
    elif isinstance(output, (Mapping, tuple, list)):
        for part in output.values() if isinstance(output, Mapping) else output:
            yield from tensors(part)


def _attributes(module: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if name not in _TORCHS_OWN}


def _copied(value: Any, copies: dict[int, Any]) -> Any:
    """Copy the tensors in a value, without their graph; what two share they go on to share."""
    if id(value) not in copies:
        copies[id(value)] = _copy(value, copies)
    return copies[id(value)]


def _copy(value: Any, copies: dict[int, Any]) -> Any:
    if isinstance(value, Tensor):
        return value if isinstance(value, nn.Parameter) else value.detach().clone()
    if type(value) in (tuple, list):
        return type(value)(_copied(part, copies) for part in value)
    if type(value) is dict:
        return {key: _copied(part, copies) for key, part in value.items()}
    return value


def described(inputs: Any) -> str:
    """Return what a user gave, in words: types, shapes, devices."""
    if isinstance(inputs, Tensor):
        return f"a tensor {tuple(inputs.shape)} of {inputs.dtype} on {inputs.device}"
    if isinstance(inputs, Mapping):
        return ", ".join(f"{name}: {described(part)}" for name, part in inputs.items())
    if isinstance(inputs, (tuple, list)) and not isinstance(inputs, PackedSequence):
        parts = ", ".join(map(described, inputs))
        return f"[{parts}], a list" if isinstance(inputs, list) else f"({parts})"
    return type(inputs).__name__
