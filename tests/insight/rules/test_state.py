from __future__ import annotations

import pytest
import torch
from torch import nn

import glasslstm as gl

X = torch.randn(4, 9, 3, generator=torch.Generator().manual_seed(1))
kinds = pytest.mark.parametrize("kind", [nn.LSTM, gl.LSTM])


def look(model, inputs=X):
    return gl.diagnose(model, inputs, codes=["state-carried-over"])


def carry(self, x):
    output, states = self.lstm(x, self.states)
    self.states = tuple(state.detach() for state in states)
    return self.head(output[:, -1])


def carrier(made, kind=nn.LSTM, **options):
    width = 12 if options.get("bidirectional") else 6
    model = made(carry, lstm=kind(3, 6, batch_first=True, **options), head=nn.Linear(width, 2))
    model.states = None
    return model


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}], ids=["one", "stack"])
@kinds
def test_a_state_that_stays_in_the_model(kind, options, made) -> None:
    model = carrier(made, kind, **options)
    (found,) = look(model)
    assert (found.code, found.severity, str(found.place)) == ("state-carried-over", "warning", "lstm")
    _, (h_n, c_n) = model.lstm(X)
    assert found.value == pytest.approx(float(torch.cat([h_n, c_n]).abs().max().detach()), rel=1e-5)
    begun = f"the second starts from states that differ by up to {found.value:.2g}: where the first ended"
    assert found.evidence == f"run twice on one batch, {begun}"
    assert "lstm(x)  # without initial states" in found.change
    assert model.states is None


def test_a_model_that_was_called_before_keeps_its_state(made) -> None:
    model = carrier(made)
    model(X)
    before = model.states
    assert len(look(model)) == 1
    assert model.states is before


def test_a_cell(made) -> None:
    def loop(self, x):
        states = self.states
        for t in range(x.size(1)):
            states = self.cell(x[:, t], states)
        self.states = tuple(state.detach() for state in states)
        return self.head(states[0])

    model = made(loop, cell=nn.LSTMCell(3, 6), head=nn.Linear(6, 2))
    model.states = None
    assert [str(found.place) for found in look(model)] == ["cell"]


def test_a_state_in_a_buffer(made) -> None:
    def call(self, x):
        output, (h_n, c_n) = self.lstm(x, (self.h, self.c))
        self.h = h_n.detach() / 2
        self.c = c_n.detach() / 2
        return self.head(output[:, -1])

    model = made(call, lstm=nn.LSTM(3, 6, batch_first=True), head=nn.Linear(6, 2))
    model.register_buffer("h", torch.zeros(1, 4, 6))
    model.register_buffer("c", torch.zeros(1, 4, 6))
    (found,) = look(model)
    assert not found.evidence.endswith("where the first ended")  # half of it
    assert not model.h.any()
    assert not model.c.any()


def test_a_model_that_can_be_reset_means_it(made) -> None:
    model = carrier(made)

    class Streaming(type(model)):
        def reset_state(self):
            self.states = None

    model.__class__ = Streaming
    assert [found.severity for found in look(model)] == ["note"]


@kinds
def test_silent_where_each_batch_starts_anew(kind, made) -> None:
    def head_of(lstm, **more):
        return {"lstm": lstm, "head": nn.Linear(6, 2)} | more

    def learned(self, x):
        states = (self.h_0.expand(1, len(x), 6).contiguous(),) * 2
        return self.head(self.lstm(x, states)[0][:, -1])

    def random(self, x):
        states = torch.randn(1, len(x), 6), torch.randn(1, len(x), 6)
        return self.head(self.lstm(x, states)[0][:, -1])

    def chunks(self, x):
        states = None
        for chunk in x.split(3, dim=1):
            output, states = self.lstm(chunk, states)
        return self.head(output[:, -1])

    def sequence_to_sequence(self, x):
        return self.head(self.decoder(x[:, :4], self.lstm(x)[1])[0])

    def handed_in(self, x, states):
        output, states = self.lstm(x, states)
        return self.head(output[:, -1]), states

    def kept_and_overwritten(self, x):
        output, self.states = self.lstm(x)
        return self.head(output[:, -1])

    def make():
        return kind(3, 6, batch_first=True)

    zeros = (torch.randn(1, 4, 6), torch.randn(1, 4, 6))
    healthy = [
        (made(learned, **head_of(make(), h_0=nn.Parameter(torch.randn(1, 1, 6)))), X),
        (made(random, **head_of(make())), X),
        (made(chunks, **head_of(make())), X),
        (made(sequence_to_sequence, **head_of(make(), decoder=make())), X),
        (made(handed_in, **head_of(make())), (X, zeros)),
        (made(kept_and_overwritten, **head_of(make())), X),
        (kind(3, 6), X[0]),
        (kind(3, 6), X * torch.nan),
    ]
    for model, inputs in healthy:
        found = look(model, inputs)
        assert not found
        assert not found.skipped


def test_below_the_threshold(made) -> None:
    def call(self, x):
        output, _ = self.lstm(x, (self.states, self.states))
        self.states = self.states + self.grows
        return self.head(output[:, -1])

    model = made(call, lstm=nn.LSTM(3, 6, batch_first=True), head=nn.Linear(6, 2))
    for model.grows, count in ((0.9e-3, 0), (1.1e-3, 1)):
        model.states = torch.zeros(1, 4, 6)
        assert len(look(model)) == count


def test_a_model_that_refuses_a_second_run(made) -> None:
    def call(self, x):
        if self.called:
            raise ValueError("once only")
        self.called = True
        return self.lstm(x)[0]

    model = made(call, lstm=nn.LSTM(3, 6))
    model.called = False
    assert look(model).skipped == {
        "state-carried-over": "the model refuses the same batch a second time: once only"
    }
    assert not model.called


def test_starting_anew_lets_it_learn(made) -> None:
    """What is asked for is the first value; a state from another batch stands in its place."""
    draw = torch.Generator().manual_seed(0)
    losses = {}
    for carried in (True, False):
        torch.manual_seed(0)
        model = carrier(made)
        optimizer = torch.optim.Adam(model.parameters(), 0.02)
        for _ in range(120):
            if not carried:
                model.states = None
            x = torch.randn(4, 3, 3, generator=draw)
            optimizer.zero_grad()
            loss = (model(x)[:, 0] - x.sum((1, 2)) / 3).square().mean()
            loss.backward()
            optimizer.step()
        losses[carried] = loss.item()
    assert losses[False] < losses[True] / 2
