from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics
from sklearn.calibration import calibration_curve
from torch.nn import functional

from glasslstm.errors import ArgumentError
from glasslstm.insight.answers import Answers, answers_of, default_loss

IGNORED = -100


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def labels(*shape, classes=3, seed=1):
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(seed))


def numbers(predicted, true, sequence=None, batch_size=None):
    sequence = np.arange(len(true)) if sequence is None else np.asarray(sequence)
    step = None if len(set(sequence.tolist())) == len(true) else np.zeros_like(sequence)
    true, predicted = np.asarray(true, float), np.asarray(predicted, float)
    size = batch_size or int(sequence.max()) + 1
    return Answers(
        "numbers", true, predicted, None, (), sequence, step, size, "mean squared error", "numbers"
    )


def classes(right, sequence=None):
    """Answers of two classes, right or wrong as told."""
    right = np.asarray(right, bool)
    sequence = np.arange(len(right)) if sequence is None else np.asarray(sequence)
    step = None if len(set(sequence.tolist())) == len(right) else np.zeros_like(sequence)
    true = np.arange(len(right)) % 2
    predicted = np.where(right, true, 1 - true)
    names, size = ("a", "b"), int(sequence.max()) + 1
    return Answers("classes", true, predicted, None, names, sequence, step, size, "cross-entropy", "logits")


class TestOneAnswerEach:
    @pytest.mark.parametrize(
        ("make", "taken_as"),
        [
            (lambda logits: logits, "logits"),
            (lambda logits: logits.log_softmax(-1), "log-probabilities"),
            (lambda logits: logits.softmax(-1), "probabilities"),
        ],
    )
    def test_classes(self, make, taken_as):
        logits, true = random(20, 3), labels(20)
        answers = answers_of(make(logits), true, class_names=["x", 1, "z"])
        assert (answers.task, answers.taken_as, answers.names) == ("classes", taken_as, ("x", "1", "z"))
        np.testing.assert_allclose(answers.probability, logits.double().softmax(-1), atol=1e-6)
        np.testing.assert_array_equal(answers.predicted, logits.argmax(-1))
        np.testing.assert_array_equal(answers.true, true)
        np.testing.assert_array_equal(answers.sequence, np.arange(20))
        assert (answers.step, answers.batch_size, answers.loss_name) == (None, 20, "cross-entropy")

    @pytest.mark.parametrize("shape", [(20,), (20, 1)])
    @pytest.mark.parametrize("cast", [torch.bool, torch.long, torch.float32])
    @pytest.mark.parametrize(
        ("make", "taken_as"), [(lambda s: s, "one logit"), (torch.sigmoid, "one probability")]
    )
    def test_yes_or_no(self, shape, cast, make, taken_as):
        score, true = random(20) * 3, labels(20, classes=2)
        answers = answers_of(make(score).reshape(shape), true.to(cast))
        assert (answers.taken_as, answers.loss_name) == (taken_as, "binary cross-entropy")
        np.testing.assert_allclose(answers.probability[:, 1], score.double().sigmoid(), atol=1e-6)
        np.testing.assert_allclose(answers.probability.sum(axis=1), 1)
        np.testing.assert_array_equal(answers.predicted, score > 0)
        np.testing.assert_array_equal(answers.true, true)
        assert answers.true.dtype.kind == "i"

    @pytest.mark.parametrize("shape", [(20,), (20, 1)])
    def test_numbers(self, shape):
        predicted, true = random(20), random(20, seed=1)
        answers = answers_of({"y": predicted.reshape(shape)}, true.numpy())
        assert (answers.task, answers.taken_as, answers.probability) == ("numbers", "numbers", None)
        np.testing.assert_array_equal(answers.predicted, predicted.double())
        np.testing.assert_array_equal(answers.true, true.double())

    def test_targets_that_are_to_be_left_out(self):
        true = torch.tensor([0, IGNORED, 2, IGNORED])
        answers = answers_of((random(4, 3), None), true)
        assert answers.sequence.tolist() == [0, 2]
        assert answers.true.tolist() == [0, 2]
        assert answers.batch_size == 4
        assert answers_of(random(3), torch.tensor([0.5, np.nan, 2])).sequence.tolist() == [0, 2]
        assert answers_of(random(3), torch.tensor([0, IGNORED, 1])).true.tolist() == [0, 1]

    def test_minus_infinity_is_a_logit(self):
        logits = torch.tensor([[0.0, -np.inf], [0.0, 0.0]])
        np.testing.assert_allclose(answers_of(logits, torch.tensor([0, 1])).probability, [[1, 0], [0.5, 0.5]])

    def test_padded_rows_do_not_hide_probabilities(self):
        probability = torch.cat([random(3, 2).softmax(-1), torch.zeros(1, 2)])
        assert answers_of(probability, torch.tensor([0, 1, 0, IGNORED])).taken_as == "probabilities"

    def test_the_lengths_of_the_input_leave_single_answers_alone(self):
        assert len(answers_of(random(3, 2), torch.tensor([0, 1, 0]), lengths=[5, 0, 2]).true) == 3

    @pytest.mark.parametrize(
        ("loss", "taken_as"),
        [
            (torch.nn.functional.binary_cross_entropy_with_logits, "one logit"),
            (torch.nn.BCEWithLogitsLoss(), "one logit"),
            (torch.nn.BCELoss(), "one probability"),
            (torch.nn.functional.mse_loss, "numbers"),
            (torch.nn.L1Loss(), "numbers"),
            (None, "one probability"),
        ],
    )
    def test_the_loss_tells_what_values_in_0_to_1_are(self, loss, taken_as):
        said, true = torch.tensor([0.4, 0.3, 0.6]), torch.tensor([1.0, 1.0, 0.0])
        answers = answers_of(said, true, loss=loss)
        assert answers.taken_as == taken_as
        assert answers.score.value == pytest.approx(
            {"one logit": 2 / 3, "one probability": 0, "numbers": (0.6 + 0.7 + 0.6) / 3}[taken_as]
        )

    def test_one_hot_targets_are_classes(self):
        said, true = random(6, 3), labels(6)
        hot = torch.nn.functional.one_hot(true, 3).float()
        one, other = answers_of(said, hot), answers_of(said, true)
        assert one.step is None
        np.testing.assert_array_equal(one.true, other.true)
        np.testing.assert_array_equal(one.predicted, other.predicted)

    def test_names_that_are_alike_stay_apart(self):
        assert answers_of(random(6, 3), labels(6), class_names=["a", "a", "b"]).names == ("a", "a (2)", "b")


