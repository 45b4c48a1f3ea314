from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

import glasslstm as gl
from glasslstm.nn.init import chrono_

VANISHES, EXPLODES = ["gradient-vanishes"], ["gradient-explodes"]


def constant(f, hidden_size=4, **options):
    """An LSTM in float64 with this forget gate, half open others, and no recurrent weights."""
    lstm = gl.LSTM(1, hidden_size, dtype=torch.float64, **options)
    with torch.no_grad():
        for name, weight in lstm.named_parameters():
            weight.zero_()
            if name.startswith("bias_ih"):
                weight.view(4, -1)[1] = torch.logit(torch.tensor(f, dtype=torch.float64))
                weight.view(4, -1)[2] = 1.0
    return lstm


@pytest.fixture
def last(made):
    """Make a model that reads the last step."""
    return lambda lstm: made(lambda m, x: m.lstm(x)[0][-1], lstm=lstm)


def data(T, B=3, dtype=torch.float64):
    torch.manual_seed(1)
    return torch.randn(T, B, 1, dtype=dtype)


class TestVanishes:
    def test_the_figures_by_hand(self, last):
        """dL/dc_t = f^(20 - t) dL/dc_20, and dL/dh_t is 0 but for the last step."""
        model, x = last(constant(0.2)), data(21)
        with gl.watch(model) as watcher:
            model(x).square().sum().backward()
        gates = watcher["lstm"][0, 0]
        largest = torch.cat([gates.cell_grad[-1], gates.hidden_grad[-1]], -1).norm(dim=-1)
        share = (0.2**10 * gates.cell_grad[-1].norm(dim=-1) / largest).median()
        found = gl.diagnose(model, x, codes=VANISHES)
        assert found[0].value == pytest.approx(share.item())
        reach = sum(1 for k in range(1, 21) if 0.2**k * gates.cell_grad[-1, 0].norm() > 1e-4 * largest[0])
        assert found[0].evidence == (
            f"dL/dc_t and dL/dh_t are below 0.0001 of their largest more than {reach} steps before the last, of 21; "
            f"the first half of the steps gets {share:.1g} of it"
        )
        assert found[0].severity == "warning"
        assert "gl.init.chrono_(model.lstm, max_steps=21)" in found[0].change
        place = found[0].place
        assert (place.module, place.layer, place.direction, place.units) == ("lstm", 0, 0, ())

    @pytest.mark.parametrize(("factor", "count"), [(0.98, 1), (1.02, 0)])
    def test_just_above_the_threshold_is_not_found(self, last, factor, count):
        """At a lag of 10, in float64: f^10 |dc| = 1e-4 sqrt(|dc|^2 + |dh|^2), with dc = o (1 - tanh(c)^2) dh."""
        f = 0.36
        for _ in range(20):
            lstm = constant(f)
            cell = lstm(data(21))[1][1][0, 0, 0]
            ratio = 0.5 * (1 - cell.tanh() ** 2).item()
            f = (1e-4 * (1 + ratio**-2) ** 0.5) ** 0.1
        assert len(gl.diagnose(last(constant(f * factor**0.1)), data(21), codes=VANISHES)) == count

    def test_a_loss_at_every_step_reaches_them(self):
        assert not gl.diagnose(constant(0.1), data(40), codes=VANISHES)

    def test_once_for_an_lstm_with_the_worst_layer(self, made):
        torch.manual_seed(0)
        lstm = gl.LSTM(1, 8, 2, bidirectional=True)
        lstm.bias_ih_l1_reverse.data[8:16] = -3
        model = made(lambda m, x: torch.cat([*m.lstm(x)[1][0][-2:]], -1), lstm=lstm)
        found = gl.diagnose(model, data(60, dtype=torch.float32), codes=VANISHES)
        assert [(finding.place.layer, finding.place.direction) for finding in found] == [(1, 1)]

    def test_severity_by_what_the_model_has_learnt(self, made):
        torch.manual_seed(0)
        model = made(lambda m, x: 1e-3 * m.lstm(x)[0][-1] + x[-1], lstm=constant(0.2, 1))
        x, noise = data(40, 16), torch.randn(16, 1, dtype=torch.float64)
        for y, severity in (
            (noise, "error"),
            (x[-1] + 1.2 * noise, "warning"),
            (x[-1] + 0.1 * noise, "note"),
        ):
            assert gl.diagnose(model, x, y, mse_loss, codes=VANISHES)[0].severity == severity

    def test_untrained_weights_are_a_warning_at_most(self, last):
        torch.manual_seed(0)
        model, x, y = last(nn.LSTM(1, 8)), data(60, 16, dtype=torch.float32), torch.randn(16, 8)
        assert gl.diagnose(model, x, y, mse_loss, codes=VANISHES)[0].severity == "warning"
        model.lstm.weight_ih_l0.data[0] = 1.0
        assert gl.diagnose(model, x, y, mse_loss, codes=VANISHES)[0].severity == "error"

    def test_what_stuck_gates_explain_is_told_by_them_alone(self, last):
        found = gl.diagnose(last(constant(1e-9)), data(40), codes=[*VANISHES, "forget-gate-shut"])
        assert [finding.code for finding in found] == ["forget-gate-shut"]

    def test_the_chrono_initialisation_takes_it_away(self, last):
        torch.manual_seed(0)
        model = last(nn.LSTM(1, 16))
        x = data(100, dtype=torch.float32)
        assert gl.diagnose(model, x, codes=VANISHES)
        chrono_(model.lstm, max_steps=100)
        assert not gl.diagnose(model, x, codes=VANISHES)

    def test_without_gradients_it_is_skipped(self, last):
        model = last(nn.LSTM(1, 4))
        for weight in model.parameters():
            weight.requires_grad_(False)
        found = gl.diagnose(model, data(40, dtype=torch.float32), codes=VANISHES + EXPLODES)
        assert found.skipped == dict.fromkeys(VANISHES + EXPLODES, "no gradient reaches any LSTM")

    @pytest.mark.parametrize("T", [1, 7])
    def test_short_sequences_are_left_out(self, last, T):
        assert not gl.diagnose(last(constant(0.03)), data(T), codes=VANISHES)


