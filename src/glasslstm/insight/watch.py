"""Record what every LSTM inside a model does, without a change to the model, its output or its gradients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from fnmatch import fnmatchcase

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from glasslstm.errors import ArgumentError, ArgumentTypeError
from glasslstm.insight.observers import CellObserver, LSTMObserver
from glasslstm.insight.records import Records
from glasslstm.insight.taps import CELLS, KINDS, tap, untap
from glasslstm.nn.trace import Trace

__all__ = ["Watcher", "lstms", "watch"]


def watch(
    model: nn.Module,
    *,
    modules: str | Sequence[str] | None = None,
    steps: slice | None = None,
    calls: int = 8,
    gradients: bool | None = None,
    limit: int = 2**30,
) -> Watcher:
    """Record what every LSTM inside a model does while the context lasts.

    Every call of a :class:`glasslstm.LSTM`, a :class:`torch.nn.LSTM` or, in a loop, of an LSTMCell of either kind
    leaves a :class:`~glasslstm.Trace`: gates, cell and hidden state at every step, in the input's time order, zero
    past a sequence's length; after a backward pass also dL/dc_t and dL/dh_t. The model computes what it computes
    without a watcher, to the last bit; for torch's own LSTM, which hides its gates, they are computed beside it.

    Parameters
    ----------
    model
        Any module with an LSTM in it, or an LSTM.
    modules
        Which ones, by the names of ``model.named_modules()``; ``*`` and ``?`` stand for any characters. A module that
        has several names goes by the first. Default: all.
    steps
        Which steps of the padded sequences to keep, such as ``slice(-50, None)`` or ``slice(0, 100)``. Default: all.
    calls
        How many calls of each module to keep: the last ones. Default: 8.
    gradients
        True: keep the gradients of the states, and refuse a call from which none can come. False: keep none.
        Default: where the call may be differentiated.
    limit
        Bytes that all traces together may take. Beyond it the oldest call goes; of a call that is too large by
        itself the first sequences are kept, of a sequence that is too long or goes through a cell the last steps, and
        the trace says so. To the traces of torch's own LSTM a graph is added until their gradients are there.
        Default: 1 GiB.

    Returns
    -------
    Watcher
        The context; ``watcher["encoder.lstm"]`` is the trace of that module's last call.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        For something that is no module, a model without an LSTM, a compiled one, one that is being watched, names
        that fit no LSTM, a number out of range.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> model = torch.nn.Sequential(torch.nn.LSTM(3, 4))
    >>> with gl.watch(model) as watcher:
    ...     output, _ = model(torch.randn(5, 2, 3))
    ...     output.sum().backward()
    >>> watcher.names
    ('0',)
    >>> gates = watcher["0"][0, 0]
    >>> gates.forget_gate.shape, gates.cell_grad.shape
    (torch.Size([5, 2, 4]), torch.Size([5, 2, 4]))
    """
    chosen = _chosen(lstms(model), modules)
    if isinstance(calls, bool) or not isinstance(calls, int) or calls < 1:
        raise ArgumentError(f"calls: expected how many to keep, 1 or more; got {calls!r}")
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ArgumentError(f"limit: expected a number of bytes, 1 or more; got {limit!r}")
    if steps is not None and not _is_window(steps):
        raise ArgumentError(f"steps: expected a slice without gaps, such as slice(-50, None); got {steps!r}")
    if not (gradients is None or isinstance(gradients, bool)):
        raise ArgumentTypeError(f"gradients: expected True, False or None, got {gradients!r}")
    return Watcher(model, chosen, steps=steps or slice(None), calls=calls, gradients=gradients, limit=limit)


def lstms(model: nn.Module) -> dict[str, nn.Module]:
    """Return the LSTMs and LSTMCells inside a model, by name; the model itself has the name ``""``.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        For something that is no module, a model without an LSTM, and a compiled one.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentTypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    inside = dict(model.named_modules())
    for name, module in inside.items():
        if _is_compiled(module) and any(isinstance(part, KINDS) for part in module.modules()):
            raise ArgumentError(
                f"model: {name!r} is compiled, and compiled code cannot be seen into; take what it was made from: "
                "model._orig_mod after torch.compile(model), copy.deepcopy(model) after model.compile()"
            )
    found: dict[str, nn.Module] = {
        name: module for name, module in inside.items() if isinstance(module, KINDS)
    }
    if not found:
        if any(isinstance(module, torch.jit.ScriptModule) for module in inside.values()):
            raise ArgumentError(
                "model: TorchScript cannot be seen into; take the model that it was made from"
            )
        kinds = sorted({type(module).__name__ for module in inside.values()})
        raise ArgumentError(
            f"model: expected an LSTM or LSTMCell of glasslstm or torch.nn somewhere in it; found {', '.join(kinds)}"
        )
    return found


