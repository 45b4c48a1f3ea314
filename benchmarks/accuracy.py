"""What the estimators reach on the official splits of five data sets, over ten seeds, written into docs/accuracy.md.

    python -m benchmarks.accuracy [--seeds 10] [--only "Japanese Vowels" ...] [--no-write]

The settings were chosen without the test parts (docs/defaults.md); this scores them there. The data come with the aeon
package, the Japanese Vowels with this one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from aeon import datasets
from joblib import Parallel, delayed
from numpy.typing import NDArray

from glasslstm import LSTMClassifier, LSTMRegressor
from glasslstm.data import load_japanese_vowels

PAGE = Path(__file__).parent.parent / "docs" / "accuracy.md"
START, END = "<!-- made by make accuracy: start -->", "<!-- end -->"

Part = tuple[Any, NDArray[Any]]


class DataSet(NamedTuple):
    """One row of the table."""

    load: Callable[[str], Part]
    goal: float
    regression: bool = False
    blocks: bool = False
    """Whether the training part stands in the order of recording, class by class."""


def main() -> None:
    """Fit and score every variant on every data set once a seed, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10, help="random_state 0 to this, exclusive")
    parser.add_argument("--jobs", type=int, default=-1, help="processes (default: one a core)")
    parser.add_argument("--only", nargs="+", choices=DATA_SETS, default=list(DATA_SETS))
    parser.add_argument("--no-write", action="store_true", help="leave docs/accuracy.md as it is")
    arguments = parser.parse_args()
    lines = [
        "| data | settings | mean | standard deviation | lowest, highest | all seeds averaged | goal | seconds a fit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    print(*lines, sep="\n", flush=True)
    for name in arguments.only:
        for variant in VARIANTS:
            tasks = [delayed(fit_and_score)(name, variant, seed) for seed in range(arguments.seeds)]
            lines.append(_row(name, variant, Parallel(arguments.jobs)(tasks)))
            print(lines[-1], flush=True)
    if not arguments.no_write:
        before, rest = PAGE.read_text().split(START)
        table = "\n".join(
            [START, "", *lines, "", f"Seeds 0 to {arguments.seeds - 1}, one thread a fit.", "", END]
        )
        PAGE.write_text(before + table + rest.split(END)[1])


def fit_and_score(name: str, variant: str, seed: int) -> tuple[float, NDArray[Any], float]:
    """Return the figure, the answers on the test part, and the seconds of one fit."""
    torch.set_num_threads(1)
    data = DATA_SETS[name]
    kind = LSTMRegressor if data.regression else LSTMClassifier
    model = kind(**VARIANTS[variant], random_state=seed, verbose=False)
    start = perf_counter()
    model.fit(*data.load("train"))
    seconds = perf_counter() - start
    X, y = data.load("test")
    answers = model.predict(X) if isinstance(model, LSTMRegressor) else model.predict_proba(X)
    return _figure(data, answers, y), answers, seconds


def _figure(data: DataSet, answers: NDArray[Any], y: NDArray[Any]) -> float:
    """Return the accuracy of probabilities, or the root mean squared error of numbers."""
    if data.regression:
        return float(np.sqrt(np.mean((answers - y) ** 2)))
    return float(np.mean(np.unique(y)[answers.argmax(1)] == y))


def _row(name: str, variant: str, fits: list[tuple[float, NDArray[Any], float]]) -> str:
    data = DATA_SETS[name]
    found = [figure for figure, _, _ in fits]
    together = _figure(data, np.mean([answers for _, answers, _ in fits], axis=0), data.load("test")[1])
    spread = f"{stdev(found):.4f}" if len(found) > 1 else ""
    seconds = fmean(seconds for _, _, seconds in fits)
    goal = f"{'at most ' if data.regression else ''}{data.goal}"
    return (
        f"| {name}{', RMSE' if data.regression else ''} | {variant} | {fmean(found):.4f} | {spread} | "
        f"{min(found):.4f}, {max(found):.4f} | {together:.4f} | {goal} | {seconds:.0f} |"
    )


def _of_aeon(loader: Callable[..., Any]) -> Callable[[str], Part]:
    """Return a function that loads a part with series as (T, F)."""

    def load(split: str) -> Part:
        X, y = loader(split)
        return [np.asarray(x).T for x in X], np.asarray(y)

    return load


VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "for few series": {
        "conv_blocks": 5,
        "channel_shift": 0.2,
        "channel_scale": 0.2,
        "validation_fraction": 0.0,
        "max_updates": 300,
    },
}
"""Name -> what differs from the defaults; the same for every data set."""

DATA_SETS = {
    "Japanese Vowels": DataSet(load_japanese_vowels, 0.980, blocks=True),  # type: ignore[arg-type]
    "BasicMotions": DataSet(_of_aeon(datasets.load_basic_motions), 0.98),
    "GunPoint": DataSet(_of_aeon(datasets.load_gunpoint), 0.95),
    "ArrowHead": DataSet(_of_aeon(datasets.load_arrow_head), 0.80),
    "Covid3Month": DataSet(_of_aeon(datasets.load_covid_3month), 0.042, regression=True),
}

if __name__ == "__main__":
    main()
