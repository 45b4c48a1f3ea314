from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import glasslstm as gl
from glasslstm.errors import ArgumentError
from glasslstm.insight.baselines import baselines
from glasslstm.insight.memory import retention_by_lag
from glasslstm.insight.reach import falls_below, gradient_by_lag, score_by_lag
from glasslstm.insight.report.look import Look
from glasslstm.insight.subject import subject_of


@pytest.fixture
def look(classifier, sample):
    return Look(subject_of(classifier(gl.LSTM), *sample))


def far_apart(findings):
    return [(one.code, one.severity, str(one.place), one.snippet, one.value) for one in findings]


@pytest.mark.parametrize(
    "loss", [functional.cross_entropy, lambda output, y: 3 * functional.cross_entropy(output, y)]
)
def test_the_findings_are_those_of_diagnose(classifier, sample, loss):
    model = classifier()
    with torch.no_grad():
        model.lstm.bias_ih_l0[4:8] = -20
    found = Look(subject_of(model, *sample, loss)).diagnosis
    expected = gl.diagnose(model, *sample, loss)
    assert far_apart(found) == far_apart(expected)
    assert found[0].code == "forget-gate-shut"
    assert (found.looked_for, found.skipped) == (expected.looked_for, expected.skipped)


@pytest.mark.parametrize(
    ("K", "targets", "loss"),
    [
        (2, torch.arange(20) % 2, functional.cross_entropy),
        (
            1,
            (torch.arange(20) % 2).float(),
            lambda out, y: functional.binary_cross_entropy_with_logits(out[:, 0], y),
        ),
        (1, torch.arange(20) / 7, lambda out, y: functional.mse_loss(out[:, 0], y)),
    ],
)
def test_the_loss_is_what_the_targets_ask_for(classifier, sample, K, targets, loss):
    model = classifier(K=K)
    with torch.no_grad():
        model.head.weight *= 20  # so that some outputs lie outside of [0, 1], and are no probabilities
    chosen = Look(subject_of(model, sample[0], targets)).loss
    output = model(sample[0]).detach()
    assert float(chosen(output, targets)) == pytest.approx(float(loss(output, targets)), rel=1e-6)


def test_without_targets_there_is_no_loss_and_no_judgement(classifier, sample):
    look = Look(subject_of(classifier(), sample[0]))
    assert look.loss is None
    assert not look.judged
    with pytest.raises(ArgumentError, match="no targets were given, and without them nobody knows"):
        look.answers  # noqa: B018
    assert look.label(3) == "3"
    assert look.shown.tolist() == np.unique(np.linspace(0, 19, 12).round()).tolist()


def test_of_many_sequences_some_are_diagnosed(classifier):
    x, y = torch.randn(150, 5, 3), torch.arange(150) % 2
    model = classifier()
    look = Look(subject_of(model, x, y))
    rows = np.linspace(0, 149, 64).round().astype(int)
    np.testing.assert_array_equal(look.looked_at, rows)
    expected = gl.diagnose(model, x[rows], y[rows], functional.cross_entropy)
    assert far_apart(look.diagnosis) == far_apart(expected)
    assert len(look.answers.true) == 150
    assert len(look.explained) == 32
    assert look.explained[:12].tolist() == look.shown.tolist()
    assert len(set(look.explained.tolist())) == 32


def test_how_bad_a_class_is(look, sample):
    x, y = sample
    with torch.no_grad():
        expected = functional.cross_entropy(look.subject.model(x), y, reduction="none")
    np.testing.assert_allclose(look.badness, expected, rtol=1e-5)


def test_how_bad_the_answers_of_each_step_are(classifier, sample):
    x, y = sample[0], torch.arange(180).reshape(20, 9) % 2
    y[3], y[4, 2:] = -100, -100
    model = classifier(each_step=True)
    with torch.no_grad():
        each = functional.cross_entropy(model(x).transpose(1, 2), y, reduction="none")
    expected = each.sum(1) / (y != -100).sum(1).clamp(min=1)
    np.testing.assert_allclose(Look(subject_of(model, x, y)).badness, expected, rtol=1e-5)


def test_how_bad_a_number_is(classifier, sample):
    model, y = classifier(K=1), torch.arange(20) / 7
    with torch.no_grad():
        expected = (model(sample[0])[:, 0] - y).abs()
    np.testing.assert_allclose(Look(subject_of(model, sample[0], y)).badness, expected, rtol=1e-5)


def test_the_worst_are_shown_and_others_to_the_best(look):
    order = np.argsort(-look.badness)
    assert len(look.shown) == 12
    assert look.shown[:4].tolist() == order[:4].tolist()
    assert look.shown[-1] == order[-1]
    places = [order.tolist().index(row) for row in look.shown]
    assert places == sorted(set(places))


def test_the_second_model_shows_the_sequences_of_the_first(look, sample):
    other = Look(subject_of(nn.Sequential(gl.LSTM(3, 4, batch_first=True)), sample[0]), like=look)
    assert other.shown.tolist() == look.shown.tolist()


