from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from glasslstm.errors import ArgumentError
from glasslstm.insight.answers import Answers, answers_of
from glasslstm.insight.slices import slices


def answers(each, sequence=None, task="classes", batch_size=None):
    """Answers that are right or wrong, or miss by so much."""
    each = np.asarray(each, float)
    sequence = np.arange(len(each)) if sequence is None else np.asarray(sequence)
    step = None if len(np.unique(sequence)) == len(each) else np.zeros_like(sequence)
    predicted = 1 - each if task == "classes" else each
    true = np.zeros(len(each))
    size = batch_size or int(sequence.max()) + 1
    return Answers(task, true, predicted, None, ("a", "b"), sequence, step, size, "loss", "logits")


def found(result):
    return {str(one): one.count for one in result}


class TestGroups:
    def test_text_by_its_values(self):
        result = slices(answers([1] * 20), {"site": ["north"] * 12 + ["south"] * 6 + [None, float("nan")]})
        assert found(result) == {"site north": 12, "site south": 6}
        assert result.left_out == 1

    def test_the_rarest_of_very_many_values_are_others(self):
        values = [f"v{k % 40:02}" for k in range(240)] + [f"rare {k}" for k in range(7)]
        counts = found(slices(answers([1] * 247), {"id": values}))
        assert counts.pop("id other") == 7
        assert set(counts.values()) == {6}
        assert len(counts) == 40

    def test_booleans(self):
        assert found(slices(answers([1] * 20), {"padded": [True] * 12 + [False] * 8})) == {
            "padded yes": 12,
            "padded no": 8,
        }

    def test_numbers_in_four_parts_of_equal_count(self):
        lengths = np.random.default_rng(0).permutation(np.arange(10, 110))
        result = slices(answers(lengths % 2), {"length": lengths})
        assert found(result) == {f"length {a}-{a + 24}": 25 for a in (10, 35, 60, 85)}
        part = next(one for one in result if one.value == "10-34")
        assert part.score.value == np.mean(np.arange(10, 35) % 2)

    def test_few_numbers_by_their_values_and_what_is_missing(self):
        values = [0.25] * 6 + [-1.5] * 7 + [3] * 8 + [np.nan] * 9
        assert found(slices(answers([1] * 30), {"x": values})) == {
            "x 0.25": 6,
            "x -1.5": 7,
            "x 3": 8,
            "x missing": 9,
        }

    def test_missing_numbers_stand_alone_beside_parts(self):
        values = np.r_[np.arange(40.0), [np.nan] * 10]
        assert found(slices(answers([1] * 50), {"x": values})) == {
            "x 0-9": 10,
            "x 10-19": 10,
            "x 20-29": 10,
            "x 30-39": 10,
            "x missing": 10,
        }

    def test_negative_and_real_numbers_read_well(self):
        result = slices(answers([1] * 40), {"x": np.linspace(-2, 2, 40)})
        assert {one.value for one in result} >= {"-2 to -1.1", "1.1-2"}

    def test_ties_are_never_cut(self):
        values = [0] * 90 + [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
        assert found(slices(answers([1] * 100), {"x": values})) == {"x 0": 90, "x 1-10": 10}

    def test_a_group_of_one_value_says_nothing(self):
        result = slices(answers([1] * 9), {"share": np.zeros(9), "site": ["x"] * 9, "yes": [True] * 9})
        assert (len(result), result.left_out) == (0, 0)

    def test_small_slices_are_left_out_and_counted(self):
        result = slices(answers([1] * 20), {"site": ["a"] * 10 + ["b"] * 5 + ["c"] * 4 + ["d"]})
        assert found(result) == {"site a": 10, "site b": 5}
        assert result.left_out == 2

    def test_only_sequences_with_an_answer_count(self):
        some = answers([1] * 10, sequence=[*range(5, 15)], batch_size=20)
        assert found(slices(some, {"half": [False] * 10 + [True] * 10})) == {"half no": 5, "half yes": 5}

    def test_values_that_are_not_one_for_each_sequence(self):
        with pytest.raises(
            ArgumentError, match=r"groups: 'x' has the shape \(3,\); expected one value for each of the 9"
        ):
            slices(answers([1] * 9), {"x": [1, 2, 3]})


class TestScores:
    def test_the_worst_first_with_the_difference_to_all(self):
        each = [1] * 8 + [0] * 2 + [1] * 5 + [0] * 5
        result = slices(answers(each), {"site": ["north"] * 10 + ["south"] * 10})
        assert [(str(one), one.score.value) for one in result] == [("site south", 0.5), ("site north", 0.8)]
        np.testing.assert_allclose([one.lift for one in result], [-0.15, 0.15])
        ends = stats.binomtest(5, 10).proportion_ci(method="wilson")
        np.testing.assert_allclose([result[0].score.low, result[0].score.high], [ends.low, ends.high])
        assert result[0].p == result[1].p == pytest.approx(stats.fisher_exact([[8, 2], [5, 5]]).pvalue)

    def test_of_numbers_the_largest_error_is_the_worst(self):
        result = slices(
            answers([1.0, 2, 1, 2, 1, 5, 6, 7, 8, 9], task="numbers"), {"late": [False] * 5 + [True] * 5}
        )
        assert [(one.value, one.score.value, one.lift) for one in result] == [
            ("yes", 7.0, pytest.approx(2.8)),
            ("no", 1.4, pytest.approx(-2.8)),
        ]
        assert result[0].p == pytest.approx(stats.mannwhitneyu([1, 2, 1, 2, 1], [5, 6, 7, 8, 9]).pvalue)

    def test_steps_are_tested_by_sequences(self):
        rng = np.random.default_rng(0)
        each, sequence = rng.random(400) < 0.5, np.repeat(np.arange(20), 20)
        result = slices(answers(each, sequence), {"late": np.arange(20) >= 10})
        means = each.reshape(20, 20).mean(axis=1)
        assert [one.count for one in result] == [10, 10]
        assert result[0].p == pytest.approx(stats.mannwhitneyu(means[:10], means[10:]).pvalue)

    def test_nearly_all_sequences_are_not_clearly_unlike_all(self):
        each = [1] * 171 + [0] * 29
        rest, most = slices(answers(each), {"new": np.arange(200) >= 190})
        assert most.p < 0.001
        assert most.score.low < 0.855 < most.score.high
        assert (rest.clear, most.clear) == (True, False)

    def test_nothing_is_clear_where_all_are_right(self):
        for some in (answers([1] * 40), answers([1] * 40, np.repeat(np.arange(20), 2))):
            result = slices(some, {"late": np.arange(some.batch_size) >= 9})
            assert [(one.p, one.clear) for one in result] == [(1, False)] * 2


class TestChance:
    @pytest.mark.parametrize("task", ["classes", "numbers"])
    def test_random_groups_hardly_ever_look_bad(self, task):
        rng = np.random.default_rng(0)
        alarms = 0
        for _ in range(100):
            each = rng.random(200) < 0.8 if task == "classes" else rng.exponential(size=200)
            groups = {name: rng.choice([*"abcd"], 200) for name in "uvwxyz"}
            alarms += any(one.clear for one in slices(answers(each, task=task), groups))
        assert alarms <= 10

    @pytest.mark.parametrize("task", ["classes", "numbers"])
    def test_a_bad_part_is_found_among_random_ones(self, task):
        rng = np.random.default_rng(0)
        bad = rng.random(200) < 0.2
        each = rng.random(200) < np.where(bad, 0.4, 0.9)
        each = each if task == "classes" else rng.exponential(np.where(bad, 4, 1))
        groups = {name: rng.choice([*"abcd"], 200) for name in "uvwxyz"} | {
            "sensor": np.where(bad, "old", "new")
        }
        result = slices(answers(each, task=task), groups)
        assert str(result[0]) == "sensor old"
        assert result[0].clear
        assert {str(one) for one in result if one.clear} == {"sensor old", "sensor new"}


@pytest.mark.parametrize("nothing", [None, float("nan"), pd.NA, pd.NaT, ""])
def test_what_is_missing_is_one_slice(nothing):
    answers = answers_of(torch.eye(2).repeat(20, 1), torch.tensor([0, 1] * 20))
    names = [str(one) for one in slices(answers, {"g": ["x"] * 20 + [nothing] * 20})]
    assert sorted(names) == ["g missing", "g x"]
    numbers = [*range(30), *[nothing] * 10]
    found = slices(answers, {"g": pd.Series(numbers, dtype=object)})
    assert {one.value: one.count for one in found}["missing"] == 10
    assert len(found) == 5
