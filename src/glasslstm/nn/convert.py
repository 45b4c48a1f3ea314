"""Every torch.nn.LSTM and torch.nn.LSTMCell inside a model becomes ours, or torch's again, in place."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar, overload

import torch
from torch import nn
from torch.nn.utils import parametrize

from glasslstm.errors import ArgumentError, ArgumentTypeError
from glasslstm.nn.lstm import LSTM, LSTMCell

__all__ = ["convert", "revert"]

Model = TypeVar("Model", bound=nn.Module)
Classes: TypeAlias = Mapping[type[nn.Module], type[nn.Module]]


@overload
def convert(model: nn.LSTM) -> LSTM: ...
@overload
def convert(model: nn.LSTMCell) -> LSTMCell: ...
@overload
def convert(model: Model) -> Model: ...
def convert(model: nn.Module) -> nn.Module:
    """Make every ``torch.nn.LSTM`` in `model` a :class:`glasslstm.LSTM`, and every LSTMCell ours.

    Each module stays the object that it is and changes its class. So its Parameters, buffers, hooks,
    parametrizations, training mode and attributes stay, and all that refers to it or to its weights goes on to
    work: optimisers, tied weights, state dicts, a model that was compiled. Nothing is drawn or copied.

    Parameters
    ----------
    model
        Any module, also an LSTM itself. What is ours already stays as it is.

    Returns
    -------
    torch.nn.Module
        `model`, the same object.

    Raises
    ------
    ArgumentTypeError
        For a `model` that is no ``torch.nn.Module``.
    ArgumentError
        For a model without an LSTM that can be converted.

    Warns
    -----
    UserWarning
        For each LSTM that is left as it is, with the reason: a subclass or an instance with a ``forward`` of its
        own, which may compute something else; an attribute that ours uses for something else; TorchScript;
        a quantized one; one that is being watched.

    Notes
    -----
    Code of the model that asks ``isinstance(module, torch.nn.LSTM)`` finds none any more.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> model = torch.nn.Sequential(torch.nn.LSTM(3, 4, batch_first=True))
    >>> weight, x = model[0].weight_hh_l0, torch.randn(2, 5, 3)
    >>> before = model(x)[0]
    >>> gl.convert(model)
    Sequential(
      (0): LSTM(3, 4, batch_first=True)
    )
    >>> type(model[0]).__module__, model[0].weight_hh_l0 is weight
    ('glasslstm.nn.lstm', True)
    >>> torch.allclose(model(x)[0], before, atol=1e-6)
    True
    """
    return _exchange(model, _TO_OURS)


@overload
def revert(model: LSTM) -> nn.LSTM: ...
@overload
def revert(model: LSTMCell) -> nn.LSTMCell: ...
@overload
def revert(model: Model) -> Model: ...
def revert(model: nn.Module) -> nn.Module:
    """Make every :class:`glasslstm.LSTM` and LSTMCell in `model` torch's own: the way back of :func:`convert`.

    Parameters
    ----------
    model
        Any module, also an LSTM itself. What is torch's already stays as it is. ``recompute``, which torch
        does not know and which changes no number, is lost.

    Returns
    -------
    torch.nn.Module
        `model`, the same object.

    Raises
    ------
    ArgumentTypeError
        For a `model` that is no ``torch.nn.Module``.
    ArgumentError
        For a model without an LSTM that can be reverted, and for one with a learned initial state, which
        torch's do not have.

    Warns
    -----
    UserWarning
        For each LSTM that is left as it is, with the reason.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> lstm = gl.revert(gl.LSTM(3, 4))
    >>> isinstance(lstm, torch.nn.LSTM)
    True
    """
    return _exchange(model, _TO_TORCH)


_TO_OURS: Classes = {nn.LSTM: LSTM, nn.LSTMCell: LSTMCell}
_TO_TORCH: Classes = {ours: theirs for theirs, ours in _TO_OURS.items()}
_SIZES = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "bidirectional", "proj_size")
_MACHINERY = frozenset(vars(nn.Module()))
"""What every module has: its parameters, buffers, children, hooks and mode. It stays as it is."""


def _exchange(model: nn.Module, classes: Classes) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise ArgumentTypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    plans = {name: _plan(name, module, classes) for name, module in model.named_modules()}
    changes = [plan for plan in plans.values() if isinstance(plan, _Change)]
    left = "; ".join(f"{name or 'the model'} {plan}" for name, plan in plans.items() if isinstance(plan, str))
    done = any(isinstance(module, tuple(classes.values())) for module in model.modules())
    if not changes and not done:
        wanted = "torch.nn" if nn.LSTM in classes else "glasslstm"
        raise ArgumentError(
            f"model: expected a {wanted}.LSTM or {wanted}.LSTMCell in it, found none in {type(model).__name__}"
            + (f" that can be exchanged: {left}" if left else "")
        )
    if left:  # first, since a warning may be an error
        warnings.warn(f"left as it is: {left}", UserWarning, stacklevel=3)
    for change in changes:
        change.carry_out()
    return model


def _plan(name: str, module: nn.Module, classes: Classes) -> _Change | str | None:
    """Return how to exchange a module, or why not to; ``None`` where it is no LSTM at all."""
    kind = parametrize.type_before_parametrizations(module)
    if kind not in classes:
        return _why_another_kind(module, classes)
    if "forward" in vars(module):
        return "has a forward of its own, set on the instance, which may compute something else"
    if any(getattr(module, state, None) is not None for state in ("h_0", "c_0")) and kind is LSTM:
        raise ArgumentError(
            f"model: {name or 'it'} has a learned initial state (h_0, c_0), which torch.nn.LSTM does not have; "
            "set both to None to start from zeros, or hand them over in each call"
        )
    change = _Change(module, before=_empty(kind, module), after=_empty(classes[kind], module))
    clashes = change.clashes()
    return (
        f"has {clashes} set by someone, which {_full_name(classes[kind])} uses itself" if clashes else change
    )


def _why_another_kind(module: nn.Module, classes: Classes) -> str | None:
    if hasattr(type(module), "_glasslstm_original"):  # the class that glasslstm.watch gives it for a time
        return "is being watched; leave that context first"
    if isinstance(module, tuple(classes)):
        return f"is of the subclass {_full_name(type(module))}, which may compute something else"
    if nn.LSTM not in classes:
        return None
    names = {kind.__name__ for kind in classes}
    if isinstance(module, torch.jit.ScriptModule) and module.original_name in names:
        return "is TorchScript; convert the model before it is scripted or traced"
    if type(module).__name__ in names and type(module).__module__.startswith("torch.ao."):
        return "is quantized"
    return None


@dataclass(frozen=True)
class _Change:
    """What makes a module of one class one of another: worked out first, so that carrying it out cannot fail."""

    module: nn.Module
    before: nn.Module
    """What the module's class makes of its sizes, without memory for weights."""
    after: nn.Module
    """What the new class makes of them."""

    def clashes(self) -> list[str]:
        """Return the names that the new class uses itself and under which a user has put something else."""
        stores = vars(self.module), self.module._parameters, self.module._buffers, self.module._modules
        names = {name for store in stores for name in store} - _MACHINERY
        return sorted(name for name in names if hasattr(self.after, name) and not hasattr(self.before, name))

    def carry_out(self) -> None:
        attributes, parameters = vars(self.module), self.module._parameters
        for name in vars(self.before).keys() - _MACHINERY:
            attributes.pop(name, None)
        attributes |= {name: value for name, value in vars(self.after).items() if name not in _MACHINERY}
        # A parameter that only one of the classes has is None here.
        for name in self.before._parameters:
            if name not in self.after._parameters:
                parameters.pop(name, None)
        for name in self.after._parameters:
            if name not in self.before._parameters:
                parameters[name] = None
        self.module.__class__ = _with_parametrizations(self.module, type(self.after))
        for name, parameter in list(parameters.items()):
            setattr(self.module, name, parameter)  # torch.nn.LSTM keeps a list of its own, and sees it so


def _empty(kind: type[nn.Module], like: nn.Module) -> nn.Module:
    """Make a module of the sizes of another on the meta device, where nothing is stored and nothing is drawn."""
    sizes = {name: getattr(like, name) for name in _SIZES if hasattr(like, name)}
    made = kind(**sizes, device="meta")
    if hasattr(like, "dropout"):
        made.dropout = like.dropout  # the constructors would warn of it again
    return made


def _with_parametrizations(module: nn.Module, kind: type[nn.Module]) -> type[nn.Module]:
    """Return `kind`, or for a parametrized module the class that torch makes of it, with a property a weight."""
    if not parametrize.is_parametrized(module):
        return kind
    return type(type(module).__name__, (kind,), dict(vars(type(module))))


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
