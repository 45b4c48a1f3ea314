from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import glasslstm as gl
from glasslstm.nn.init import chrono_, forget_bias_

GATES = {"i": "input-gate-stuck", "f": "forget-gate-shut", "o": "output-gate-stuck"}
CODES = [*GATES.values(), "forget-gate-open"]
every_kind = pytest.mark.parametrize("kind", [gl.LSTM, nn.LSTM], ids=["ours", "torch"])


def jam(lstm, gate, value, units=slice(None), suffix="_l0"):
    """Set the bias of a gate, so far out that nothing else counts."""
    k = "ifgo".index(gate)
    with torch.no_grad():
        getattr(lstm, f"bias_ih{suffix}").view(4, -1)[k, units] = value
    return lstm


def constant(hidden_size=1, i=0.5, f=0.5, g=0.0, o=0.5):
    """An LSTM in float64 whose gates have these values at every step."""
    lstm = gl.LSTM(1, hidden_size, dtype=torch.float64)
    with torch.no_grad():
        for weight in lstm.parameters():
            weight.zero_()
        logits = [math.log(i / (1 - i)), math.log(f / (1 - f)), math.atanh(g), math.log(o / (1 - o))]
        lstm.bias_ih_l0.view(4, -1)[:] = torch.tensor(logits, dtype=torch.float64).unsqueeze(1)
    return lstm


def steps(T, B=2):
    torch.manual_seed(1)
    return torch.randn(T, B, 1, dtype=torch.float64)


class TestShut:
    @every_kind
    @pytest.mark.parametrize("gate", GATES)
    def test_exact_place(self, kind, gate):
        torch.manual_seed(0)
        lstm = kind(3, 16, 2, bidirectional=True)
        jam(lstm, gate, -20, [2, 3, 9], "_l1_reverse")
        found = gl.diagnose(lstm, torch.randn(20, 4, 3), codes=CODES)
        assert [finding.code for finding in found] == [GATES[gate]]
        place = found[0].place
        assert (place.module, place.layer, place.direction, place.units) == ("", 1, 1, (2, 3, 9))

    @pytest.mark.parametrize("gate", GATES)
    @pytest.mark.parametrize(
        ("count", "severity"), [(3, "note"), (4, "warning"), (8, "warning"), (9, "error")]
    )
    def test_severity_by_share_of_16(self, gate, count, severity):
        torch.manual_seed(0)
        lstm = jam(gl.LSTM(3, 16), gate, -20, range(count))
        found = gl.diagnose(lstm, torch.randn(20, 4, 3), codes=[GATES[gate]])
        assert [(finding.severity, len(finding.place.units)) for finding in found] == [(severity, count)]
        assert f"in {count} of 16 units" in found[0].evidence

    def test_the_figure_is_the_highest_value_that_the_gate_takes(self):
        torch.manual_seed(0)
        lstm, x = jam(gl.LSTM(3, 4), "f", -6), torch.randn(20, 2, 3)
        highest = lstm(x, return_trace=True)[2][0, 0].forget_gate.max().item()
        finding = gl.diagnose(lstm, x, codes=["forget-gate-shut"])[0]
        assert finding.value == pytest.approx(highest)
        assert finding.evidence == f"f never rises above {highest:.3g} in 4 of 4 units"

    @pytest.mark.parametrize("gate", ["f", "o"])
    def test_just_above_the_threshold_is_not_found(self, gate):
        for value, count in ((0.0199, 1), (0.0201, 0)):
            assert len(gl.diagnose(constant(**{gate: value}), steps(9), codes=[GATES[gate]])) == count

    def test_a_gate_that_opens_once_is_not_shut(self):
        lstm, x = jam(gl.LSTM(1, 4), "f", -20), torch.zeros(9, 3, 1)
        x[4, 1] = 1.0
        lstm.weight_ih_l0.data.view(4, 4)[1] = 40.0
        assert not gl.diagnose(lstm, x, codes=["forget-gate-shut"])

    def test_padding_does_not_count(self):
        lstm = constant(f=0.5)
        x, lengths = steps(9, 3), torch.tensor([9, 0, 4])
        assert not gl.diagnose(lstm, {"input": x, "lengths": lengths}, codes=CODES)


