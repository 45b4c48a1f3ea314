"""A record over training: after each epoch, how every LSTM of a model gates, remembers and learns."""

from __future__ import annotations

import csv
import math
import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from glasslstm._extras import require
from glasslstm._files import check_writable, written_whole
from glasslstm.errors import ArgumentError, ArgumentTypeError
from glasslstm.insight.case import Case, Entry, Loss, check_loss
from glasslstm.insight.memory import half_life, saturation
from glasslstm.insight.reach import FADED, gradient_reach
from glasslstm.insight.running import undisturbed
from glasslstm.insight.watch import watch

__all__ = ["FADED", "PERCENTS", "Record", "Row", "gradient_reach", "table"]

PERCENTS = {"half_life_10": 10, "half_life_median": 50, "half_life_90": 90}
"""The quantiles of the half-life over the units, by the names of their columns."""

Row: TypeAlias = dict[str, Any]
"""One layer and direction after one epoch: text and numbers."""


class Record:
    """Keep, epoch by epoch, how every LSTM inside a model gates, how long it remembers and how far it can learn back.

    Each :meth:`epoch` runs the model once on a probe batch, forward and backward, in ``eval()``, and leaves it as it
    was: weights, gradients, buffers, mode and random numbers. A training gives the same weights with it and without.
    Numbers alone are kept: a few for each epoch, layer and direction.

    Parameters
    ----------
    model
        Any module with an LSTM or LSTMCell of glasslstm's or torch's in it.
    inputs
        The probe: a batch as the model takes it, its one argument, a tuple of arguments, or a mapping of keyword
        arguments. Some tens of typical sequences, the same ones throughout, best of a validation part.
    targets, loss
        ``loss(model(inputs), targets)`` -> a tensor with one number, whose gradient is looked at. Without them the
        sum of the output's squares stands for the loss.
    modules
        Which LSTMs, by name, as for :func:`glasslstm.watch`. Default: all.
    writer
        A ``torch.utils.tensorboard.SummaryWriter``, or the folder for one: every number goes there too. Default: none.

    Attributes
    ----------
    rows
        One dict of text and numbers for each epoch, module, layer and direction. Put it into a checkpoint, and set it
        to go on from there.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        For a model without an LSTM or a compiled one, names that fit none, targets without a loss or the reverse, a
        writer that is none, a folder that cannot be written to.
    MissingExtraError
        For a folder where TensorBoard is not installed.

    Notes
    -----
    The columns of :meth:`table`; a module that is called more than once in a run counts by its longest call.

    - ``epoch``, ``module``, ``layer``, ``direction``: 0 reads forward, 1 backward.
    - ``input_gate_left``, ``input_gate_right``, and so for ``forget_gate`` and ``output_gate``: the share of steps and
      units at which the gate is left-saturated, below 0.1, or right-saturated, above 0.9 [1]_.
    - ``half_life_10``, ``half_life_median``, ``half_life_90``: the steps after which half of what stood in a unit is
      left (:func:`~glasslstm.insight.memory.half_life`); a tenth, half and nine tenths of the units have no more.
      Infinite where so many forget nothing.
    - ``gradient_reach``, ``gradient_reach_share``: the steps back over which dL/dc_t does not fade
      (:func:`~glasslstm.insight.reach.gradient_reach`), and their share of the length: means over the sequences. NaN
      where no gradient was computed, as in a frozen model.
    - What was passed to :meth:`epoch`, the same in all rows of the epoch; NaN in epochs without it.

    References
    ----------
    .. [1] Karpathy, Johnson and Fei-Fei 2015, "Visualizing and understanding recurrent networks", section 4.2.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.LSTM(3, 4)
    >>> optimizer = torch.optim.Adam(model.parameters())
    >>> record = Record(model, inputs=torch.randn(20, 8, 3))
    >>> record.epoch(0)  # before training
    >>> for _ in range(2):
    ...     loss = model(torch.randn(20, 8, 3))[0].square().mean()
    ...     optimizer.zero_grad()
    ...     loss.backward()
    ...     optimizer.step()
    ...     record.epoch(train_loss=loss)
    >>> len(record), record.last[0]["epoch"]
    (3, 2)
    >>> columns = record.table()  # pandas.DataFrame, polars.DataFrame and pyarrow.table take it as it is
    >>> columns["epoch"], columns["gradient_reach"].shape
    (array([0, 1, 2]), (3,))
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Any,
        targets: Any = None,
        loss: Loss | None = None,
        *,
        modules: str | Sequence[str] | None = None,
        writer: Any = None,
    ) -> None:
        self._names = watch(model, modules=modules).names
        check_loss(targets, loss)
        self._model, self._probe = model, (inputs, targets, loss)
        self._writer = self._opened(writer) if isinstance(writer, (str, os.PathLike)) else writer
        if writer is not None and not hasattr(self._writer, "add_scalar"):
            raise ArgumentTypeError(
                "writer: expected a torch.utils.tensorboard.SummaryWriter, or the name of a folder; got "
                f"{type(writer).__name__}"
            )
        self.rows: list[Row] = []

    def epoch(self, number: int | None = None, /, **scalars: Any) -> None:
        """Look at the model as it is now, and keep what there is to see.

        Parameters
        ----------
        number
            Which epoch, above the last one. Default: one above it, and 1 at first.
        **scalars
            What else to keep of this epoch, under its name, such as ``train_loss=0.3``: numbers.

        Raises
        ------
        ArgumentError, ArgumentTypeError
            For a number that is not above the last, something that is no number or has the name of a column, and
            inputs that the model refuses or with which it calls none of the LSTMs.
        """
        number = self._following(number)
        beside = {name: _number(name, value) for name, value in scalars.items()}
        with undisturbed(self._model):
            entries = Case(self._model, *self._probe).entries
            rows = [_row(number, entry) for entry in entries if entry.module in self._names]
        if not rows:
            raise ArgumentError(
                f"inputs: with these the model calls none of {', '.join(map(repr, self._names))}; give others, or "
                "other modules="
            )
        taken = [name for name in beside if name in rows[0]]
        if taken:
            raise ArgumentError(f"{taken[0]}: is a column of the record itself; choose another name")
        self.rows += [row | beside for row in rows]
        self._write(number, rows, beside)

    @property
    def last(self) -> list[Row]:
        """The rows of the last epoch: one dict for each module, layer and direction."""
        return [row for row in self.rows if row["epoch"] == self.rows[-1]["epoch"]]

    def table(self) -> dict[str, NDArray[Any]]:
        """Return the columns of a long table; see Notes above."""
        return table(self.rows)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the table to a CSV file, whole or not at all; what is NaN is an empty field."""
        with written_whole(Path(path)) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(self.table()))
            writer.writeheader()
            for row in self.rows:
                writer.writerow(
                    {name: row[name] for name in row if row[name] == row[name]}
                )  # NaN alone differs

    def __len__(self) -> int:
        """Return the number of epochs."""
        return len({row["epoch"] for row in self.rows})

    def __bool__(self) -> bool:
        return True  # also before the first epoch

    def __repr__(self) -> str:
        return f"Record({len(self)} epochs of {', '.join(map(repr, self._names))})"

    def _opened(self, folder: str | os.PathLike[str]) -> Any:
        """Make a writer, which is closed when the record is gone."""
        check_writable(Path(folder) / "events")
        require("tensorboard", extra="tensorboard")
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - it needs an extra

        writer = SummaryWriter(os.fspath(folder))
        weakref.finalize(self, writer.close)
        return writer

    def _following(self, number: int | None) -> int:
        last = self.rows[-1]["epoch"] if self.rows else None
        if number is None:
            return 1 if last is None else int(last) + 1
        if isinstance(number, bool) or not isinstance(number, int):
            raise ArgumentTypeError(f"number: expected an int, got {number!r}; give scalars by their names")
        if last is not None and number <= last:
            raise ArgumentError(f"number: expected an epoch after the last one, {last}; got {number}")
        return number

    def _write(self, number: int, rows: Sequence[Row], beside: Row) -> None:
        """Send the numbers to TensorBoard; there is no place for one that is none."""
        if self._writer is None:
            return
        scalars = dict(beside)
        for row in rows:
            own = dict(row)
            _, module, layer, direction = (own.pop(name) for name in _PLACE)
            place = f"{module or type(self._model).__name__}/l{layer}{'_reverse' if direction else ''}"
            scalars |= {f"{place}/{name}": value for name, value in own.items()}
        for name, value in scalars.items():
            if not math.isnan(value):
                self._writer.add_scalar(name, value, number)
        self._writer.flush()


