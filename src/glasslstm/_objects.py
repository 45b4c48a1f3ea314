"""What a user names on the command line and keeps in code of their own."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

from glasslstm.errors import ArgumentError

__all__ = ["find_object"]


def find_object(name: str) -> Any:
    """Return what ``module:name`` or ``path/to/file.py:name`` stands for; modules of the current folder come first.

    Raises
    ------
    ArgumentError
        For a name of another form, and a module, a file or a name in it that is not there.

    Examples
    --------
    >>> find_object("math:pi")
    3.141592653589793
    """
    where, _, path = name.rpartition(":")
    if not where or not path:
        raise ArgumentError(
            f"{name!r}: expected module:name or path/to/file.py:name, such as train.py:example"
        )
    module = _from_file(Path(where)) if where.endswith(".py") else _imported(where)
    try:
        return reduce(getattr, path.split("."), module)
    except AttributeError:
        there = ", ".join(own for own in vars(module) if not own.startswith("_"))
        raise ArgumentError(
            f"{name!r}: there is no {path} in {where}, which has {there or 'nothing'}"
        ) from None


def _imported(name: str) -> ModuleType:
    _look_in(Path())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # an import inside it
        raise ArgumentError(f"{name!r}: there is no such module, here or among what is installed") from None


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ArgumentError(f"{path}: there is no such file")
    _look_in(path.parent)
    name = f"glasslstm_code_{path.stem}"  # no module that is there already
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # where dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def _look_in(folder: Path) -> None:
    """Let the code import what lies beside it, as if Python had been started with it."""
    if str(folder.resolve()) not in sys.path:
        sys.path.insert(0, str(folder.resolve()))
