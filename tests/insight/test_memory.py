from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import glasslstm as gl
from glasslstm.errors import ArgumentError, ArgumentTypeError
from glasslstm.insight.memory import (
    contributions,
    half_life,
    retention,
    retention_by_lag,
    retention_to_final,
    saturation,
)

RAGGED = [7, 0, 1, 4]


def traced(steps=7, batch=4, lengths=None, layers=1, hx=True, **options):
    """A trace of a bidirectional LSTM in float64 that starts from states other than zero."""
    torch.manual_seed(0)
    lstm = gl.LSTM(3, 5, layers, bidirectional=True, dtype=torch.float64, **options)
    shape = (2 * layers, batch)
    states = [torch.randn(*shape, width, dtype=torch.float64) for width in (lstm.proj_size or 5, 5)]
    x = 3 * torch.randn(steps, batch, 3, dtype=torch.float64)
    return lstm(x, states if hx else None, lengths=lengths, return_trace=True)


def reading(gates, b):
    """The steps of sequence b in the order in which the direction reads them."""
    length = len(gates.cell) if gates.lengths is None else int(gates.lengths[b])
    return list(range(length))[:: -1 if gates.reverse else 1]


def of(gates, b):
    return {name: array[:, b] for name, array in gates.numpy().items()}


each_direction = pytest.mark.parametrize("direction", [0, 1], ids=["forward", "reverse"])
each_layout = pytest.mark.parametrize("lengths", [None, RAGGED], ids=["full", "ragged"])


@each_direction
@each_layout
@pytest.mark.parametrize("layer", [0, 1])
class TestAgainstLoops:
    def test_contributions(self, direction, lengths, layer):
        _, (_, c_n), trace = traced(lengths=lengths, layers=2)
        gates = trace[layer, direction]
        parts = contributions(gates)
        for b in range(4):
            values, order = of(gates, b), reading(gates, b)
            expected = np.zeros((7, 5))
            for n, t in enumerate(order):
                left = np.ones(5)
                for s in order[n + 1 :]:
                    left = left * values["forget_gate"][s]
                expected[t] = left * values["input_gate"][t] * values["candidate"][t]
            kept = gates.initial_cell[b].numpy(force=True).copy()
            for s in order:
                kept *= values["forget_gate"][s]
            np.testing.assert_allclose(parts.steps[:, b], expected, atol=1e-14)
            np.testing.assert_allclose(parts.initial[b], kept, atol=1e-14)
        torch.testing.assert_close(parts.final, c_n[2 * layer + direction].detach(), atol=0, rtol=0)
        assert parts.residual.abs().max() < 1e-12
        assert parts.steps.abs().max() > 0.1

    def test_retention_between_any_two_states(self, direction, lengths, layer):
        gates = traced(lengths=lengths, layers=2)[2][layer, direction]
        later = range(7)[:: -1 if direction else 1]
        for n, start in enumerate([None, *later]):
            for stop in [*later[max(n - 1, 0) :], None]:
                found = retention(gates, start, stop)
                for b in range(4):
                    order, f = reading(gates, b), of(gates, b)["forget_gate"]
                    there = all(step is None or step in order for step in (start, stop))
                    begin = 0 if start is None else order.index(start) + 1 if there else 0
                    end = len(order) if stop is None else order.index(stop) + 1 if there else 0
                    expected = np.ones(5) * there
                    for s in order[begin:end]:
                        expected = expected * f[s]
                    np.testing.assert_allclose(found[b], expected, atol=1e-14, err_msg=f"{start} {stop} {b}")

    def test_retention_to_final(self, direction, lengths, layer):
        gates = traced(lengths=lengths, layers=2)[2][layer, direction]
        found = retention_to_final(gates)
        for t in range(7):
            torch.testing.assert_close(found[t], retention(gates, t), atol=1e-14, rtol=0)

    def test_retention_by_lag(self, direction, lengths, layer):
        gates = traced(lengths=lengths, layers=2)[2][layer, direction]
        lags, found = retention_by_lag(gates, range(7))
        assert lags.tolist() == list(range(7))
        for lag in range(7):
            kept = []
            for b in range(4):
                order, f = reading(gates, b), of(gates, b)["forget_gate"]
                kept += [
                    np.prod([f[s] for s in order[n + 1 : n + lag + 1]], axis=0) * np.ones(5)
                    for n in range(len(order) - lag)
                ]
            np.testing.assert_allclose(found[lag], np.mean(kept, axis=0), atol=1e-13)

    def test_half_life_and_saturation(self, direction, lengths, layer):
        gates = traced(lengths=lengths, layers=2)[2][layer, direction]
        steps = [(t, b) for b in range(4) for t in reading(gates, b)]
        forget = np.array([gates.numpy()["forget_gate"][step] for step in steps])
        np.testing.assert_allclose(half_life(gates), math.log(2) / -np.log(forget).mean(0), rtol=1e-12)
        found = saturation(gates, low=0.45, high=0.55)
        assert list(found) == ["input_gate", "forget_gate", "output_gate"]
        for name, shares in found.items():
            values = np.array([gates.numpy()[name][step] for step in steps])
            np.testing.assert_allclose(shares.left, (values < 0.45).mean(0), rtol=1e-12)
            np.testing.assert_allclose(shares.right, (values > 0.55).mean(0), rtol=1e-12)
            assert 0 < shares.left.mean() < 1
            assert 0 < shares.right.mean() < 1


