"""``bench``: how fast the layer is here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer
from typer import Option

from glasslstm.bench import parse_shapes, parse_threads, parse_works
from glasslstm.bench import run as run_bench
from glasslstm.bench.measure import Box
from glasslstm.bench.show import show
from glasslstm.bench.works import WORKS
from glasslstm.cli.shared import AsJson, Quiet, print_json
from glasslstm.errors import ArgumentError

__all__ = ["bench"]


def _parser(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Make a wrong word on the command line a wrong use of it."""

    def parsed(text: str) -> Any:
        try:
            return parse(text)
        except ArgumentError as error:
            raise typer.BadParameter(str(error)) from None

    return parsed


def bench(
    work: Annotated[
        Any, Option(parser=_parser(parse_works), metavar="A,B", help=f"all, or some of {', '.join(WORKS)}.")
    ] = "inference,training,ragged-training,step",
    shapes: Annotated[
        Any,
        Option(
            parser=_parser(parse_shapes),
            metavar="A,B",
            help="all, single, small, large, or TxBxIxH, TxBxIxHxL, TxBxIxHxLxD.",
            show_default="those of each work",
        ),
    ] = None,
    threads: Annotated[
        Any,
        Option(
            parser=_parser(parse_threads),
            metavar="N,M",
            help="Numbers of threads, one after the other.",
            show_default="torch's",
        ),
    ] = None,
    seconds: Annotated[float, Option(min=0, help="How long to time each side, at least.")] = Box().seconds,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure the layer against torch.nn.LSTM and others here.

    Sides run in turn in one process, and a side with wrong numbers is refused: then the status is 1.
    """
    progress = (lambda _: None) if quiet else partial(typer.echo, err=True)
    document = run_bench(work, shapes or (), threads or (), Box(seconds=seconds), progress)
    if as_json:
        print_json(document)
    else:
        show(document)
    if document["refused"]:
        raise typer.Exit(1)
