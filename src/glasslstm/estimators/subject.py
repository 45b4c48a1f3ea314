"""What an estimator says of itself to the report: its answers as what they are, and its inputs by their names."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glasslstm.data.sequences import Sequences
from glasslstm.estimators.front import ConvolutionalFront
from glasslstm.estimators.preparation import Preparation
from glasslstm.estimators.tasks import Classes, Labels, Quantiles
from glasslstm.insight.answers import Answers
from glasslstm.insight.explained import Explained, OneAnswer
from glasslstm.insight.subject import Subject

if TYPE_CHECKING:
    from glasslstm.estimators.base import LSTMEstimator

__all__ = ["subject_of"]

_IGNORED = -100  # the ignore_index of torch's losses


def subject_of(estimator: LSTMEstimator, series: Sequences, targets: NDArray[Any] | None) -> Subject:
    """Return what :func:`glasslstm.report` shows of an estimator: the series as they came, and all answers.

    `targets` are encoded for the task: of each series, or in step with the rows of the values.
    """
    return Subject(
        model=estimator.network_,
        series=list(series),
        answer=partial(estimator._answers, series),
        take=partial(_taken, estimator, series, targets),
        targets=targets,
        loss=None if targets is None else partial(_loss, estimator),
        channel_names=series.channel_names or getattr(estimator, "feature_names_in_", None),
        class_names=getattr(estimator, "classes_", np.array([])).tolist() or None,
        sequence_names=None if _numbered(series) else series.ids.tolist(),
        input_names=_input_names(estimator, series),
        stride=_stride(estimator.network_.front),
        answers=None if targets is None else partial(_answers, estimator, series, targets),
        explained=_explained(estimator, series),
        readable=partial(_readable, estimator.preparation_, series) if _prepared(estimator, series) else None,
        history=estimator.history_,
        best_epoch=estimator.best_epoch_,
        record=getattr(estimator, "record_", {}),
    )


def _input_names(estimator: LSTMEstimator, series: Sequences) -> list[str] | None:
    """Return what the LSTM reads is called; ``None``: it is the channels."""
    front = estimator.network_.front
    if front is not None:
        return [f"feature {k}" for k in range(front.filters)]
    return estimator.preparation_.input_names if _prepared(estimator, series) else None


def _prepared(estimator: LSTMEstimator, series: Sequences) -> bool:
    """Tell whether the network has other inputs than the channels."""
    return estimator.preparation_.inputs != series.channels


def _stride(front: ConvolutionalFront | None) -> int:
    """Return how many steps of a series there are for each that the LSTM reads."""
    blocks: Any = () if front is None else front.convolutions
    return math.prod(block.stride[0] for block in blocks)


def _numbered(series: Sequences) -> bool:
    return np.array_equal(series.ids, np.arange(len(series)))


def _taken(
    estimator: LSTMEstimator, series: Sequences, targets: NDArray[Any] | None, rows: NDArray[np.int64]
) -> tuple[Any, Any]:
    """Return what the network reads of some series, and their targets; those of the padding are -100 or NaN."""
    inputs = estimator._inputs(series, rows)
    if targets is None:
        return inputs, None
    if not estimator.per_step:
        return inputs, torch.from_numpy(targets[rows]).to(inputs[0].device)
    padded = series.pad_rows(targets, rows)
    padded[np.arange(len(padded))[:, None] >= series.lengths[rows]] = (
        np.nan if targets.dtype.kind == "f" else _IGNORED
    )
    return inputs, torch.from_numpy(padded).to(inputs[0].device)


def _loss(estimator: LSTMEstimator, answers: Tensor, targets: Tensor) -> Tensor:
    """Return the mean loss; of steps, without those of the padding."""
    if estimator.per_step:
        there = ~targets.isnan().any(-1) if targets.is_floating_point() else targets != _IGNORED
        answers, targets = answers[there], targets[there]
    return estimator.task_.losses(answers, targets).mean()


def _answers(estimator: LSTMEstimator, series: Sequences, targets: NDArray[Any]) -> Answers:
    """Return the answers as what the task says that they are."""
    found, task = estimator._answers(series).double(), estimator.task_
    rows, step = np.arange(len(series)), None
    if estimator.per_step:
        targets, rows = targets[series.rows()], np.repeat(rows, series.lengths)
        step = np.arange(len(rows)) - series.offsets[rows]
    place: dict[str, Any] = {"sequence": rows, "step": step, "batch_size": len(series)}
    if isinstance(task, Classes):
        return _of_classes(torch.softmax(found, 1), targets, "logits", **place)
    if isinstance(task, Labels):
        return _of_labels(found, targets, **place)
    if isinstance(task, Quantiles):
        place["quantiles"] = {q: found[..., k].numpy().ravel() for k, q in enumerate(task.quantiles)}
        found = found[..., _middle(task)]
    if targets.shape[1] > 1:
        place |= _several(task, series, targets)
    return Answers(
        task="numbers",
        true=targets.ravel(),
        predicted=found.numpy().ravel(),
        probability=None,
        names=(),
        loss_name="mean squared error",
        taken_as="numbers",
        **place,
    )


def _of_classes(probability: Tensor, true: NDArray[Any], taken_as: str, **place: Any) -> Answers:
    return Answers(
        task="classes",
        true=true,
        predicted=probability.argmax(1).numpy(),
        probability=probability.numpy(),
        names=tuple(map(str, range(probability.size(1)))),
        loss_name="cross-entropy",
        taken_as=taken_as,
        **place,
    )


def _of_labels(logits: Tensor, targets: NDArray[Any], **place: Any) -> Answers:
    """Return the answers on each label of each series: no, or yes."""
    N, K = logits.shape
    yes = torch.sigmoid(logits).ravel()
    place |= _each(N, K) | {"questions": tuple(map(str, range(K)))}
    both = torch.stack([1 - yes, yes], dim=1)
    answers = _of_classes(both, targets.ravel().astype(np.int64), "a logit of each label", **place)
    return replace(answers, names=("no", "yes"))


def _several(task: Any, series: Sequences, targets: NDArray[Any]) -> dict[str, Any]:
    """Say which target each answer is about; those of a horizon have one unit, others are measured by their scales."""
    N, M = targets.shape
    place = _each(N, M) | {"questions": _target_names(series, M)}
    return place if series.horizon else place | {"scale": np.tile(task.scale, N)}


def _each(count: int, questions: int) -> dict[str, Any]:
    sequence, question = np.divmod(np.arange(count * questions), questions)
    return {"sequence": sequence, "step": question, "of_steps": False}


def _target_names(series: Sequences, count: int) -> tuple[str, ...]:
    if len(series.target_names) == count:
        return series.target_names
    return tuple(f"{k + 1} ahead" if series.horizon else f"target {k}" for k in range(count))


def _middle(task: Quantiles) -> int:
    """Return the place of the median, or of the quantile next to it."""
    return int(np.abs(np.array(task.quantiles) - 0.5).argmin())


def _explained(estimator: LSTMEstimator, series: Sequences) -> Explained:
    """Say which number of an answer is explained."""
    task = estimator.task_
    if estimator.per_step:
        score = partial(OneAnswer, batch_axis=1, class_axis=2, several=True)
        if isinstance(task, Classes):
            return Explained(score, "the logit of the class that the last step is taken for", "logit")
        return Explained(score, "the number that the last step is given")
    if isinstance(task, Classes):
        return Explained(_default, "the logit of the class that a sequence is taken for", "logit")
    if isinstance(task, Labels):
        return Explained(_default, "the logit of the label that is most probable", "logit")
    names = _target_names(series, estimator.n_outputs_)
    which = f", {names[0]}" if len(names) > 1 else ""
    if isinstance(task, Quantiles):
        middle = _middle(task)
        words = f"the quantile {task.quantiles[middle]:g}{which}"
        return Explained(lambda _: lambda output: output[:, 0, middle], words)
    return Explained(lambda _: lambda output: output[:, 0], f"the number that is predicted{which}")


def _default(lengths: Tensor) -> None:
    """Leave it to :func:`glasslstm.explain`: the largest logit."""


def _readable(preparation: Preparation, series: Sequences) -> list[NDArray[Any]]:
    """Return what the network reads of each series, (T_i, inputs), but in the units in which the series came."""
    found: list[NDArray[Any]] = [np.empty(0)] * len(series)
    widths = [len(preparation.categories.get(k, ())) + 1 for k in range(len(preparation.mean))]
    flags = preparation.inputs - sum(widths)  # and what else is no column
    scale = np.append(np.repeat(preparation.scale, widths), np.ones(flags))
    mean = np.append(np.repeat(preparation.mean, widths), np.zeros(flags))
    for rows in series.batches(256, 65_536):
        x = preparation.batch(series, rows) * scale + mean
        for b, row in enumerate(rows):
            found[row] = x[: series.lengths[row], b]
    return found
