"""How far to trust an explanation: the agreement of the methods, and the test by deletion."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from glasslstm._extras import require
from glasslstm.errors import ArgumentError
from glasslstm.insight.explain import Explanation
from glasslstm.insight.figures.style import NEUTRAL, layout, names_axis
from glasslstm.insight.figures.timeline import steps_of

require("plotly", extra="report")
require("scipy", extra="report")

import plotly.graph_objects as go  # noqa: E402
from scipy import stats  # noqa: E402

__all__ = ["agreement", "deletion", "method_name", "to_numpy", "trust"]


def agreement(found: Explanation, sequence: int | None = None) -> go.Figure:
    """Draw how far each pair of methods agrees on which steps matter.

    Parameters
    ----------
    found
        What :func:`glasslstm.explain` returned, with two methods or more.
    sequence
        The sequence to set beside the mean over all. Default: none.

    Returns
    -------
    plotly.graph_objects.Figure
        The first trace is the mean rank agreement of each pair over the sequences that have one, `x`, with its standard
        error; the second, where a sequence is given, that of the sequence, NaN where it has none.

    Raises
    ------
    ArgumentError
        For a single method, a sequence that is not there, and where no sequence has an agreement.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> model, x = torch.nn.LSTM(3, 4), torch.randn(5, 2, 3)
    >>> found = gl.explain(model, x, lambda output: output[0][-1].sum(-1))
    >>> agreement(found).data[0].y
    ('memory and occlusion', 'memory and integrated gradients', 'occlusion and integrated gradients')
    """
    if not found.agreement:
        raise ArgumentError("agreement: there is only one method, so there is none that it could agree with")
    if sequence is not None:
        steps_of(found.valid.cpu().numpy(), sequence)
    by_pair = {
        " and ".join(map(method_name, pair)): to_numpy(ranks) for pair, ranks in found.agreement.items()
    }
    means = {pair: _mean(ranks) for pair, ranks in by_pair.items()}
    if not np.isfinite([mean for mean, _ in means.values()]).any():
        raise ArgumentError(
            "agreement: no sequence has two steps or more with scores that differ, so there are no ranks to compare"
        )
    traces = [_dots(means, "mean", 0)]
    if sequence is not None:
        own = {pair: (float(ranks[sequence]), float("nan")) for pair, ranks in by_pair.items()}
        traces.append(_dots(own, "this sequence", 1))
    figure = _rows_of_dots(
        "How far the methods agree", traces, "rank agreement (1: the same order)", "methods"
    )
    return figure.update_xaxes(range=[-1.08, 1.08], tickvals=[-1, -0.5, 0, 0.5, 1])


def deletion(found: Explanation, *, unit: str = "logit") -> go.Figure:
    """Draw by how much the score drops without the steps that each method names, and without as many at random.

    Parameters
    ----------
    found
        What :func:`glasslstm.explain` returned.
    unit
        What the score is measured in. Default: "logit".

    Returns
    -------
    plotly.graph_objects.Figure
        The first trace is the mean drop of each method over the sequences, `x`, with its standard error; the second
        that of steps drawn at random, at which a dashed line stands.

    Raises
    ------
    ArgumentError
        Where no sequence has a step.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> model, x = torch.nn.LSTM(3, 4), torch.randn(5, 2, 3)
    >>> found = gl.explain(model, x, lambda output: output[0][-1].sum(-1), methods="occlusion")
    >>> [dots.y for dots in deletion(found).data]
    [('occlusion',), ('random steps',)]
    """
    counts = found.deletion.k[found.deletion.k > 0]
    if not len(counts):
        raise ArgumentError("deletion: no sequence has a step, so there is nothing to take away")
    drops = {method_name(method): found.deletion.mean(method) for method in found.scores}
    chance = found.deletion.mean("random")
    traces = [
        _dots(drops, "steps the method names", 0),
        _dots({"random steps": chance}, "steps drawn at random", 1),
    ]
    figure = _rows_of_dots(
        "Without the steps that each method names", traces, f"drop of the score ({unit})", "method"
    )
    if np.isfinite(chance[0]):
        figure.add_vline(chance[0], line={"color": NEUTRAL, "dash": "dash", "width": 1})
    return figure.update_xaxes(rangemode="tozero", nticks=6).update_layout(showlegend=False)


def _mean(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean of the finite values and its standard error, NaN where there are too few."""
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return (float(known[0]) if len(known) else float("nan")), float("nan")
    return float(known.mean()), float(stats.sem(known))


def _dots(rows: Mapping[str, tuple[float, float]], name: str, k: int) -> go.Scatter:
    means, errors = zip(*rows.values(), strict=True)
    return go.Scatter(
        x=means,
        y=[*rows],
        error_x={"array": errors, "thickness": 1.5, "width": 4},
        name=name,
        mode="markers",
        marker={"symbol": ("circle", "diamond-open")[k], "size": 10},
        hovertemplate="%{y}: %{x:.3g}<extra></extra>",
    )


