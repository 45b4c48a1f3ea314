"""``demo``: the first thing to run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from glasslstm._console import say
from glasslstm.cli.shared import Quiet

__all__ = ["demo"]


def demo(
    out: Annotated[Path, Option(help="The folder to write into.")] = Path("runs/demo"),
    seed: Annotated[int, Option(help="The random state of the training.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Train on a shipped data set, and leave a model and a report.

    The data are the Japanese Vowels: who of nine speakers said it? There are 270 utterances to train on and
    370 to test on, each a series of 7 to 29 steps with 12 channels.
    """
    from glasslstm.demo import run_demo  # noqa: PLC0415 - it alone needs the extra "report"

    metrics = run_demo(out, seed=seed, verbose=not quiet)
    say(
        f"test accuracy {metrics['test_accuracy']:.4f} on {metrics['n_test']} utterances, after training on "
        f"{metrics['n_train']} for {metrics['fit_seconds']:.0f} s"
    )
    say("Where to look:")
    say(f"  {out / 'report.html'}   what it does, how good it is, and what to change")
    say(f"  {out / 'metrics.json'}  these figures, with seed and versions")
    say(f"  {out / 'model'}         the model: glasslstm info {out / 'model'}")
