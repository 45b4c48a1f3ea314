from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.nn.utils import clip_grad_norm_

import glasslstm as gl
from glasslstm.data.synthetic import adding_problem, copy_task
from glasslstm.insight.case import Case
from glasslstm.insight.rules.memory import memory_reach
from glasslstm.insight.running import undisturbed
from glasslstm.nn.init import chrono_

CODES = ["memory-too-short"]


@pytest.fixture
def reader(made):
    """Make a model of one number for the last step."""

    def make(lstm, width=24):
        call = lambda m, x: m.head(m.lstm(x)[0][-1]).squeeze(-1)  # noqa: E731
        return made(call, lstm=lstm, head=nn.Linear(width, 1))

    return make


def recall(T, n=32):
    """The answer is the number at the first step."""
    x = torch.zeros(T, n, 2)
    x[0, :, 0] = torch.randn(n)
    x[0, :, 1] = 1
    return x, x[0, :, 0]


def train(model, draw, steps=150, rate=0.02, loss=mse_loss):
    torch.manual_seed(3)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for _ in range(steps):
        x, y = draw()
        optimizer.zero_grad()
        loss(model(x), y).backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return draw()


def test_found_and_mended(reader):
    torch.manual_seed(0)
    model = reader(nn.LSTM(2, 24))
    x, y = train(model, lambda: recall(50))
    found = gl.diagnose(model, x, y, mse_loss, codes=CODES)
    assert [(finding.severity, finding.place.module, finding.place.layer) for finding in found] == [
        ("error", "lstm", None)
    ]
    before = mse_loss(model(x), y).item()
    with torch.no_grad():
        trace = gl.LSTM(2, 24)
        trace.load_state_dict(model.lstm.state_dict())
        f = trace(x, return_trace=True)[2][0, 0].forget_gate.double()
    reach = next(k for k in (1, 2, 3, 4, 6, 8, 12, 16) if kept(f, k) < 0.01)
    assert f"of the memory is left after {reach} steps" in found[0].evidence
    assert found[0].evidence.startswith(
        f"the loss of {before:.4g} is that of a guess, {y.var(correction=0):.4g};"
    )
    assert "gl.init.chrono_(model.lstm, max_steps=50)" in found[0].change

    torch.manual_seed(0)
    model = reader(chrono_(nn.LSTM(2, 24), max_steps=50))
    x, y = train(model, lambda: recall(50))
    assert not gl.diagnose(model, x, y, mse_loss, codes=CODES)
    assert mse_loss(model(x), y).item() < 0.05 * before


def kept(f, lag):
    """The mean product of `lag` forget gates, of the two units in which it is largest."""
    products = torch.stack([f[t + 1 : t + 1 + lag].prod(0) for t in range(len(f) - lag)])
    return products.mean((0, 1)).topk(2).values.mean().item()


def test_the_adding_problem(reader):
    torch.manual_seed(0)
    model = reader(gl.LSTM(2, 16), 16)
    x, y = train(model, lambda: adding_problem(32, 200), steps=40, rate=0.01)
    found = gl.diagnose(model, x, y, mse_loss, codes=CODES)
    assert "gl.init.chrono_(model.lstm, max_steps=200)" in found[0].change
    assert found[0].value < 1e-4


def test_the_copy_task(made):
    """The forget gates may keep all, and the cells have stored nothing: the change of the last state decides."""
    torch.manual_seed(0)
    call = lambda m, x: m.head(m.lstm(nn.functional.one_hot(x, 10).float())[0])  # noqa: E731
    model = made(call, lstm=gl.LSTM(10, 32), head=nn.Linear(32, 9))
    loss = lambda y, t: nn.functional.cross_entropy(y.flatten(0, 1), t.flatten())  # noqa: E731
    x, y = train(model, lambda: copy_task(16, 100), steps=40, rate=0.01, loss=loss)
    with undisturbed(model):
        assert memory_reach(Case(model, x, y, loss).entries[0]) > 60
    assert gl.diagnose(model, x, y, loss, codes=CODES)[0].place.module == "lstm"


def test_a_chrono_initialised_lstm_that_has_learnt_nothing_yet_is_silent(reader):
    torch.manual_seed(0)
    model = reader(chrono_(gl.LSTM(2, 16), max_steps=200), 16)
    x, y = train(model, lambda: adding_problem(32, 200), steps=40, rate=0.01)
    with undisturbed(model):
        assert Case(model, x, y, mse_loss).guessing
    assert not gl.diagnose(model, x, y, mse_loss, codes=CODES)


