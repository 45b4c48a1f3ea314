from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import glasslstm as gl

X = torch.randn(4, 9, 3, generator=torch.Generator().manual_seed(1))
LENGTHS = torch.tensor([4, 9, 1, 7])
kinds = pytest.mark.parametrize("kind", [nn.LSTM, gl.LSTM])


def look(model, inputs=X, *given):
    return gl.diagnose(model, inputs, *given, codes=["one-end-only"])


def reader(made, read, kind=nn.LSTM, width=12, layers=1, **options):
    options = {"batch_first": True, "bidirectional": True} | options
    lstm = kind(3, 6, layers, **options)
    return made(
        lambda self, *inputs: self.head(read(self.lstm, *inputs)), lstm=lstm, head=nn.Linear(width, 2)
    )


READINGS = {
    "output[:, -1]": (lambda lstm, x: lstm(x)[0][:, -1], 12, 1, 1),
    "output[:, 0]": (lambda lstm, x: lstm(x)[0][:, 0], 12, 0, 1),
    "h_n[-1]": (lambda lstm, x: lstm(x)[1][0][-1], 6, 0, 0),
    "h_n[-2]": (lambda lstm, x: lstm(x)[1][0][-2], 6, 1, 0),
    "c_n[-1]": (lambda lstm, x: lstm(x)[1][1][-1], 6, 0, 0),
}


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("reading", READINGS)
@kinds
def test_one_end(kind, reading, layers, made) -> None:
    read, width, direction, seen = READINGS[reading]
    (found,) = look(reader(made, read, kind, width, layers))
    place = found.place
    assert (found.code, found.severity, found.value) == ("one-end-only", "error", seen)
    assert (place.module, place.layer, place.direction) == ("lstm", layers - 1, direction)
    how = "at steps where it has seen 1 step alone" if seen else "nowhere"
    which = ("forward", "reverse")[direction]
    assert found.evidence == f"the {which} direction is read {how}, the other one where it has seen 9"
    assert found.snippet == "_, (h_n, c_n) = self.lstm(x)\nfeatures = torch.cat([h_n[-2], h_n[-1]], dim=-1)"
    assert "12 values" in found.advice


HEALTHY = {
    "both final states": (lambda lstm, x: torch.cat(tuple(lstm(x)[1][0][-2:]), -1), 12),
    "both ends of output": (lambda lstm, x: torch.cat([lstm(x)[0][:, -1, :6], lstm(x)[0][:, 0, 6:]], -1), 12),
    "every step": (lambda lstm, x: lstm(x)[0], 12),
    "mean": (lambda lstm, x: lstm(x)[0].mean(1), 12),
    "maximum": (lambda lstm, x: lstm(x)[0].amax(1), 12),
    "attention": (lambda lstm, x: (lstm(x)[0].sum(2, keepdim=True).softmax(1) * lstm(x)[0]).sum(1), 12),
}


@pytest.mark.parametrize("name", HEALTHY)
@kinds
def test_silent_where_both_are_read(kind, name, made) -> None:
    read, width = HEALTHY[name]
    found = look(reader(made, read, kind, width))
    assert not found
    assert not found.skipped