class TestInputGate:
    def test_what_a_cell_could_hold(self):
        """i = 0.005 at all of 20 steps is much where f = 0.99, and little where f = 1/2."""
        for f, count in ((0.99, 0), (0.5, 1)):
            found = gl.diagnose(constant(i=0.005, f=f), steps(20), codes=["input-gate-stuck"])
            assert len(found) == count
        held = 0.005 * (1 - 0.5**20) / (1 - 0.5)
        assert found[0].value == pytest.approx(held)
        assert f"no cell would rise above {held:.3g}" in found[0].evidence

    def test_what_a_cell_could_hold_of_ragged_sequences_in_both_directions(self):
        torch.manual_seed(0)
        lstm, x, lengths = gl.LSTM(1, 1, bidirectional=True).double(), 4 * steps(9, 3), [9, 4, 0]
        for bias in (lstm.bias_ih_l0, lstm.bias_ih_l0_reverse):
            bias.data[0] = -9.0
        trace = lstm(x, lengths=lengths, return_trace=True)[2]
        found = gl.diagnose(lstm, {"input": x, "lengths": lengths}, codes=["input-gate-stuck"])
        for direction in (0, 1):
            most = 0.0
            for b, length in enumerate(lengths):
                held = 0.0
                for t in range(length)[:: -1 if direction else 1]:
                    f, i = (
                        getattr(trace[0, direction], name)[t, b].item()
                        for name in ("forget_gate", "input_gate")
                    )
                    held = f * held + i
                    most = max(most, held)
            assert found[direction].value == pytest.approx(most, rel=1e-5)

    def test_the_chrono_initialisation_is_not_found(self):
        torch.manual_seed(0)
        lstm = chrono_(gl.LSTM(3, 64), max_steps=500)
        assert not gl.diagnose(lstm, torch.randn(500, 2, 3), codes=CODES)

    @pytest.mark.parametrize("gate", ["i", "o"])
    def test_open_is_a_note_in_many_units_and_nothing_in_few(self, gate):
        for count, severities in ((16, ["note"]), (4, ["note"]), (3, [])):
            torch.manual_seed(0)
            lstm = jam(gl.LSTM(3, 16), gate, 20, range(count))
            found = gl.diagnose(lstm, torch.randn(20, 4, 3), codes=[GATES[gate]])
            assert [finding.severity for finding in found] == severities
            assert all(finding.place.units == tuple(range(count)) for finding in found)


class TestChange:
    @pytest.mark.parametrize("gate", ["i", "o"])
    @pytest.mark.parametrize("units", [range(16), [3, 5]])
    def test_the_code_in_it_undoes_the_fault(self, gate, units):
        torch.manual_seed(0)
        lstm, x = jam(gl.LSTM(3, 16), gate, -20, units), torch.randn(20, 4, 3)
        code = gl.diagnose(lstm, x, codes=CODES)[0].snippet.replace("model", "lstm")
        exec(code, {"lstm": lstm})
        assert not gl.diagnose(lstm, x, codes=CODES)

    def test_names_of_a_cell_and_of_the_reverse_direction(self):
        cell = jam(gl.LSTMCell(3, 4), "o", -20, suffix="")
        found = gl.diagnose(cell, torch.randn(5, 3), codes=CODES)
        assert found[0].snippet == "model.bias_ih.data[12:16] = 0\nmodel.bias_hh.data[12:16] = 0"
        lstm = jam(gl.LSTM(3, 4, bidirectional=True), "o", -20, suffix="_l0_reverse")
        assert (
            "model.bias_hh_l0_reverse.data[12:16]"
            in gl.diagnose(lstm, torch.randn(5, 2, 3), codes=CODES)[0].change
        )

    def test_without_biases(self):
        lstm = gl.LSTM(1, 2, bias=False)
        lstm.weight_ih_l0.data.view(4, 2)[3] = -9.0
        found = gl.diagnose(lstm, torch.ones(5, 2, 1), codes=CODES)
        assert found[0].change == "Draw the weights anew, and train again: `model.reset_parameters()`"

    def test_the_forget_bias_lets_a_model_learn_what_it_could_not(self, made):
        """The label is the sign of the first of 6 values."""

        def train(lstm):
            model = made(lambda m, x: m.head(m.lstm(x)[0][-1]).squeeze(-1), lstm=lstm, head=nn.Linear(8, 1))
            optimizer = torch.optim.Adam(model.parameters(), 0.03)
            torch.manual_seed(2)
            for _ in range(120):
                x = torch.randn(6, 64, 1)
                loss = nn.functional.mse_loss(model(x), x[0, :, 0].sign())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            found = gl.diagnose(
                model, x, x[0, :, 0].sign(), nn.functional.mse_loss, codes=["forget-gate-shut"]
            )
            return loss.item(), len(found)

        torch.manual_seed(0)
        shut, found_before = train(jam(gl.LSTM(1, 8), "f", -20))
        opened, found_after = train(forget_bias_(gl.LSTM(1, 8), 1.0))
        assert (found_before, found_after) == (1, 0)
        assert opened < 0.5
        assert shut > 0.9


