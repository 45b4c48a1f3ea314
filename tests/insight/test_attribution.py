from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import glasslstm as gl
from glasslstm.errors import ArgumentError, ShapeError
from glasslstm.insight.attribution import deletion, integrated_gradients, occlusion, rank_agreement
from glasslstm.insight.probe import Probe

RAGGED = [6, 0, 1, 4]


class Tail(nn.Module):
    """A ragged model: an LSTM, and a head on both final states that is not linear."""

    def __init__(self, **options):
        super().__init__()
        self.lstm = gl.LSTM(3, 4, bidirectional=True, dtype=torch.float64, **options)
        self.head = nn.Linear(8, 3, dtype=torch.float64)

    def forward(self, x, lengths=None):
        _, (h_n, _) = self.lstm(x, lengths=lengths)
        return self.head(torch.cat([*h_n[-2:]], -1)).tanh()


class Linear(nn.LSTM):
    """A model whose score is linear in what its LSTM reads."""

    def __init__(self, weight):
        super().__init__(3, 2, dtype=torch.float64)
        self.weight = weight

    def forward(self, input):
        return (input * self.weight).sum((0, 2))


def planted():
    """A linear score with one weight for each step, sequence and channel, and the model that has it."""
    x, weight = (torch.randn(6, 4, 3, dtype=torch.float64) for _ in range(2))
    return x, weight, Linear(weight)


class TestOcclusion:
    @pytest.mark.parametrize("windows", [64, 6, 3, 4, 1])
    def test_is_the_model_run_on_a_replaced_input(self, windows):
        model, x = Tail(), torch.randn(6, 4, 3, dtype=torch.float64)
        probe = Probe(model, (x, RAGGED), 1)
        found = occlusion(probe, windows)
        valid = torch.arange(6)[:, None] < torch.tensor(RAGGED)
        mean = x[valid].mean(0)
        size = {64: 1, 6: 1, 3: 2, 4: 2, 1: 6}[windows]
        before = model(x, RAGGED)[:, 1]
        for t in range(6):
            replaced = x.clone()
            first = t // size * size
            replaced[first : first + size] = mean
            drop = before - model(replaced, RAGGED)[:, 1]
            torch.testing.assert_close(
                found[t], torch.where(valid[t], drop, 0.0).detach(), atol=1e-14, rtol=0
            )
        assert found[0].abs().max() > 1e-3

    def test_never_runs_more_often_than_asked(self):
        model, x = Tail(), torch.randn(50, 1, 3, dtype=torch.float64)
        probe, runs = Probe(model, x, 0), []
        model.register_forward_hook(lambda *_: runs.append(1))
        occlusion(probe, 7)
        assert len(runs) == 7

    def test_of_a_linear_score(self):
        x, weight, model = planted()
        expected = (weight * (x - x.mean((0, 1)))).sum(-1)
        torch.testing.assert_close(occlusion(Probe(model, x)), expected, atol=1e-13, rtol=0)

    def test_of_a_cell_in_a_loop(self):
        class Loop(nn.Module):
            def __init__(self):
                super().__init__()
                self.cell = nn.LSTMCell(3, 4, dtype=torch.float64)

            def forward(self, x):
                states = None
                for x_t in x:
                    states = self.cell(x_t, states)
                return states[0]

        model, x = Loop(), torch.randn(5, 2, 3, dtype=torch.float64)
        found = occlusion(Probe(model, x, 2, baseline="zero"))
        for t in range(5):
            drop = (model(x) - model(x * (torch.arange(5) != t)[:, None, None]))[:, 2].detach()
            torch.testing.assert_close(found[t], drop, atol=1e-15, rtol=0)

    @pytest.mark.parametrize("windows", [0, -1])
    def test_too_few_windows(self, windows):
        with pytest.raises(ArgumentError, match=f"windows: expected 1 or more, got {windows}"):
            occlusion(Probe(Tail(), torch.zeros(3, 1, 3).double(), 0), windows)


