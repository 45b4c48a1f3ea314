from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

import glasslstm as gl
from glasslstm.errors import ArgumentError
from glasslstm.insight.attribution import Deletion
from glasslstm.insight.explain import METHODS, Explanation
from glasslstm.insight.figures.why import agreement, deletion, explanation, trust

LENGTHS = [7, 0, 1, 4]


def explained(steps=7, batch=4, channels=3, lengths=None, **options):
    torch.manual_seed(0)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = gl.LSTM(channels, 4), torch.nn.Linear(4, 2)

        def forward(self, x, lengths=None):
            return self.head(self.lstm(x, lengths=lengths)[1][0][-1])

    x = torch.randn(steps, batch, channels)
    return x, gl.explain(
        Model().double(), {"x": x.double(), "lengths": lengths or [steps] * batch}, 1, **options
    )


def made(drops, agreements=None, k=None):
    """An explanation of which only the tests matter: by method the drops of each sequence, and the ranks' agreement."""
    drops = {name: torch.tensor(values, dtype=torch.float64) for name, values in drops.items()}
    count = len(drops["random"])
    methods = [name for name in drops if name != "random"]
    return Explanation(
        module="lstm",
        score=torch.zeros(count),
        scores={method: torch.zeros(3, count) for method in methods},
        valid=torch.ones(3, count, dtype=torch.bool),
        memory=None,
        delta=None,
        channels=None,
        agreement={
            pair: torch.full((count,), value, dtype=torch.float64)
            for pair, value in (agreements or {}).items()
        },
        deletion=Deletion(torch.ones(count, dtype=torch.long) if k is None else torch.tensor(k), drops),
    )


class TestExplanation:
    @pytest.mark.parametrize(("sequence", "steps"), [(0, 7), (2, 1), (3, 4)])
    def test_the_numbers_are_those_of_the_explanation_without_padding(self, sequence, steps):
        x, found = explained(lengths=LENGTHS)
        figure = explanation(found, x, sequence=sequence, channel_names=["a", "b", "c"])
        for k, (bars, method) in enumerate(zip(figure.data, METHODS, strict=False), start=1):
            assert (bars.type, bars.name) == ("bar", method.replace("_", " "))
            assert bars.yaxis in (f"y{k}", "y"[: k == 1])
            assert [*bars.x] == [*range(steps)]
            np.testing.assert_array_equal(bars.y, found.scores[method][:steps, sequence])
        heat_map = figure.data[3]
        np.testing.assert_array_equal(heat_map.z, found.channels[:steps, sequence].T)
        assert [*heat_map.y] == ["a", "b", "c"]
        largest = float(found.channels[:steps, sequence].abs().max())
        assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (-largest, largest)
        assert [curve.name for curve in figure.data[4:]] == ["a", "b", "c"]
        for channel, curve in enumerate(figure.data[4:]):
            np.testing.assert_array_equal(curve.customdata, x[:steps, sequence, channel].double())

    def test_the_zero_line_is_seen_in_each_panel_and_the_unit_is_named(self):
        x, found = explained()
        layout = explanation(found, x, unit="score").layout
        axes = [layout[f"yaxis{k}"] for k in (1, 2, 3)]
        assert all(axis.zeroline and axis.title.text == "score" for axis in axes)

    def test_a_method_alone(self):
        x, found = explained(methods="occlusion")
        figure = explanation(found, x)
        assert [trace.type for trace in figure.data] == ["bar", "scatter", "scatter", "scatter"]
        assert figure.layout.coloraxis.cmax is None

    def test_without_curves(self):
        x, found = explained()
        assert explanation(found, None).data == explanation(found, x).data[:4]

    def test_many_channels_leave_out_those_that_matter_least(self):
        x, found = explained(channels=23)
        found.channels[:, :, [4, 9, 20]] = 0
        found.channels[3, 1, 20] = 1e3  # in another sequence
        found.channels[:, :, 0] *= 1e-9
        shown = [k for k in range(23) if k not in (4, 9, 0)]
        figure = explanation(found, x)
        assert [*figure.data[3].y] == [f"channel {k}" for k in shown]
        np.testing.assert_array_equal(figure.data[3].z, found.channels[:, 0].T[shown])
        assert figure.layout.yaxis4.title.text == "channel (20 of 23)"

    def test_many_steps_are_lines_and_peaks_that_can_be_seen(self):
        x, found = explained(steps=600, batch=2, methods="integrated_gradients", points=1, draws=1)
        figure = explanation(found, x)
        values = found.channels[:, 0].T.numpy()
        assert (figure.data[0].type, figure.data[0].line.shape) == ("scatter", "hvh")
        np.testing.assert_array_equal(figure.data[0].y, found.scores["integrated_gradients"][:, 0])
        np.testing.assert_array_equal(figure.data[1].customdata, values)
        for first in range(0, 600, 3):  # 600 steps in 250 columns or fewer
            window = values[:, first : first + 3]
            for row, peaks in zip(window, figure.data[1].z[:, first : first + 3], strict=True):
                assert [*peaks] == [max(row, key=abs)] * 3

    def test_names_of_another_input_are_not_those_of_what_the_lstm_reads(self):
        x, found = explained()
        figure = explanation(found, x[..., :2], channel_names=["a", "b"])
        assert [*figure.data[3].y] == ["channel 0", "channel 1", "channel 2"]
        assert [curve.name for curve in figure.data[4:]] == ["a", "b"]

    def test_names_are_disarmed(self):
        x, found = explained()
        figure = explanation(found, x, channel_names=["<script>", "$x$", "&"])
        assert [*figure.data[3].y] == ["&lt;script&gt;", "&#36;x&#36;", "&amp;"]
        assert "<script>" not in figure.to_json()

    def test_scores_that_are_all_zero_or_nan(self):
        x, found = explained()
        found.channels[:] = float("nan")
        assert explanation(found, x).layout.coloraxis.cmax == 1

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"sequence": 4}, "sequence: got 4; expected one of the 4 that there are, 0 to 3"),
            ({"sequence": 1}, "sequence: 1 has no steps"),
            ({"inputs": np.zeros((3, 3))}, r"inputs: expected \(T, F\) with the T = 7 steps"),
            ({"channel_names": ["a"]}, "channel_names: got 1 names; expected one for each of the 3 channels"),
        ],
    )
    def test_what_does_not_fit(self, options, message):
        x, found = explained(lengths=LENGTHS)
        with pytest.raises(ArgumentError, match=message):
            explanation(found, **{"inputs": x, **options})