class TestAnAnswerForEachStep:
    @pytest.mark.parametrize("layout", ["btk", "tbk", "bkt"])
    @pytest.mark.parametrize("lengths", [None, [4, 0, 2]])
    def test_classes(self, layout, lengths):
        logits, true = random(3, 4, 5), labels(3, 4, classes=5)
        true[0, 1] = IGNORED
        turned = {
            "btk": (logits, true),
            "tbk": (logits.transpose(0, 1), true.T),
            "bkt": (logits.transpose(1, 2), true),
        }
        axis = {"btk": 0, "tbk": 1, "bkt": 1}[layout]
        answers = answers_of(*turned[layout], lengths=lengths, batch_axis=axis)
        places = [(b, t) for b in range(3) for t in range((lengths or [4] * 3)[b]) if true[b, t] != IGNORED]
        assert [*zip(answers.sequence.tolist(), answers.step.tolist(), strict=True)] == places
        assert answers.true.tolist() == [int(true[place]) for place in places]
        assert answers.predicted.tolist() == [int(logits[place].argmax()) for place in places]
        assert answers.batch_size == 3

    @pytest.mark.parametrize("last", [True, False])
    @pytest.mark.parametrize(
        ("true", "task"), [(random(3, 4, seed=1), "numbers"), (labels(3, 4, classes=2), "classes")]
    )
    def test_one_score_a_step(self, last, true, task):
        output = random(3, 4)
        shown, known = (output[..., None], true[..., None]) if last else (output, true)
        for batch_axis in (0, 1):
            turn = (lambda x: x.transpose(0, 1)) if batch_axis else (lambda x: x)
            answers = answers_of(turn(shown), turn(known), batch_axis=batch_axis)
            assert answers.task == task
            np.testing.assert_array_equal(answers.true, true.flatten())
            np.testing.assert_array_equal(
                answers.predicted, output.flatten() if task == "numbers" else output.flatten() > 0
            )
            assert answers.sequence.tolist() == [0] * 4 + [1] * 4 + [2] * 4
            assert answers.step.tolist() == [0, 1, 2, 3] * 3

    def test_the_lengths_tell_which_axis_counts_the_sequences(self):
        assert answers_of(random(4, 3), random(4, 3, seed=1), lengths=[4, 4, 4]).batch_size == 3
        assert answers_of(random(4, 3), random(4, 3, seed=1)).batch_size == 4

    def test_a_horizon_is_not_cut_at_the_lengths_of_the_input(self):
        assert len(answers_of(random(3, 2), random(3, 2, seed=1), lengths=[9, 1, 9]).true) == 6