@each_direction
def test_an_unbatched_input_is_a_batch_of_one_without_b(direction):
    torch.manual_seed(0)
    lstm = gl.LSTM(3, 5, bidirectional=True, dtype=torch.float64)
    x = torch.randn(7, 3, dtype=torch.float64)
    alone, batch = (lstm(value, return_trace=True)[2][0, direction] for value in (x, x[:, None]))
    one, other = contributions(alone), contributions(batch)
    for name in ("steps", "initial", "final", "residual"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name).squeeze(-2), atol=1e-15, rtol=0)
    assert torch.equal(half_life(alone), half_life(batch))
    assert torch.equal(retention_to_final(alone), retention_to_final(batch).squeeze(1))
    start, stop = (5, 2) if direction else (2, 5)
    assert torch.equal(retention(alone, start, stop), retention(batch, start, stop)[0])
    assert torch.equal(retention_by_lag(alone)[1], retention_by_lag(batch)[1])
    assert torch.equal(saturation(alone)["input_gate"].right, saturation(batch)["input_gate"].right)


def constant(f, steps=4, dtype=torch.float32, **changes):
    """Gates of one unit whose forget gate has the values f, one for each step."""
    gates = gl.LSTM(1, 1, dtype=dtype)(torch.zeros(steps, 1, 1, dtype=dtype), return_trace=True)[2][0, 0]
    return replace(gates, forget_gate=torch.tensor(f, dtype=dtype).view(-1, 1, 1), **changes)


class TestTheEnds:
    def test_a_gate_of_one_never_forgets(self):
        gates = constant([1.0] * 4)
        assert half_life(gates).item() == math.inf
        assert retention(gates).item() == 1
        assert retention_by_lag(gates)[1].tolist() == [[1.0]] * 4

    def test_float32_rounds_a_gate_near_one_to_one(self):
        assert half_life(constant([1 - 2**-26] * 4)).item() == math.inf
        finite = half_life(constant([1 - 2**-26] * 4, dtype=torch.float64)).item()
        assert finite == pytest.approx(math.log(2) * 2**26, rel=1e-6)

    def test_a_gate_of_zero_at_one_step_forgets_all(self):
        gates = constant([0.5, 0.0, 0.5, 0.5])
        assert half_life(gates).item() == 0
        assert retention_to_final(gates).flatten().tolist() == [0, 0.25, 0.5, 1]
        _, kept = retention_by_lag(gates, [1, 2])
        np.testing.assert_allclose(kept.flatten(), [(0 + 0.5 + 0.5) / 3, (0 + 0.25) / 2], atol=1e-12)
        assert contributions(gates).steps.isfinite().all()

    def test_a_gate_near_zero_is_not_zero(self):
        kept = retention_by_lag(constant([1e-20] * 4, dtype=torch.float64), [1, 2])[1]
        np.testing.assert_allclose(kept.flatten(), [1e-20, 1e-40], rtol=1e-12)

    def test_without_a_valid_step_nothing_is_known(self):
        gates = traced(lengths=[0, 0, 0, 0])[2][0, 1]
        assert half_life(gates).isnan().all()
        assert saturation(gates)["input_gate"].left.isnan().all()
        assert retention_by_lag(gates)[1].isnan().all()
        assert torch.equal(contributions(gates).final, gates.initial_cell)
        assert torch.equal(contributions(gates).initial, gates.initial_cell)

    def test_a_lag_longer_than_every_sequence_is_nan(self):
        _, kept = retention_by_lag(traced(lengths=[3, 0, 2, 3])[2][0, 1], [2, 3])
        assert kept[0].isfinite().all()
        assert kept[1].isnan().all()

    def test_default_lags_end_with_the_longest_sequence(self):
        assert retention_by_lag(traced(steps=30, lengths=[9, 5, 0, 2])[2][0, 0])[0].tolist() == [
            0,
            1,
            2,
            3,
            4,
            6,
            8,
        ]
        assert retention_by_lag(traced(steps=1)[2][0, 0])[0].tolist() == [0]

    def test_ten_thousand_steps_keep_their_accuracy(self):
        """The gates are powers of two, so that the truth is known to the last bit."""
        f = [1.0] * 10_000
        for step in (1_000, 5_000, 9_000):
            f[step] = 0.5
        gates = constant(f, 10_000)
        kept = retention_to_final(gates).flatten()
        assert [kept[t].item() for t in (0, 999, 1_000, 5_000, 8_999, 9_000)] == [
            0.125,
            0.125,
            0.25,
            0.5,
            0.5,
            1,
        ]
        assert half_life(gates).item() == pytest.approx(10_000 / 3, rel=1e-12)
        lags, curve = retention_by_lag(gates)
        assert len(lags) < 30
        halved = 1_000 + 2_048 + 1_000  # pairs 2,048 apart that have a step of 0.5 between them; none has two
        assert curve[lags.tolist().index(2_048)].item() == pytest.approx(1 - 0.5 * halved / 7_952, rel=1e-9)

    def test_a_long_decay_goes_to_zero_and_stays_finite(self):
        gates = constant([0.01] * 2_000, 2_000)
        assert retention(gates).item() == 0
        assert contributions(gates).steps.isfinite().all()
        assert retention_by_lag(gates)[1].isfinite().all()

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_low_precision_is_computed_in_float64(self, dtype):
        f = [0.5, 0.75, 0.875, 0.9375]
        gates = constant(f, dtype=dtype)
        assert retention(gates).dtype == torch.float64
        assert retention(gates).item() == math.prod(f)
        assert not contributions(gates).steps.requires_grad