class TestAgreement:
    def test_the_means_and_errors_are_those_over_the_sequences_that_have_one(self):
        _, found = explained(lengths=LENGTHS)
        dots, own = agreement(found, 3).data
        for k, ((one, other), ranks) in enumerate(found.agreement.items()):
            known = ranks[[0, 3]].numpy()  # of one step or none there is no order
            assert dots.y[k] == f"{one} and {other}".replace("_", " ")
            assert dots.x[k] == pytest.approx(known.mean())
            assert dots.error_x.array[k] == pytest.approx(stats.sem(known))
            assert own.x[k] == pytest.approx(known[1])
        assert len(agreement(found).data) == 1

    def test_each_row_has_its_name(self):
        _, found = explained()
        figure = agreement(found)
        axis = figure.layout.yaxis
        assert axis.tickvals == figure.data[0].y
        assert [text.replace("<br>", " ") for text in axis.ticktext] == [*axis.tickvals]
        assert max(len(line) for text in axis.ticktext for line in text.split("<br>")) <= 14

    def test_what_cannot_be_shown(self):
        with pytest.raises(ArgumentError, match="there is only one method"):
            agreement(explained(methods="memory")[1])
        with pytest.raises(ArgumentError, match="no sequence has two steps or more"):
            agreement(explained(steps=1)[1])
        with pytest.raises(ArgumentError, match="sequence: got 4; expected one of the 4"):
            agreement(explained()[1], 4)


