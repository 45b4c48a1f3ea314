"""What the forecaster reaches on two classic series and on synthetic ones, and its speed: into docs/forecasts.md.

    python -m benchmarks.forecasts [--seeds 10] [--only airline ...] [--no-write]

The airline's passengers come with aeon, the sunspots with statsmodels. The settings are the defaults; where they were
found stands in docs/forecasts.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import statsmodels.api as sm
import torch
from aeon.datasets import load_airline
from joblib import Parallel, delayed
from numpy.typing import NDArray

from glasslstm import LSTMForecaster
from glasslstm.data import Sequences
from glasslstm.forecasting.metrics import coverage, weighted_quantile_loss

PAGE = Path(__file__).parent.parent / "docs" / "forecasts.md"
START, END = "<!-- made by make forecasts: start -->", "<!-- end -->"
LEVELS = (0.1, 0.5, 0.9)


def main() -> None:
    """Measure what was asked for, and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10, help="random_state 0 to this, exclusive")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--no-write", action="store_true", help="leave docs/forecasts.md as it is")
    arguments = parser.parse_args()
    lines: list[str] = []
    for name in arguments.only:
        found = [*PARTS[name](arguments.seeds), ""]
        print(*found, sep="\n", flush=True)
        lines += found
    if not arguments.no_write:
        before, rest = PAGE.read_text().split(START)
        PAGE.write_text(before + "\n".join([START, "", *lines, END]) + rest.split(END)[1])


def airline(seeds: int) -> list[str]:
    """Return a table: the last 24 of 144 months from one origin."""
    y = np.asarray(load_airline(), np.float64)
    months = pd.date_range("1949-01", periods=len(y), freq="MS")
    return _classic(
        "Airline passengers, last 24 of 144 months from one origin", y, months, 24, 1, None, seeds
    )


def sunspots(seeds: int) -> list[str]:
    """Return a table: the last tenth of 309 years, one year ahead each."""
    y = sm.datasets.sunspots.load_pandas().data["SUNACTIVITY"].to_numpy()
    years = pd.date_range("1700", periods=len(y), freq="YS", unit="s")
    return _classic("Sunspots, last 31 of 309 years, one year ahead each", y, years, 1, 31, None, seeds)


def _classic(
    title: str,
    y: NDArray[np.float64],
    times: pd.DatetimeIndex,
    horizon: int,
    windows: int,
    season_length: int | None,
    seeds: int,
) -> list[str]:
    settings: dict[str, Any] = {"horizon": horizon, "season_length": season_length}
    tasks = [
        delayed(_backtested)(y, times.to_numpy(), windows, settings | {"random_state": seed})
        for seed in range(seeds)
    ]
    found = Parallel(-1)(tasks)
    rows = [
        f"**{title}**; {seeds} seeds, one thread a fit.",
        "",
        "| method | RMSE | MASE | MASE / seasonal naive | weighted quantile loss | share within 80 % interval |",
        "|---|---|---|---|---|---|",
    ]
    first = found[0][0]
    naive = dict(zip(first["method"], first["mase"], strict=True))["seasonal_naive"]
    for k, method in enumerate(first["method"]):
        figures = {
            name: [table[name][k] for table, _ in found]
            for name in ("rmse", "mase", "weighted_quantile_loss", "coverage_80")
        }
        cells = [
            _cell(figures["rmse"], 1),
            _cell(figures["mase"], 3),
            f"{fmean(figures['mase']) / naive:.3f}",
        ]
        cells += [_cell(figures["weighted_quantile_loss"], 4), _cell(figures["coverage_80"], 2)]
        rows.append(f"| {method} | " + " | ".join(cells) + " |")
    return [*rows, "", f"A fit took {fmean(seconds for _, seconds in found):.0f} s."]


def _backtested(
    y: NDArray[np.float64], times: NDArray[Any], windows: int, settings: dict[str, Any]
) -> tuple[Any, float]:
    torch.set_num_threads(1)
    series = Sequences.from_arrays([y[:, None]], times=[times])
    kept = len(y) - windows * settings["horizon"]
    start = perf_counter()
    model = LSTMForecaster(**settings, verbose=False)
    model.fit(Sequences.from_arrays([y[:kept, None]], times=[times[:kept]]))
    seconds = perf_counter() - start
    return model.backtest(series, windows).metrics(), seconds


def _cell(values: list[float], digits: int) -> str:
    spread = stdev(values) if len(values) > 1 else 0.0
    return f"{fmean(values):.{digits}f}" + (f" (sd {spread:.{digits}f})" if spread else "")


class Generated(NamedTuple):
    """Synthetic series, and what each is made of."""

    values: NDArray[np.float64]
    """(N, T), in units of each series."""
    expected: NDArray[np.float64]
    """Trend and seasons, (N, T), and..."""
    level: NDArray[np.float64]
    """...the sum of all level shifts so far, (N, T), and..."""
    noise: NDArray[np.float64]
    """...the standard deviation of the noise, (N,): all in units of..."""
    scale: NDArray[np.float64]
    """...the scale, (N,)."""