def _is_window(steps: object) -> bool:
    return (
        isinstance(steps, slice)
        and steps.step in (None, 1)
        and all(end is None or isinstance(end, int) for end in (steps.start, steps.stop))
    )


def _is_compiled(module: nn.Module) -> bool:
    return hasattr(module, "_orig_mod") or module._compiled_call_impl is not None


def _chosen(found: dict[str, nn.Module], modules: str | Sequence[str] | None) -> dict[str, nn.Module]:
    patterns = "*" if modules is None else modules
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(patterns, Sequence) or not all(isinstance(pattern, str) for pattern in patterns):
        raise ArgumentTypeError(f"modules: expected names, or one, got {modules!r}")
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in found):
            raise ArgumentError(f"modules: {pattern!r} fits none of the model's LSTMs: {_listed(found)}")
    chosen = {n: m for n, m in found.items() if any(fnmatchcase(n, pattern) for pattern in patterns)}
    if not chosen:
        raise ArgumentError(f"modules: expected at least one name of the model's LSTMs: {_listed(found)}")
    return chosen


class Watcher:
    """What :func:`watch` returns: a context, and afterwards the traces by module.

    Attributes
    ----------
    modules
        The modules that are watched, by name.
    names
        Their names.
    dropped
        For each name, how many calls were dropped to stay within ``calls`` and ``limit``.
    """

    def __init__(
        self,
        model: nn.Module,
        modules: dict[str, nn.Module],
        *,
        steps: slice,
        calls: int,
        gradients: bool | None,
        limit: int,
    ) -> None:
        self.modules = modules
        self.names = tuple(modules)
        self._model, self._records = model, Records(modules, calls, limit)
        self.dropped = self._records.dropped
        keep = self._records.keep
        self._observers = {
            name: CellObserver(name, module, gradients, steps, limit // len(modules), keep)
            if isinstance(module, CELLS)
            else LSTMObserver(name, module, gradients, steps, limit, keep)
            for name, module in modules.items()
        }
        self._used = False

    def __enter__(self) -> Watcher:
        if self._used:
            raise ArgumentError("watch: this watcher was used before; make another with watch(model)")
        self._used = True
        with ExitStack() as undo:
            for name, module in self.modules.items():
                tap(module, self._observers[name])
                undo.callback(untap, module)
            if any(isinstance(module, CELLS) for module in self.modules.values()):
                # For all modules, because a hook of the model's own would go into its copies.
                undo.callback(register_module_forward_pre_hook(self._enter).remove)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def __getitem__(self, name: str) -> Trace:
        """Return the trace of the last call of a module; errors as for :meth:`calls`."""
        return self.calls(name)[-1]

    def calls(self, name: str) -> tuple[Trace, ...]:
        """Return the traces of the calls of a module that were kept, the oldest first.

        Raises
        ------
        ArgumentError
            For a name that is not watched, and a module that was not called.
        """
        if name not in self.modules:
            raise ArgumentError(f"watcher[{name!r}]: expected one of {_listed(self.modules)}")
        found = self._records.of(name)
        if not found:
            raise ArgumentError(f"watcher[{name!r}]: {self._why_none(name)}")
        return found

    def _why_none(self, name: str) -> str:
        if self.dropped[name]:
            return "its calls were dropped to stay below the limit; give watch a larger limit="
        if self._observers[name].unseen:
            return "it was called only inside a torch.func transform, where nothing can be recorded"
        return "it was not called inside the context, or by compiled code alone; is it part of what the model computes?"

    def __contains__(self, name: object) -> bool:
        return name in self.modules and self._records.count(str(name)) > 0

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the modules that were called."""
        return iter([name for name in self.names if name in self])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return True  # also before the first call

    def __repr__(self) -> str:
        kept = {name: self._records.count(name) for name in self.names}
        parts = [f"{name!r}: {n} of {n + self.dropped[name]} calls" for name, n in kept.items()]
        return f"Watcher({', '.join(parts)})"

    def _enter(self, module: nn.Module, _: object) -> None:
        """Note that the model as a whole is called: a loop over a cell starts anew."""
        if module is self._model:
            for observer in self._observers.values():
                observer.entered()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
