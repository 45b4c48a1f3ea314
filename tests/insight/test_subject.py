from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import glasslstm as gl
from glasslstm.errors import ArgumentError, ArgumentTypeError
from glasslstm.insight.subject import subject_of

ROWS = np.array([1, 4, 5])


class Made(nn.Module):
    """An LSTM with 3 inputs and 4 units, and what is done with it."""

    def __init__(self, call, kind=nn.LSTM, **options):
        super().__init__()
        self.call, self.lstm = call, kind(3, 4, **options)

    def forward(self, *args, **named):
        return self.call(self.lstm, *args, **named)


def last(lstm, x):
    return lstm(x)[1][0][-1]


def each(lstm, x):
    return lstm(x)[0]


def data(T, B, *, batch_first):
    x = torch.randn(T, B, 3)
    return x.transpose(0, 1) if batch_first else x


def check(subject, series, answers):
    """Hold what is taken of three sequences to those of all: what the model reads, and what it answers."""
    assert subject.divisible
    x, _ = subject.take(ROWS)
    with torch.no_grad():
        found = (
            subject.model(**x) if isinstance(x, dict) else subject.model(*x if isinstance(x, tuple) else (x,))
        )
    found = found[0] if isinstance(found, tuple) else found
    np.testing.assert_allclose(found.movedim(subject.batch_axis, 0), answers[ROWS], atol=1e-6)
    for own, expected in zip(subject.series, series, strict=True):
        np.testing.assert_array_equal(own, expected)


@pytest.mark.parametrize("kind", [nn.LSTM, gl.LSTM])
@pytest.mark.parametrize("call", [last, each])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(("T", "B"), [(6, 9), (9, 6), (7, 7)])
def test_the_sequences_are_found_along_their_axis(kind, call, batch_first, T, B):
    model, x = Made(call, kind, batch_first=batch_first), data(T, B, batch_first=batch_first)
    subject = subject_of(model, x)
    with torch.no_grad():
        answers = model(x)
    series = x if batch_first else x.transpose(0, 1)
    check(subject, series.numpy(), answers if batch_first or call is last else answers.transpose(0, 1))
    assert subject.batch_axis == (call is each and not batch_first)
    assert subject.lengths.tolist() == [T] * B
    assert subject.take(ROWS)[0].shape == ((3, T, 3) if batch_first else (T, 3, 3))


def test_arguments_in_a_tuple_with_lengths_beside():
    model = Made(lambda lstm, x, lengths: lstm(x, lengths=lengths)[1][0][-1], gl.LSTM, batch_first=True)
    x, lengths = data(6, 9, batch_first=True), torch.tensor([6, 2, 3, 4, 5, 6, 1, 2, 3])
    subject = subject_of(model, (x, lengths))
    with torch.no_grad():
        check(
            subject, [one[:length] for one, length in zip(x.numpy(), lengths, strict=True)], model(x, lengths)
        )
    assert subject.take(ROWS)[0][1].tolist() == lengths[ROWS].tolist()
    assert subject.lengths.tolist() == lengths.tolist()


def test_named_arguments_with_something_that_is_no_batch():
    model = Made(lambda lstm, x, scale, label: (lstm(x * scale)[1][0][-1], label))
    x, scale = data(6, 9, batch_first=False), torch.tensor([1.0, 2.0, 3.0])
    subject = subject_of(model, {"x": x, "scale": scale, "label": "a"})
    with torch.no_grad():
        check(subject, (x * scale).transpose(0, 1).numpy(), model(x, scale, "a")[0])
    taken = subject.take(ROWS)[0]
    assert taken["scale"].tolist() == [1.0, 2.0, 3.0]
    assert taken["label"] == "a"


@pytest.mark.parametrize(
    ("call", "batch_first", "shape", "expected"),
    [
        (last, True, (9,), np.s_[ROWS]),
        (last, False, (9, 2), np.s_[ROWS]),
        (each, True, (9, 6), np.s_[ROWS]),
        (each, False, (6, 9), np.s_[:, ROWS]),
        (each, False, (6, 9, 1), np.s_[:, ROWS]),
        (last, False, (9, 9), np.s_[ROWS]),
    ],
)
def test_the_targets_go_with_the_sequences(call, batch_first, shape, expected):
    targets = torch.randn(shape)
    subject = subject_of(Made(call, batch_first=batch_first), data(6, 9, batch_first=batch_first), targets)
    assert torch.equal(subject.take(ROWS)[1], targets[expected])


