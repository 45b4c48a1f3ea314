"""The settings of the estimators as options of ``train`` and as entries of its files, made from their definitions."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import Field
from typing import Annotated, Any, NamedTuple, TypeVar

from typer import Option

from glasslstm.errors import ArgumentError
from glasslstm.estimators.base import LSTMEstimator
from glasslstm.estimators.classifier import LSTMClassifier
from glasslstm.estimators.regressor import LSTMRegressor
from glasslstm.estimators.settings import settings_of
from glasslstm.estimators.tagger import LSTMTagger

__all__ = ["SETTINGS", "TASKS", "check_settings", "task_of", "value_of", "with_settings"]

TASKS: dict[str, type[LSTMEstimator]] = {
    "classify": LSTMClassifier,
    "regress": LSTMRegressor,
    "tag": LSTMTagger,
}

# What has another name on the command line, and what has an option of its own there.
_RENAMED = {"random_state": "seed", "target": "target_type"}
_APART = ("verbose",)  # --quiet

Command = TypeVar("Command", bound=Callable[..., None])


class Setting(NamedTuple):
    """A setting of one or several estimators."""

    name: str
    """The estimators' name for it."""
    entry: Field[Any]
    tasks: tuple[str, ...]
    """The tasks whose estimators have it."""

    @property
    def kind(self) -> str:
        """The annotation."""
        return str(self.entry.type)

    @property
    def choices(self) -> list[str]:
        """The words to choose from, if that is its rule."""
        allowed: str = self.entry.metadata["rule"].allowed
        return re.findall(r"'([^']+)'", allowed) if allowed.startswith("'") else []


def _all_settings() -> dict[str, Setting]:
    found: dict[str, Setting] = {}
    for task, estimator in TASKS.items():
        for name, entry in settings_of(estimator).items():
            option = _RENAMED.get(name, name)
            tasks = (*found[option].tasks, task) if option in found else (task,)
            found[option] = Setting(name, found[option].entry if option in found else entry, tasks)
    return {option: setting for option, setting in found.items() if setting.name not in _APART}


SETTINGS = _all_settings()
"""By its name on the command line, with underscores."""


def task_of(estimator: LSTMEstimator) -> str:
    """Return the word for what an estimator does."""
    return next(task for task, kind in TASKS.items() if isinstance(estimator, kind))


def with_settings(command: Command) -> Command:
    """Give a command an option for each setting, in the place of its ``**settings``; ``None`` where it is not given."""
    signature = inspect.signature(command, eval_str=True)
    own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
    options = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(name, setting)
        )
        for name, setting in SETTINGS.items()
    ]
    command.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    return command


def _option(name: str, setting: Setting) -> Any:
    flag = f"--{name.replace('_', '-')}"
    words: str = setting.entry.metadata["words"]
    if setting.tasks != tuple(TASKS):
        words = f"({', '.join(setting.tasks)}) {words}"
    default = "random" if name == "seed" else str(setting.entry.default).lower()
    more: dict[str, Any] = {"help": f"{words} [default: {default}]", "show_default": False}
    if setting.kind == "bool":
        return Annotated[bool | None, Option(f"{flag}/--no-{flag[2:]}", **more)]
    plain: Any = {"int": int, "float": float}.get(setting.kind.split(" ")[0], str)
    if plain is str or (plain is float and "None" in setting.kind):
        return Annotated[str | None, Option(flag, metavar=_syntax(setting).words, **more)]
    return Annotated[plain | None, Option(flag, **more)]


class _Syntax(NamedTuple):
    """How a setting is written as text."""

    words: str
    read: Callable[[str], Any]


def _syntax(setting: Setting) -> _Syntax:
    if setting.choices:
        return _Syntax("|".join(setting.choices), str)
    start = re.split(r"[\[ ]", setting.kind)[0]
    return _SYNTAX.get(start, _Syntax("<text>", str))


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.split(",")))


def _weights(text: str) -> str | dict[str, float]:
    if "=" not in text:
        return text
    pairs = (part.rpartition("=") for part in text.split(","))
    return {name.strip(): float(weight) for name, _, weight in pairs}


_SYNTAX = {
    "int": _Syntax("<int>", int),
    "float": _Syntax("<float>|none", float),
    "Sequence": _Syntax("0.1,0.5,0.9|none", _numbers),
    "Mapping": _Syntax("balanced|a=1,b=2.5|none", _weights),
}


def value_of(name: str, given: Any) -> Any:
    """Return a setting from what stands on the command line or in a file: text becomes what the setting wants.

    Raises
    ------
    ArgumentError
        For text that is not what the setting wants.
    """
    setting = SETTINGS[name]
    if not isinstance(given, str):
        return tuple(given) if isinstance(given, list) else given
    if given == "none" and "None" in setting.kind:
        return None
    try:
        return _syntax(setting).read(given)
    except ValueError:
        allowed = setting.entry.metadata["rule"].allowed
        raise ArgumentError(
            f"--{name.replace('_', '-')}: expected {allowed}, written as {_syntax(setting).words}; got {given!r}"
        ) from None


def check_settings(task: str, names: Iterable[str]) -> None:
    """Refuse settings that the task's estimator does not have.

    Raises
    ------
    ArgumentError
        With the tasks that have it.
    """
    for name in names:
        tasks = SETTINGS[name].tasks
        if task not in tasks:
            raise ArgumentError(
                f"--{name.replace('_', '-')} is a setting of the task {' and '.join(tasks)}, and the task is {task}; "
                f"leave it out, or say --task {tasks[0]}"
            )
