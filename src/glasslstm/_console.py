"""What the command line shares: plain output, tables, and errors of one line."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup
from typer.exceptions import TyperException

from glasslstm.errors import GlassLSTMError

__all__ = ["Commands", "print_table", "say"]

_WIDE = 10_000  # where there is no terminal, no table is cut


class Commands(TyperGroup):
    """A group of commands that ends in one line of error and an exit status, never in a traceback.

    Status 1 is an error, 2 a wrong use of the command line, 130 a Ctrl-C. ``--debug``, before the command
    or after it, lets the traceback through.
    """

    def main(self, *args: Any, **options: Any) -> NoReturn:
        """Run as a program; what the arguments have wrong is one line that ends with where to look."""
        try:
            status = super().main(*args, **options | {"standalone_mode": False})
        except TyperException as error:
            context = getattr(error, "ctx", None)
            hint = f" (see {context.command_path} --help)" if context else ""
            _report(error.format_message() + hint)
            status = error.exit_code
        sys.exit(status)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take ``--debug`` from wherever it stands; without a command, help."""
        debug = ["--debug"] if "--debug" in args else []
        rest = [arg for arg in args if arg != "--debug"]
        return super().parse_args(ctx, debug + (rest or ["--help"]))

    def invoke(self, ctx: Any) -> Any:
        """Run the command, and turn what goes wrong into a line and a status."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _warn  # type: ignore[assignment]
                result = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt:
            _report("interrupted")
            raise typer.Exit(130) from None
        except BrokenPipeError:  # the reader, say `head`, has what it wants
            _discard_output()
            raise typer.Exit(1) from None
        except Exception as error:
            if hasattr(error, "exit_code") or ctx.params["debug"]:  # typer's own ways out have a status
                raise
            _report(_words(error))
            raise typer.Exit(1) from None
        return result


def say(line: str) -> None:
    """Print one line."""
    typer.echo(printable(line))


def print_table(title: str, rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> None:
    """Print a table; text goes left, numbers go right, and nothing in a cell is markup."""
    cells = [[printable(value) for value in row] for row in rows]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=bool(header))
    for k, column in enumerate(zip(*cells, strict=True)):
        justify: Literal["left", "right"] = "right" if all(map(_is_number, column)) else "left"
        table.add_column(printable(header[k]) if header else "", justify=justify, overflow="fold")
    for row in cells:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else _WIDE
    typer.echo(f"\n{printable(title)}:")
    console = Console(file=sys.stdout, width=width, markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        typer.echo(line.rstrip())


def printable(value: object) -> str:
    """Return `value` as text without control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _words(error: Exception) -> str:
    if isinstance(error, GlassLSTMError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return f"unexpected {type(error).__name__}: {error} (run again with --debug for the traceback)"


def _warn(message: Warning | str, *_: Any) -> None:
    """Show a warning as one line, without the place in the code."""
    typer.echo(f"warning: {printable(' '.join(str(message).split()))}", err=True)


def _report(message: str) -> None:
    typer.echo(f"error: {printable(' '.join(message.split()))}", err=True)


def _discard_output() -> None:
    """Keep Python from failing again when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