@settings(max_examples=40, deadline=None)
@given(
    steps=st.integers(1, 12),
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=4),
    direction=st.integers(0, 1),
    gain=st.floats(0, 30),
    data=st.data(),
)
def test_retention_is_a_product_and_contributions_add_up(steps, lengths, direction, gain, data):
    lengths = [min(length, steps) for length in lengths]
    lstm = gl.LSTM(2, 3, bidirectional=True, dtype=torch.float64)
    x = gain * torch.randn(steps, len(lengths), 2, dtype=torch.float64)
    states = [torch.randn(2, len(lengths), 3, dtype=torch.float64) for _ in range(2)]
    gates = lstm(x, states, lengths=lengths, return_trace=True)[2][0, direction]
    parts = contributions(gates)
    assert parts.residual.abs().max() < 1e-12
    start, middle, stop = sorted(data.draw(st.integers(0, steps - 1)) for _ in range(3))[
        :: -1 if direction else 1
    ]
    pair = retention(gates, start, middle) * retention(gates, middle, stop)
    torch.testing.assert_close(pair, retention(gates, start, stop), atol=1e-14, rtol=0)
    ends = retention(gates, None, middle) * retention(gates, middle)
    there = gates.valid[middle].unsqueeze(-1)
    torch.testing.assert_close(ends, retention(gates) * there, atol=1e-14, rtol=0)
    kept = retention_by_lag(gates, range(steps))[1]
    kept = kept[~kept.isnan()]
    assert ((kept >= 0) & (kept <= 1)).all()


class TestBadInput:
    def test_what_is_no_gate_trace(self):
        trace = traced()[2]
        for function in (
            half_life,
            retention,
            retention_to_final,
            retention_by_lag,
            contributions,
            saturation,
        ):
            with pytest.raises(
                ArgumentTypeError, match=r"gates: expected a GateTrace, got Trace; .*trace\[0, 0\]"
            ):
                function(trace)
            with pytest.raises(ArgumentTypeError, match=r"gates: expected a GateTrace, got Tensor$"):
                function(torch.zeros(3))

    def test_a_single_step_of_a_cell(self):
        for shape in ((2, 3), (3,)):
            gates = gl.LSTMCell(3, 4)(torch.zeros(shape), return_trace=True)[1]
            for function in (
                half_life,
                retention,
                retention_to_final,
                retention_by_lag,
                contributions,
                saturation,
            ):
                with pytest.raises(ArgumentError, match="single step of an LSTMCell"):
                    function(gates)

    @pytest.mark.parametrize("step", [-1, 7, 1.0, "last"])
    def test_steps_that_are_not_there(self, step):
        gates = traced()[2][0, 0]
        with pytest.raises(ArgumentError, match="start: expected a step, 0 to 6, or None"):
            retention(gates, step)
        with pytest.raises(ArgumentError, match="stop: expected a step, 0 to 6, or None"):
            retention(gates, None, step)

    def test_steps_in_the_wrong_order(self):
        trace = traced()[2]
        with pytest.raises(ArgumentError, match=r"start=3, stop=2: .* from its first step to its last"):
            retention(trace[0, 0], 3, 2)
        with pytest.raises(ArgumentError, match=r"start=2, stop=3: .* from its last step to its first"):
            retention(trace[0, 1], 2, 3)

    @pytest.mark.parametrize("lags", [[], [-1], [7], [0, 8]])
    def test_lags_out_of_range(self, lags):
        with pytest.raises(ArgumentError, match="lags: expected one or more, each 0 to 6"):
            retention_by_lag(traced()[2][0, 0], lags)

    @pytest.mark.parametrize(("low", "high"), [(0.5, 0.5), (-0.1, 0.9), (0.1, 1.1), (0.9, 0.1)])
    def test_thresholds_out_of_range(self, low, high):
        with pytest.raises(ArgumentError, match="low, high: expected 0 <= low < high <= 1"):
            saturation(traced()[2][0, 0], low, high)
