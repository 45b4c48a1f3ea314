from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import glasslstm as gl
from glasslstm.insight.rules import RULES

CODES = ["not-finite"]
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch's own
every_number = pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
every_kind = pytest.mark.parametrize("kind", [gl.LSTM, nn.LSTM], ids=["ours", "torch"])


def data(T=9, B=4):
    torch.manual_seed(1)
    return torch.randn(T, B, 3)


def only(found):
    assert [(finding.code, finding.severity) for finding in found] == [("not-finite", "error")]
    return found[0]


@every_kind
@every_number
def test_in_the_input(kind, number):
    x = data()
    x[5, 2, 1] = number
    finding = only(gl.diagnose(kind(3, 4, 2), x, codes=CODES))
    name = "a NaN" if math.isnan(number) else "an infinity"
    assert finding.evidence == (
        f"the first is {name} in the input at step 5 of sequence 2, in channels 1; it was there before this LSTM"
    )
    assert (finding.place.layer, finding.place.direction, finding.place.units) == (0, 0, ())
    assert "torch.nan_to_num(x)" in finding.change


def test_the_earliest_step_counts_and_of_it_the_first_sequence():
    x = data()
    x[7, 0, 0] = x[4, 3, 2] = x[4, 1, 0] = math.nan
    assert (
        "at step 4 of sequence 1, in channels 0;" in only(gl.diagnose(gl.LSTM(3, 4), x, codes=CODES)).evidence
    )


def test_a_count_of_all_is_the_figure():
    """1 value of the input, and 4 units of 6 quantities from step 5 to step 8."""
    x = data()
    x[5, 2, 1] = math.nan
    assert only(gl.diagnose(gl.LSTM(3, 4), x, codes=CODES)).value == 1 + 4 * 6 * 4


def test_what_stands_in_the_padding_does_not_count():
    x = data()
    x[6:, 1] = math.nan
    lstm = gl.LSTM(3, 4, bidirectional=True)
    assert not gl.diagnose(lstm, {"input": x, "lengths": [9, 6, 9, 0]}, codes=CODES)
    assert gl.diagnose(lstm, {"input": x, "lengths": [9, 7, 9, 0]}, codes=CODES)


def test_packed():
    x = data()
    x[2, 1, 0] = math.nan
    packed = pack_padded_sequence(x, torch.tensor([9, 3, 9, 1]), enforce_sorted=False)
    evidence = only(gl.diagnose(nn.LSTM(3, 4, bidirectional=True), packed, codes=CODES)).evidence
    assert "at step 2 of sequence 1, in channels 0" in evidence


def test_unbatched():
    x = data()[:, 0]
    x[2, 0] = math.nan
    assert "at step 2 of sequence 0" in only(gl.diagnose(nn.LSTM(3, 4), x, codes=CODES)).evidence


@every_number
@pytest.mark.parametrize(
    ("name", "layer", "direction"),
    [("weight_hh_l0", 0, 0), ("bias_ih_l1", 1, 0), ("weight_hr_l1_reverse", 1, 1)],
)
def test_in_the_weights(number, name, layer, direction):
    lstm = gl.LSTM(3, 8, 2, bidirectional=True, proj_size=2)
    getattr(lstm, name).data.view(-1)[3] = number
    finding = only(gl.diagnose(lstm, data(), codes=CODES))
    assert (finding.place.layer, finding.place.direction) == (layer, direction)
    assert finding.evidence == f"in the weights: 1 values of {name.rsplit('_l', 1)[0]}"
    assert "error_if_nonfinite=True" in finding.change


@pytest.mark.parametrize("which", [0, 1], ids=["h_0", "c_0"])
def test_in_the_initial_states(which):
    states = [torch.zeros(1, 4, 5), torch.zeros(1, 4, 5)]
    states[which][0, 2, 1] = math.nan
    finding = only(gl.diagnose(nn.LSTM(3, 5), (data(), tuple(states)), codes=CODES))
    assert finding.evidence == "in the initial states of 1 sequences, the first of them sequence 2"
    assert "zero states" in finding.change


def test_the_states_of_a_sequence_without_steps_do_not_count():
    h_0 = torch.zeros(1, 4, 5)
    h_0[0, 2, 1] = math.nan
    inputs = {"input": data(), "hx": (h_0, torch.zeros(1, 4, 5))}
    assert not gl.diagnose(gl.LSTM(3, 5), inputs | {"lengths": [9, 1, 0, 4]}, codes=CODES)
    assert gl.diagnose(gl.LSTM(3, 5), inputs | {"lengths": [9, 1, 1, 4]}, codes=CODES)


