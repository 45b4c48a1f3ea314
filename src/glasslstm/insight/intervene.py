"""Change what one LSTM inside a model reads, without a change to the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from torch import Tensor, nn

from glasslstm.errors import ArgumentTypeError, ShapeError
from glasslstm.insight.taps import CELLS, KINDS
from glasslstm.nn import inputs

__all__ = ["Edit", "edited_input", "read_input"]

Edit: TypeAlias = Callable[[Tensor, int], Tensor]
"""``edit(x, first_step)`` takes what is read, (n, B, I), and returns what to read in its place."""


@contextmanager
def edited_input(module: nn.Module, edit: Edit, *, model: nn.Module | None = None) -> Iterator[None]:
    """Let an LSTM read something else while the context lasts.

    Parameters
    ----------
    module
        A :class:`glasslstm.LSTM` or :class:`torch.nn.LSTM`, called with a padded, packed, batch-first or unbatched
        input; or an LSTMCell of either kind, called in a loop.
    edit
        Called with each input as (n, B, I), in time order and without the batch's lengths, and with the index of its
        first step; returns a tensor of the same shape. An LSTM hands over all steps at once; a cell one, n = 1. B is 1
        for an unbatched input. What stands past a sequence's length is never read, and may be anything.
    model
        The model that the module is part of: the count of steps starts again whenever it is called, and goes on where
        it calls the module more than once. Default: each call of an LSTM is counted from 0, and the calls of a cell
        are counted from the start of the context.

    Raises
    ------
    ArgumentTypeError
        For a module that is no LSTM.
    ShapeError, ArgumentTypeError
        In the call, for an edit that returns something of another shape.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> lstm, x = gl.LSTM(3, 4), torch.randn(5, 2, 3)
    >>> def without_step_2(x, first_step):
    ...     return torch.cat([x[:2], torch.zeros_like(x[2:3]), x[3:]])
    >>> with edited_input(lstm, without_step_2):
    ...     output, _ = lstm(x)
    >>> torch.equal(output, lstm(without_step_2(x, 0))[0])
    True
    """
    if not isinstance(module, KINDS):
        raise ArgumentTypeError(
            f"module: expected an LSTM or LSTMCell of glasslstm or torch.nn, got {type(module).__name__}"
        )
    count = 0

    def restart(*_: object) -> None:
        nonlocal count
        count = 0

    def replace(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        nonlocal count
        batch = read_input(module, args, kwargs)
        new = batch.output(_checked(edit(batch.x, count), batch.x))
        count += len(batch.x)
        new = new[0] if isinstance(module, CELLS) else new
        return ((new, *args[1:]), kwargs) if args else (args, kwargs | {"input": new})

    entered = module if model is None and not isinstance(module, CELLS) else model
    hooks = [] if entered is None else [entered.register_forward_pre_hook(restart)]
    hooks.append(module.register_forward_pre_hook(replace, with_kwargs=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def read_input(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inputs.Batch:
    """Return what a call of an LSTM reads, (T, B, I), with its lengths and layout; one step, (1, B, I), for a cell.

    Raises
    ------
    ArgumentError, ArgumentTypeError, ShapeError
        For an input that the module does not accept.
    """
    value: Any = args[0] if args else kwargs.get("input")
    if isinstance(module, CELLS):
        inputs.check_step(value, module.input_size)
        return inputs.canonical(value.unsqueeze(0), input_size=module.input_size, batch_first=False)
    return inputs.canonical(
        value,
        input_size=module.input_size,
        batch_first=module.batch_first,
        lengths=kwargs.get("lengths"),
    )


def _checked(edited: object, x: Tensor) -> Tensor:
    if not isinstance(edited, Tensor):
        raise ArgumentTypeError(f"edit: expected it to return a torch.Tensor, got {type(edited).__name__}")
    if edited.shape != x.shape:
        raise ShapeError(
            f"edit: expected it to return {tuple(x.shape)}, as it was given, got {tuple(edited.shape)}"
        )
    return edited