def wild(std, hidden_size=32, **options):
    torch.manual_seed(0)
    lstm = gl.LSTM(1, hidden_size, **options)
    for name, weight in lstm.named_parameters():
        if name.startswith("weight_hh"):
            nn.init.normal_(weight, std=std)
    return lstm


class TestExplodes:
    @pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch's own
    @pytest.mark.parametrize(
        ("std", "options"), [(1.5, {}), (4, {"proj_size": 16})], ids=["plain", "projection"]
    )
    def test_the_figure_is_the_ratio_of_the_gradients(self, last, std, options):
        """Read at the last step alone, all gradient of a step comes from the one behind it."""
        model, x = last(wild(std, **options).double()), data(60)
        with gl.watch(model) as watcher:
            model(x).square().sum().backward()
        gates = watcher["lstm"][0, 0]
        norms = torch.cat([gates.cell_grad, gates.hidden_grad], -1).square().sum((1, 2)).sqrt()
        ratios = norms.unsqueeze(1) / norms  # [t, s] for t before s
        growth = ratios.triu().max()
        t, s = divmod(int(ratios.triu().argmax()), 60)
        found = gl.diagnose(model, x, codes=EXPLODES)
        assert growth > 1e3
        assert found[0].value == pytest.approx(growth.item(), rel=1e-9)
        assert (
            found[0].evidence == f"the gradient grows {growth:.2g}-fold on its way back through {s - t} steps"
        )
        assert found[0].severity == "warning"
        assert "clip_grad_norm_" in found[0].change

    def test_the_reverse_direction_of_ragged_sequences(self, made):
        lstm = wild(1.5, bidirectional=True)
        lstm.weight_hh_l0.data *= 0.01
        model = made(lambda m, x, lengths: m.lstm(x, lengths=lengths)[1][0], lstm=lstm)
        x = data(60, 4, dtype=torch.float32)
        found = gl.diagnose(model, {"x": x, "lengths": torch.tensor([60, 0, 55, 60])}, codes=EXPLODES)
        assert [(finding.place.layer, finding.place.direction) for finding in found] == [(0, 1)]

    def test_what_the_loss_adds_is_no_growth(self, made):
        """The gradient of the first steps is 1e6 times that of the others, directly."""
        model = made(
            lambda m, x: (m.lstm(x)[0] * torch.tensor([1e6, 1e5] + 38 * [1.0]).view(-1, 1, 1)).sum(0),
            lstm=gl.LSTM(1, 8),
        )
        torch.manual_seed(0)
        assert not gl.diagnose(model, data(40, dtype=torch.float32), codes=EXPLODES)

    def test_a_sum_over_many_steps_is_no_growth(self):
        assert not gl.diagnose(constant(1 - 1e-12), data(3000, 1), codes=EXPLODES)

    def test_growth_far_below_the_largest_gradient_may_be_rounding(self, made):
        def model(scale):
            def ends(m, x):
                output, _ = m.lstm(x)
                return output[0], scale * output[-1]

            return made(ends, lstm=wild(1.5).double())

        loss = lambda y, t: y[0].sum() + y[1].sum()  # noqa: E731
        for scale, count in ((1.0, 1), (1e-25, 0)):
            assert len(gl.diagnose(model(scale), data(60), 0, loss, codes=EXPLODES)) == count

    def test_beyond_the_largest_number_it_is_an_error(self, last):
        model, x = last(wild(4.0, 64)), 0.1 * data(150, 8, dtype=torch.float32)
        found = gl.diagnose(model, x, codes=[*EXPLODES, "not-finite"])
        assert [(finding.code, finding.severity) for finding in found] == [("gradient-explodes", "error")]
        assert found[0].evidence.endswith("and beyond the largest number of its type")


def test_a_state_that_is_masked_on_the_way_passes_no_gradient():
    """As in reinforcement learning: what the gates would hand on is not what arrives."""

    class Policy(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.LSTMCell(3, 8)
            nn.init.normal_(self.cell.weight_hh, std=2)

        def forward(self, x, going):
            h = c = x.new_zeros(x.size(1), 8)
            output = []
            for x_t, goes in zip(x, going, strict=True):
                h, c = self.cell(x_t, (h * goes, c * goes))
                output.append(h)
            return torch.stack(output)

    torch.manual_seed(0)
    policy, x = Policy(), torch.randn(60, 16, 3)
    going = (torch.rand(60, 16, 1) > 0.3).float()
    never = gl.diagnose(policy, (x, torch.ones_like(going)), codes=["gradient-explodes"])
    assert [finding.code for finding in never] == ["gradient-explodes"]
    assert not gl.diagnose(policy, (x, going), codes=["gradient-explodes"])
