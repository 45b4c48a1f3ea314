"""The one place where a kernel is chosen: a choice and its reason, as data."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

from glasslstm.errors import ArgumentError, KernelError
from glasslstm.ops import cpu

__all__ = [
    "KERNELS",
    "NOT_BUILT",
    "Choice",
    "Work",
    "asked",
    "choose",
    "explain",
    "use_kernel",
]

KERNELS = {
    "native": "glasslstm's kernels for the CPU, compiled at installation",
    "torch": "torch's own LSTM (oneDNN or plain ATen on the CPU, cuDNN on CUDA), all layers in one call",
    "plain": "glasslstm's time loop of few torch operations, with every gate kept",
    "equations": "the six equations, one torch operation after the other",
}
"""The kernels by name, with what each is."""


class Work(NamedTuple):
    """What a call asks for, as far as the choice of a kernel depends on it."""

    device: str = "cpu"
    """The device's type: ``"cpu"``, ``"cuda"``, ..."""
    gates: bool = False
    """The gates are asked for (``return_trace=True``)."""
    ragged: bool = False
    """The sequences have lengths of their own."""
    gradient: bool = False
    """A backward pass may follow."""
    states: int = 0
    """Batch size times hidden size."""
    transform: bool = False
    """Inside a ``torch.func`` transform or forward-mode differentiation."""
    compiled: bool = False
    """Inside ``torch.compile`` or ``torch.export``."""
    complex: bool = False
    """The numbers are complex."""
    sixteen: bool = False
    """The numbers have sixteen bits."""
    projection: bool = False
    """The layers project h (``proj_size``)."""
    step: bool = False
    """One step of a cell."""
    recompute: bool = False
    """The backward pass is to compute the gates once more instead of keeping them."""
    built: bool = cpu.NATIVE is not None
    """The native kernels were built."""


class Choice(NamedTuple):
    """A kernel's name, and why it was chosen."""

    kernel: str
    reason: str


class _Rule(NamedTuple):
    kernel: str
    applies: Callable[[Work], bool]
    reason: str


def _native(work: Work) -> bool:
    """Tell whether the native kernels are made for this work, built or not."""
    known = work.device == "cpu" and not (work.transform or work.complex or work.projection or work.step)
    return known and (work.gates or work.compiled or not work.sixteen)


# The first rule that applies decides. docs/performance.md has the measurements behind the figures.
_LOOP_PAYS = 2048
_RULES = (
    _Rule(
        "equations",
        lambda work: work.transform,
        "torch.func transforms and forward-mode differentiation need code that torch can differentiate",
    ),
    _Rule(
        "equations",
        lambda work: work.complex and (work.gates or work.compiled),
        "our other kernels know real numbers alone",
    ),
    _Rule("torch", lambda work: work.complex, "the fastest kernel here for this work"),
    _Rule("native", lambda work: work.built and _native(work), "the fastest kernel here for this work"),
    _Rule(
        "plain",
        lambda work: work.compiled,
        "torch.compile and torch.export cannot look into torch's own LSTM; ours is an operator to them",
    ),
    _Rule("plain", lambda work: work.gates, "torch's own LSTM does not hand out its gates"),
    _Rule(
        "plain",
        lambda work: work.recompute and work.gradient,
        "torch's own LSTM keeps its gates for the backward pass",
    ),
    _Rule(
        "plain",
        lambda work: work.device == "cpu" and work.ragged and work.gradient and work.states >= _LOOP_PAYS,
        f"trains ragged batches with batch * hidden_size of {_LOOP_PAYS} or more faster than torch's packed path",
    ),
    _Rule("torch", lambda _: True, "the fastest kernel here for this work"),
)
NOT_BUILT = (
    "they were not compiled at installation; install a C++ compiler, then glasslstm once more ('glasslstm doctor' "
    "tells whether it worked)"
)
"""Why the native kernels are missing, and how to get them."""
# What a kernel can not do. "equations" can do everything.
_LIMITS = (
    _Rule("native", lambda work: not work.built, NOT_BUILT),
    _Rule("native", lambda work: work.device != "cpu", "it runs on the CPU"),
    _Rule("native", lambda work: work.transform, "it has no rule for torch.func transforms"),
    _Rule("native", lambda work: work.complex, "it knows real numbers alone"),
    _Rule("native", lambda work: work.projection, "it knows no projections"),
    _Rule("torch", lambda work: work.gates, "it does not hand out its gates"),
    _Rule("torch", lambda work: work.recompute and work.gradient, "it keeps its gates for the backward pass"),
    _Rule("torch", lambda work: work.compiled, "torch.compile and torch.export cannot look into it"),
    _Rule("torch", lambda work: work.transform, "it has no rule for torch.func transforms"),
    _Rule("plain", lambda work: work.transform, "it has no rule for torch.func transforms"),
    _Rule("plain", lambda work: work.complex, "it knows real numbers alone"),
)