class TestDeletion:
    def test_the_dots_are_the_means_and_errors_of_the_drops(self):
        _, found = explained(lengths=LENGTHS)
        methods, chance = deletion(found).data
        assert [*methods.y] == ["memory", "occlusion", "integrated gradients"]
        rows = [*zip(methods.x, methods.error_x.array, strict=True), (chance.x[0], chance.error_x.array[0])]
        for name, (mean, error) in zip([*METHODS, "random"], rows, strict=True):
            drops = found.deletion.drops[name][[0, 2, 3]].numpy()
            assert (mean, error) == (pytest.approx(drops.mean()), pytest.approx(stats.sem(drops)))

    def test_a_line_stands_where_chance_is(self):
        _, found = explained()
        figure = deletion(found, unit="score")
        assert [line.x0 for line in figure.layout.shapes] == [found.deletion.mean("random")[0]]
        assert figure.layout.xaxis.title.text == "drop of the score (score)"

    def test_no_steps_at_all(self):
        _, found = explained()
        nothing = replace(found, deletion=Deletion(torch.zeros(4), found.deletion.drops))
        with pytest.raises(ArgumentError, match="no sequence has a step"):
            deletion(nothing)


GOOD, FAIR, BAD, CHANCE = [4.0, 5.0, 6.0], [3.0, 5.0, 4.0], [1.0, -1.0, 0.5], [0.5, 0.25, 0.0]


class TestTrust:
    @pytest.mark.parametrize(
        ("ranks", "verdict"),
        [
            (0.7, "The methods agree (rank agreement 0.70): what several of them name is worth a look."),
            (
                0.4,
                "The methods agree in part (rank agreement 0.40): believe the steps that several of them name.",
            ),
            (
                0.1,
                (
                    "The methods rank the steps differently (rank agreement 0.10), as they do where most steps matter "
                    "little: believe only the steps that stand out in several of them."
                ),
            ),
            (float("nan"), "The methods stand the test, but there is no rank agreement to compare them by."),
        ],
    )
    def test_methods_that_beat_chance(self, ranks, verdict):
        found = made(
            {"memory": GOOD, "occlusion": FAIR, "random": CHANCE},
            {("memory", "occlusion"): ranks},
        )
        assert trust(found) == (
            "Without the steps that memory and occlusion name, the score drops by 5 and 4; "
            f"without random steps by 0.25. {verdict}"
        )

    def test_the_agreement_is_that_of_those_that_beat_chance(self):
        found = made(
            {
                "memory": BAD,
                "occlusion": FAIR,
                "integrated_gradients": GOOD,
                "random": CHANCE,
            },
            {
                ("memory", "occlusion"): -1,
                ("memory", "integrated_gradients"): -1,
                ("occlusion", "integrated_gradients"): 0.8,
            },
        )
        assert trust(found).endswith(
            "Leave memory aside, not clearly better than random steps; "
            "the others agree (rank agreement 0.80): what several of them name is worth a look."
        )

    def test_a_single_method_that_does(self):
        pair = {"memory": BAD, "occlusion": FAIR, "random": CHANCE}
        assert trust(made(pair)).endswith(
            "not clearly better than random steps; occlusion stands the test, with no other method to confirm it."
        )
        del pair["memory"]
        assert "0.25. Occlusion stands the test, with no other" in trust(made(pair))

    def test_none_that_does(self):
        found = made({"memory": BAD, "random": CHANCE})
        assert trust(found) == (
            "Without the steps that memory names, the score drops by 0.17; without random steps by 0.25. "
            "That is no clear difference: do not believe the picture."
        )

    @pytest.mark.parametrize("shift", [0.02, -0.02])
    def test_the_bound_is_that_of_a_paired_t_test(self, shift):
        chance = np.random.default_rng(0).normal(size=20)
        gain = np.random.default_rng(1).normal(size=20)
        bound = stats.t.ppf(0.975, 19) * stats.sem(gain)
        drops = chance + gain - gain.mean() + bound + shift
        result = stats.ttest_rel(drops, chance)
        assert (result.pvalue < 0.05) == (shift > 0)
        assert ("stands the test" in trust(made({"memory": drops, "random": chance}))) == (shift > 0)

    def test_sequences_without_steps_do_not_count(self):
        drops = {"memory": [2.0, 2.1, *[0.0] * 20], "random": [0.1, 0.2, *[0.0] * 20]}
        assert "stands the test" in trust(made(drops, k=[1, 1, *[0] * 20]))

    @pytest.mark.parametrize(
        ("k", "words"), [([1, 0, 0], "One sequence is"), ([0, 0, 0], "No sequence has a step")]
    )
    def test_too_few_sequences(self, k, words):
        found = made({"memory": GOOD, "random": CHANCE}, k=k)
        assert trust(found).startswith(words)
        assert "too few to test the methods against chance" in trust(found)
