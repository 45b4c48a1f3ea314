"""An estimator's parameters as data: each has a default, a rule, and words for docstring, command line and errors."""

from __future__ import annotations

import inspect
import math
import os
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import Field, field, fields
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np

from glasslstm.errors import ArgumentError

__all__ = [
    "AMOUNT",
    "COUNT",
    "COUNT_OR_NONE",
    "FLAG",
    "FOLDER",
    "LIMIT",
    "NAMES",
    "QUANTILES",
    "RATE",
    "SEED",
    "SHARE",
    "TEXT",
    "TEXT_OR_NONE",
    "WEIGHTS",
    "WHOLE",
    "Rule",
    "check_parameters",
    "choice",
    "documented",
    "setting",
    "settings_of",
]

T = TypeVar("T")


class Rule(NamedTuple):
    """What a parameter may be, in words, and whether a value is that."""

    allowed: str
    fits: Callable[[Any], bool]


def setting(default: Any, rule: Rule, words: str) -> Any:
    """Return a dataclass field for a parameter of an estimator."""
    return field(default=default, metadata={"rule": rule, "words": " ".join(words.split())})


def settings_of(cls: Any) -> dict[str, Field[Any]]:
    """Return the parameters of an estimator's class, by name, in the order of its signature."""
    return {entry.name: entry for entry in fields(cls) if "rule" in entry.metadata}


def check_parameters(estimator: Any) -> None:
    """Refuse parameters out of range, all of them at once.

    Raises
    ------
    ArgumentError
        With each of them: what came, and what is allowed.
    """
    rules = {name: entry.metadata["rule"] for name, entry in settings_of(estimator).items()}
    wrong = [
        f"{name}: expected {rule.allowed}, got {getattr(estimator, name)!r}"
        for name, rule in rules.items()
        if not rule.fits(getattr(estimator, name))
    ]
    if wrong:
        raise ArgumentError("; ".join(wrong))


def documented(cls: type[T]) -> type[T]:
    """Put the parameters into the class's docstring, in place of ``{parameters}``."""
    lines = []
    for name, entry in settings_of(cls).items():
        lines.append(f"{name} : {entry.type}, default {entry.default!r}")
        lines.append(
            textwrap.fill(entry.metadata["words"], 110, initial_indent="    ", subsequent_indent="    ")
        )
    cls.__doc__ = inspect.cleandoc(cls.__doc__ or "").replace("{parameters}", "\n".join(lines))
    return cls


def choice(*words: str) -> Rule:
    """Return the rule of a parameter that is one of some words."""
    listed = ", ".join(map(repr, words[:-1])) + f" or {words[-1]!r}"
    return Rule(listed, lambda value: isinstance(value, str) and value in words)


def _whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_))


def _number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, (bool, np.bool_))


def _quantiles(value: Any) -> bool:
    if value is None:
        return True
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return False
    found = list(value)
    if not found or not all(map(_number, found)):
        return False
    return all(low < high for low, high in pairwise([0, *found, 1]))


def _weights(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(_number(weight) and 0 <= weight < math.inf for weight in value.values())
    return value is None or (isinstance(value, str) and value == "balanced")


COUNT = Rule("a whole number of 1 or more", lambda value: _whole(value) and value >= 1)
WHOLE = Rule("a whole number of 0 or more", lambda value: _whole(value) and value >= 0)
COUNT_OR_NONE = Rule("None, or a whole number of 1 or more", lambda value: value is None or COUNT.fits(value))
AMOUNT = Rule("a number of 0 or more", lambda value: _number(value) and 0 <= value < math.inf)
SHARE = Rule("a number from 0 to below 1", lambda value: _number(value) and 0 <= value < 1)
RATE = Rule("a number above 0, and at most 1", lambda value: _number(value) and 0 < value <= 1)
LIMIT = Rule(
    "None, or a number above 0", lambda value: value is None or (_number(value) and 0 < value < math.inf)
)
FLAG = Rule("True or False", lambda value: isinstance(value, (bool, np.bool_)))
TEXT = Rule("text", lambda value: isinstance(value, str))
TEXT_OR_NONE = Rule("None, or text", lambda value: value is None or isinstance(value, str))
NAMES = Rule(
    "a tuple or list of names", lambda value: isinstance(value, (list, tuple)) and all(map(TEXT.fits, value))
)
FOLDER = Rule(
    "None, or the name of a folder",
    lambda value: value is None or (isinstance(value, (str, os.PathLike)) and value != ""),
)
SEED = Rule(
    "None, a whole number from 0 to 4294967295, or a numpy RandomState",
    lambda value: (
        value is None or isinstance(value, np.random.RandomState) or (_whole(value) and 0 <= value < 2**32)
    ),
)
WEIGHTS = Rule("None, 'balanced', or a dict of class and weight", _weights)
QUANTILES = Rule("None, or numbers above 0 and below 1, rising", _quantiles)
