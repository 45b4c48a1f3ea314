"""How a watcher gets to see the calls of an LSTM: for the time being the module's class is one that reports them."""

from __future__ import annotations

import sys
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
    module.__class__ = _tapped(type(module))  # type: ignore[arg-type]
    # A call that was not compiled, in the midst of code that was: what takes note of it shall not be either.
    loaded = "torch._dynamo" in sys.modules  # only then: it takes seconds
    _OBSERVERS[module] = torch.compiler.disable(observer) if loaded else observer


def untap(module: nn.Module) -> None:
    """Give `module` its own class back.

    One that got another class meanwhile, as by a parametrization, keeps it: without an observer it does nothing else.
    """
    del _OBSERVERS[module]
    original = vars(type(module)).get("_glasslstm_original")
    if original is not None:
        module.__class__ = original


# A class and not a hook: a subclass that calls super().forward() with arguments of its own is seen where it
# calls torch's LSTM, the hooks of others see what they have always seen, and a copy of the module is not watched.
_OBSERVERS: WeakKeyDictionary[nn.Module, Observer] = WeakKeyDictionary()


@cache
def _tapped(original: type[nn.Module]) -> type[nn.Module]:
    kind = next(kind for kind in KINDS if issubclass(original, kind))

    def forward(self: nn.Module, *arguments: Any, **options: Any) -> Any:
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined]
        observer = None if traced else _OBSERVERS.get(self)
        run: Callable[..., Any] = kind.forward  # as it is now: others may have changed it
        if observer is None:
            return run(self, *arguments, **options)
        return observer(partial(run, self), *arguments, **options)

    def reduce(self: nn.Module, _: Any) -> Any:
        """Copy and pickle the module as what it is."""
        # Of protocol 1, because what the later ones return must have the module's present class.
        reduced: Any = object.__reduce_ex__(self, 1)
        make, arguments, *rest = reduced
        return make, (original, *arguments[1:]), *rest

    space = {"forward": forward, "__reduce_ex__": reduce}
    tapped = type(kind.__name__, (kind,), space)
    own: dict[str, Any] = {"_glasslstm_original": original}
    own |= {name: getattr(original, name) for name in ("__module__", "__doc__")}
    if hasattr(original, "__deepcopy__"):

        def deepcopy(self: nn.Module, memo: Any) -> Any:
            found = original.__deepcopy__(self, memo)
            found.__class__ = original
            return found

        own["__deepcopy__"] = deepcopy
    bases = (tapped,) if original is kind else (original, tapped)
    return type(original.__name__, bases, own)
