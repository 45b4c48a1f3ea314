from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from glasslstm.errors import ArgumentError
from glasslstm.insight import baselines as module
from glasslstm.insight.answers import answers_of
from glasslstm.insight.baselines import baselines, summaries

NAN = float("nan")


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def said(classes, count=2):
    """The logits of a model that is sure of these classes."""
    return 9.0 * torch.eye(count)[torch.as_tensor(classes)]


class TestSummaries:
    def test_they_are_those_of_numpy(self):
        x = noise(9, 3)
        slope = [np.polyfit(np.arange(9), channel, 1)[0] for channel in x.T]
        expected = [x.mean(0), x.std(0), x.min(0), x.max(0), x[0], x[-1], slope, [9]]
        np.testing.assert_allclose(summaries(x), np.concatenate(expected))

    def test_what_is_missing_is_left_out(self):
        x = [[NAN, NAN], [1, NAN], [NAN, NAN], [5, NAN], [np.inf, NAN]]
        np.testing.assert_allclose(summaries(x).reshape(-1)[:-1].reshape(7, 2)[:, 0], [3, 2, 1, 5, 1, 5, 2])
        assert np.isnan(summaries(x)[1:-1:2]).all()

    def test_one_step_has_no_slope_and_none_has_nothing(self):
        np.testing.assert_array_equal(summaries([[2.0]]), [2, 0, 2, 2, 2, 2, NAN, 1])
        np.testing.assert_array_equal(summaries(np.zeros((0, 1))), [NAN] * 7 + [0])


class TestOneClassEach:
    TRUE = np.array([0, 1, 1, 0, 1, 1, 0, 1] * 5)
    SERIES = tuple(level + noise(4 + k % 3, 2, seed=k) for k, level in enumerate(TRUE))

    def test_fitted_on_training_data(self):
        train = self.SERIES[:24], self.TRUE[:24]
        constant, linear = baselines(
            answers_of(said(self.TRUE[24:]), self.TRUE[24:]), self.SERIES[24:], train
        )
        rows = np.stack([summaries(x) for x in self.SERIES])
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(
            rows[:24], self.TRUE[:24]
        )
        assert (constant.name, linear.name) == ("majority class", "linear model")
        assert constant.fitted == linear.fitted == "on the training data"
        assert constant.score.value == np.mean(self.TRUE[24:] == 1)
        assert linear.score.value == model.score(rows[24:], self.TRUE[24:]) < 1
        ends = stats.binomtest(round(linear.score.value * 16), 16).proportion_ci(method="wilson")
        assert (linear.score.name, linear.score.low, linear.score.high) == ("accuracy", ends.low, ends.high)

    def test_without_training_data_nothing_is_answered_that_was_fitted_on(self):
        shuffled = np.random.default_rng(1).permutation(np.repeat([0, 1], 40))
        answers = answers_of(said(shuffled), shuffled)
        _, linear = baselines(
            answers, [noise(3, 40, seed=k) for k in range(80)]
        )  # enough channels to learn by heart
        assert linear.fitted == "by 5-fold cross-validation on the sample itself"
        assert linear.score.value < 0.7
        assert linear.verdict == "better"

    def test_the_verdict_is_mcnemars(self):
        wrong = self.TRUE.copy()
        wrong[:9] = 1 - wrong[:9]
        constant, linear = baselines(
            answers_of(said(wrong), self.TRUE),
            [x + 9 * y for x, y in zip(self.SERIES, self.TRUE, strict=True)],
        )
        assert linear.score.value == 1
        assert linear.p == pytest.approx(2 * 0.5**9)
        assert linear.verdict == "worse"
        ahead, behind = (
            np.sum((wrong == self.TRUE) & (self.TRUE == 0)),
            np.sum((wrong != self.TRUE) & (self.TRUE == 1)),
        )
        assert constant.p == pytest.approx(stats.binomtest(int(ahead), int(ahead + behind)).pvalue)
        assert constant.verdict == "no clear difference"

    def test_the_same_answers_make_no_difference(self):
        constant, _ = baselines(answers_of(said(np.ones(40, int)), self.TRUE), self.SERIES)
        assert (constant.p, constant.verdict) == (1, "no clear difference")

    def test_few_sequences_have_fewer_folds(self):
        found = baselines(answers_of(said([0, 1, 0]), torch.tensor([0, 1, 0])), self.SERIES[:3])
        assert [one.fitted for one in found] == [
            "to the sample itself",
            "by 2-fold cross-validation on the sample itself",
        ]
        assert found[0].score.value == pytest.approx(2 / 3)  # the best that one answer can reach

    def test_a_class_of_one_and_nan_and_constant_and_empty_series(self):
        true = np.array([0] * 8 + [1])
        series = [np.full((3, 2), [1.0, NAN]) for _ in range(8)] + [np.zeros((0, 2))]
        found = baselines(answers_of(said(true), true), series)
        assert [base.score.value for base in found] == [8 / 9] * 2


