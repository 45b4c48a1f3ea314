"""How a watcher gets to see the calls of an LSTM: for the time being the module's class is one that reports them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import nn

from glasslstm.errors import ArgumentError
from glasslstm.nn.lstm import LSTM, LSTMCell

__all__ = ["CELLS", "KINDS", "Observer", "tap", "untap"]

CELLS = (LSTMCell, nn.LSTMCell)
KINDS = (LSTM, nn.LSTM, *CELLS)
"""The classes of modules that can be watched."""


class Observer(Protocol):
    """Who hears of the calls of one module. `run` makes the call itself, and what it returns is returned."""

    def __call__(self, run: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Make the call, and take note of it."""


def tap(module: nn.Module, observer: Observer) -> None:
    """Let `observer` make the calls of `module` from now on.

    Raises
    ------
    ArgumentError
        Where somebody watches it already.
    """
    if module in _OBSERVERS:
        raise ArgumentError(
            "watch: one of these LSTMs is being watched already; leave that context first, or name other modules "
            "with modules="
        )
    module.__class__ = _tapped(type(module))
    _OBSERVERS[module] = observer


def untap(module: nn.Module) -> None:
    """Give `module` its own class back."""
    del _OBSERVERS[module]
    module.__class__ = type(module)._glasslstm_original  # type: ignore[attr-defined]


# A class and not a hook: a subclass that calls super().forward() with arguments of its own is seen where it
# calls torch's LSTM, the hooks of others see what they have always seen, and a copy of the module is not watched.
_OBSERVERS: WeakKeyDictionary[nn.Module, Observer] = WeakKeyDictionary()


@cache
def _tapped(original: type[nn.Module]) -> type[nn.Module]:
    kind = next(kind for kind in KINDS if issubclass(original, kind))

    def forward(self: nn.Module, *arguments: Any, **options: Any) -> Any:
        observer = _OBSERVERS.get(self)
        run: Callable[..., Any] = kind.forward  # as it is now: others may have changed it
        if observer is None or torch.compiler.is_compiling():
            return run(self, *arguments, **options)
        return observer(partial(run, self), *arguments, **options)

    def reduce(self: nn.Module, protocol: Any) -> Any:
        """Copy and pickle the module as what it is."""
        reduced: Any = object.__reduce_ex__(self, protocol)
        make, arguments, *rest = reduced
        return make, (original, *arguments[1:]), *rest

    space = {"forward": forward, "__reduce_ex__": reduce}
    tapped = type(kind.__name__, (kind,), space)
    own = {"_glasslstm_original": original, "__module__": original.__module__, "__doc__": original.__doc__}
    bases = (tapped,) if original is kind else (original, tapped)
    return type(original.__name__, bases, own)
