"""What a record kept, epoch by epoch: saturated gates, the length of the memory, the reach of the gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glasslstm._extras import require
from glasslstm.errors import ArgumentError
from glasslstm.insight.figures.style import NEUTRAL, labels, layout, line_style, whole_numbers

require("plotly", extra="report")

import plotly.graph_objects as go  # noqa: E402
from plotly.subplots import make_subplots  # noqa: E402

__all__ = ["record_gradient_reach", "record_half_life", "record_saturation"]


def record_saturation(
    table: Mapping[str, ArrayLike], *, module: str | None = None, training: str | None = None
) -> go.Figure:
    """Draw at how large a share of steps and units each gate is shut or open, epoch by epoch.

    Shut is below 0.1, open above 0.9: left- and right-saturated in the words of Karpathy, Johnson and Fei-Fei 2015,
    "Visualizing and understanding recurrent networks", section 4.2.

    Parameters
    ----------
    table
        The columns of :meth:`glasslstm.Record.table`, or ``LSTMClassifier.record_``.
    module
        The module to draw, by its name. Default: all. Of more than four layers and directions four are drawn, evenly
        chosen, and the figure says so.
    training
        Which training, where there are several, such as ``"search"``. Default: the last, whose model is kept.

    Raises
    ------
    ArgumentError
        For a table without the columns that are drawn, or with nothing in them that can be drawn, and for a module or a
        training that is not in it.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> record = gl.Record(torch.nn.LSTM(3, 4), torch.randn(20, 8, 3))
    >>> record.epoch(0)
    >>> [line.name for line in record_saturation(record.table()).data][:2]
    ['forget shut', 'forget open']
    """
    view = _view(table, list(_GATES), module, training)
    view.remarks.insert(0, "shut: below 0.1, open: above 0.9")
    figure = _panels(view, "Saturated gates", "share", legend_lines=3)
    for row, place in enumerate(view.places, start=1):
        for k, (column, name) in enumerate(_GATES.items()):
            line = _line(place, column, name, legendgroup=name, showlegend=row == 1, **line_style(k))
            figure.add_trace(line, row=row, col=1)
    return figure.update_yaxes(range=[-0.04, 1.04], dtick=0.5)


def record_half_life(
    table: Mapping[str, ArrayLike], *, module: str | None = None, training: str | None = None
) -> go.Figure:
    """Draw the half-life of the units, epoch by epoch: the median, in a band that leaves a tenth out at each end.

    The axis is logarithmic: what is infinite (a unit that forgets nothing) or zero has no place on it. The line has a
    gap there, the figure says so, and its numbers have it.

    Parameters and errors are those of :func:`record_saturation`.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> record = gl.Record(torch.nn.LSTM(3, 4), torch.randn(20, 8, 3))
    >>> record.epoch(0)
    >>> [line.name for line in record_half_life(record.table()).data]
    ['median', '10 % have at most', '90 % have at most']
    """
    view = _view(table, ["half_life_median", *_BAND], module, training, logarithmic=True)
    figure = _panels(view, "Half-life of the units", "steps", legend_lines=2)
    # All medians first: so the k-th place has the k-th colour here as in the other figures. The bands are grey.
    for k, place in enumerate(view.places):
        line = _line(place, "half_life_median", "median", showlegend=k == 0, zorder=1, **line_style(k))
        figure.add_trace(line, row=k + 1, col=1)
    for k, place in enumerate(view.places):
        whole = all(place.drawn[name].all() for name in _BAND)
        for column, (name, fill) in _BAND.items():
            look = _EDGE | {"fill": fill if whole else None}
            line = _line(place, column, name, legendgroup=name, showlegend=k == 0, **look)
            figure.add_trace(line, row=k + 1, col=1)
    return figure.update_yaxes(_decades(view))


def record_gradient_reach(
    table: Mapping[str, ArrayLike], *, module: str | None = None, training: str | None = None
) -> go.Figure:
    """Draw over how large a share of the sequence, back from its end, the gradient does not fade, epoch by epoch.

    It is the mean of :func:`glasslstm.insight.reach.gradient_reach` over the sequences, as a share of their lengths.
    Parameters and errors are those of :func:`record_saturation`.

    Examples
    --------
    >>> import torch, glasslstm as gl
    >>> record = gl.Record(torch.nn.LSTM(3, 4), torch.randn(20, 8, 3))
    >>> record.epoch(0)
    >>> record_gradient_reach(record.table()).data[0].y.tolist()
    [1.0]
    """
    view = _view(table, ["gradient_reach_share"], module, training)
    names = [place.label or "reach" for place in view.places]
    lines = len(names) if max(map(len, names)) > 16 else -(-len(names) // 2)
    figure = _panels(
        view,
        "Reach of the gradient",
        "share of the length",
        rows=1,
        legend_lines=lines if len(names) > 1 else 0,
    )
    for k, (place, name) in enumerate(zip(view.places, names, strict=True)):
        figure.add_trace(_line(place, "gradient_reach_share", name, **line_style(k)))
    return figure.update_yaxes(range=[-0.04, 1.04], dtick=0.25)


_GATES = {
    f"{gate}_gate_{side}": f"{gate} {word}"
    for gate in ("forget", "input", "output")
    for side, word in (("left", "shut"), ("right", "open"))
}
_BAND = {"half_life_10": ("10 % have at most", None), "half_life_90": ("90 % have at most", "tonexty")}
_EDGE = {
    "line": {"color": NEUTRAL, "width": 1},
    "marker": {"color": NEUTRAL, "size": 4},
    "fillcolor": "rgba(128, 138, 148, 0.25)",
}
_KEYS = ("module", "layer", "direction")
_PLACES = 4  # at most, of those that are drawn
_MARKED = 40  # epochs at most of which each has a mark; between gaps a mark may be all that shows


@dataclass(frozen=True)
class _Place:
    """One layer and direction of a module: its columns, a row an epoch, and which values have a place in the figure."""

    label: str
    columns: dict[str, NDArray[Any]]
    drawn: dict[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class _View:
    """The places to draw, and what there is to say about the choice."""

    places: list[_Place]
    remarks: list[str]

    @property
    def epochs(self) -> NDArray[Any]:
        return np.unique(np.concatenate([place.columns["epoch"] for place in self.places]))

    @property
    def values(self) -> NDArray[np.float64]:
        """Everything that is drawn."""
        return np.concatenate(
            [p.columns[name][drawn] for p in self.places for name, drawn in p.drawn.items()]
        )


def _view(
    table: Mapping[str, ArrayLike],
    names: Sequence[str],
    module: str | None,
    training: str | None,
    *,
    logarithmic: bool = False,
) -> _View:
    columns = _checked(table, [*_KEYS, "epoch", *names])
    trainings = list(dict.fromkeys(columns["training"].tolist()))
    columns = _only(columns, "training", trainings[-1] if training is None else training)
    columns = columns if module is None else _only(columns, "module", module)
    keys = list(dict.fromkeys(zip(*(columns[name].tolist() for name in _KEYS), strict=True)))
    kept = [keys[k] for k in np.unique(np.linspace(0, len(keys) - 1, min(_PLACES, len(keys))).astype(int))]
    places = [
        _place(columns, key, label, names, logarithmic)
        for key, label in zip(kept, _labels(kept), strict=True)
    ]
    gaps = sum(
        int((~drawn & ~np.isnan(p.columns[name])).sum()) for p in places for name, drawn in p.drawn.items()
    )
    remarks = {
        f"training: {labels([columns['training'][0]])[0]}": len(trainings) > 1,
        f"{len(kept)} of {len(keys)} layers and directions": len(kept) < len(keys),
        f"gaps: {gaps} values are infinite{' or zero' * logarithmic}": gaps > 0,
    }
    view = _View(places, [words for words, apply in remarks.items() if apply])
    if not len(view.values):
        raise ArgumentError(
            f"table: there is nothing to draw, every {names[0]!r} is missing or infinite{' or zero' * logarithmic}"
        )
    return view


def _checked(table: Mapping[str, ArrayLike], needed: Sequence[str]) -> dict[str, NDArray[Any]]:
    missing = [name for name in needed if name not in table]
    if missing or not len(np.asarray(table["epoch"])):
        raise ArgumentError(
            f"table: {f'there is no column {missing[0]!r}' if missing else 'there are no epochs'}; expected the "
            "columns of gl.Record.table(), or LSTMClassifier.record_"
        )
    columns = {name: np.asarray(table[name]) for name in needed}
    for name, values in columns.items():
        if len(values) != len(columns["epoch"]) or (name != "module" and values.dtype.kind not in "iuf"):
            raise ArgumentError(
                f"table: the column {name!r} has {len(values)} values of {values.dtype}; expected a number for each of "
                f"the {len(columns['epoch'])} rows"
            )
    one_training = np.full(len(columns["epoch"]), "training")
    return columns | {"training": np.asarray(table["training"]) if "training" in table else one_training}


def _only(columns: dict[str, NDArray[Any]], column: str, wanted: str) -> dict[str, NDArray[Any]]:
    rows = columns[column] == wanted
    if not rows.any():
        there = ", ".join(map(repr, dict.fromkeys(columns[column].tolist())))
        raise ArgumentError(f"{column}: got {wanted!r}; the table has {there}")
    return {name: values[rows] for name, values in columns.items()}


def _place(
    columns: dict[str, NDArray[Any]],
    key: tuple[Any, ...],
    label: str,
    names: Sequence[str],
    logarithmic: bool,
) -> _Place:
    rows = np.all([columns[name] == value for name, value in zip(_KEYS, key, strict=True)], axis=0)
    own = {name: values[rows] for name, values in columns.items()}
    drawn = {name: np.isfinite(own[name]) & ((own[name] > 0) | (not logarithmic)) for name in names}
    return _Place(label, own, drawn)


def _labels(keys: Sequence[tuple[Any, ...]]) -> list[str]:
    """Return for each place what tells it from the others; nothing where there is but one."""
    modules = list(dict.fromkeys(module for module, _, _ in keys))
    shown = dict(zip(modules, labels(module or "the model" for module in modules), strict=True))
    words = [(shown[module], f"layer {layer}", ("forward", "reverse")[way]) for module, layer, way in keys]
    telling = [k for k in range(len(_KEYS)) if len({word[k] for word in words}) > 1]
    return [", ".join(word[k] for k in telling) for word in words]


def _panels(view: _View, title: str, unit: str, *, legend_lines: int, rows: int | None = None) -> go.Figure:
    """Return an empty panel for each place, or so many, over one axis of epochs, with room for title and legend."""
    rows = rows or len(view.places)
    above = 44 + 24 * bool(view.remarks) + 15 * max(0, len(view.remarks) - 1) + 19 * legend_lines
    height = {1: 210, 2: 150}.get(rows, 120)
    figure = make_subplots(rows=rows, shared_xaxes=True, vertical_spacing=20 / (height * rows))
    look = layout(title, above + height * rows + 50, hovermode="x unified", showlegend=legend_lines > 0)
    look["title"]["subtitle"] = {"text": "<br>".join(view.remarks), "font": {"size": 12}}
    look["legend"]["tracegroupgap"] = 0
    look["margin"]["t"] = above
    figure.update_layout(look)
    first, last = view.epochs[[0, -1]]
    room = max(0.5, (last - first) / 50)
    figure.update_xaxes(whole_numbers(len(view.epochs)), range=[first - room, last + room])
    figure.update_xaxes(title={"text": "epoch"}, row=rows, col=1)
    for row, place in enumerate(view.places[:rows], start=1):
        where = place.label.replace(", layer", ",<br>layer") if rows > 1 else ""
        words = f"{unit},<br>{where}" if where else unit
        figure.update_yaxes(title={"text": words}, row=row, col=1)
    return figure


def _line(place: _Place, column: str, name: str, **look: Any) -> go.Scatter:
    """Return a line with gaps where a value cannot be drawn; the numbers of the figure have all values."""
    values, drawn = place.columns[column], place.drawn[column]
    return go.Scatter(
        x=place.columns["epoch"],
        y=np.where(drawn, values, np.nan),
        customdata=None if drawn.all() else values,
        meta=None if drawn.all() else {"numbers": "customdata"},
        name=name,
        mode="lines" if len(values) > _MARKED and drawn.all() else "lines+markers",
        hovertemplate="%{y:.4g}",
        **look,
    )


def _decades(view: _View) -> dict[str, Any]:
    """Return a logarithmic axis with a few ticks, between the powers of ten too where there are few of these."""
    low, high = np.log10([view.values.min(), view.values.max()])
    room = max(0.1, 0.05 * (high - low))
    ticks = max(1, round((high - low) / 4)) if high - low > 1.5 else "D2"
    return {"type": "log", "range": [low - room, high + room], "dtick": ticks}