class TestWhatIsNotUnderstood:
    @pytest.mark.parametrize(
        ("output", "targets", "message"),
        [
            (random(4, 3), random(4, 2), r"shape \(4, 2\) beside an output \(4, 3\) cannot be scored"),
            (random(4, 3), random(4), "understood are a class"),
            (random(4, 5, 3), labels(4), "understood are a class"),
            (random(4), labels(4, classes=9) + 2, "or a number .* for each sequence"),
            (random(4, 5, 2), random(4, 5, 2), "understood are a class"),
            (random(4, 1, 2), labels(4), "understood are a class"),
            (random(4, 3), ["a", "b", "c", "d"], "targets: got .*expected one tensor or array of numbers"),
            (random(4, 3), None, "targets: got NoneType; expected one tensor or array of numbers"),
            (random(0, 3), torch.zeros(0).long(), "targets: got .* expected at least one real number"),
            ("no tensor", labels(4), "outputs: got str, without a tensor of real numbers"),
            (random(4, 3), labels(4) + 1, "got the classes 1 to 3 where the model scores 3, from 0 to 2"),
            (random(4, 3), torch.full((4,), IGNORED), "targets: none is left"),
            (random(4, 3) * np.nan, labels(4), "the model's output holds NaN or infinite numbers"),
            (random(4) * np.inf, random(4), "the model's output holds NaN or infinite numbers"),
        ],
    )  # fmt: skip
    def test_one_sentence_says_so(self, output, targets, message):
        with pytest.raises(ArgumentError, match=message):
            answers_of(output, targets)

    def test_names_and_lengths_that_do_not_fit(self):
        with pytest.raises(ArgumentError, match="class_names: got 2 names; expected one for each of the 3"):
            answers_of(random(4, 3), labels(4), class_names="ab")
        with pytest.raises(ArgumentError, match="lengths: got 7 of them beside targets of the shape"):
            answers_of(random(4, 3), random(4, 3, seed=1), lengths=[1] * 7)


