"""The command line, thin: arguments in, calls of the library, results out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer
from typer import Option

from glasslstm._console import Commands, say
from glasslstm._version import __version__
from glasslstm.cli.about import doctor, info
from glasslstm.cli.inside import diagnose, report
from glasslstm.cli.settings import WithTasks
from glasslstm.cli.speed import bench
from glasslstm.cli.start import demo
from glasslstm.cli.train import train
from glasslstm.cli.use import evaluate, predict

__all__ = ["app"]

app = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# In the order of the help, each with an example.
_COMMANDS: dict[Callable[..., None], str] = {
    demo: "glasslstm demo",
    train: "glasslstm train data.csv --target label --id series --time t --out runs/first",
    predict: "glasslstm predict runs/first new.csv --out predictions.csv",
    evaluate: "glasslstm evaluate runs/first test.csv",
    diagnose: "glasslstm diagnose train.py:example --json",
    report: "glasslstm report runs/first test.csv --train data.csv --out report.html",
    info: "glasslstm info runs/first",
    doctor: "glasslstm doctor",
    bench: "glasslstm bench --work training --shapes small,100x4x16x32 --threads 1,2",
}
for _command, _example in _COMMANDS.items():
    app.command(cls=WithTasks, epilog=f"\b\nExample:\n  {_example}")(_command)


def _print_version(asked: bool) -> None:
    if asked:
        say(f"glasslstm {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Learn from series with an LSTM in glass: train, predict, and see every gate."""