def test_the_labels_say_what_is_true_and_what_the_model_says(look, sample, classifier):
    x, _ = sample
    with torch.no_grad():
        sure, said = look.subject.model(x).softmax(1).max(1)
    assert look.label(3) == f"3: true 1, predicted {said[3]} ({float(sure[3]):.0%})"
    regressor = classifier(K=1)
    with torch.no_grad():
        number = float(regressor(x)[3])
    assert (
        Look(subject_of(regressor, x, torch.ones(20) / 3)).label(3)
        == f"3: true 0.3333, predicted {number:.4g}"
    )
    each = Look(subject_of(classifier(each_step=True), x, torch.zeros(20, 9, dtype=torch.long)))
    assert each.label(3) == "3"


def test_the_memory_is_that_of_the_library(look, sample):
    model, (x, y) = look.subject.model, sample
    output, _, trace = model.lstm(x, return_trace=True)
    functional.cross_entropy(model.head(output[:, -1]), y).backward()
    gates = trace[0, 0]
    (summary,) = look.summaries.values()
    explanation = gl.explain(model, x[look.explained])
    curves = {
        "gradient": gradient_by_lag(gates),
        "score": score_by_lag(explanation.scores["occlusion"], explanation.valid),
    }
    for name, curve in curves.items():
        np.testing.assert_allclose(summary.curves[name].values, curve.values, rtol=1e-4, atol=1e-5)
        assert summary.falls[name] == (falls_below(*curve, 0.5), falls_below(*curve, 0.01))
    lags, kept = summary.curves["retention"]
    np.testing.assert_allclose(kept, retention_by_lag(gates, lags.tolist())[1].mean(1).detach(), rtol=1e-5)
    assert summary.falls["retention"] == (falls_below(lags, kept, 0.5), falls_below(lags, kept, 0.01))
    np.testing.assert_allclose(summary.half_lives, gl.half_life(gates).detach(), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["lstm"]),
        ({"num_layers": 2}, ["layer 0", "layer 1"]),
        ({"bidirectional": True}, ["forward", "reverse"]),
        (
            {"num_layers": 2, "bidirectional": True},
            ["layer 0, forward", "layer 0, reverse", "layer 1, forward", "layer 1, reverse"],
        ),
    ],
)
def test_places_are_called_by_what_tells_them_apart(classifier, sample, options, names):
    assert [*Look(subject_of(classifier(**options), *sample)).summaries] == names


@pytest.mark.parametrize("kind", [nn.LSTM, gl.LSTM])
def test_the_traces_are_of_the_sequences_shown(classifier, sample, kind):
    look = Look(subject_of(classifier(kind), *sample))
    ours = gl.LSTM(3, 4, batch_first=True)
    ours.load_state_dict(look.subject.model.lstm.state_dict())
    with torch.no_grad():
        expected = ours(sample[0][look.shown], return_trace=True)[2][0, 0]
    (entry,) = look.shown_entries
    for name in ("forget_gate", "input_gate", "output_gate", "candidate", "cell", "hidden"):
        np.testing.assert_allclose(getattr(entry.gates, name), getattr(expected, name), atol=1e-6)
    assert look.columns == [*range(12)]


def test_what_is_explained_of_a_tagger_is_its_last_answer(classifier, sample):
    model = classifier(each_step=True)
    look = Look(subject_of(model, sample[0], torch.zeros(20, 9, dtype=torch.long)))
    with torch.no_grad():
        output = model(sample[0][look.explained])[:, -1]
    chosen = output.argmax(1)
    expected = gl.explain(
        model, sample[0][look.explained], lambda found: found[:, -1].gather(1, chosen[:, None])[:, 0]
    )
    np.testing.assert_allclose(look.explanation.scores["occlusion"], expected.scores["occlusion"], atol=1e-6)
    assert look.position(3) == 3


@pytest.mark.parametrize(("K", "unit"), [(2, "logit"), (1, "output")])
def test_what_the_score_is_measured_in(classifier, sample, K, unit):
    targets = sample[1] if K == 2 else torch.arange(20) / 7
    assert Look(subject_of(classifier(K=K), sample[0], targets)).score_unit == unit


def test_each_part_is_computed_once(look, monkeypatch):
    calls = []
    forward = type(look.subject.model).forward
    monkeypatch.setattr(
        type(look.subject.model), "forward", lambda *given: (calls.append(1), forward(*given))[1]
    )
    found = [(look.diagnosis, look.shown_traces, look.explanation, look.summaries, len(calls)) for _ in "ab"]
    assert found[0][-1] == found[1][-1] > 0
    assert all(first is second for first, second in zip(*found, strict=True))


