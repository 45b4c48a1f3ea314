"""What can be asked of a fitted estimator: its trace, a diagnosis, an explanation, and what a report is made from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn import metrics

import glasslstm as gl
from glasslstm.data import Sequences
from glasslstm.errors import DataError

QUICK: dict[str, Any] = {
    "hidden_size": 5,
    "max_epochs": 2,
    "validation_fraction": 0,
    "learning_rate": 0.02,
    "random_state": 0,
    "verbose": False,
}
N = 24
LENGTHS = np.random.default_rng(1).integers(4, 11, N)


@pytest.fixture(scope="module")
def series() -> Sequences:
    """24 series of 4 to 10 steps: gaps, a channel of categories, time stamps and a static feature."""
    rng = np.random.default_rng(0)
    values = []
    for length in LENGTHS:
        x = np.column_stack([rng.normal(50, 9, length), rng.normal(size=length), rng.integers(0, 2, length)])
        x[rng.random(length) < 0.2, 0] = np.nan
        values.append(x)
    found = Sequences.from_arrays(
        values,
        missing="mask",
        ids=[f"p{k}" for k in range(N)],
        channel_names=["pulse", "flow", "phase"],
        times=[np.cumsum(rng.uniform(0.5, 2.0, length)) for length in LENGTHS],
        static=rng.normal(40, 9, (N, 1)),
        static_names=["age"],
    )
    return replace(found, categories={"phase": ("rest", "walk")})


@pytest.fixture(scope="module")
def plain() -> list[NDArray[Any]]:
    rng = np.random.default_rng(2)
    return [rng.normal(size=(length, 2)) for length in LENGTHS]


def sums(plain: list[NDArray[Any]]) -> NDArray[np.float64]:
    return np.array([100 + 50 * x[:, 0].sum() for x in plain])


def several(plain: list[NDArray[Any]]) -> NDArray[np.float64]:
    return np.stack([sums(plain), [x[-1, 1] for x in plain]], axis=1)


INPUTS = [
    "pulse",
    "flow",
    "phase = rest",
    "phase = walk",
    "phase = (unknown)",
    "age",
    "step duration",
    "pulse is missing",
]


@pytest.fixture(scope="module")
def model(series: Sequences) -> Any:
    y = np.repeat(["a", "b"], N // 2)
    return gl.LSTMClassifier(**QUICK, missing="mask", step_duration=True).fit(series, y)


class TestPrepared:
    """A model whose network has more inputs than the series have channels."""

    def test_inputs_have_their_own_names_beside_those_of_the_channels(
        self, model: Any, series: Sequences
    ) -> None:
        subject = model._subject(series)
        assert subject.input_names == INPUTS == model.preparation_.input_names
        assert tuple(subject.channel_names) == ("pulse", "flow", "phase")
        assert subject.sequence_names == [f"p{k}" for k in range(N)]
        np.testing.assert_array_equal(subject.series[3], series[3])

    def test_simple_models_read_the_same_in_the_units_of_the_series(
        self, model: Any, series: Sequences
    ) -> None:
        numbers = model._subject(series).numbers
        assert [x.shape for x in numbers] == [(length, len(INPUTS)) for length in LENGTHS]
        for k in (0, 7):
            x, first = numbers[k], series.starts[k]
            there = ~np.isnan(series[k][:, 0])
            np.testing.assert_allclose(x[there, 0], series[k][there, 0], rtol=1e-5)
            np.testing.assert_array_equal(x[:, 7], ~there)
            np.testing.assert_array_equal(x[:, 2:5].argmax(1), series[k][:, 2])
            np.testing.assert_allclose(x[:, 5], series.static[k, 0], rtol=1e-5)
            steps = np.diff(series.times[first : first + len(x)], prepend=series.times[first])
            np.testing.assert_allclose(x[:, 6], steps, atol=1e-5)

    def test_an_explanation_is_of_the_inputs(self, model: Any, series: Sequences) -> None:
        found = gl.explain(model, series[:4])
        assert found.channels is not None
        assert found.channels.shape[1:] == (4, len(INPUTS))
        logits = model._answers(series[:4])
        torch.testing.assert_close(found.score.cpu(), logits.max(1).values)

    def test_trace_and_diagnosis_know_the_lengths(self, model: Any, series: Sequences) -> None:
        trace = model.trace(series)
        assert trace[0, 1].valid.sum(0).tolist() == LENGTHS.tolist()
        assert model.diagnose(series, codes=["padding-matters"]).findings == ()

    def test_plain_channels_need_no_other_names(self, plain: list[NDArray[Any]]) -> None:
        model = gl.LSTMRegressor(**QUICK).fit(plain, sums(plain))
        subject = model._subject(plain)
        assert (subject.input_names, subject.sequence_names, subject.stride) == (None, None, 1)
        assert subject.numbers is subject.series


class TestAnswers:
    def test_of_classes(self, plain: list[NDArray[Any]]) -> None:
        y = np.repeat(["b", "a"], N // 2)
        model = gl.LSTMClassifier(**QUICK).fit(plain, y)
        answers = model._subject(plain, y).answers()
        np.testing.assert_allclose(answers.probability, model.predict_proba(plain))
        assert answers.called(["a", "b"]).names == ("a", "b")
        assert answers.score.value == model.score(plain, y)

    def test_of_several_labels_each_is_a_question(self, plain: list[NDArray[Any]]) -> None:
        y = np.stack([np.arange(N) % 2, np.arange(N) % 3 == 0, np.arange(N) < 5], axis=1).astype(int)
        model = gl.LSTMClassifier(**QUICK).fit(plain, y)
        answers = model._subject(plain, y).answers().called(["wet", "cold", "dark"])
        assert (answers.names, answers.questions) == (("no", "yes"), ("wet", "cold", "dark"))
        said = model.predict(plain)
        assert answers.score.value == pytest.approx((said == y).mean())
        for k in range(3):
            assert answers.about(k).score.value == pytest.approx((said[:, k] == y[:, k]).mean())
        np.testing.assert_array_equal(answers.sequence, np.repeat(np.arange(N), 3))

    def test_a_row_with_one_label_is_no_class(self, plain: list[NDArray[Any]]) -> None:
        y = np.eye(3, dtype=int)[np.arange(N) % 3]
        model = gl.LSTMClassifier(**QUICK).fit(plain, y)
        assert len(model._subject(plain, y).answers().true) == 3 * N

    def test_of_one_number_in_its_unit(self, plain: list[NDArray[Any]]) -> None:
        y = sums(plain)
        model = gl.LSTMRegressor(**QUICK).fit(plain, y)
        said = model.predict(plain)
        scores = {score.name: score.value for score in model._subject(plain, y).answers().scores}
        assert scores == {
            "mean absolute error": pytest.approx(np.abs(said - y).mean()),
            "root mean squared error": pytest.approx(np.sqrt(((said - y) ** 2).mean())),
            "R²": pytest.approx(model.score(plain, y)),
        }

    def test_of_several_numbers_in_standard_deviations_and_each_in_its_unit(
        self, plain: list[NDArray[Any]]
    ) -> None:
        y = several(plain)
        model = gl.LSTMRegressor(**QUICK).fit(plain, y)
        answers, said = model._subject(plain, y).answers(), model.predict(plain)
        assert answers.questions == ("target 0", "target 1")
        assert answers.score.name == "mean absolute error in standard deviations"
        assert answers.score.value == pytest.approx((np.abs(said - y) / y.std(axis=0)).mean())
        assert answers.scores[2].value == pytest.approx(
            metrics.r2_score(y, said)
        )  # of equal variance all count
        for k in (0, 1):
            own = answers.about(k).scores
            assert own[0].name == "mean absolute error"
            assert own[0].value == pytest.approx(np.abs(said - y)[:, k].mean())
            assert own[2].value == pytest.approx(metrics.r2_score(y[:, k], said[:, k]))

    def test_of_a_horizon_in_its_unit(self) -> None:
        rng = np.random.default_rng(0)
        windows = Sequences.from_arrays(rng.normal(9, 5, (4, 12, 1))).windows(5, horizon=2, target=0)
        model = gl.LSTMRegressor(**QUICK).fit(windows)
        answers = model._subject(windows).answers()
        assert answers.questions == ("1 ahead", "2 ahead")
        assert answers.score.name == "mean absolute error"
        assert answers.score.value == pytest.approx(np.abs(model.predict(windows) - windows.targets).mean())

    def test_of_quantiles_the_middle_one_and_how_often_each_covers(self, plain: list[NDArray[Any]]) -> None:
        y = several(plain)
        model = gl.LSTMRegressor(**QUICK, quantiles=(0.1, 0.6, 0.9)).fit(plain, y)
        answers, said = model._subject(plain, y).answers(), model.predict_quantiles(plain)
        np.testing.assert_allclose(answers.predicted, said[..., 1].ravel())
        own = answers.about(1)
        for k, (level, share) in enumerate(own.coverage.items()):
            assert level == (0.1, 0.6, 0.9)[k]
            assert share.value == pytest.approx((y[:, 1] <= said[:, 1, k]).mean())
        expected = np.mean(
            [
                metrics.mean_pinball_loss(y[:, 1], said[:, 1, k], alpha=level)
                for k, level in enumerate((0.1, 0.6, 0.9))
            ]
        )
        assert own.scores[-1].name == "pinball loss"
        assert own.scores[-1].value == pytest.approx(expected)

    @pytest.mark.parametrize("numbers", [False, True])
    def test_of_steps(self, plain: list[NDArray[Any]], numbers: bool) -> None:
        y = [x[:, 0].cumsum() for x in plain] if numbers else [np.where(x[:, 0] > 0, "+", "-") for x in plain]
        model = gl.LSTMTagger(**QUICK).fit(plain, y)
        answers = model._subject(plain, y).answers()
        np.testing.assert_array_equal(answers.sequence, np.repeat(np.arange(N), LENGTHS))
        np.testing.assert_array_equal(answers.step, np.concatenate([np.arange(n) for n in LENGTHS]))
        score = answers.scores[2].value if numbers else answers.score.value
        assert score == pytest.approx(model.score(plain, y))

    def test_targets_come_with_the_sequences(self, plain: list[NDArray[Any]]) -> None:
        y = np.repeat([3, 5], N // 2)
        own = Sequences.from_arrays(plain, targets=y)
        model = gl.LSTMClassifier(**QUICK).fit(own)
        np.testing.assert_array_equal(model._subject(own).targets, np.repeat([0, 1], N // 2))
        assert model._subject(plain).answers is None
        with pytest.raises(DataError, match="7 is no class of the model"):
            model._subject(own, np.full(N, 7))


class TestLoss:
    @pytest.mark.parametrize("numbers", [False, True])
    def test_of_a_tagger_leaves_the_padding_out(self, plain: list[NDArray[Any]], numbers: bool) -> None:
        y = [x[:, 0].cumsum() for x in plain] if numbers else [(x[:, 0] > 0).astype(int) for x in plain]
        model = gl.LSTMTagger(**QUICK).fit(plain, y)
        subject = model._subject(plain, y)
        inputs, targets = subject.take(np.arange(N))
        found = subject.loss(model.network_.eval()(*inputs), targets).item()
        flat = torch.from_numpy(np.concatenate(y))
        answers = model._answers(Sequences.from_arrays(plain))
        expected = (
            float(((answers[:, 0] - flat) ** 2).mean()) / flat.var(correction=0).item()
            if numbers
            else float(torch.nn.functional.cross_entropy(answers, flat))
        )
        assert found == pytest.approx(expected, rel=1e-5)

    def test_of_a_regressor_is_that_of_the_training(self, plain: list[NDArray[Any]]) -> None:
        y = sums(plain)
        model = gl.LSTMRegressor(**QUICK).fit(plain, y)
        subject = model._subject(plain, y)
        inputs, targets = subject.take(np.array([3, 1]))
        found = subject.loss(model.network_.eval()(*inputs), targets).item()
        errors = (model.predict(plain) - y)[[3, 1]] / y.std()
        assert found == pytest.approx((errors**2).mean(), rel=1e-5)


class TestExplained:
    """The score that is explained is the number that the model answers."""

    def test_of_the_first_of_several_numbers(self, plain: list[NDArray[Any]]) -> None:
        model = gl.LSTMRegressor(**QUICK, pooling="attention", layer_norm=True).fit(plain, several(plain))
        found = gl.explain(model, plain, methods=["occlusion"])
        np.testing.assert_allclose(found.score, model.predict(plain)[:, 0], rtol=1e-5)

    def test_of_quantiles_the_middle_one(self, plain: list[NDArray[Any]]) -> None:
        model = gl.LSTMRegressor(**QUICK, quantiles=(0.2, 0.5, 0.7), pooling="max").fit(plain, sums(plain))
        found = gl.explain(model, plain, methods=["occlusion"])
        np.testing.assert_allclose(found.score, model.predict(plain), rtol=1e-5)

    def test_of_a_tagger_the_last_step(self, plain: list[NDArray[Any]]) -> None:
        y = [x[:, 0].cumsum() for x in plain]
        model = gl.LSTMTagger(**QUICK, causal=True).fit(plain, y)
        found = gl.explain(model, plain, methods=["occlusion"])
        np.testing.assert_allclose(found.score, [said[-1] for said in model.predict(plain)], rtol=1e-5)

    def test_a_target_that_is_given_comes_first(self, plain: list[NDArray[Any]]) -> None:
        model = gl.LSTMClassifier(**QUICK).fit(plain, np.repeat(["a", "b"], N // 2))
        logits = model._answers(Sequences.from_arrays(plain))
        torch.testing.assert_close(gl.explain(model, plain, 1, methods=["occlusion"]).score, logits[:, 1])


def test_behind_convolutions_the_lstm_reads_features_at_fewer_steps(plain: list[NDArray[Any]]) -> None:
    long = [np.concatenate([x] * 4) for x in plain]
    options: dict[str, Any] = {"conv_blocks": 2, "conv_filters": 3, "conv_max_steps": 10}
    model = gl.LSTMClassifier(**QUICK, **options).fit(long, np.repeat([0, 1], N // 2))
    subject = model._subject(long)
    assert subject.input_names == ["feature 0", "feature 1", "feature 2"]
    assert subject.stride == 4
    steps = model.trace(long)[0, 0].valid.sum(0).tolist()
    assert steps == [len(x[:: subject.stride]) for x in long]