class TestDefaultLoss:
    LOGITS, TRUE, YES = random(6, 3), labels(6), labels(6, classes=2).float()

    @pytest.mark.parametrize(
        ("output", "targets", "name", "expected"),
        [
            (LOGITS, TRUE, "cross-entropy", functional.cross_entropy(LOGITS, TRUE)),
            (LOGITS.log_softmax(-1), TRUE, "cross-entropy", functional.cross_entropy(LOGITS, TRUE)),
            (LOGITS.softmax(-1), TRUE, "cross-entropy", functional.cross_entropy(LOGITS, TRUE)),
            (LOGITS[:, :1], YES.bool(), "binary cross-entropy",
             functional.binary_cross_entropy_with_logits(LOGITS[:, 0], YES)),
            (LOGITS[:, 0].sigmoid(), YES, "binary cross-entropy",
             functional.binary_cross_entropy_with_logits(LOGITS[:, 0], YES)),
            (LOGITS, random(6, 3, seed=1), "mean squared error",
             ((LOGITS - random(6, 3, seed=1)) ** 2).mean()),
        ],
    )  # fmt: skip
    def test_it_is_torchs(self, output, targets, name, expected):
        loss = default_loss(output, targets)
        assert loss.__name__ == answers_of(output, targets).loss_name == name
        torch.testing.assert_close(loss((output,), targets), expected)

    def test_it_can_be_trained_on_and_skips_the_padding(self):
        logits, true = random(2, 4, 3).requires_grad_(), labels(2, 4)
        default_loss(logits, true, lengths=[4, 1])(logits, true).backward()
        kept = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]
        again = logits.detach().clone().requires_grad_()
        functional.cross_entropy(
            torch.stack([again[place] for place in kept]), torch.stack([true[place] for place in kept])
        ).backward()
        torch.testing.assert_close(logits.grad, again.grad)

    def test_it_takes_any_number_of_sequences(self):
        loss = default_loss(random(6, 5, 3), labels(6, 5))
        said, true = random(2, 5, 3, seed=3), labels(2, 5)
        expected = torch.nn.functional.cross_entropy(said.flatten(0, 1), true.flatten())
        torch.testing.assert_close(loss(said, true), expected)

    def test_none_where_nothing_is_understood(self):
        assert default_loss(random(4, 3), random(4)) is None