def test_the_baselines_are_fitted_to_the_training(classifier, sample, written):
    x, y = sample
    train = torch.randn(30, 9, 3), torch.arange(30) % 2
    model = classifier()
    look = Look(subject_of(model, x, y))
    expected = baselines(look.answers, [*x.numpy()], ([*train[0].numpy()], train[1].numpy()))
    page = written(model, x, y, train=train)
    rows = next(
        rows for caption, rows in page.tables(page.sections["worth"]) if "by a paired test" in caption
    )
    assert [row[-5:-3] for row in rows[1:]] == [[base.name, "on the training data"] for base in expected]
    assert [row[-1] for row in rows[1:]] == [f"{base.p:.2g}" for base in expected]


def test_an_answer_inside_a_tuple_is_explained(classifier, sample):
    class Tuple(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x), {"beside": x}

    model = classifier()
    plain, inside = (Look(subject_of(one, *sample)).explanation for one in (model, Tuple(model)))
    np.testing.assert_allclose(inside.scores["occlusion"], plain.scores["occlusion"], atol=1e-6)


def test_a_forecast_is_explained_by_its_last_number(classifier, sample):
    model = classifier(K=5)
    look = Look(subject_of(model, sample[0], torch.rand(20, 5)))
    with torch.no_grad():
        expected = model(sample[0][look.explained])[:, -1]
    np.testing.assert_allclose(look.explanation.score, expected, atol=1e-6)


def test_sequences_without_a_step_are_not_shown(sample):
    class Ragged(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = gl.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x, lengths):
            return self.head(self.lstm(x, lengths=lengths)[1][0][-1])

    x, y = sample
    lengths = torch.full((20,), 9)
    lengths[[0, 7]] = 0
    look = Look(subject_of(Ragged(), (x, lengths), y))
    assert not {0, 7} & {*look.shown, *look.explained, *look.looked_at}
    assert len(look.shown) == 12


def test_a_loss_that_needs_all_sequences_is_left_out_and_that_is_said(classifier):
    x, y = torch.randn(70, 9, 3), torch.arange(70) % 2
    weights = torch.rand(70)

    def loss(output, targets):
        return (nn.functional.cross_entropy(output, targets, reduction="none") * weights).mean()

    look = Look(subject_of(classifier(), x, y, loss))
    assert "memory-too-short" in look.diagnosis.skipped
    assert look.loss_fails


def test_the_score_of_a_time_first_tagger_is_that_of_its_own_sequences(classifier):
    """As many steps as sequences are explained: the axes are known, and not guessed by their sizes."""
    x = torch.randn(32, 40, 3)
    model = classifier(each_step=True, batch_first=False)
    look = Look(subject_of(model, x, torch.randint(2, (32, 40))))
    with torch.no_grad():
        expected = model(x)[-1, look.explained].amax(-1)
    np.testing.assert_allclose(look.explanation.score, expected, atol=1e-6)


def test_the_score_of_answers_with_the_classes_before_the_steps(classifier, sample):
    class Turned(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x).transpose(1, 2)  # (B, K, T), as torch's cross-entropy takes it

    model = classifier(K=3, each_step=True)
    look = Look(subject_of(Turned(model), sample[0], torch.randint(3, (20, 9))))
    with torch.no_grad():
        expected = model(sample[0][look.explained])[:, -1].amax(-1)
    np.testing.assert_allclose(look.explanation.score, expected, atol=1e-6)


def test_one_logit_for_each_step_is_explained_by_the_last(classifier, sample):
    class Squeezed(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return self.inner(x).squeeze(-1)

    model = classifier(K=1, each_step=True)
    look = Look(subject_of(Squeezed(model), sample[0], torch.randint(2, (20, 9)).float()))
    with torch.no_grad():
        expected = model(sample[0][look.explained])[:, -1, 0]
    np.testing.assert_allclose(look.explanation.score, expected, atol=1e-6)
    assert look.score_words == "the last answer of the model"


def test_the_training_data_are_read_as_the_sample_is(classifier):
    x, y = torch.randn(9, 40, 3), torch.randint(2, (9, 40))
    model = classifier(each_step=True, batch_first=False)
    train = subject_of(model, x, y)
    look = Look(subject_of(model, x[:, :20], y[:, :20]), train)
    other = Look(
        subject_of(classifier(each_step=True), x[:, :20].transpose(0, 1), y[:, :20].T),
        subject_of(classifier(each_step=True), x.transpose(0, 1), y.T),
    )
    assert [one.score for one in look.baselines] == [one.score for one in other.baselines]


def test_padding_does_not_count_in_the_loss_of_a_part_of_the_sequences(sample):
    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = gl.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x, lengths):
            return self.head(self.lstm(x, lengths=lengths)[0])

    x, y, lengths = torch.randn(100, 9, 3), torch.randint(2, (100, 9)), torch.arange(100) % 8 + 2
    model = Tagger()
    look = Look(subject_of(model, (x, lengths), y))
    rows = torch.from_numpy(look.looked_at)
    with torch.no_grad():
        output = model(x[rows], lengths[rows])
    valid = torch.arange(9) < lengths[rows][:, None]
    expected = nn.functional.cross_entropy(output[valid], y[rows][valid])
    torch.testing.assert_close(look.loss(output, y[rows]), expected)