def choose(work: Work) -> Choice:
    """Return the kernel for `work`, and why.

    Raises
    ------
    KernelError
        Where :func:`use_kernel` names a kernel that cannot do `work`.
    ArgumentError
        Where ``GLASSLSTM_KERNEL`` names none.

    Examples
    --------
    >>> choose(Work(projection=True, gates=True)).kernel
    'plain'
    >>> choose(Work(device="cuda")).kernel
    'torch'
    """
    if asked() == "auto":
        if not work.built and _native(work):
            _warn_once()
        return next(Choice(rule.kernel, rule.reason) for rule in _RULES if rule.applies(work))
    for limit in _LIMITS:
        if limit.kernel == _asked and limit.applies(work):
            raise KernelError(
                f"kernel {_asked!r} was asked for and cannot do this: {limit.reason}; use 'auto' or 'equations'"
            )
    return Choice(_asked, "asked for by name")


def asked() -> str:
    """Return the kernel that is asked for by name, or ``"auto"``."""
    return _known(_asked, "GLASSLSTM_KERNEL")


def _warn_once() -> None:
    global _warned  # noqa: PLW0603 - a process says it once
    if _warned or torch.compiler.is_compiling():
        return
    _warned = True
    warnings.warn(
        f"glasslstm runs without its native kernels, on slower ones: {NOT_BUILT}",
        RuntimeWarning,
        stacklevel=2,
    )


_warned = False


@contextmanager
def use_kernel(name: str) -> Iterator[None]:
    """Use one kernel, by name, for every call of this process while the context lasts.

    The environment variable ``GLASSLSTM_KERNEL`` does the same from the start.

    Parameters
    ----------
    name
        ``"native"``, ``"torch"``, ``"plain"``, ``"equations"``, or ``"auto"`` (the default: the best for each call).
        A kernel that cannot do what is asked of it raises; only ``"auto"`` goes to another one.

    Raises
    ------
    ArgumentError
        For another name.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> lstm, x = gl.LSTM(3, 4), torch.zeros(5, 1, 3)
    >>> with gl.use_kernel("equations"):
    ...     exact, _ = lstm(x)
    >>> torch.allclose(exact, lstm(x)[0], atol=1e-6)
    True
    """
    global _asked  # noqa: PLW0603 - a process has one setting, as with the flags of torch.backends
    entry = [_known(name, "use_kernel")]
    _active.append(entry)
    _asked = name
    try:
        yield
    finally:
        # By identity, because the contexts of two threads may end in any order.
        _active[:] = [other for other in _active if other is not entry]
        _asked = _active[-1][0]


def explain() -> list[tuple[str, str, Choice]]:
    """Return device, work in words, and choice for the usual kinds of work, on each device type here.

    Examples
    --------
    >>> explain()[0]
    ('cpu', 'inference', Choice(kernel='native', reason='the fastest kernel here for this work'))
    """
    devices = ["cpu"]
    if torch.accelerator.is_available():
        accelerator = torch.accelerator.current_accelerator()
        devices += [accelerator.type] if accelerator is not None else []
    usual = {
        "inference": Work(),
        "training": Work(gradient=True),
        "inference, ragged": Work(ragged=True),
        "training, ragged, small": Work(ragged=True, gradient=True),
        "training, ragged, large": Work(ragged=True, gradient=True, states=_LOOP_PAYS),
        "with all gates": Work(gates=True),
        "torch.compile, torch.export": Work(compiled=True),
        "torch.func transforms": Work(transform=True),
        "with a projection": Work(projection=True),
        "bfloat16, float16": Work(sixteen=True),
    }
    return [(d, words, _try(work._replace(device=d))) for d in devices for words, work in usual.items()]


def _try(work: Work) -> Choice:
    try:
        return choose(work)
    except KernelError as error:
        return Choice("none", str(error))


def _known(name: str, where: str) -> str:
    if name not in ("auto", *KERNELS):
        raise ArgumentError(
            f"{where}: {name!r} is no kernel; choose from 'auto', {', '.join(map(repr, KERNELS))}"
        )
    return name


_asked = os.environ.get("GLASSLSTM_KERNEL") or "auto"
_active = [[_asked]]