def test_ragged(made) -> None:
    def packed(lstm, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(lstm(packed)[0], batch_first=True)[0][torch.arange(4), lengths - 1]

    def told(lstm, x, lengths):
        return lstm(x, lengths=lengths)[0][torch.arange(4), lengths - 1]

    def right(lstm, x, lengths):
        return torch.cat(tuple(lstm(x, lengths=lengths)[1][0][-2:]), -1)

    for kind, read in ((nn.LSTM, packed), (gl.LSTM, packed), (gl.LSTM, told)):
        (found,) = look(reader(made, read, kind), (X, LENGTHS))
        assert (found.place.direction, found.value) == (1, 1)
    assert not look(reader(made, right, gl.LSTM), (X, LENGTHS))


def test_two_steps_from_the_end_is_no_finding(made) -> None:
    assert not look(reader(made, lambda lstm, x: lstm(x)[0][:, -2]))
    assert len(look(reader(made, lambda lstm, x: lstm(x)[0][:, -1]))) == 1


def test_the_loss_says_what_is_read_where_there_is_one(made) -> None:
    """The states that the model gives beside are of no use to the loss."""
    model = made(
        lambda self, x: (self.head(self.lstm(x)[0][:, -1]), self.lstm(x)[1]),
        lstm=nn.LSTM(3, 6, batch_first=True, bidirectional=True),
        head=nn.Linear(12, 2),
    )
    assert not look(model)
    targets = torch.randn(4, 2)
    assert len(look(model, X, targets, lambda output, y: (output[0] - y).square().mean())) == 1


def test_two_heads_that_read_a_direction_each(made) -> None:
    model = made(
        lambda self, x: (self.head(self.lstm(x)[0][..., :6]), self.head(self.lstm(x)[0][..., 6:])),
        lstm=nn.LSTM(3, 6, batch_first=True, bidirectional=True),
        head=nn.Linear(6, 2),
    )
    assert not look(model)


def test_the_lstm_below_is_read_at_every_step(made) -> None:
    both = {"batch_first": True, "bidirectional": True}
    model = made(
        lambda self, x: self.head(self.top(self.below(x)[0])[0][:, -1]),
        below=nn.LSTM(3, 6, **both),
        top=nn.LSTM(12, 6, **both),
        head=nn.Linear(12, 2),
    )
    assert [(found.place.module, found.place.direction) for found in look(model)] == [("top", 1)]


def test_frozen_projected_time_first_and_in_float64(made) -> None:
    read, width, *_ = READINGS["h_n[-1]"]
    assert len(look(reader(made, read, width=width).requires_grad_(False))) == 1
    assert len(look(reader(made, read, width=width, batch_first=False), X.transpose(0, 1))) == 1
    assert len(look(reader(made, read, width=width).double(), X.double())) == 1
    (found,) = look(reader(made, read, gl.LSTM, 4, proj_size=4).double(), X.double())
    assert "8 values for each sequence" in found.change


@pytest.mark.parametrize("inputs", [X[:, :1], X[:1], X * torch.nan], ids=["T=1", "B=1", "NaN"])
def test_edges(inputs, made) -> None:
    assert not look(reader(made, lambda lstm, x: lstm(x)[0]), inputs)


def test_one_step_has_one_end(made) -> None:
    assert not look(reader(made, READINGS["output[:, -1]"][0]), X[:, :1])


def test_an_unbatched_sequence(made) -> None:
    assert len(look(reader(made, lambda lstm, x: lstm(x)[0][-1]), X[0])) == 1


def test_no_gradient_no_answer(made) -> None:
    model = made(lambda self, x: self.lstm(x)[0].detach(), lstm=nn.LSTM(3, 6, bidirectional=True))
    assert look(model).skipped == {
        "one-end-only": "no gradient leads from the output to what an LSTM of two directions returned"
    }
    zero = reader(made, READINGS["h_n[-1]"][0], width=6)
    nn.init.zeros_(zero.head.weight)
    assert not look(zero)


def test_one_direction_has_nothing_to_mix_up(made) -> None:
    found = look(reader(made, lambda lstm, x: lstm(x)[0][:, -1], width=6, bidirectional=False))
    assert not found
    assert found.looked_for == ("one-end-only",)


def test_the_change_makes_it_go_away_and_the_loss_better(made) -> None:
    """What is asked for comes first: the reverse direction ends there, the forward one must keep it for 40 steps."""
    x = torch.randn(64, 40, 1, generator=torch.Generator().manual_seed(0))
    losses = {}
    for name, read in (
        ("one", lambda lstm, x: lstm(x)[0][:, -1]),
        ("both", lambda lstm, x: torch.cat(tuple(lstm(x)[1][0][-2:]), -1)),
    ):
        torch.manual_seed(0)
        lstm = gl.LSTM(1, 6, batch_first=True, bidirectional=True)
        model = made(
            lambda self, x, read=read: self.head(read(self.lstm, x))[:, 0], lstm=lstm, head=nn.Linear(12, 1)
        )
        optimizer = torch.optim.Adam(model.parameters(), 0.02)
        for _ in range(60):
            optimizer.zero_grad()
            loss = (model(x) - x[:, 0, 0]).square().mean()
            loss.backward()
            optimizer.step()
        losses[name] = loss.item()
        assert len(look(model, x)) == (name == "one")
    assert losses["both"] < losses["one"] / 4


def test_a_subclass_that_returns_something_else_is_left_alone():
    class Output(nn.LSTM):
        def forward(self, x):
            return super().forward(x)[0]

    model = nn.Sequential(Output(3, 4, bidirectional=True, batch_first=True))
    assert not gl.diagnose(model, torch.randn(10, 20, 3), codes=["one-end-only"])