class TestForgetOpen:
    def test_a_note_where_the_cells_stay_small(self):
        found = gl.diagnose(constant(4, f=0.9999, g=0.01), steps(40), codes=["forget-gate-open"])
        assert [(finding.severity, finding.place.units) for finding in found] == [("note", (0, 1, 2, 3))]
        kept = 0.9999**40
        assert found[0].value == pytest.approx(kept)
        assert f"{kept:.3g} or more of the memory lasts" in found[0].evidence
        assert "0 of them outgrow tanh" in found[0].evidence

    def test_just_below_the_threshold_is_not_found(self):
        for kept, count in ((0.901, 1), (0.899, 0)):
            assert (
                len(gl.diagnose(constant(f=kept ** (1 / 40)), steps(40), codes=["forget-gate-open"])) == count
            )

    def test_worse_where_the_cells_outgrow_tanh(self, made):
        """A warning; an error where the model only guesses; a note where it has learnt."""
        lstm = constant(1, i=0.9, f=0.9999, g=0.8)
        model = made(lambda m, x: 0 * m.lstm(x)[0][-1] + x[-1], lstm=lstm)
        x, codes, mse = steps(40, 16), ["forget-gate-open"], nn.functional.mse_loss
        assert "1 of them outgrow tanh" in gl.diagnose(model, x, codes=codes)[0].evidence
        assert gl.diagnose(model, x, codes=codes)[0].severity == "warning"
        assert gl.diagnose(model, x, -x[-1], mse, codes=codes)[0].severity == "error"
        assert gl.diagnose(model, x, x[-1] + 0.1, mse, codes=codes)[0].severity == "note"

    def test_few_units_are_no_news(self):
        torch.manual_seed(0)
        lstm = jam(gl.LSTM(3, 16), "f", 20, range(3))
        assert not gl.diagnose(lstm, torch.randn(40, 4, 3), codes=["forget-gate-open"])

    def test_a_sequence_that_forgets_is_enough(self):
        lstm, x = jam(gl.LSTM(1, 4), "f", 20), torch.zeros(30, 3, 1)
        lstm.weight_ih_l0.data.view(4, 4)[1] = 40.0
        assert gl.diagnose(lstm, x, codes=["forget-gate-open"])
        x[4, 1] = -1.0
        assert not gl.diagnose(lstm, x, codes=["forget-gate-open"])


def fresh():
    torch.manual_seed(0)
    x = torch.randn(30, 4, 3)
    packed = pack_padded_sequence(x, torch.tensor([30, 1, 7, 30]), enforce_sorted=False)
    frozen = nn.LSTM(3, 8)
    for weight in frozen.parameters():
        weight.requires_grad_(False)
    yield "one layer", gl.LSTM(3, 8), x
    yield "stack", nn.LSTM(3, 32, 3, bidirectional=True), x
    yield "projection", gl.LSTM(3, 16, proj_size=4), x
    yield "packed", nn.LSTM(3, 8, bidirectional=True), packed
    yield "lengths of 0", gl.LSTM(3, 8), {"input": x, "lengths": [0, 30, 1, 0]}
    yield "unbatched", gl.LSTM(3, 8), x[:, 0]
    yield "one step", nn.LSTM(3, 8), x[:1]
    yield "one step of one", nn.LSTM(3, 8), x[:1, :1]
    yield "frozen", frozen, x
    yield "double", nn.LSTM(3, 8).double(), x.double()
    yield "bfloat16", nn.LSTM(3, 8).bfloat16(), x.bfloat16()
    yield "no biases", gl.LSTM(3, 8, bias=False), x
    yield "a cell", nn.LSTMCell(3, 8), x[0]


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch's own
@pytest.mark.parametrize(("name", "model", "inputs"), [pytest.param(*case, id=case[0]) for case in fresh()])
def test_fresh_models_are_silent(name, model, inputs):
    codes = [*CODES, "dead-units", "duplicate-units", "cell-grows", "inputs-not-scaled", "not-finite"]
    codes += ["gradient-explodes"]
    assert gl.diagnose(model, inputs, codes=codes).findings == ()


def test_lengths_of_0_alone_are_skipped_with_the_reason():
    found = gl.diagnose(gl.LSTM(3, 4), {"input": torch.randn(5, 2, 3), "lengths": [0, 0]}, codes=CODES)
    assert found.looked_for == ()
    reason = "the gates tell nothing: there is no step, or see not-finite and inputs-not-scaled"
    assert found.skipped == dict.fromkeys(CODES, reason)