def test_inside():
    """The largest number of float16 is 65504: a projection goes beyond it."""
    lstm = nn.LSTM(3, 8, proj_size=2).half()
    lstm.weight_hr_l0.data[1] = 60000
    for k in (0, 2, 3):
        lstm.bias_ih_l0.data.view(4, -1)[k] = 9
    try:
        found = gl.diagnose(lstm, data().half(), codes=CODES)
    except gl.errors.ArgumentError:  # pragma: no cover - torch without float16 on this processor
        pytest.skip("no float16 here")
    finding = only(found)
    assert (
        finding.evidence == "the first is an infinity in the hidden at step 0 of sequence 0, in 1 of 2 units"
    )
    assert finding.place.units == (1,)
    assert "model.float()" in finding.change


def test_what_it_spreads_to_is_not_told_again(made):
    model = made(lambda m, x: m.b(m.a(x)[0])[0], a=nn.LSTM(3, 4, 2), b=gl.LSTM(4, 5, bidirectional=True))
    x = data()
    x[1, 1, 1] = math.nan
    assert only(gl.diagnose(model, x, codes=CODES)).place.module == "a"
    model.b.bias_hh_l0_reverse.data[0] = math.inf
    x = data()
    place = only(gl.diagnose(model, x, codes=CODES)).place
    assert (place.module, place.direction) == ("b", 1)
    model.b.bias_hh_l0.data[0] = math.inf
    x[1, 1, 1] = math.nan
    assert [finding.place.module for finding in gl.diagnose(model, x, codes=CODES)] == ["a", "b"]


def test_a_module_called_several_times_in_any_of_its_calls(made):
    model = made(lambda m, x, y: (m.a(x)[0].sum(), m.a(y)[0].sum()), a=nn.LSTM(3, 4))
    broken = data(2)
    broken[1, 0, 2] = math.inf
    finding = only(gl.diagnose(model, (data(), broken), codes=CODES))
    assert "at step 1 of sequence 0, in channels 2" in finding.evidence


def test_a_cell_in_a_loop(made):
    def loop(m, x):
        states = None
        for x_t in x:
            states = m.cell(x_t, states)
        return states[0]

    x = data()
    x[6, 3, 0] = math.nan
    model = made(loop, cell=nn.LSTMCell(3, 4))
    assert "at step 6 of sequence 3" in only(gl.diagnose(model, x, codes=CODES)).evidence


class TestGradient:
    def test_from_the_loss(self, made):
        model = made(lambda m, x: m.lstm(x)[0][-1], lstm=gl.LSTM(3, 4, 2))
        found = gl.diagnose(
            model, data(), torch.ones(4), lambda y, t: (y.sum(1) * t * 0).sqrt().sum(), codes=CODES
        )
        finding = only(found)
        assert (finding.place.layer, finding.place.units) == (1, (0, 1, 2, 3))
        assert finding.evidence == (
            "the first is a NaN in dL/dh_t at step 8 of sequence 0, in 4 of 4 units; every gate and state is finite"
        )
        assert "set_detect_anomaly" in finding.change

    def test_of_one_sequence_at_one_step(self, made):
        lstm = gl.LSTM(3, 4, bidirectional=True)
        model = made(lambda m, x: m.lstm(x)[0], lstm=lstm)

        def loss(y, t):
            return y.sum() + (0 * y[5, 2, 6]).sqrt()  # unit 2 of the reverse direction

        finding = only(gl.diagnose(model, data(), torch.ones(1), loss, codes=CODES))
        assert "in dL/dh_t at step 5 of sequence 2, in 1 of 4 units" in finding.evidence
        assert (finding.place.direction, finding.place.units) == (1, (2,))

    def test_padding_of_the_gradient_does_not_count(self):
        lstm = gl.LSTM(3, 4)
        assert not gl.diagnose(lstm, {"input": data(), "lengths": [0, 9, 2, 1]}, codes=CODES)


@every_number
def test_no_rule_stumbles_over_it(number, made):
    model = made(
        lambda m, x: m.head(m.lstm(x)[0][-1]),
        lstm=nn.LSTM(3, 8, 2, bidirectional=True),
        head=nn.Linear(16, 1),
    )
    x, y = data(20, 9), torch.zeros(9, 1)
    for place in (x, y, model.head.weight.data, model.lstm.bias_ih_l1.data):
        kept = place.view(-1)[0].clone()
        place.view(-1)[0] = number
        assert gl.diagnose(model, x, y, nn.functional.mse_loss, codes=list(RULES)).worst == "error"
        place.view(-1)[0] = kept
    assert not gl.diagnose(model, x, y, nn.functional.mse_loss, codes=CODES)
