"""The settings of the estimators as options of ``train`` and as entries of its files, made from their definitions."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import Field
from itertools import pairwise
from typing import Annotated, Any, NamedTuple, TypeGuard, TypeVar

from typer import Option
from typer.core import TyperCommand

from glasslstm.cli.shared import names_in
from glasslstm.errors import ArgumentError, MissingExtraError
from glasslstm.estimators.base import LSTMEstimator
from glasslstm.estimators.classifier import LSTMClassifier
from glasslstm.estimators.regressor import LSTMRegressor
from glasslstm.estimators.settings import settings_of
from glasslstm.estimators.tagger import LSTMTagger

__all__ = [
    "FORECAST",
    "FORECAST_COLUMNS",
    "SETTINGS",
    "TASKS",
    "WithTasks",
    "check_settings",
    "check_task",
    "is_forecaster",
    "task_of",
    "value_of",
    "with_settings",
]

FORECAST = "forecast"
FORECAST_COLUMNS = {"id": "unique_id", "time": "ds", "target": "y"}
"""What the columns of a table are called where nothing else is said, as in the field."""

TASKS: dict[str, type[LSTMEstimator]] = {
    "classify": LSTMClassifier,
    "regress": LSTMRegressor,
    "tag": LSTMTagger,
}

_missing: MissingExtraError | None = None
try:
    from glasslstm.forecasting import LSTMForecaster
except MissingExtraError as error:
    _missing = error
else:
    TASKS[FORECAST] = LSTMForecaster

# What has another name on the command line, and what has an option of its own there.
_RENAMED = {"random_state": "seed", "target": "target_type"}
_APART = dict.fromkeys(TASKS, ("verbose",)) | {FORECAST: ("verbose", "target")}  # --quiet, --target

Command = TypeVar("Command", bound=Callable[..., None])


class Setting(NamedTuple):
    """A setting of one or several estimators."""

    name: str
    """The estimators' name for it."""
    entries: dict[str, Field[Any]]
    """Of each task whose estimator has it."""

    @property
    def entry(self) -> Field[Any]:
        """What all of them have alike: type, rule and words."""
        return next(iter(self.entries.values()))

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks whose estimators have it."""
        return tuple(self.entries)

    @property
    def defaults(self) -> dict[str, Any]:
        """By task."""
        return {task: entry.default for task, entry in self.entries.items()}

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
            if name not in _APART[task]:
                option = _RENAMED.get(name, name)
                found.setdefault(option, Setting(name, {})).entries[task] = entry
    return found


SETTINGS = _all_settings()
"""By its name on the command line, with underscores."""


def task_of(estimator: LSTMEstimator) -> str:
    """Return the word for what an estimator does."""
    return next(task for task, kind in TASKS.items() if isinstance(estimator, kind))


def check_task(task: object) -> None:
    """Refuse a task whose extra is not installed.

    Raises
    ------
    MissingExtraError
        With the command that installs it.
    """
    if task == FORECAST and _missing is not None:
        raise _missing


class WithTasks(TyperCommand):
    """A command with ``--task``; it says which extra a task needs before its options are found to be unknown."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments."""
        if f"--task={FORECAST}" in args or ("--task", FORECAST) in pairwise(args):
            check_task(FORECAST)
        return super().parse_args(ctx, args)


def is_forecaster(estimator: LSTMEstimator) -> TypeGuard[LSTMForecaster]:
    """Return whether an estimator forecasts; false where the extra for it is not installed."""
    return isinstance(estimator, TASKS.get(FORECAST, ()))


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
    more: dict[str, Any] = {"help": f"{words} [default: {_defaults(name, setting)}]", "show_default": False}
    if setting.kind == "bool":
        return Annotated[bool | None, Option(f"{flag}/--no-{flag[2:]}", **more)]
    plain = {"int": int, "float": float}.get(setting.kind, int if name == "seed" else None)
    if plain is None:
        return Annotated[str | None, Option(flag, metavar=_syntax(setting).words, **more)]
    return Annotated[plain | None, Option(flag, **more)]


def _defaults(name: str, setting: Setting) -> str:
    """Return the default, and after it that of a forecast where it is another."""
    if name == "seed":
        return "random"
    texts = list(map(_as_text, setting.defaults.values()))
    return texts[0] if len(set(texts)) == 1 else f"{texts[0]}; {FORECAST}: {texts[-1]}"


def _as_text(value: Any) -> str:
    """Return a value as the command line takes it."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(str, value)) or "none"
    return str(value).lower()


class _Syntax(NamedTuple):
    """How a setting is written as text."""

    words: str
    read: Callable[[str], Any]


def _syntax(setting: Setting) -> _Syntax:
    if setting.choices:
        return _Syntax("|".join(setting.choices), str)
    words, read = next((it for start, it in _SYNTAX.items() if setting.kind.startswith(start)), _TEXT)
    return _Syntax(words + "|none" * ("None" in setting.kind), read)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.split(",")))


def _weights(text: str) -> str | dict[str, float]:
    if "=" not in text:
        return text
    pairs = (part.rpartition("=") for part in text.split(","))
    return {name.strip(): float(weight) for name, _, weight in pairs}


_TEXT = _Syntax("<text>", str)
_SYNTAX = {
    "int": _Syntax("<int>", int),
    "float": _Syntax("<float>", float),
    "Sequence[float]": _Syntax("0.1,0.5,0.9", _numbers),
    "Sequence[str]": _Syntax("a,b", names_in),
    "Mapping": _Syntax("balanced|a=1,b=2.5", _weights),
}
"""By how the annotation starts."""


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
    except (TypeError, ValueError):
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
