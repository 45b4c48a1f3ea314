"""What each rule hands on for the small figure of a finding, computed another way."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

import glasslstm as gl
from glasslstm.insight.rules.evidence import aligned, measured
from glasslstm.nn.init import chrono_

T, B, H = 12, 4, 16


def data(T=T, B=B, F=3, dtype=torch.float32):
    return torch.randn(T, B, F, generator=torch.Generator().manual_seed(1)).to(dtype)


def seeded(*sizes, kind=gl.LSTM, **options):
    torch.manual_seed(0)
    return kind(*sizes, **options)


@torch.no_grad()
def jam(lstm, gate, value, units):
    lstm.bias_ih_l0.view(4, -1)["ifgo".index(gate), units] = value
    return lstm


def gates_of(lstm, x):
    with torch.no_grad():
        return lstm(x, return_trace=True)[2][0, 0]


def only(code, *arguments, **options):
    (found,) = gl.diagnose(*arguments, **options, codes=[code])
    assert found.measured is not None
    json.dumps(found.measured.__dict__, allow_nan=False)
    return found, found.measured


class TestMeasured:
    def test_plain_numbers(self):
        found = measured("q", torch.tensor([0.5, 2.0]), beyond=torch.tensor([False, True]), limit=1.0)
        assert (found.values, found.at, found.beyond, found.limit) == ((0.5, 2.0), (), (1,), 1.0)
        assert all(type(value) is float for value in found.values)

    def test_what_is_not_finite_is_left_out_with_its_place(self):
        found = measured("q", [math.nan, 1.0, math.inf, 3.0, -math.inf], beyond=[2, 3])
        assert (found.values, found.at, found.beyond) == ((1.0, 3.0), (1, 3), (1,))
        named = measured("q", [math.nan, 1.0], at=["a", "b"], beyond=[1])
        assert (named.values, named.at, named.beyond) == ((1.0,), ("b",), (0,))
        assert measured("q", [math.nan, math.inf]) is None
        assert measured("q", []) is None

    @pytest.mark.parametrize(("along", "most"), [("unit", 512), ("step", 200), ("lag (steps)", 200)])
    def test_thinned_evenly_with_both_ends(self, along, most):
        assert measured("q", range(most), along=along).at == ()
        found = measured("q", range(3 * most), along=along)
        assert len(found.values) == most
        assert found.values == found.at
        assert (found.at[0], found.at[-1]) == (0, 3 * most - 1)
        gaps = {b - a for a, b in zip(found.at, found.at[1:], strict=False)}
        assert gaps <= {2, 3, 4}

    def test_what_is_found_outlives_the_thinning(self):
        found = measured("q", range(5000), beyond=[1, 1234, 4321])
        assert [found.values[k] for k in found.beyond] == [1, 1234, 4321]
        everything = measured("q", range(5000), beyond=range(5000))
        assert len(everything.values) == len(everything.beyond) == 512


def test_aligned_moves_each_sequence_by_itself():
    values = torch.tensor([[1.0, 5.0], [2.0, 6.0], [3.0, 7.0]])
    place = torch.tensor([[2, 1], [1, 0], [0, -1]])
    counted = torch.tensor([[True, True], [True, True], [True, False]])
    expected = torch.tensor([[3.0, 6.0], [2.0, 5.0], [1.0, math.nan]])
    torch.testing.assert_close(aligned(values, place, counted), expected, equal_nan=True)


class TestGates:
    @pytest.mark.parametrize(
        ("code", "gate", "name"),
        [("forget-gate-shut", "f", "forget_gate"), ("output-gate-stuck", "o", "output_gate")],
    )
    def test_shut(self, code, gate, name):
        lstm = jam(seeded(3, H), gate, -20, [2, 3, 9])
        found, shown = only(code, lstm, data())
        assert shown.values == pytest.approx(getattr(gates_of(lstm, data()), name).amax((0, 1)).tolist())
        assert shown.beyond == found.place.units == (2, 3, 9)
        assert (shown.along, shown.at, shown.limit, shown.logarithmic) == ("unit", (), 0.02, True)
        assert max(shown.values[k] for k in shown.beyond) == pytest.approx(found.value)

    def test_what_the_cells_could_hold(self):
        lstm = jam(seeded(3, H), "i", -9, [5])
        found, shown = only("input-gate-stuck", lstm, data())
        gates, held = gates_of(lstm, data()), torch.zeros(B, H)
        most = held
        for i, f in zip(gates.input_gate, gates.forget_gate, strict=True):
            held = f * held + i
            most = torch.maximum(most, held)
        assert shown.values == pytest.approx(most.amax(0).tolist(), rel=1e-5)
        assert shown.beyond == found.place.units == (5,)

    @pytest.mark.parametrize("gate", ["input", "output"])
    def test_open(self, gate):
        lstm = jam(seeded(3, H), gate[0], 20, range(8))
        _, shown = only(f"{gate}-gate-stuck", lstm, data())
        lowest = getattr(gates_of(lstm, data()), f"{gate}_gate").amin((0, 1))
        assert shown.quantity == f"lowest {gate} gate"
        assert shown.values == pytest.approx(lowest.tolist())
        assert (shown.beyond, shown.limit) == (tuple(range(8)), 0.98)

    def test_never_forgets(self):
        lstm = jam(seeded(3, H), "f", 20, range(8))
        _, shown = only("forget-gate-open", lstm, data())
        assert shown.values == pytest.approx(gates_of(lstm, data()).forget_gate.prod(0).amin(0).tolist())
        assert (shown.beyond, shown.limit) == (tuple(range(8)), 0.9)


class TestUnits:
    def test_dead(self):
        lstm = seeded(3, H)
        for weight in lstm.parameters():
            weight.data.view(4, H, -1)[:, [1, 4]] = 0
        _, shown = only("dead-units", lstm, data())
        with torch.no_grad():
            hidden = lstm(data())[0].flatten(0, 1)
        assert shown.values == pytest.approx((hidden.amax(0) - hidden.amin(0)).tolist(), abs=1e-6)
        assert (shown.beyond, shown.limit) == ((1, 4), 1e-3)

    def test_duplicates(self):
        lstm = seeded(3, 4)
        for weight in lstm.parameters():
            weight.data.view(4, 4, -1)[:, 3] = weight.data.view(4, 4, -1)[:, 1]
        _, shown = only("duplicate-units", lstm, data())
        with torch.no_grad():
            u = lstm(data())[0].flatten(0, 1).double().T

        def alike(a, b):
            shared = 2 * ((a - a.mean()) * (b - b.mean())).mean()
            apart = (a.mean() - shared.sign() * b.mean()) ** 2
            return abs(float(shared / (a.var(correction=0) + b.var(correction=0) + apart)))

        closest = [max(alike(u[a], u[b]) for b in range(4) if b != a) for a in range(4)]
        assert shown.values == pytest.approx(closest, rel=1e-5)
        assert shown.beyond == (1, 3)


@pytest.mark.parametrize("direction", [0, 1])
def test_cell_grows_by_step_as_read(direction):
    """Half a unit more at each step that is read, in units 1 and 2 alone."""
    lstm = gl.LSTM(1, 4, bidirectional=True, dtype=torch.float64)
    for name, weight in lstm.named_parameters():
        weight.data.zero_()
        if name == "bias_ih_l0" + direction * "_reverse":
            weight.data.view(4, 4)[1] = 50
            weight.data.view(4, 4)[2, 1:3] = 50
    inputs = {"input": torch.zeros(40, 3, 1, dtype=torch.float64), "lengths": [40, 30, 5]}
    _, shown = only("cell-grows", lstm, inputs)
    assert shown.values == pytest.approx([0.5 * (k + 1) for k in range(40)])
    assert (shown.along, shown.limit) == (("step", "step from the end")[direction], 5)


class TestGradients:
    def test_vanishes_by_lag(self, made):
        """Read at the last step alone, with no recurrent weights: dL/dc loses the factor f at each step."""
        lstm = gl.LSTM(1, 2, dtype=torch.float64)
        for weight in lstm.parameters():
            weight.data.zero_()
        lstm.bias_ih_l0.data.view(4, 2)[1:3] = torch.tensor([[math.log(0.1 / 0.9)], [1.0]])
        model = made(lambda m, x, n: m.lstm(x, lengths=n)[1][0][-1], lstm=lstm)
        x, lengths = data(20, 3, 1, torch.float64), torch.tensor([20, 20, 16])
        _, shown = only("gradient-vanishes", model, (x, lengths))
        assert len(shown.values) == 20
        assert shown.values[0] == pytest.approx(1)
        ratios = [b / a for a, b in zip(shown.values[1:], shown.values[2:], strict=False)]
        assert ratios == pytest.approx(18 * [0.1], rel=0.05)  # the peak differs a little by length
        assert shown.is_curve
        assert (shown.limit, shown.logarithmic) == (1e-4, True)

    def test_explodes_by_step(self, made):
        torch.manual_seed(0)
        lstm = gl.LSTM(1, 32).double()
        nn.init.normal_(lstm.weight_hh_l0, std=1.5)
        model, x = made(lambda m, x: m.lstm(x)[0][-1], lstm=lstm), data(60, 3, 1, torch.float64)
        with gl.watch(model) as watcher:
            model(x).square().sum().backward()
        gates = watcher["lstm"][0, 0]
        norms = torch.cat([gates.cell_grad, gates.hidden_grad], -1).square().sum((1, 2)).sqrt()
        _, shown = only("gradient-explodes", model, x)
        assert shown.values == pytest.approx(norms.tolist(), rel=1e-9)

    def test_beyond_the_largest_number_there_is_nothing_to_show(self, made):
        torch.manual_seed(0)
        lstm = gl.LSTM(1, 64)
        nn.init.normal_(lstm.weight_hh_l0, std=4.0)
        model = made(lambda m, x: m.lstm(x)[0][-1], lstm=lstm)
        _, shown = only("gradient-explodes", model, 0.1 * data(150, 8, 1))
        assert 10 < len(shown.values) < 150
        assert shown.at == tuple(range(150 - len(shown.values), 150))


def test_memory_left_by_lag(made):
    model = made(
        lambda m, x: 0 * m.head(m.lstm(x)[0][-1]).squeeze(-1),
        lstm=seeded(1, 24),
        head=nn.Linear(24, 1),
    )
    model.lstm.weight_ih_l0.data[0] = 1  # no longer as it was drawn
    x, y = data(60, 16, 1), torch.randn(16, generator=torch.Generator().manual_seed(2))
    _, shown = only("memory-too-short", model, x, y, nn.functional.mse_loss)
    f = gates_of(model.lstm, x).forget_gate.double()
    for lag, value in list(zip(shown.at, shown.values, strict=True))[:6]:
        products = torch.stack([f[t + 1 : t + 1 + lag].prod(0) for t in range(60 - lag)])
        assert value == pytest.approx(products.mean((0, 1)).topk(2).values.mean().item(), rel=1e-5)
    assert (shown.at[:4], shown.limit, shown.is_curve) == ((0, 1, 2, 3), 0.01, True)
    chrono_(model.lstm, max_steps=60)
    assert not gl.diagnose(model, x, y, nn.functional.mse_loss, codes=["memory-too-short"])


def test_root_mean_square_by_channel():
    x = data()
    x[..., 2] = 3000 + 500 * x[..., 2]
    _, shown = only("inputs-not-scaled", seeded(3, H), x)
    assert shown.values == pytest.approx(x.double().pow(2).mean((0, 1)).sqrt().tolist())
    assert (shown.along, shown.beyond, shown.limit) == ("channel", (2,), 10)


class TestNotFinite:
    def test_by_step(self):
        """An input value at step 5, and 4 units of 6 quantities from then on."""
        x = data()
        x[5, 2, 1] = math.nan
        found, shown = only("not-finite", seeded(3, 4), x)
        assert shown.values == (*5 * [0], 25, *6 * [24])
        assert sum(shown.values) == found.value
        assert (shown.along, shown.beyond) == ("step", (5,))

    def test_by_weight(self):
        lstm = seeded(3, 4)
        lstm.weight_hh_l0.data[0, :3] = math.inf
        _, shown = only("not-finite", lstm, data())
        assert dict(zip(shown.at, shown.values, strict=True)) == {
            "weight_ih": 0,
            "weight_hh": 3,
            "bias_ih": 0,
            "bias_hh": 0,
        }
        assert shown.beyond == (1,)

    def test_by_state(self):
        h_0, c_0 = torch.zeros(2, 1, B, 5)
        c_0[0, 2, 1:3] = math.nan
        _, shown = only("not-finite", seeded(3, 5), (data(), (h_0, c_0)))
        assert (shown.at, shown.values, shown.beyond) == (("h_0", "c_0"), (0, 2), (1,))

    def test_of_the_gradient(self, made):
        model = made(lambda m, x: m.lstm(x)[0], lstm=seeded(3, 4))
        loss = lambda y, t: y.sum() + (0 * y[7, 2, 1]).sqrt()  # noqa: E731
        found, shown = only("not-finite", model, data(), torch.ones(1), loss)
        assert (shown.beyond, sum(shown.values)) == ((7,), found.value)
        assert not any(shown.values[8:])


def test_steps_seen_by_direction(made):
    lstm = seeded(3, 6, batch_first=True, bidirectional=True)
    _, shown = only("one-end-only", made(lambda m, x: m.lstm(x)[0][:, -1], lstm=lstm), data(4, 9))
    assert (shown.at, shown.values, shown.beyond, shown.limit) == (("forward", "reverse"), (9, 1), (1,), 1)


def test_moves_by_sequence_where_the_batch_is_read_as_time(made):
    model, x = made(lambda m, x: m.lstm(x)[0][:, -1], lstm=seeded(3, 6)), data(8, 11)
    _, shown = only("axes-mixed", model, x)
    assert (shown.along, shown.beyond, shown.limit) == ("sequence (4 was changed)", (5, 6, 7), 1e-4)
    assert shown.values[:4] == (0, 0, 0, 0)
    assert min(shown.values[4:]) > 1e-4
    assert shown.values[4] == max(shown.values)
    larger = made(lambda m, x: 1000 * m.lstm(x)[0][:, -1], lstm=model.lstm)
    assert only("axes-mixed", larger, x)[1].values == pytest.approx(
        shown.values, rel=1e-4
    )  # in its own spread


def test_moves_by_sequence_where_rows_are_swapped_or_known(made):
    mine = seeded(3, 6, batch_first=True, bidirectional=True)
    _, shown = only("axes-mixed", made(lambda m, x: m.lstm(x)[1][0].view(len(x), -1), lstm=mine), data(8, 11))
    assert (shown.along, shown.beyond) == ("sequence (1 was changed)", (0, 4))
    assert [k for k, value in enumerate(shown.values) if value > 1e-4] == [0, 4]
    mixing = made(lambda m, x: m.lstm(x + x.mean(0, keepdim=True))[1][0][-1], lstm=mine)
    found, shown = only("axes-mixed", mixing, data(8, 11))
    assert len(shown.beyond) == found.value == 7


def test_moves_by_sequence_without_its_padding(made):
    lengths = torch.tensor([10, 3, 7, 10, 1])
    x = data(5, 10) * (torch.arange(10)[None, :, None] < lengths[:, None, None])
    model = made(lambda m, x: m.lstm(x)[0][:, -1], lstm=seeded(3, 6, batch_first=True))
    found, shown = only("padding-matters", model, x)
    assert shown.at == ("4 (1 steps)", "1 (3 steps)", "2 (7 steps)")
    with torch.no_grad():
        outputs = model(x)
        spread = (outputs - outputs.mean(0)).square().mean().sqrt()
        alone = [model(x[b : b + 1, : lengths[b]])[0] - outputs[b] for b in (4, 1, 2)]
    assert shown.values == pytest.approx([float(d.square().mean().sqrt() / spread) for d in alone], rel=1e-4)
    assert max(shown.values) == found.value
    assert (shown.beyond, shown.limit) == ((0, 1, 2), 0.01)


class TestStates:
    def test_by_state(self, made):
        def carry(m, x):
            output, states = m.lstm(x, m.states)
            m.states = (m.states[0], states[1].detach())  # the cell alone
            return output

        model = made(carry, lstm=seeded(3, 6, 2))
        model.states = 2 * (torch.zeros(2, B, 6),)
        found, shown = only("state-carried-over", model, data())
        with torch.no_grad():
            final = model.lstm(data())[1][1].abs().amax((1, 2)).tolist()
        assert shown.at == ("h_0, layer 0", "c_0, layer 0", "h_0, layer 1", "c_0, layer 1")
        assert shown.values == pytest.approx((0, final[0], 0, final[1]), rel=1e-5)
        assert (shown.beyond, shown.limit) == ((1, 3), 1e-3)
        assert found.value == max(shown.values)

    @pytest.mark.parametrize("kind", [gl.LSTM, nn.LSTM])
    def test_by_sequence_within_a_batch(self, kind, made):
        def chain(m, x):
            states, output = None, []
            for row in x:
                steps, states = m.lstm(row.unsqueeze(1), states)
                output.append(steps[-1])
            return torch.cat(output)

        lstm = seeded(3, 6, kind=kind)
        found, shown = only("state-carried-over", made(chain, lstm=lstm), data(5, 9))
        assert (shown.along, shown.beyond, shown.values[0]) == ("sequence", (1, 2, 3, 4), 0)
        with torch.no_grad():
            assert shown.values[1] == pytest.approx(float(lstm(data(5, 9)[0, :, None])[1][1].abs().max()))
        assert found.value == shown.values[1]


def test_dropout_asked_for_and_in_effect():
    with pytest.warns(UserWarning, match="dropout"):
        lstm = nn.LSTM(3, 4, dropout=0.2)
    _, shown = only("dropout-without-effect", lstm, data())
    assert (shown.at, shown.values, shown.beyond) == (("asked for", "in effect"), (0.2, 0.0), (1,))