class TestOneNumberEach:
    SERIES = tuple(noise(6, 3, seed=k) for k in range(40))
    LAST = np.array([x[-1, 1] for x in SERIES])

    def test_mean_persistence_and_ridge(self):
        true = self.LAST + 0.1 * noise(40, seed=99)
        train = self.SERIES[:25], true[:25]
        answers = answers_of(torch.tensor(true[25:] + 0.01), torch.tensor(true[25:]))
        found = {base.name: base for base in baselines(answers, self.SERIES[25:], train)}
        rows = np.stack([summaries(x) for x in self.SERIES])
        ridge = make_pipeline(StandardScaler(), Ridge()).fit(rows[:25], true[:25]).predict(rows[25:])
        expected = {
            "median": np.abs(true[25:] - np.median(true[:25])).mean(),
            "persistence": np.abs(true[25:] - self.LAST[25:]).mean(),
            "linear model": np.abs(true[25:] - ridge).mean(),
        }
        assert {name: base.score.value for name, base in found.items()} == pytest.approx(expected)
        assert {base.verdict for base in found.values()} == {"better"}

    def test_persistence_takes_the_channel_that_is_best_where_it_is_fitted(self):
        train = self.SERIES[:10], [x[-1, 2] for x in self.SERIES[:10]]
        answers = answers_of(torch.zeros(30), torch.tensor(self.LAST[10:]))
        persistence = baselines(answers, self.SERIES[10:], train)[1]
        assert persistence.score.value == pytest.approx(
            np.mean([abs(x[-1, 2] - x[-1, 1]) for x in self.SERIES[10:]])
        )

    def test_the_test_flips_the_signs_of_the_differences(self):
        true = noise(8, seed=5)
        answers = answers_of(torch.tensor(true + 0.5), torch.tensor(true))
        constant = baselines(answers, self.SERIES[:8], (self.SERIES[8:], np.zeros(32)))[0]
        differences = 0.5 - np.abs(true)
        sums = np.array([np.dot(signs, differences) for signs in itertools.product([-1, 1], repeat=8)])
        assert constant.p == pytest.approx(np.mean(np.abs(sums) >= abs(differences.sum()) - 1e-9))
        assert 0.05 < constant.p < 1
        assert constant.verdict == "no clear difference"

    def test_a_model_that_is_worse(self):
        answers = answers_of(torch.tensor(self.LAST + 3), torch.tensor(self.LAST))
        assert {base.verdict for base in baselines(answers, self.SERIES)} == {"worse"}


class TestAnAnswerForEachStep:
    def test_numbers(self):
        series = [noise(steps, 2, seed=k) for k, steps in enumerate([5, 3, 4, 5])]
        true = np.full((4, 5), NAN)
        for row, x in zip(true, series, strict=True):
            row[: len(x)] = 2 * x[:, 0] - x[:, 1] + 1
        answers = answers_of(torch.zeros(4, 5), torch.tensor(true))
        more = [noise(6, 2, seed=9 + k) for k in range(9)]
        train = more, [2 * x[:, 0] - x[:, 1] + 1 for x in more]
        mean, persistence, linear = baselines(answers, series, train)
        level = np.median(np.concatenate(train[1]))
        assert mean.score.value == pytest.approx(np.nanmean(np.abs(true - level)))
        before = np.concatenate([np.full((4, 1), level), true[:, :-1]], axis=1)
        assert persistence.score.value == pytest.approx(np.nanmean(np.abs(true - before)))
        assert persistence.fitted == "told the true answer of the step before"
        assert linear.score.value < 0.1 * mean.score.value

    def test_classes_and_padding_in_the_training_targets(self):
        series = [noise(4, 1, seed=k) for k in range(12)]
        true = np.stack([(x[:, 0] > 0).astype(int) for x in series])
        padded = np.concatenate([true[:8], np.full((8, 3), 0)], axis=1)
        padded[0, 0] = -100
        answers = answers_of(said(true[8:]), true[8:])
        constant, persistence, linear = baselines(answers, series[8:], (series[:8], padded))
        common = np.bincount(true[:8].ravel()[1:]).argmax()
        assert constant.score.value == np.mean(true[8:] == common)
        first = np.full((4, 1), common)
        assert persistence.score.value == np.mean(true[8:] == np.hstack([first, true[8:, :-1]]))
        assert linear.score.value > 0.9

    def test_folds_keep_the_steps_of_a_sequence_together(self):
        rng = np.random.default_rng(0)
        level = np.repeat(rng.permutation(np.arange(30) % 2)[:, None], 6, axis=1)
        marks = np.eye(30)[:, None].repeat(6, axis=1)  # tell each sequence from the others, and nothing else
        _, _, linear = baselines(answers_of(said(level), level), list(marks))
        assert linear.score.value < 0.7

    def test_many_steps_are_thinned_and_that_is_said(self, monkeypatch):
        monkeypatch.setattr(module, "_MOST_ROWS", 20)
        series = [noise(10, 1, seed=k) for k in range(10)]
        true = np.stack([(x[:, 0] > 0).astype(int) for x in series])
        constant, _, linear = baselines(answers_of(said(true), true), series)
        assert linear.fitted == "by 5-fold cross-validation on the sample itself, 20 of its steps"
        assert constant.fitted == "to the sample itself"
        assert linear.score.value > 0.8


