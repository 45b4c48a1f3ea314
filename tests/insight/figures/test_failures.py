from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics

from glasslstm.errors import ArgumentError
from glasslstm.insight import slices as cut
from glasslstm.insight.answers import answers_of
from glasslstm.insight.figures.failures import (
    calibration,
    confusion_counts,
    confusion_matrix,
    residuals,
    slices,
)


def of_classes(count=200, classes=3, seed=0):
    torch.manual_seed(seed)
    return answers_of(2 * torch.randn(count, classes), torch.randint(classes, (count,)))


def of_numbers(count=200):
    torch.manual_seed(0)
    return answers_of(torch.randn(count), torch.randn(count))


class TestConfusions:
    @pytest.mark.parametrize("classes", [[2, 0, 1, 7], ["c", "a", "b", "z"]])
    def test_the_counts_are_those_of_scikit_learn(self, classes):
        y_true, y_pred = np.random.default_rng(0).choice(classes[:3], (2, 50))
        expected = metrics.confusion_matrix(y_true, y_pred, labels=classes)
        np.testing.assert_array_equal(confusion_counts(y_true, y_pred, np.array(classes)), expected)

    def test_a_cell_shows_its_count_and_the_share_of_its_row(self):
        cells = confusion_matrix(["a", "a", "a", "b"], ["a", "a", "b", "b"], ["a", "b", "c"]).data[0]
        np.testing.assert_allclose(cells.z, [[2 / 3, 1 / 3, 0], [0, 1, 0], [0, 0, 0]])
        assert cells.text.tolist() == [
            ["2<br>67%", "1<br>33%", "0"],
            ["0", "1<br>100%", "0"],
            ["0", "0", "0"],
        ]
        assert cells.customdata.tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]

    def test_many_classes_have_a_colour_bar_in_place_of_text(self):
        figure = confusion_matrix(range(10), range(10), range(10))
        assert figure.data[0].texttemplate is None
        assert figure.layout.coloraxis.showscale is True
        assert confusion_matrix(range(9), range(9), range(9)).layout.coloraxis.showscale is False

    def test_of_very_many_the_most_confused_are_shown_and_counted_whole(self):
        true, taken = np.repeat(np.arange(300), 4), np.repeat(np.arange(300), 4)
        confused = np.arange(5, 300, 10)  # 30 classes, each once taken for the next
        taken[4 * confused] = confused + 1
        taken[4 * 205 + 1] = 206  # once more than the others
        figure = confusion_matrix(true, taken, range(300))
        assert [*figure.data[0].y] == [*figure.data[0].x] == [str(k) for c in confused for k in (c, c + 1)]
        assert figure.layout.title.text == "The 60 of 300 classes most confused"
        np.testing.assert_array_equal(figure.data[0].customdata[:2, :2], [[3, 1], [0, 4]])
        np.testing.assert_array_equal(figure.data[0].z[:2, :2], [[0.75, 0.25], [0, 1]])
        assert confusion_matrix([0], [0], range(60)).layout.title.text == "Confused classes"

    def test_a_share_is_that_of_the_whole_row(self):
        true, taken = np.zeros(62, int), np.arange(62)  # the last two columns are not shown
        assert confusion_matrix(true, taken, range(62)).data[0].z[0, 0] == 1 / 62

    def test_names_are_short_distinct_and_disarmed(self):
        names = ["<b>x</b>", "a&b", "$x$", "", "a name that goes on", "a name that goes elsewhere"]
        cells = confusion_matrix(names, names, names).data[0]
        expected = ["&lt;b&gt;x&lt;/b&gt;", "a&amp;b", "&#36;x&#36;", "(empty)", "a name that g…"]
        assert [*cells.x] == [*cells.y] == [*expected, "a name th… (2)"]

    @pytest.mark.parametrize(("y_true", "y_pred"), [([], []), (["a"], ["a", "b"])])
    def test_labels_that_are_none_or_do_not_pair(self, y_true, y_pred):
        with pytest.raises(
            ArgumentError, match=f"got {len(y_true)} and {len(y_pred)} labels; expected as many"
        ):
            confusion_counts(y_true, y_pred, ["a", "b"])

    def test_a_label_that_is_no_class(self):
        with pytest.raises(ArgumentError, match=r"classes: got \['a'\], which lacks \['b'\] of the labels"):
            confusion_counts(["a"], ["b"], ["a"])