def table(rows: Sequence[Row]) -> dict[str, NDArray[Any]]:
    """Return the columns of `rows`, with NaN where a row lacks one.

    Examples
    --------
    >>> table([{"epoch": 1}, {"epoch": 2, "loss": 0.5}])
    {'epoch': array([1, 2]), 'loss': array([nan, 0.5])}
    """
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([row.get(name, math.nan) for row in rows]) for name in names}


_PLACE = ("epoch", "module", "layer", "direction")


def _row(number: int, entry: Entry) -> Row:
    gates = entry.gates
    row: Row = dict(zip(_PLACE, (number, entry.module, entry.layer, entry.direction), strict=True))
    for name, shares in saturation(gates).items():
        row |= {f"{name}_left": float(shares.left.mean()), f"{name}_right": float(shares.right.mean())}
    lives = half_life(gates)
    row |= {name: _quantile(lives, percent) for name, percent in PERCENTS.items()}
    reach = gradient_reach(gates)
    share = reach / gates.valid.sum(0)
    return row | {"gradient_reach": float(reach.nanmean()), "gradient_reach_share": float(share.nanmean())}


def _quantile(values: Tensor, percent: int) -> float:
    """Return the smallest value that is not exceeded by `percent` of them: one of them, also beside infinite ones."""
    return float(values.kthvalue(math.ceil(percent * len(values) / 100)).values)


def _number(name: str, value: Any) -> float:
    try:
        return float(value.detach() if isinstance(value, Tensor) else value)
    except (TypeError, ValueError, RuntimeError):
        raise ArgumentTypeError(f"{name}: expected one number, got {type(value).__name__}") from None
