"""One offline page that tells what the LSTMs in a model do, whether the model is any good, and what to change."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from glasslstm._files import check_writable, written_whole
from glasslstm.errors import ArgumentError, ArgumentTypeError
from glasslstm.insight.case import Loss, check_loss
from glasslstm.insight.names import told_apart
from glasslstm.insight.report.look import Look
from glasslstm.insight.report.render import rendered
from glasslstm.insight.subject import Subject, subject_of

__all__ = ["report"]


def report(
    model: Any,
    inputs: Any,
    targets: Any = None,
    loss: Loss | None = None,
    *,
    path: str | os.PathLike[str] = "report.html",
    title: str | None = None,
    names: Sequence[str] | None = None,
    train: tuple[Any, Any] | None = None,
    groups: Mapping[str, Sequence[Any]] | None = None,
    record: Any = None,
    channel_names: Sequence[Any] | None = None,
    class_names: Sequence[Any] | None = None,
    sequence_names: Sequence[Any] | None = None,
) -> Path:
    """Write a page about a model: findings, memory, gates, explanations, failures, baselines, training.

    The page is one HTML file of at most 8 MB that opens in any browser and loads nothing. What cannot be shown it says,
    with the reason. The model is left as it was.

    Parameters
    ----------
    model
        Any module with an LSTM in it, or a fitted estimator of this library; or a list of these, to compare: the first
        two are shown side by side, and the scores of all.
    inputs, targets, loss
        As for :func:`glasslstm.diagnose`; for an estimator X and y. Default of `loss`: what the targets ask for, that
        is cross-entropy for classes and the mean squared error for numbers.
    path
        The file. Default: ``"report.html"``; one that is there is replaced.
    title
        The heading. Default: one made of the models' names.
    names
        A name for each model.
    train
        The data that the model was trained on, as `inputs` and `targets`: the baselines are fitted to them. Default:
        they are cross-validated on what the page is about.
    groups
        By name the group of each sequence, (N,), text or numbers, to look for those on which the model fails.
    record
        A :class:`glasslstm.Record` of the training, or its table; of several models a list. Default: what the estimator
        has kept.
    channel_names, class_names, sequence_names
        What they are called. Default: an estimator's own; otherwise numbers.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        For a path that cannot be written, and as :func:`glasslstm.diagnose`; before anything is written.
    MissingExtraError
        Where plotly or scikit-learn are not installed.

    Examples
    --------
    >>> import tempfile, torch, glasslstm as gl
    >>> class Model(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.lstm, self.head = gl.LSTM(3, 4), torch.nn.Linear(4, 2)
    ...     def forward(self, x):
    ...         return self.head(self.lstm(x)[1][0][-1])
    >>> x, y = torch.randn(6, 20, 3), torch.arange(20) % 2
    >>> report(Model(), x, y, path=tempfile.mkdtemp() + "/report.html").name
    'report.html'
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ArgumentTypeError(f"path: expected the name of a file, got {type(path).__name__}")
    path = Path(path)
    check_writable(path)
    if path.is_dir():
        raise ArgumentError(f"path: got the folder {path}; expected a file, such as {path / 'report.html'}")
    if not isinstance(model, (list, tuple)):
        model = [model]
    if isinstance(model[0] if model else None, nn.Module) and loss is not None:
        check_loss(targets, loss)
    called = _names(names, model)
    subjects = [
        _with_names(
            replace(subject_of(one, inputs, targets, loss), name=name),
            channel_names=channel_names,
            class_names=class_names,
            sequence_names=sequence_names,
        )
        for one, name in zip(model, called, strict=True)
    ]
    subjects = [replace(one, **_recorded(record, k, len(model))) for k, one in enumerate(subjects)]
    counts = {len(one) for one in subjects}
    if len(counts) > 1:
        raise ArgumentError(
            f"model: the models read {' and '.join(map(str, sorted(counts)))} sequences in these inputs; expected as "
            "many of all: look at batch_first"
        )
    fitted_on = None if train is None else subject_of(model[0], *_pair(train))
    first = Look(subjects[0], fitted_on, _checked(groups, len(subjects[0])))
    looks = [first, *(Look(one, fitted_on, first.groups, like=first) for one in subjects[1:])]
    if class_names is not None and targets is not None:
        _check_class_names(first)
    content = rendered(looks, title)
    with written_whole(path) as partial:
        partial.write_text(content, "utf-8")
    return path


def _names(names: Sequence[str] | None, models: Sequence[Any]) -> list[str]:
    if not models:
        raise ArgumentError("model: got an empty list; expected one model or more")
    if names is None:
        kinds = [type(one).__name__ for one in models]
        return kinds if len(kinds) == 1 else [f"{k + 1}: {kind}" for k, kind in enumerate(kinds)]
    if not _is_list(names) or len(names) != len(models):
        raise ArgumentError(f"names: expected one for each of the {len(models)} models, got {names!r}")
    return told_apart(str(name)[:_LONGEST] for name in names)


_LONGEST = 60  # letters of a name


def _is_list(value: Any) -> bool:
    return isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, (str, bytes))


def _pair(train: Any) -> tuple[Any, Any]:
    if not isinstance(train, (tuple, list)) or len(train) != 2:
        raise ArgumentError(
            f"train: expected the inputs and the targets of the training data, (x, y); got {type(train).__name__}"
        )
    return train[0], train[1]


def _with_names(subject: Subject, **names: Sequence[Any] | None) -> Subject:
    """Take over the names that were given, each checked against what it names."""
    for role, found in names.items():
        if found is not None and not _is_list(found):
            raise ArgumentTypeError(f"{role}: expected a list of names, got {type(found).__name__}")
    given = {
        role: [str(name)[:_LONGEST] for name in found] for role, found in names.items() if found is not None
    }
    counts = {"channel_names": subject.series[0].shape[1], "sequence_names": len(subject)}
    for role, count in counts.items():
        if role in given and len(given[role]) != count:
            raise ArgumentError(f"{role}: expected {count} names, got {len(given[role])}")
    return replace(subject, **given)  # type: ignore[arg-type]


def _check_class_names(look: Look) -> None:
    try:
        _ = look.answers
    except ArgumentError as error:
        if str(error).startswith("class_names"):
            raise


def _recorded(record: Any, k: int, count: int) -> dict[str, Any]:
    if record is None:
        return {}
    records = record if isinstance(record, (list, tuple)) else [record]
    if len(records) != count:
        raise ArgumentError(f"record: expected one for each of the {count} models, got {len(records)}")
    found = records[k].table() if hasattr(records[k], "table") else records[k]
    if not isinstance(found, (Mapping, type(None))):
        raise ArgumentTypeError(
            f"record: expected a glasslstm.Record or its table, got {type(found).__name__}"
        )
    return {"record": dict(found or {})}


def _checked(groups: Mapping[str, Sequence[Any]] | None, count: int) -> dict[str, Sequence[Any]]:
    if groups is not None and not isinstance(groups, Mapping):
        raise ArgumentTypeError(
            f"groups: expected a mapping of names to the values of the sequences, got {type(groups).__name__}"
        )
    found: dict[str, Sequence[Any]] = {}
    for name, values in (groups or {}).items():
        found[str(name)] = (
            list(values) if isinstance(values, Iterable) and not isinstance(values, str) else []
        )
        if len(found[str(name)]) != count or any(np.ndim(value) for value in found[str(name)]):
            raise ArgumentError(
                f"groups: {name!r} has {len(found[str(name)])} values; expected one for each of the {count} sequences"
            )
    return found