@pytest.mark.parametrize("axis", [0, 1])
def test_the_targets_of_as_many_steps_as_sequences(axis):
    targets = torch.arange(49).reshape(7, 7)
    subject = subject_of(Made(each, batch_first=axis == 0), data(7, 7, batch_first=axis == 0), targets)
    assert torch.equal(subject.take(ROWS)[1], targets[ROWS] if axis == 0 else targets[:, ROWS])


@pytest.mark.parametrize("form", [np.asarray, list])
def test_targets_that_are_no_tensor_go_with_the_sequences(form):
    targets = form([k % 2 for k in range(9)])
    subject = subject_of(Made(last, batch_first=True), data(6, 9, batch_first=True), targets)
    assert np.asarray(subject.take(ROWS)[1]).tolist() == [1, 0, 1]


def packed():
    lengths = torch.tensor([6, 5, 5, 4, 2, 1])
    x = data(6, 6, batch_first=False)
    return pack_padded_sequence(x, lengths), [x[:n, b].numpy() for b, n in enumerate(lengths)]


def test_a_packed_sequence_is_looked_at_whole():
    inputs, series = packed()
    targets = torch.arange(6)
    subject = subject_of(Made(last), inputs, targets)
    for own, expected in zip(subject.series, series, strict=True):
        np.testing.assert_array_equal(own, expected)
    assert (subject.divisible, subject.batch_axis) == (False, None)
    assert subject.rows(2).tolist() == [0, 1, 2, 3, 4, 5]
    taken = subject.take(np.array([1]))
    assert taken[0] is inputs
    assert taken[1] is targets


def test_what_depends_on_the_whole_batch_is_looked_at_whole():
    model = Made(lambda lstm, x: lstm(x - x.mean((0, 1)))[1][0][-1], batch_first=True)
    subject = subject_of(model, data(6, 9, batch_first=True))
    assert not subject.divisible
    assert subject.take(ROWS)[0].shape == (9, 6, 3)
    assert len(subject) == len(subject.rows(3)) == 9


def test_one_sequence_is_looked_at_whole():
    subject = subject_of(Made(last, batch_first=True), data(6, 1, batch_first=True))
    assert (subject.divisible, len(subject)) == (False, 1)


def test_rows_are_spread_evenly():
    subject = subject_of(Made(last, batch_first=True), data(2, 9, batch_first=True))
    assert subject.rows(3).tolist() == [0, 4, 8]
    assert subject.rows(100).tolist() == [*range(9)]


def test_the_answers_are_those_of_the_run_and_computed_once():
    model, x = Made(last), data(6, 9, batch_first=False)
    subject = subject_of(model, x, torch.ones(9))
    expected = model(x)
    assert torch.equal(subject.outputs, expected)
    assert not subject.outputs.requires_grad
    assert subject.outputs is subject.outputs
    assert subject.targets.tolist() == [1.0] * 9


def test_the_model_and_the_input_are_left_as_they_were():
    def in_place(lstm, x):
        return lstm(torch.dropout(x.mul_(2), 0.5, lstm.training))[1][0][-1]

    model, x = Made(in_place).train(), data(6, 9, batch_first=False)
    before, state = x.clone(), torch.get_rng_state()
    subject_of(model, x).take(ROWS)
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("model", "inputs", "kind", "words"),
    [
        (nn.Linear(3, 2), torch.ones(4, 3), ArgumentError, "model: expected an LSTM or LSTMCell"),
        (None, torch.ones(4, 3), ArgumentTypeError, "model: expected a torch.nn.Module, got NoneType"),
        (nn.LSTM, torch.ones(4, 3), ArgumentTypeError, "model: expected a torch.nn.Module, got type"),
        (nn.LSTM(3, 4), torch.ones(4, 2, 5), ArgumentError, "inputs: the model refused them"),
    ],
)
def test_what_cannot_be_looked_at(model, inputs, kind, words):
    with pytest.raises(kind, match=words):
        subject_of(model, inputs)