class TestScores:
    def test_accuracy_with_wilsons_interval(self):
        score = classes([1] * 17 + [0] * 3).score
        z, n, p = stats.norm.ppf(0.975), 20, 0.85
        centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
        assert score.name == "accuracy"
        assert score.more_is_better
        np.testing.assert_allclose([score.value, score.low, score.high], [p, centre - half, centre + half])

    def test_cross_entropy_and_brier_score_are_those_of_scikit_learn(self):
        logits, true = random(40, 2), labels(40, classes=2)
        _, entropy, brier = answers_of(logits, true).scores
        probability = logits.double().softmax(-1).numpy()
        assert (entropy.name, brier.name) == ("cross-entropy", "Brier score")
        np.testing.assert_allclose(entropy.value, metrics.log_loss(true, probability))
        np.testing.assert_allclose(brier.value, metrics.brier_score_loss(true, probability[:, 1]))

    def test_the_brier_score_of_three_classes_is_the_sum_over_classes(self):
        brier = answers_of(torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([1])).scores[2]
        np.testing.assert_allclose(brier.value, 0.5**2 + 0.7**2 + 0.2**2, rtol=1e-6)

    def test_of_numbers_the_absolute_error_with_students_interval_and_r_squared(self):
        predicted, true = random(30).double().numpy(), random(30, seed=1).double().numpy()
        error, root, determined = numbers(predicted, true).scores
        assert root.name == "root mean squared error"
        assert root.value == pytest.approx(np.sqrt(np.mean((predicted - true) ** 2)))
        errors = np.abs(predicted - true)
        ends = stats.ttest_1samp(errors, 0).confidence_interval()
        np.testing.assert_allclose([error.value, error.low, error.high], [errors.mean(), ends.low, ends.high])
        np.testing.assert_allclose(determined.value, metrics.r2_score(true, predicted))
        assert determined.low < determined.value < determined.high
        assert (error.more_is_better, determined.more_is_better) == (False, True)

    def test_no_r_squared_where_the_numbers_are_all_the_same(self):
        assert [score.name for score in numbers([1, 2, 3], [5, 5, 5]).scores] == [
            "mean absolute error",
            "root mean squared error",
        ]

    def test_steps_that_are_copies_add_nothing(self):
        predicted, true = random(12).numpy(), random(12, seed=1).numpy()
        copied = numbers(np.repeat(predicted, 50), np.repeat(true, 50), np.repeat(np.arange(12), 50))
        for one, many in zip(numbers(predicted, true).scores, copied.scores, strict=True):
            np.testing.assert_allclose([one.value, one.low, one.high], [many.value, many.low, many.high])
        copied = classes([1] * 50 * 6 + [0] * 50 * 6, np.repeat(np.arange(12), 50)).score
        exact = stats.binomtest(6, 12).proportion_ci(method="exact")
        assert copied.low < exact.low < exact.high < copied.high
        independent = 11 * (stats.t.ppf(0.975, 599) / stats.t.ppf(0.975, 11)) ** 2
        ends = stats.beta.ppf([0.025, 0.975], independent / 2 + [0, 1], independent / 2 + [1, 0])
        np.testing.assert_allclose([copied.low, copied.high], ends)

    def test_no_error_is_below_zero(self):
        assert numbers([0, 0, 9], [0, 0, 0]).score.low == 0

    @pytest.mark.parametrize("right", [0, 1])
    def test_steps_that_are_all_right_or_all_wrong_leave_doubt_as_the_sequences_do(self, right):
        score = classes([right] * 100, np.repeat(np.arange(10), 10)).score
        exact = stats.binomtest(10 * right, 10).proportion_ci(method="exact")
        assert score.low <= exact.low
        assert score.high >= exact.high
        assert score.high - score.low < 0.5

    def test_one_sequence_has_no_interval(self):
        for answers in (classes([1, 0], [0, 0]), numbers([1, 2], [2, 2], [0, 0])):
            assert np.isnan([answers.score.low, answers.score.high]).all()

    @pytest.mark.parametrize("make", [classes, "error", "R²"], ids=["accuracy", "error", "R²"])
    def test_intervals_over_sequences_hold_the_truth_19_times_in_20(self, make):
        rng = np.random.default_rng(0)
        hits, runs, sequence = 0, 400, np.repeat(np.arange(40), 8)
        for _ in range(runs):
            level = rng.beta(4, 1, 40)[sequence]  # what steps of a sequence share
            if make is classes:
                score, truth = classes(rng.random(320) < level, sequence).score, 0.8
            else:
                true = rng.normal(size=320)
                answers = numbers(true + level * rng.choice([-1, 1], 320), true, sequence)
                score, truth = (
                    (answers.scores[0], 0.8) if make == "error" else (answers.scores[-1], 1 - 2 / 3)
                )
            hits += score.low <= truth <= score.high
        assert 0.92 <= hits / runs <= 0.985


class TestCalibration:
    def test_bins_are_those_of_scikit_learn(self):
        answers = answers_of(2 * random(300, 3), labels(300))
        confidence = answers.probability.max(axis=1)
        right, mean = calibration_curve(answers.each, confidence, n_bins=10)
        found = answers.calibration
        np.testing.assert_allclose([own.right.value for own in found.bins], right)
        np.testing.assert_allclose([own.confidence for own in found.bins], mean)
        counts = np.histogram(confidence, np.linspace(0, 1, 11))[0]
        assert [own.count for own in found.bins] == counts[counts > 0].tolist()
        expected = np.average(np.abs(right - mean), weights=counts[counts > 0])
        np.testing.assert_allclose(found.error, expected)
        ends = stats.binomtest(round(right[-1] * counts[-1]), int(counts[-1])).proportion_ci(method="wilson")
        np.testing.assert_allclose(
            [found.bins[-1].right.low, found.bins[-1].right.high], [ends.low, ends.high]
        )

    def test_one_that_is_always_sure_and_half_right(self):
        found = answers_of(torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([0, 1, 0, 1])).calibration
        assert found.error == 0.5
        assert [(own.confidence, own.count) for own in found.bins] == [(1.0, 4)]

    def test_numbers_have_none(self):
        with pytest.raises(ArgumentError, match="calibration: the answers are numbers"):
            numbers([1, 2], [1, 2]).calibration  # noqa: B018