class TestIntegratedGradients:
    def test_of_a_linear_model_are_the_weight_times_the_distance_from_the_baseline(self):
        x, weight, model = planted()
        for baseline, point in (
            ("zero", torch.zeros(3).double()),
            ("mean", x.mean((0, 1))),
            (x[0, 0], x[0, 0]),
        ):
            found = integrated_gradients(Probe(model, x, baseline=baseline), points=1)
            torch.testing.assert_close(found.values, weight * (x - point), atol=1e-13, rtol=0)
            torch.testing.assert_close(found.steps, found.values.sum(-1), atol=1e-13, rtol=0)
            assert found.delta.abs().max() < 1e-12

    @pytest.mark.parametrize("lengths", [None, RAGGED])
    def test_are_complete(self, lengths):
        model, x = Tail(num_layers=2), 3 * torch.randn(6, 4, 3, dtype=torch.float64)
        probe = Probe(model, (x, lengths), 2)
        found = integrated_gradients(probe)
        rise = model(x, lengths)[:, 2] - model(probe.baseline, lengths)[:, 2]
        torch.testing.assert_close(found.steps.sum(0), rise.detach(), atol=1e-8, rtol=0)
        torch.testing.assert_close(found.delta, found.steps.sum(0) - rise.detach(), atol=1e-14, rtol=0)
        assert not found.values[~probe.valid].any()
        assert integrated_gradients(probe, 1).delta.abs().max() > 1e-4

    def test_are_the_integral_of_the_gradient(self):
        """Against a Riemann sum (midpoints) by autograd alone."""
        model, x = Tail(), torch.randn(6, 2, 3, dtype=torch.float64)
        found, total = integrated_gradients(Probe(model, x, 0, baseline="zero")), torch.zeros_like(x)
        for k in range(300):
            leaf = (x * (k + 0.5) / 300).requires_grad_()
            total += torch.autograd.grad(model(leaf)[:, 0].sum(), leaf)[0] / 300
        torch.testing.assert_close(found.values, total * x, atol=1e-5, rtol=0)

    def test_padding_may_hold_anything(self):
        model, x = Tail(), torch.randn(6, 4, 3, dtype=torch.float64)
        clean = integrated_gradients(Probe(model, (x, RAGGED), 0))
        x[torch.arange(6)[:, None] >= torch.tensor(RAGGED)] = torch.nan
        dirty = integrated_gradients(Probe(model, (x, RAGGED), 0))
        assert torch.equal(clean.values, dirty.values)

    def test_packed(self):
        class Packed(nn.Module):
            def __init__(self):
                super().__init__()
                self.lstm = nn.LSTM(3, 4, dtype=torch.float64)

            def forward(self, x):
                return self.lstm(x)[1][0][-1]

        model, x, lengths = Packed(), torch.randn(6, 3, 3, dtype=torch.float64), [2, 6, 4]
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        found = integrated_gradients(Probe(model, packed, 0, baseline="zero"))
        for b, length in enumerate(lengths):
            alone = integrated_gradients(Probe(model, x[:length, b : b + 1], 0, baseline="zero"))
            torch.testing.assert_close(found.values[:length, b], alone.values[:, 0], atol=1e-14, rtol=0)
            assert not found.values[length:, b].any()

    def test_points_and_gradients_that_are_not_there(self):
        x = torch.randn(3, 1, 3, dtype=torch.float64)
        with pytest.raises(ArgumentError, match="points: expected 1 or more, got 0"):
            integrated_gradients(Probe(Tail(), x, 0), 0)
        with pytest.raises(ArgumentError, match="no gradient leads from the score to 'lstm'"):
            integrated_gradients(Probe(Tail(), x, lambda output: output[:, 0].detach()))