def test_a_healthy_short_memory_is_silent(reader):
    torch.manual_seed(0)

    def draw():
        x = torch.randn(60, 32, 2)
        return x, x[-2:].sum((0, 2))

    model = reader(gl.LSTM(2, 24))
    x, y = train(model, draw)
    with undisturbed(model):
        case = Case(model, x, y, mse_loss)
        assert case.value < 0.2 * case.guess
    assert not gl.diagnose(model, x, y, mse_loss, codes=CODES)


def spoilt(lstm):
    """Weights that nobody takes for new ones."""
    lstm.bias_ih_l0.data[-1] = 2.0
    return lstm


def test_random_targets_by_kind_of_model(reader, made):
    """Two directions, a cell in a loop, and calls with a part of the sequence each are seen; a mean is another way."""
    x, y = torch.randn(64, 16, 2), torch.randn(16)

    def loop(m, x):
        states = None
        for x_t in x:
            states = m.cell(x_t, states)
        return m.head(states[0]).squeeze(-1)

    def parts(m, x):
        states = None
        for part in x.split(32):
            output, states = m.lstm(part, states)
        return m.head(output[-1]).squeeze(-1)

    cell = gl.LSTMCell(2, 24)
    cell.bias_ih.data[-1] = 2.0
    both = lambda m, x: m.head(torch.cat([*m.lstm(x)[1][0]], -1)).squeeze(-1)  # noqa: E731
    mean = lambda m, x: m.head(m.lstm(x)[0].mean(0)).squeeze(-1)  # noqa: E731
    cases = {
        "lstm": (made(both, lstm=spoilt(gl.LSTM(2, 12, bidirectional=True)), head=nn.Linear(24, 1)), 1),
        "cell": (made(loop, cell=cell, head=nn.Linear(24, 1)), 1),
        "mean": (made(mean, lstm=spoilt(gl.LSTM(2, 24)), head=nn.Linear(24, 1)), 0),
        "untrained": (reader(gl.LSTM(2, 24)), 0),
        "long": (reader(spoilt(chrono_(gl.LSTM(2, 24), max_steps=100))), 0),
        "parts": (made(parts, lstm=spoilt(nn.LSTM(2, 24)), head=nn.Linear(24, 1)), 1),
    }
    for name, (model, count) in cases.items():
        assert len(gl.diagnose(model, x, y, mse_loss, codes=CODES)) == count, name


def test_lengths_count(made):
    """Half of each sequence, and not of the longest one."""
    torch.manual_seed(0)
    call = lambda m, x, lengths: m.head(m.lstm(x, lengths=lengths)[1][0][-1]).squeeze(-1)  # noqa: E731
    model = made(call, lstm=spoilt(gl.LSTM(2, 24)), head=nn.Linear(24, 1))
    inputs = {"x": torch.randn(64, 16, 2), "lengths": torch.tensor([64, 0, *14 * [40]])}
    assert gl.diagnose(model, inputs, torch.randn(16), mse_loss, codes=CODES)[0].value < 1e-4


def test_a_guess_of_few_sequences_is_none(reader):
    model = reader(spoilt(gl.LSTM(2, 24)))
    for n, skipped in ((7, True), (8, False)):
        found = gl.diagnose(model, torch.randn(64, n, 2), torch.randn(n), mse_loss, codes=CODES)
        assert bool(found.skipped) == skipped


def test_without_targets_it_is_skipped_with_the_reason():
    found = gl.diagnose(nn.LSTM(2, 4), torch.randn(40, 9, 2), codes=CODES)
    assert found.skipped == {
        "memory-too-short": "needs targets, and a loss by which the best constant output can be found"
    }


def test_the_best_constant_of_a_model_that_answers_at_every_step(made):
    """One row for each step where the output is (T, B, K), and not one for each sequence."""
    torch.manual_seed(0)
    model, x = nn.LSTM(2, 3), torch.randn(12, 9, 2)
    first = made(lambda m, x: m.lstm(x)[0], lstm=model)
    y = torch.randn(12, 9, 3)
    with undisturbed(first):
        assert Case(first, x, y, mse_loss).guess == pytest.approx(
            y.var(1, correction=0).mean().item(), rel=1e-4
        )
    swapped = made(lambda m, x: m.lstm(x)[0].transpose(0, 1), lstm=model)
    with undisturbed(swapped):
        guess = Case(swapped, x, y.transpose(0, 1), mse_loss).guess
    assert guess == pytest.approx(y.var(1, correction=0).mean().item(), rel=1e-4)


def test_a_first_layer_that_is_out_of_scale_is_left_to_its_own_code():
    torch.manual_seed(0)
    lstm, x = gl.LSTM(3, 8, 2), 1e4 * torch.randn(20, 16, 3)
    found = gl.diagnose(lstm, x, torch.randn(20, 16, 8), lambda output, y: (output[0] - y).square().mean())
    assert "inputs-not-scaled" in [finding.code for finding in found]
    assert not found.of("memory-too-short")
