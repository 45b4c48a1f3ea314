"""What values are forecast as: themselves, or their square roots or logarithms, which steady the spread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["TRANSFORMS", "Transform", "found_transform"]

Array = NDArray[np.float64]


class Transform(NamedTuple):
    """A rising function of a value, and the way back."""

    allowed: str
    """Which values it takes, in words..."""
    takes: Callable[[Array], NDArray[np.bool_]]
    """...and whether it takes each."""
    forward: Callable[[Array], Array]
    back: Callable[[Array], Array]
    power: float
    """Where the spread of the values grows as their level to one less this, it makes the spread the same everywhere."""


TRANSFORMS = {
    "none": Transform("any number", np.isfinite, np.asarray, np.asarray, 1.0),
    "sqrt": Transform("0 or more", lambda y: y >= 0, np.sqrt, lambda z: np.square(np.maximum(z, 0.0)), 0.5),
    "log1p": Transform("0 or more", lambda y: y >= 0, np.log1p, lambda z: np.maximum(np.expm1(z), 0.0), 0.0),
    "log": Transform("above 0", lambda y: y > 0, np.log, np.exp, 0.0),
}
"""By name. Each is the Box-Cox transform of a power, but for a factor and a shift; log1p is the one of counts."""


def found_transform(histories: Iterable[NDArray[np.floating]], season_length: int) -> str:
    """Return the name of the transform after which the spread of some series depends least on their level.

    Each series is cut into stretches of a season, four steps at least; of each stretch the spread s and the level m are
    measured. A power p suits where s / m^(1 - p) varies least (Guerrero 1993, "Time-series analysis supported by power
    transformations", J. Forecasting 12, eq. 5). Each series has one vote; of equals the plainer transform wins. Only
    whole numbers are forecast as log1p, and counts, whole numbers with a zero among them, always as one of the two that
    keep forecasts at 0 or more.

    Parameters
    ----------
    histories
        The values of each series, (T_i,); NaN is missing.
    season_length
        Steps of a season.

    Examples
    --------
    >>> month = np.arange(120)
    >>> found_transform([np.exp(0.02 * month + 0.3 * np.sin(month * np.pi / 6))], 12)
    'log'
    >>> found_transform([5 + np.sin(month * np.pi / 6)], 12)
    'none'
    """
    known = [values[np.isfinite(values)].astype(np.float64) for values in histories]
    everything = np.concatenate([np.empty(0), *known])
    whole = bool((everything == np.round(everything)).all())
    counts = whole and not everything.min(initial=1.0)  # with a zero among them, and so hardly negative ever
    wrong = {"none": counts, "log1p": not whole or "log" in _taken(everything)}
    fit = [name for name in _taken(everything) if not wrong.get(name)]
    powers = np.array([TRANSFORMS[name].power for name in fit])
    votes = np.zeros(len(fit))
    for values in known if len(fit) > 1 else ():
        variation = _variation(values, max(season_length, 4), powers)
        if variation is not None:
            votes[np.flatnonzero(variation <= variation.min() * (1 + 1e-9))[0]] += 1
    return fit[int(votes.argmax())]


def _taken(values: Array) -> list[str]:
    """Return the names of the transforms that take all values."""
    return [name for name, one in TRANSFORMS.items() if one.takes(values).all()]


def _variation(values: Array, length: int, powers: Array) -> Array | None:
    """Return how much s / m^(1 - p) varies over a series for each power, (P,); ``None`` if that cannot be said."""
    stretches = values[len(values) % length :].reshape(-1, length)
    level, spread = stretches.mean(1), stretches.std(1, ddof=1)
    useful = (level > 0) & (spread > 0)
    if useful.sum() < 2:
        return None
    ratio = spread[useful, None] / level[useful, None] ** (1 - powers)
    variation: Array = ratio.std(0, ddof=1) / ratio.mean(0)
    return variation