class TestRankAgreement:
    @pytest.mark.parametrize(
        ("one", "other", "expected"),
        [
            ([1, 2, 3, 4], [10, 20, 30, 40], 1),
            ([1, 2, 3, 4], [-10, -20, -30, -40], 1),  # of the absolute values
            ([1, 2, 3, 4], [4, 3, 2, 1], -1),
            ([1, 2, 3, 4], [1, 3, 2, 4], 0.8),  # 1 - 6 * (1 + 1) / (4 * 15)
            ([1, 1, 2, 3], [1, 2, 3, 3], 4 / 4.5),  # ranks 1.5 1.5 3 4 and 1 2 3.5 3.5
            ([1, 1, 1, 1], [1, 2, 3, 4], None),
            ([1, 2, float("nan"), 3], [1, 2, 3, 4], None),
            ([5], [3], None),
            ([], [], None),
        ],
    )
    def test_by_hand(self, one, other, expected):
        scores = {"a": torch.tensor(one)[:, None].double(), "b": torch.tensor(other)[:, None].double()}
        found = rank_agreement(scores, torch.ones(len(one), 1, dtype=torch.bool))["a", "b"]
        if expected is None:
            assert found.isnan().all()
        else:
            assert found.item() == pytest.approx(expected, abs=1e-12)

    def test_each_sequence_by_its_valid_steps_and_every_pair(self):
        one = torch.tensor([[1.0, 3.0], [2.0, 2.0], [3.0, 9.0]])
        other = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 0.0]])
        found = rank_agreement(
            {"a": one, "b": other, "c": one}, torch.tensor([[1, 1], [1, 1], [1, 0]]).bool()
        )
        assert list(found) == [("a", "b"), ("a", "c"), ("b", "c")]
        assert found["a", "b"].tolist() == [1, -1]
        assert found["a", "c"].tolist() == [1, 1]

    @settings(max_examples=50, deadline=None)
    @given(values=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=12))
    def test_equals_the_correlation_of_mean_ranks(self, values):
        a, b = np.array(values, dtype=float).T
        ranks = [np.array([(v < u).sum() + ((v == u).sum() + 1) / 2 for u in v]) for v in (a, b)]
        scores = {"a": torch.tensor(a)[:, None], "b": torch.tensor(b)[:, None]}
        found = rank_agreement(scores, torch.ones(len(a), 1, dtype=torch.bool))["a", "b"].item()
        if min(ranks[0].std(), ranks[1].std()) == 0:
            assert np.isnan(found)
        else:
            assert found == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-12)


class TestDeletion:
    def test_of_a_linear_score_is_the_sum_of_the_highest(self):
        x, weight, model = planted()
        probe = Probe(model, x, baseline="zero")
        parts = (weight * x).sum(-1)
        found = deletion(probe, {"right": parts, "wrong": -parts}, 2)
        highest, lowest = parts.sort(dim=0).values[-2:].sum(0), parts.sort(dim=0).values[:2].sum(0)
        assert list(found.drops) == ["right", "wrong", "random"]
        torch.testing.assert_close(found.drops["right"], highest, atol=1e-13, rtol=0)
        torch.testing.assert_close(found.drops["wrong"], lowest, atol=1e-13, rtol=0)
        mean, error = found.mean("right")
        assert mean == pytest.approx(highest.mean().item())
        assert error == pytest.approx(np.std(highest.numpy(), ddof=1) / 2)

    def test_random_steps_drop_their_share(self):
        """The mean over many draws of 2 of 6 steps is a third of the whole."""
        x, weight, model = planted()
        found = deletion(Probe(model, x, baseline="zero"), {}, 2, draws=300)
        parts = (weight * x).sum(-1)
        spread = parts.std(0) * 2 / 300**0.5
        assert ((found.drops["random"] - parts.sum(0) / 3).abs() < 5 * spread).all()

    def test_draws_follow_the_seed_alone(self):
        x, _, model = planted()
        probe = Probe(model, x)
        first = deletion(probe, {}, 1, seed=1).drops["random"]
        torch.rand(7)
        assert torch.equal(first, deletion(probe, {}, 1, seed=1).drops["random"])
        assert not torch.equal(first, deletion(probe, {}, 1, seed=2).drops["random"])

    def test_counts_and_lengths(self):
        model, x = Tail(), torch.randn(30, 4, 3, dtype=torch.float64)
        probe = Probe(model, (x, [30, 0, 1, 14]), 0)
        score = torch.rand(30, 4)
        assert deletion(probe, {}).k.tolist() == [3, 0, 1, 1]
        found = deletion(probe, {"a": score, "all": score}, 20)
        assert found.k.tolist() == [20, 0, 1, 14]
        assert found.drops["a"][1] == 0
        assert found.drops["a"][3] == found.drops["random"][3]  # all of its steps
        assert found.mean("a")[0] == pytest.approx(found.drops["a"][[0, 2, 3]].mean().item())

    def test_one_sequence_has_no_standard_error(self):
        x, _, model = planted()
        model.weight = model.weight[:, :1]
        found = deletion(Probe(model, x[:, :1]), {}, 1)
        assert np.isnan(found.mean("random")[1])

    def test_bad_input(self):
        x, _, model = planted()
        probe = Probe(model, x)
        with pytest.raises(ArgumentError, match="k: expected 1 or more, got 0"):
            deletion(probe, {}, 0)
        with pytest.raises(ArgumentError, match="draws: expected 1 or more, got 0"):
            deletion(probe, {}, draws=0)
        with pytest.raises(ShapeError, match=r"scores: expected \(6, 4\) of 'a', got \(6,\)"):
            deletion(probe, {"a": torch.zeros(6)})
