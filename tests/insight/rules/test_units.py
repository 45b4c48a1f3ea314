from __future__ import annotations

import pytest
import torch
from torch import nn

import glasslstm as gl
from glasslstm.insight.rules.units import agreement

CODES = ["dead-units", "duplicate-units"]
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch's own


@torch.no_grad()
def rows(lstm, target, source=None, factor=1.0, suffix="_l0"):
    """Set the rows of a unit, in all gates, to those of another one, or to zero."""
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        weight = getattr(lstm, name + suffix)
        blocks = weight.view(4, -1, *weight.shape[1:])
        blocks[:, target] = 0 if source is None else blocks[:, source]
        if source is not None:
            blocks[2, target] *= factor
    return lstm


def data(T=25, B=8):
    torch.manual_seed(1)
    return torch.randn(T, B, 3)


def seeded(*sizes, kind=gl.LSTM, **options):
    torch.manual_seed(0)
    return kind(*sizes, **options)


class TestDead:
    def test_exact_place(self):
        lstm = rows(seeded(3, 16, 2, bidirectional=True), [3, 7], suffix="_l1_reverse")
        found = gl.diagnose(lstm, data(), codes=CODES)
        assert [(finding.code, finding.severity) for finding in found] == [("dead-units", "note")]
        place = found[0].place
        assert (place.layer, place.direction, place.units) == (1, 1, (3, 7))
        assert found[0].evidence == "h varies by no more than 0 over all steps and sequences in 2 of 16 units"

    def test_the_same_input_may_have_the_same_answer(self):
        """One step of several sequences, as of a decoder that begins with zeros."""
        assert not gl.diagnose(seeded(3, 16), torch.zeros(1, 8, 3), codes=CODES)
        assert gl.diagnose(rows(seeded(3, 16), list(range(9))), data(T=1), codes=CODES).worst == "error"

    @pytest.mark.parametrize(("count", "severity"), [(3, "note"), (4, "warning"), (9, "error")])
    def test_severity_by_share_of_16(self, count, severity):
        found = gl.diagnose(rows(seeded(3, 16), list(range(count))), data(), codes=["dead-units"])
        assert [finding.severity for finding in found] == [severity]

    @pytest.mark.parametrize(("size", "count"), [(0.99e-3, 1), (1.01e-3, 0)])
    def test_the_threshold(self, size, count):
        """The candidate is an input of -1 or 1 times a factor, at one step: h is -size / 2 or size / 2."""
        lstm = seeded(1, 1, dtype=torch.float64)
        for weight in lstm.parameters():
            nn.init.zeros_(weight)
        x = torch.tensor([[[-1.0], [1.0]]], dtype=torch.float64)
        # h = tanh(tanh(w x) / 2) / 2
        lstm.weight_ih_l0.data[2] = torch.atanh(2 * torch.atanh(torch.tensor(size, dtype=torch.float64)))
        found = gl.diagnose(lstm, x, codes=["dead-units"])
        assert len(found) == count
        if found:
            assert found[0].value == pytest.approx(size)

    def test_below_a_projection(self):
        lstm = rows(seeded(3, 8, proj_size=2), [5])
        assert gl.diagnose(lstm, data(), codes=CODES)[0].place.units == (5,)

    def test_what_a_gate_explains_is_told_by_the_gate_alone(self):
        for gate in (0, 3):
            lstm = seeded(3, 8)
            lstm.bias_ih_l0.data.view(4, -1)[gate] = -20
            found = gl.diagnose(lstm, data(), codes=[*CODES, "input-gate-stuck", "output-gate-stuck"])
            assert len(found) == 1
            assert found[0].code.endswith("gate-stuck")


class TestDuplicates:
    @pytest.mark.parametrize("factor", [1.0, -1.0], ids=["same", "opposite"])
    def test_exact_place(self, factor):
        lstm = rows(seeded(3, 16, 2), 11, 4, factor, "_l1")
        found = gl.diagnose(lstm, data(), codes=CODES)
        assert [(finding.code, finding.severity) for finding in found] == [("duplicate-units", "note")]
        assert (found[0].place.layer, found[0].place.units) == (1, (4, 11))
        assert found[0].evidence == (
            "1 of 16 units carry what one before them carries; units 4 and 11, say, agree to 1.000000 "
            "(concordance: 1 is the same)"
        )
        assert found[0].value == pytest.approx(1.0)

    @pytest.mark.parametrize(("count", "severity"), [(3, "note"), (4, "warning"), (9, "error")])
    def test_severity_by_share_of_16(self, count, severity):
        lstm = seeded(3, 16)
        for target in range(1, count + 1):
            rows(lstm, target, 0)
        found = gl.diagnose(lstm, data(), codes=CODES)
        assert [finding.severity for finding in found] == [severity]
        assert found[0].place.units == tuple(range(count + 1))

    def test_two_pairs(self):
        lstm = rows(rows(seeded(3, 16), 7, 2), 14, 9)
        assert gl.diagnose(lstm, data(), codes=CODES)[0].place.units == (2, 7, 9, 14)

    def test_few_steps_tell_nothing(self):
        lstm = rows(seeded(3, 16), 7, 2)
        assert len(gl.diagnose(lstm, data(20, 1), codes=CODES)) == 1
        assert len(gl.diagnose(lstm, data(19, 1), codes=CODES)) == 0

    def test_dead_units_are_not_duplicates(self):
        found = gl.diagnose(rows(seeded(3, 16), [1, 2]), data(), codes=CODES)
        assert [finding.code for finding in found] == ["dead-units"]

    def test_agreement_by_hand(self):
        torch.manual_seed(0)
        a, b = torch.randn(2, 50, dtype=torch.float64)
        found = agreement(torch.stack([a, b, -a, 2 * a, a + 1], dim=1))

        def by_hand(u, v):
            shared = ((u - u.mean()) * (v - v.mean())).mean()
            return float(
                2 * shared / (u.var(correction=0) + v.var(correction=0) + (u.mean() - v.mean()) ** 2)
            )

        assert float(found[0, 1].abs()) == pytest.approx(max(by_hand(a, b), by_hand(a, -b)))
        assert float(found[0, 2]) == pytest.approx(-1)
        assert float(found[0, 3]) == pytest.approx(by_hand(a, 2 * a))
        assert float(found[0, 4]) == pytest.approx(by_hand(a, a + 1))
        assert found[0, 3:].max() < 0.9

    def test_drawing_the_weights_anew_helps(self, made):
        """The sum of the products of two numbers: one unit cannot multiply."""

        def train(model):
            optimizer = torch.optim.Adam(model.parameters(), 0.03)
            torch.manual_seed(2)
            for _ in range(100):
                x = torch.randn(4, 64, 2)
                y = x.prod(2).sum(0)
                loss = nn.functional.mse_loss(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            return loss.item(), len(gl.diagnose(model, x, y, nn.functional.mse_loss, codes=CODES))

        torch.manual_seed(0)
        model = made(
            lambda m, x: m.head(m.lstm(x)[0][-1]).squeeze(-1), lstm=nn.LSTM(2, 16), head=nn.Linear(16, 1)
        )
        for weight in model.parameters():
            nn.init.constant_(weight, 0.1)
        before, found_before = train(model)
        model.lstm.reset_parameters()
        model.head.reset_parameters()
        after, found_after = train(model)
        assert (found_before, found_after) == (1, 0)
        assert after < 0.5 * before