SEASONS, SHIFTS, SHIFT_SIZE = (7, 28), 1 / 400, 2.0


def generated(count: int, steps: int, seed: int) -> Generated:
    """Return series with a linear trend, seasons of 7 and 28 steps, level shifts at random, and normal noise.

    Of a season there are two harmonics, with normal weights of deviation 2 and 1. A step is a level shift with
    probability 1/400, of normal size with deviation 2. The noise has a deviation of 0.5 to 2 in each series.
    """
    draw = np.random.default_rng(seed)
    step = np.arange(steps)
    noise = np.exp(draw.uniform(np.log(0.5), np.log(2), count))
    scale = np.exp(draw.normal(0, 1, count))
    expected = draw.normal(0, 10, (count, 1)) + draw.normal(0, 0.01, (count, 1)) * step
    for season in SEASONS:
        for harmonic in (1, 2):
            sine, cosine = draw.normal(0, 2 / harmonic, (2, count, 1))
            angle = 2 * np.pi * harmonic * step / season
            expected = expected + sine * np.sin(angle) + cosine * np.cos(angle)
    shifts = (draw.random((count, steps)) < SHIFTS) * draw.normal(0, SHIFT_SIZE, (count, steps))
    level = shifts.cumsum(axis=1)
    values = expected + level + noise[:, None] * draw.normal(size=(count, steps))
    return Generated(values * scale[:, None], expected, level, noise, scale)


def true_quantiles(made: Generated, origin: int, horizon: int, draws: int = 1000) -> NDArray[np.float64]:
    """Return the generator's own quantiles of the steps after `origin`, (N, H, Q), which knows all but what is random.

    That is the noise, and the level shifts to come: drawn `draws` times.
    """
    draw = np.random.default_rng(1)
    found = np.empty((len(made.values), horizon, len(LEVELS)))
    for k, noise in enumerate(made.noise):
        size = (draws, horizon)
        shifts = (draw.random(size) < SHIFTS) * draw.normal(0, SHIFT_SIZE, size)
        known = made.expected[k, origin : origin + horizon] + made.level[k, origin - 1]
        paths = known + shifts.cumsum(axis=1) + noise * draw.normal(size=size)
        found[k] = made.scale[k] * np.quantile(paths, LEVELS, axis=0).T
    return found


def synthetic(seeds: int, count: int = 1000, steps: int = 400, horizon: int = 14) -> list[str]:
    """Return a table: a global model on synthetic series, beside the generator that made them."""
    seeds = min(seeds, 3)
    rows = [
        f"**{count} synthetic series of {steps} steps**, the last {horizon} forecast by one model; others each seed.",
        "",
        "| seed | weighted quantile loss | the generator's own | ratio | within 80 % interval | generator's | fit, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for seed in range(seeds):
        made, origin = generated(count, steps, seed), steps - horizon
        model = LSTMForecaster(
            horizon=horizon, season_length=max(SEASONS), quantiles=LEVELS, random_state=seed, verbose=False
        )
        start = perf_counter()
        model.fit([row[:origin, None] for row in made.values])
        seconds = perf_counter() - start
        truth, found = made.values[:, origin:], model.predict().quantiles
        assert found is not None
        own = true_quantiles(made, origin, horizon)
        losses = [weighted_quantile_loss(truth, answer, LEVELS) for answer in (found, own)]
        shares = [coverage(truth, answer[..., 0], answer[..., 2]) for answer in (found, own)]
        rows.append(
            f"| {seed} | {losses[0]:.4f} | {losses[1]:.4f} | {losses[0] / losses[1]:.3f} | {shares[0]:.3f} | "
            f"{shares[1]:.3f} | {seconds:.0f} |"
        )
    return rows


def many(seeds: int, count: int = 10_000, steps: int = 200, horizon: int = 24) -> list[str]:
    """Return what 10,000 series take: an epoch, the whole fit, and the forecasts."""
    made = generated(count, steps, seed=0)
    model = LSTMForecaster(horizon=horizon, season_length=7, max_updates=1, random_state=seeds, verbose=False)
    start = perf_counter()
    model.fit([row[:, None] for row in made.values])
    seconds = perf_counter() - start
    epoch = model.history_[0]["seconds"]
    start = perf_counter()
    found = model.predict()
    forecast = perf_counter() - start
    context = model.preparation_.context
    words = (
        f"**{count} series of {steps} steps**, {torch.get_num_threads()} threads: an epoch of windows of {context} + "
        f"{horizon} steps took {epoch:.0f} s of training, the fit of one epoch {seconds:.0f} s in all, and the "
        f"forecasts of {found.point.shape[1]} steps for {len(found)} series {forecast:.1f} s."
    )
    return [words]


PARTS: dict[str, Callable[[int], list[str]]] = {
    "airline": airline,
    "sunspots": sunspots,
    "synthetic": synthetic,
    "many": many,
}

if __name__ == "__main__":
    main()
