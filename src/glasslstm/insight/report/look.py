"""Everything that is computed for a page about one model, each part once and only when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from glasslstm.errors import ArgumentError, GlassLSTMError
from glasslstm.insight.answers import Answers, answers_of, default_loss
from glasslstm.insight.baselines import Baseline, baselines
from glasslstm.insight.case import Case, Entry, Loss, entries_of, longest
from glasslstm.insight.diagnose import examine
from glasslstm.insight.explain import Explanation, explain
from glasslstm.insight.explained import OneAnswer
from glasslstm.insight.findings import Diagnosis
from glasslstm.insight.reach import score_by_lag
from glasslstm.insight.reading import layout_of
from glasslstm.insight.running import first_tensor, run, undisturbed
from glasslstm.insight.subject import Rows, Subject
from glasslstm.insight.summary import MemorySummary
from glasslstm.insight.watch import watch
from glasslstm.nn.trace import Trace

__all__ = ["Look"]

_DIAGNOSED = 64
_EXPLAINED = 32
_SHOWN = 12
_WORST = 4


class Look:
    """A look at one model.

    Attributes
    ----------
    subject
        What is looked at.
    loss
        The loss, given or chosen by what the targets are; ``None`` where there is none.
    loss_fails
        Whether the loss cannot be computed on some of the sequences alone; known after the diagnosis.
    train
        The data that the model was trained on, ``None`` where they were not given.
    groups
        By name the group of each sequence, (N,).
    like
        The look whose sequences are shown; ``None``: this one chooses.
    """

    def __init__(
        self,
        subject: Subject,
        train: Subject | None = None,
        groups: Mapping[str, Any] | None = None,
        like: Look | None = None,
    ) -> None:
        self.subject, self.train, self.groups, self.like = subject, train, dict(groups or {}), like
        self.loss = _loss(subject, self.looked_at)
        self.loss_fails = False

    @cached_property
    def looked_at(self) -> Rows:
        """The sequences that the diagnosis is made on."""
        return self.subject.rows(_DIAGNOSED)

    @cached_property
    def _case(self) -> tuple[list[Entry], Diagnosis]:
        model = self.subject.model
        inputs, targets = self.subject.take(self.looked_at)
        training = {module: module.training for module in model.modules()}
        with undisturbed(model):
            try:
                case = Case(model, inputs, targets if self.loss else None, self.loss, training)
            except GlassLSTMError:
                if self.loss is None or len(self.looked_at) == len(self.subject):
                    raise
                self.loss_fails = True  # on some of the sequences, as where it has weights for all of them
                case = Case(model, inputs, training=training)
            return case.sound, examine(case)

    @property
    def entries(self) -> list[Entry]:
        """What every layer did with the sequences that the diagnosis is made on, gradients included."""
        return self._case[0]

    @property
    def diagnosis(self) -> Diagnosis:
        """The findings."""
        return self._case[1]

    @cached_property
    def answers(self) -> Answers:
        """What the model answered on all sequences, and what was right."""
        subject = self.subject
        if subject.targets is None:
            raise ArgumentError(
                "no targets were given, and without them nobody knows which answers are right"
            )
        return _answers(subject, subject.class_names)

    @cached_property
    def baselines(self) -> list[Baseline]:
        """What simple models answer on the same sequences."""
        train = self.train
        if train is None or train.targets is None:
            return baselines(self.answers, self.subject.numbers)
        read = _answers(train, self.subject.class_names)
        return baselines(self.answers, self.subject.numbers, (train.numbers, _grid(read)))

    @property
    def score_words(self) -> str:
        """What the score is that is explained."""
        if self.subject.explained:
            return self.subject.explained.words
        target, output = self._target(), first_tensor(self.subject.outputs)
        if target is not None and target.several:
            return "the last answer of the model"
        if output is not None and output.dim() == 2 and output.size(1) > 1:
            return "the logit of the class that a sequence is taken for"
        return "the answer of the model"

    @cached_property
    def badness(self) -> NDArray[np.float64]:
        """How bad the answers are for each sequence, (N,): the mean of -log p of what is right, or of the error."""
        answers = self.answers
        if answers.probability is None:
            each = answers.each
        else:
            right = answers.probability[np.arange(len(answers.true)), answers.true]
            each = -np.log(np.maximum(right, np.finfo(np.float64).tiny))
        counts = np.bincount(answers.sequence, minlength=len(self.subject))
        sums = np.bincount(answers.sequence, each, minlength=len(self.subject))
        return np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)

    @cached_property
    def shown(self) -> Rows:
        """The sequences that the page has in detail: the worst answered, and others from there to the best."""
        if self.like:
            return self.like.shown
        try:
            order = np.argsort(-self.badness, kind="stable")
        except GlassLSTMError:
            order = np.flatnonzero(self.subject.lengths)
            chosen: Rows = order[np.unique(np.linspace(0, len(order) - 1, _SHOWN).round().astype(np.int64))]
            return chosen
        order = order[self.subject.lengths[order] > 0]
        rest = order[_WORST:]
        spread = np.unique(np.linspace(0, len(rest) - 1, _SHOWN - _WORST).round().astype(np.int64))
        return np.concatenate([order[:_WORST], rest[spread]]) if len(rest) else order

    @cached_property
    def explained(self) -> Rows:
        """The sequences that are explained: those shown, and more."""
        if not self.subject.divisible:
            return self.subject.rows(len(self.subject))
        others = np.setdiff1d(self.subject.rows(_EXPLAINED), self.shown)
        found: Rows = np.concatenate([self.shown, others])[:_EXPLAINED]
        return found

    @cached_property
    def _explanation(self) -> Explanation | GlassLSTMError:
        inputs, _ = self.subject.take(self.explained)
        try:
            return explain(self.subject.model, inputs, self._target())
        except GlassLSTMError as error:
            return error

    def _target(self) -> Any:
        """Return the score that is explained; ``None`` where :func:`explain` finds it by itself."""
        subject, lengths = self.subject, torch.from_numpy(self.subject.lengths[self.explained])
        if subject.explained:
            return subject.explained.score(lengths)
        output = subject.outputs
        found = first_tensor(output)
        if found is None:
            return None
        numbers = found.dim() == 2 and found.size(1) > 1 and self.score_unit == "output"
        several, of_steps = found.dim() == 3 or numbers, True
        class_axis = found.dim() - 1 if found.dim() > 1 and not numbers else None
        if self.judged:
            several = self.answers.step is not None
            layout = layout_of(output, subject.targets, subject.lengths, subject.batch_axis)
            class_axis, of_steps = layout.class_axis, layout.of_steps
        if found is output and not several and found.dim() <= 2:
            return None
        return OneAnswer(lengths, subject.batch_axis, class_axis, several=several, of_steps=of_steps)

    @cached_property
    def score_unit(self) -> str:
        """What the score that is explained is measured in."""
        if self.subject.explained:
            return self.subject.explained.unit
        try:
            return "logit" if "logit" in self.answers.taken_as else "output"
        except GlassLSTMError:
            return "output" if self.subject.targets is not None else "logit"

    @property
    def explanation(self) -> Explanation:
        """Why the model's answers on the explained sequences are what they are."""
        if isinstance(self._explanation, GlassLSTMError):
            raise self._explanation
        return self._explanation

    @cached_property
    def summaries(self) -> dict[str, MemorySummary]:
        """How long each layer remembers, by its place."""
        if not self.entries:
            raise ArgumentError("no LSTM of the model has gates with finite numbers")
        try:
            found = self.explanation
            curve = score_by_lag(found.scores["occlusion"], found.valid)
        except GlassLSTMError:
            curve = None
        both = {(entry.module, entry.layer) for entry in self.entries if entry.direction}
        return {
            name: MemorySummary(
                entry.gates, None if entry.direction else curve, (entry.module, entry.layer) in both
            )
            for name, entry in zip(_short_names(self.entries), self.entries, strict=True)
        }

    @cached_property
    def shown_traces(self) -> dict[str, Trace]:
        """What every LSTM did with the sequences shown, by its name."""
        model = self.subject.model
        inputs, _ = self.subject.take(self.shown)
        with undisturbed(model), torch.no_grad(), watch(model, calls=256) as watcher:
            run(model, inputs)
        return {name: longest(watcher.calls(name)) for name in watcher}

    @cached_property
    def shown_entries(self) -> list[Entry]:
        """What every layer did with the sequences shown, each in its column of the batch."""
        modules = dict(self.subject.model.named_modules())
        found = [
            entry
            for name, trace in self.shown_traces.items()
            for entry in entries_of(name, modules[name], trace)
        ]
        found = [entry for entry in found if entry.x.size(1) > max(self.columns) and len(entry.x) > 0]
        if not found:
            raise ArgumentError("no LSTM of the model reads the sequences as they are, one beside the other")
        return found

    @property
    def explorable(self) -> bool:
        """Whether there is anything to choose from: an LSTM that reads the sequences as they are."""
        try:
            return bool(self.shown_entries)
        except GlassLSTMError:
            return False

    @property
    def judged(self) -> bool:
        """Whether it is known which answers are right."""
        try:
            return self.answers is not None
        except GlassLSTMError:
            return False

    @property
    def columns(self) -> list[int]:
        """Where in a batch of the sequences shown each of them stands."""
        return [*range(len(self.shown))] if self.subject.divisible else self.shown.tolist()

    @property
    def series(self) -> list[NDArray[Any]]:
        """What was given to the model in the sequences shown, at the steps that the LSTM reads."""
        return self._at_steps(self.shown)

    def _at_steps(self, rows: Rows) -> list[NDArray[Any]]:
        return [self.subject.series[row][:: self.subject.stride] for row in rows]

    @cached_property
    def padded(self) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """What the traces of the sequences shown were read from, (T, B, F), and where there is a step, (T, B)."""
        series = self.series if self.subject.divisible else list(self.subject.series)
        return _padded(series, len(self.shown_entries[0].x))

    def position(self, k: int) -> int:
        """Return where the k-th sequence shown stands among those explained."""
        return int(np.flatnonzero(self.explained == self.shown[k])[0])

    @cached_property
    def explained_inputs(self) -> NDArray[Any] | None:
        """The sequences explained, as they came, (T, B, F); ``None`` where the LSTM explained reads something else."""
        valid = self.explanation.valid
        x, mask = _padded(self._at_steps(self.explained), len(valid))
        return x if np.array_equal(mask, valid.cpu().numpy()) else None

    @property
    def channel_names(self) -> list[str]:
        """The names of all channels of the input."""
        names = self.subject.channel_names
        if names is None:
            return [f"channel {k}" for k in range(self.subject.series[0].shape[1])]
        return [*map(str, names)]

    @property
    def stride_in_words(self) -> str:
        """What a step is, where the LSTM reads fewer than there are."""
        stride = self.subject.stride
        return "" if stride == 1 else f" A step of the LSTM stands for {stride} steps of the sequence."

    @property
    def input_names(self) -> list[str] | None:
        """The names of what the explained LSTM reads; ``None`` where they are the channels, or not known."""
        names, read = self.subject.input_names, self.explanation.channels
        return None if names is None or read is None or read.size(-1) != len(names) else [*names]

    def label(self, row: int) -> str:
        """Return the name of a sequence, with what is true of it and what the model says."""
        names = self.subject.sequence_names
        name = f"{row}" if names is None else str(names[row])
        try:
            answers = self.answers
        except GlassLSTMError:
            return name
        own = np.flatnonzero(answers.sequence == row)
        if len(own) != 1:
            return name
        true, said = answers.true[own[0]], answers.predicted[own[0]]
        if answers.probability is None:
            return f"{name}: true {true:.4g}, predicted {said:.4g}"
        sure = answers.probability[own[0], said]
        return f"{name}: true {answers.names[true]}, predicted {answers.names[said]} ({sure:.0%})"


