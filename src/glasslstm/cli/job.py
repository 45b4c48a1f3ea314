"""What a training is to be: flags, over a file of the same names, over the defaults."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import Any

from typer import BadParameter

from glasslstm._files import written_whole
from glasslstm.cli.settings import FORECAST, FORECAST_COLUMNS, SETTINGS, TASKS, check_task, value_of
from glasslstm.cli.shared import names_in
from glasslstm.doctor import versions
from glasslstm.errors import ArgumentError

__all__ = ["Job", "read_config"]

tomllib = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A training: its data, the jobs of their columns, and the settings that differ from the defaults."""

    data: Path
    out: Path
    target: tuple[str, ...] = ()
    id: str | None = None
    time: str | None = None
    task: str = "auto"
    channels: tuple[str, ...] | None = None
    categories: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    sort: bool = False
    validation: Path | None = None
    group: str | None = None
    backtest: int | None = None
    record: bool = False
    report: bool = True
    settings: dict[str, Any] = field(default_factory=dict)
    """By their names on the command line."""

    @classmethod
    def of(cls, given: Mapping[str, Any], file: Path | None = None) -> Job:
        """Put together what was given on the command line and what stands in a file.

        Raises
        ------
        ArgumentError
            For a file that cannot be read, an entry that there is not, and a value that is none.
        typer.BadParameter
            Where what a training needs is missing.
        """
        content = {} if file is None else read_config(file)
        check_task(given.get("task", content.get("task", "auto")))
        there = {} if file is None else _read(_known(content, file), f"{file}: ")
        entries = there | _read(given, "--")
        if entries.get("task") == FORECAST:
            entries = _read(FORECAST_COLUMNS, "--") | entries
        settings = {name: entries.pop(name) for name in list(entries) if name in SETTINGS}
        for name, word in (("data", "DATA"), ("out", "--out")):
            if name not in entries:
                raise BadParameter("needed", param_hint=word)
        job = cls(**entries, settings=settings)
        job._refuse_gaps()
        return job

    @property
    def is_table(self) -> bool:
        """Whether the data have columns; a .ts file has none."""
        return self.data.suffix.lower() != ".ts"

    @property
    def per_step(self) -> bool | None:
        """Whether the target is one of each step; ``None`` where the data are to say."""
        return None if self.task == "auto" else self.task == "tag"

    def write(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Write what repeats the training: this, and all `settings`, each with its value."""
        entries = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        entries["data"] = self.data.absolute()
        entries["validation"] = self.validation and self.validation.absolute()
        there = {name: it for name, it in entries.items() if name in _READ and it is not None and it != ()}
        there |= {name: "none" if it is None else it for name, it in settings.items()}
        del there["out"]
        lines = [
            "# glasslstm train --from THIS_FOLDER --out ANOTHER repeats this run.",
            *(f"{name} = {_as_toml(it)}" for name, it in there.items()),
            "\n[versions]",
            *(f"{_as_toml(name)} = {_as_toml(it)}" for name, it in versions().items()),
        ]
        with written_whole(path) as partial:
            partial.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _refuse_gaps(self) -> None:
        for name in ("target", "id", "time") if self.is_table else ():
            if not getattr(self, name):
                raise BadParameter("needed", param_hint=f"--{name}")
        if self.task not in ("auto", *TASKS):
            raise ArgumentError(f"--task: expected auto, {', '.join(TASKS)}, got {self.task!r}")
        _refuse_misfits(self)
        columns = ("target", "id", "time", "channels", "categories", "static", "group", "sort")
        given = [] if self.is_table else [name for name in columns if getattr(self, name)]
        if given:
            raise ArgumentError(
                f"--{given[0]}: {self.data} is a .ts file, which has no columns; leave it out"
            )
        if self.group and self.validation:
            raise ArgumentError(
                "--group says how to cut a validation part, and --validation brings one; leave out one"
            )


def read_config(file: Path) -> dict[str, Any]:
    """Return what a TOML file says, without the versions that it was written with.

    Raises
    ------
    ArgumentError
        Where it is not there, or no TOML.
    """
    try:
        content: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArgumentError(f"{file}: there is no such file; expected settings as TOML") from None
    except (OSError, ValueError) as error:
        raise ArgumentError(f"{file}: cannot be read as TOML: {error}") from None
    content.pop("versions", None)
    return {name.replace("-", "_"): value for name, value in content.items()}


def _refuse_misfits(job: Job) -> None:
    """Refuse what a forecast cannot be asked for, and what only a forecast can."""
    if job.task != FORECAST:
        if job.backtest:
            raise ArgumentError("--backtest belongs to a forecast; leave it out, or say --task forecast")
        return
    if not job.is_table:
        raise ArgumentError(
            f"{job.data}: a .ts file has no columns; a forecast needs a table with {job.id}, {job.time} and "
            f"{', '.join(job.target)}"
        )
    if len(job.target) > 1:
        raise ArgumentError(
            f"--target: a forecast has one, got {', '.join(job.target)}; train a model for each"
        )
    for name in ("validation", "group"):
        if getattr(job, name):
            raise ArgumentError(
                f"--{name} does not fit a forecast, which is judged by the end of each series; leave it out, and say "
                "--backtest 3 or --validation-fraction 0.2"
            )


def _known(content: dict[str, Any], file: Path) -> dict[str, Any]:
    names = [*_READ, *SETTINGS]
    for name in content:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            meant = f"did you mean {close[0]!r}? " if close else ""
            raise ArgumentError(
                f"{file}: there is no option {name!r}; {meant}see glasslstm train --help for "
                "the names; tables such as [train] are not used"
            )
    return content


def _read(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return what was given as what it is to be."""
    found = {}
    for name, value in given.items():
        if name in SETTINGS:
            found[name] = value_of(name, value)
            continue
        read, allowed = _READ[name]
        try:
            found[name] = read(value)
        except TypeError:
            raise ArgumentError(f"{where}{name}: expected {allowed}, got {value!r}") from None
    return found


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise TypeError
    return given


def _count(given: Any) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise TypeError
    return given


def _flag(given: Any) -> bool:
    if not isinstance(given, bool):
        raise TypeError
    return given


_COLUMNS = (names_in, "names of columns, as a,b or a list")
_COLUMN = (_text, "the name of a column")
_FILE = (Path, "the name of a file or folder")
_FLAG = (_flag, "true or false")
_READ: dict[str, tuple[Callable[[Any], Any], str]] = {
    "data": _FILE,
    "out": _FILE,
    "target": _COLUMNS,
    "id": _COLUMN,
    "time": _COLUMN,
    "task": (_text, f"one of auto, {', '.join(TASKS)}"),
    "channels": _COLUMNS,
    "categories": _COLUMNS,
    "static": _COLUMNS,
    "sort": _FLAG,
    "validation": _FILE,
    "group": _COLUMN,
    "backtest": (_count, "a whole number of 0 or more"),
    "record": _FLAG,
    "report": _FLAG,
}
"""How each entry but the settings is read, and what it may be."""


def _as_toml(value: Any) -> str:
    """Return a value as TOML; what JSON makes of text is TOML too, but for one character."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_as_toml, value))}]"
    if isinstance(value, Mapping):
        return (
            "{ "
            + ", ".join(f"{_as_toml(str(name))} = {_as_toml(each)}" for name, each in value.items())
            + " }"
        )
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