class TestResiduals:
    def test_points_and_histogram_are_those_of_the_answers(self):
        answers = of_numbers()
        points, bars = residuals(answers).data
        np.testing.assert_array_equal(points.x, answers.true)
        np.testing.assert_array_equal(points.y, answers.predicted)
        counts, edges = np.histogram(answers.predicted - answers.true, bins=30)
        np.testing.assert_array_equal(bars.y, counts)
        np.testing.assert_allclose(np.array(bars.x) - np.array(bars.width) / 2, edges[:-1])

    def test_the_diagonal_spans_both(self):
        answers = answers_of(torch.tensor([5.0, 2.0]), torch.tensor([3.0, 1.0]))
        line = residuals(answers).layout.shapes[0]
        assert (line.x0, line.y0, line.x1, line.y1) == (1, 1, 5, 5)

    def test_at_most_a_thousand_points_and_every_error(self):
        figure = residuals(of_numbers(2500))
        assert len(figure.data[0].x) == 1000
        assert sum(figure.data[1].y) == 2500
        assert figure.layout.title.text == "Predicted and true (line: equal), 1,000 of 2,500"

    @pytest.mark.parametrize("count", [1, 3, 50])
    def test_constant_answers(self, count):
        answers = answers_of(torch.full((count,), 3.0), torch.full((count,), 2.0))
        assert sum(residuals(answers).data[1].y) == count

    def test_classes_have_none(self):
        with pytest.raises(ArgumentError, match="residuals: the answers are classes"):
            residuals(of_classes())


class TestCalibration:
    def test_the_numbers_are_those_computed(self):
        answers = of_classes()
        curve, counts = calibration(answers).data
        bins = answers.calibration.bins
        assert [*curve.x] == [*counts.x] == [own.confidence for own in bins]
        assert [*curve.y] == [own.right.value for own in bins]
        assert [*counts.y] == [own.count for own in bins]
        ends = [(own.right.low, own.right.high) for own in bins]
        np.testing.assert_allclose(np.subtract(curve.y, curve.error_y.arrayminus), [low for low, _ in ends])
        np.testing.assert_allclose(np.add(curve.y, curve.error_y.array), [high for _, high in ends])

    def test_the_error_is_in_the_title(self):
        answers = answers_of(torch.tensor([0.25, 0.25, 0.25]), torch.tensor([0, 0, 1]))
        assert calibration(answers).layout.title.text == "Expected calibration error: 0.083"

    def test_one_that_is_always_sure(self):
        answers = answers_of(torch.tensor([0.0, 1.0]), torch.tensor([0, 1]))
        assert [*calibration(answers).data[0].y] == [1.0]


class TestSlices:
    def test_dots_in_order_with_their_intervals(self):
        answers = of_classes()
        found = cut.slices(answers, {"length": np.arange(200), "site": np.arange(200) % 3 < 1})
        figure = slices(found, answers)
        dots = figure.data[0]
        assert [*dots.x] == [one.score.value for one in found]
        assert [*dots.y] == [f"{one} ({one.count})" for one in found] == [*figure.layout.yaxis.categoryarray]
        np.testing.assert_allclose(
            np.subtract(dots.x, dots.error_x.arrayminus), [one.score.low for one in found]
        )
        np.testing.assert_allclose(np.add(dots.x, dots.error_x.array), [one.score.high for one in found])
        assert {*figure.data[-1].x} == {answers.score.value}
        assert figure.layout.title.text == "6 slices, the worst on top (*: clear)"

    def test_what_is_clear_is_marked_by_more_than_colour(self):
        right = np.arange(60) < 50
        answers = answers_of(9 * torch.eye(2)[torch.as_tensor(right * 1)], torch.ones(60).long())
        found = cut.slices(answers, {"late": ~right, "odd": np.arange(60) % 2 == 1})
        unclear, clear, _ = slices(found, answers).data
        assert [*clear.y] == ["late yes (10)*", "late no (50)*"]
        assert {*unclear.y} == {"odd yes (30)", "odd no (30)"}
        assert clear.marker.symbol != unclear.marker.symbol

    def test_at_most_twenty_with_hostile_names(self):
        answers = of_classes()
        groups = {f"<b>{k}</b>$": np.arange(200) % 4 for k in range(10)}
        figure = slices(cut.slices(answers, groups), answers)
        names = [name for trace in figure.data[:-1] for name in trace.y]
        assert len(names) == len({*names}) == 20
        assert not any("<" in name or "$" in name for name in names)
        assert figure.layout.title.text == "The 20 worst of 40 slices (*: clear)"

    def test_none(self):
        with pytest.raises(ArgumentError, match="slices: there is none of at least five sequences"):
            slices(cut.slices(of_classes(), {}), of_classes())