def _answers(subject: Subject, class_names: Any) -> Answers:
    if subject.answers is not None:
        return subject.answers().called(class_names)
    return answers_of(
        subject.outputs,
        subject.targets,
        class_names=class_names,
        lengths=subject.lengths,
        batch_axis=subject.batch_axis,
        loss=subject.loss,
    )


def _grid(answers: Answers) -> NDArray[Any]:
    """Return what is right for each sequence, (N,), or for each of its steps, (N, T); -100 or NaN where nothing is."""
    nothing = -100 if answers.task == "classes" else np.nan
    if answers.step is None:
        single = np.full(answers.batch_size, nothing)
        single[answers.sequence] = answers.true
        return single
    grid = np.full((answers.batch_size, int(answers.step.max()) + 1), nothing)
    grid[answers.sequence, answers.step] = answers.true
    return grid


def _short_names(entries: list[Entry]) -> list[str]:
    """Return what tells the entries apart: of module, layer and direction those that are not all the same."""
    several = [
        len({getattr(entry, part) for entry in entries}) > 1 for part in ("module", "layer", "direction")
    ]
    found = []
    for entry in entries:
        parts = (
            entry.module or "the model",
            f"layer {entry.layer}",
            ("forward", "reverse")[entry.direction],
        )
        shown = [part for part, wanted in zip(parts, several, strict=True) if wanted]
        found.append(", ".join(shown) or parts[0])
    return found


def _padded(series: list[NDArray[Any]], steps: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    lengths = np.array([len(one) for one in series])
    batch = np.zeros((max(steps, lengths.max()), len(series), series[0].shape[1]))
    for b, one in enumerate(series):
        batch[: len(one), b] = one
    return batch, np.arange(len(batch))[:, None] < lengths


def _loss(subject: Subject, rows: Rows) -> Loss | None:
    """Return the given loss, or the one that the answers on some of the sequences ask for."""
    if subject.targets is None or subject.loss is not None:
        return subject.loss
    outputs, lengths = first_tensor(subject.outputs), subject.lengths[rows]
    if outputs is not None and subject.divisible and subject.batch_axis is not None:
        outputs = outputs.index_select(subject.batch_axis, torch.from_numpy(rows))
    return default_loss(outputs, subject.take(rows)[1], lengths=lengths, batch_axis=subject.batch_axis)