class TestRefusals:
    SERIES = (np.ones((3, 1)),) * 4

    @pytest.mark.parametrize(
        ("true", "series", "train", "message"),
        [
            ([0, 0, 0, 0], SERIES, None, "all answers to fit on are of the class '0'; with one class"),
            ([0, 1, 0, 1], SERIES, (SERIES, [1] * 4), "all answers to fit on are of the class '1'"),
            ([0], SERIES[:1], None, "the sample has too few sequences"),
            ([0, 1], SERIES[:2], None, "the sample has too few sequences"),
            ([0, 1, 0, 1], SERIES[:3], None, "series: got 3; expected one for each of the 4 sequences"),
            ([0, 1, 0, 1], [*SERIES[:3], np.ones((3, 2))], None, r"series: got \[1, 2\] channels"),
            ([0, 1, 0, 1], [np.ones(3)] * 4, None, r"series: got one of the shape \(3,\)"),
            ([0, 1, 0, 1], SERIES, (SERIES, [1]), "train: got 4 series and 1 targets"),
            ([0, 1, 0, 1], SERIES, (SERIES, np.ones((4, 3))), "train: got targets of several numbers"),
            ([0, 1, 0, 1], SERIES, (SERIES, [-100] * 4), "train: got no answers to fit on"),
            ([[0, 1, 0, 1]] * 4, SERIES, None, "series: some are shorter than the answers about them"),
        ],
    )  # fmt: skip
    def test_each_says_why(self, true, series, train, message):
        answers = answers_of(said(true), torch.tensor(true))
        with pytest.raises(ArgumentError, match=message):
            baselines(answers, series, train)


class TestSeveralAnswersOnASequence:
    """A forecast: its steps are not those of the input."""

    def walks(self, seed, count=80):
        rng = np.random.default_rng(seed)
        walks = rng.normal(size=(count, 25, 1)).cumsum(axis=1)
        return list(walks[:, :20]), walks[:, 20:, 0]

    def test_each_is_answered_by_a_model_of_its_own(self):
        series, true = self.walks(0)
        more = self.walks(1)
        answers = answers_of(torch.zeros(80, 5), torch.tensor(true), lengths=[20] * 80)
        assert not answers.of_steps
        mean, persistence, linear = baselines(answers, series, more)
        assert mean.score.value == pytest.approx(np.abs(true - np.median(more[1], axis=0)).mean())
        last = np.stack([x[-1] for x in series])
        assert persistence.score.value == pytest.approx(np.abs(true - last).mean())
        features, own = (np.stack([summaries(x) for x in xs]) for xs in (more[0], series))
        ridge = make_pipeline(StandardScaler(), Ridge()).fit(features, more[1])
        assert linear.score.value == pytest.approx(np.abs(true - ridge.predict(own)).mean(), rel=1e-6)
        assert (linear.fitted, linear.verdict) == ("on the training data", "worse")

    def test_targets_that_the_model_does_not_know_are_refused(self):
        answers = answers_of(said([0, 1, 0, 1]), torch.tensor([0, 1, 0, 1]))
        series = [noise(3, 1, seed=k) for k in range(4)]
        with pytest.raises(ArgumentError, match=r"train: got the target 4; expected classes 0 to 1"):
            baselines(answers, series, (series, [0, 4, 1, 0]))

    def test_what_is_told_the_truth_is_marked(self):
        true = np.random.default_rng(0).integers(0, 2, (8, 12))
        series = [noise(12, 1, seed=k) for k in range(8)]
        found = baselines(answers_of(said(true), true), series)
        assert [one.name for one in found if one.told] == ["last true answer"]

    def test_a_part_of_the_steps_has_steps_of_all_kinds(self, monkeypatch):
        """Every fifth row of series of ten steps would be the steps 0 and 5 alone."""
        monkeypatch.setattr(module, "_MOST_ROWS", 160)
        series = [np.stack([noise(10, 1, seed=k)[:, 0], np.arange(10) == 0], axis=1) for k in range(100)]
        true = np.stack([(x[:, 0] > 0).astype(int) for x in series])
        for row in true:
            row[0] = 1 - row[0]
        *_, linear = baselines(answers_of(said(true), true), series)
        assert linear.score.value > 0.8