def _rows_of_dots(title: str, traces: Sequence[go.Scatter], x_title: str, y_title: str) -> go.Figure:
    """Return a row for each name, the first on top; a long name is broken into lines."""
    names = list(dict.fromkeys(name for trace in traces for name in trace.y))
    ticks = {"tickvals": names, "ticktext": ["<br>".join(textwrap.wrap(name, 14)) for name in names]}
    options = layout(
        title,
        130 + 44 * len(names),
        xaxis={"title": {"text": x_title}, "zeroline": True, "zerolinecolor": NEUTRAL},
        yaxis=names_axis(y_title) | {"showgrid": True, **ticks},
    )
    return go.Figure([*traces], options)


_CONFIDENCE = 0.95
_AGREE, _DISAGREE = 0.6, 0.3


def trust(found: Explanation) -> str:
    """Say in one or two sentences how far an explanation is to be believed.

    A method stands the test if the score drops by more without the steps that it names than without random ones: the
    mean difference over the sequences is above zero by more than Student's 95 % interval. Agreement is the mean rank
    agreement of the methods that do: from 0.6 they agree, below 0.3 they do not.

    Parameters
    ----------
    found
        What :func:`glasslstm.explain` returned.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> model, x = torch.nn.LSTM(3, 4), torch.randn(5, 1, 3)
    >>> trust(gl.explain(model, x, lambda output: output[0][-1].sum(-1)))
    'One sequence is too few to test the methods against chance: give more before you believe the picture.'
    """
    sequences = int((found.deletion.k > 0).sum())
    if sequences < 2:
        count = "One sequence is" if sequences else "No sequence has a step, which is"
        return (
            f"{count} too few to test the methods against chance: give more before you believe the picture."
        )
    largest = max(abs(found.deletion.mean(method)[0]) for method in found.scores)
    spread = float(to_numpy(found.score).std())
    if largest < _NOTHING * spread:
        return (
            f"Without the steps that matter most the score changes by {largest:.2g}, and it differs by "
            f"{spread:.2g} (SD) between sequences: no few steps matter, and there is little to explain."
        )
    passed = [method for method in found.scores if _beats_chance(found, method)]
    failed = [method for method in found.scores if method not in passed]
    return f"{_test(found, passed or failed)}{_verdict(found, passed, failed)}"


_NOTHING = 0.02  # of the spread of the score over sequences


def _beats_chance(found: Explanation, method: str) -> bool:
    drops = found.deletion.drops
    gain = to_numpy(drops[method] - drops["random"])[(found.deletion.k > 0).cpu().numpy()]
    mean, error = _mean(gain)
    half = stats.t.ppf((1 + _CONFIDENCE) / 2, np.isfinite(gain).sum() - 1) * error
    return bool(mean > half and found.deletion.mean(method)[0] > 0)  # not where any is NaN


def _test(found: Explanation, methods: Sequence[str]) -> str:
    drops = _list([f"{found.deletion.mean(method)[0]:.2g}" for method in methods])
    verb = "names" if len(methods) == 1 else "name"
    return (
        f"Without the steps that {_list(map(method_name, methods))} {verb}, the score drops by {drops}; "
        f"without random steps by {found.deletion.mean('random')[0]:.2g}. "
    )


def _verdict(found: Explanation, passed: Sequence[str], failed: Sequence[str]) -> str:
    if not passed:
        return "That is no clear difference: do not believe the picture."
    aside = (
        f"Leave {_list(map(method_name, failed))} aside, not clearly better than random steps; "
        if failed
        else ""
    )
    if len(passed) == 1:
        alone = f"{method_name(passed[0])} stands the test, with no other method to confirm it."
        return aside + (alone if aside else alone[0].upper() + alone[1:])
    pairs = [ranks for pair, ranks in found.agreement.items() if set(pair) <= set(passed)]
    mean = float(np.mean([_mean(to_numpy(ranks))[0] for ranks in pairs]))
    who = "the others" if failed else "The methods"
    if np.isnan(mean):
        return f"{aside}{who} stand the test, but there is no rank agreement to compare them by."
    if mean >= _AGREE:
        return f"{aside}{who} agree (rank agreement {mean:.2f}): what several of them name is worth a look."
    if mean >= _DISAGREE:
        return f"{aside}{who} agree in part (rank agreement {mean:.2f}): believe the steps that several of them name."
    return (
        f"{aside}{who} rank the steps differently (rank agreement {mean:.2f}), as they do where most steps matter "
        "little: believe only the steps that stand out in several of them."
    )


def _list(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def to_numpy(values: Tensor) -> NDArray[np.float64]:
    """Return the numbers in float64, on the CPU."""
    array: NDArray[np.float64] = values.detach().double().cpu().numpy()
    return array


def method_name(method: str) -> str:
    """Return what a figure calls a method."""
    return method.replace("_", " ")
