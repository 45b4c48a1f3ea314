from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import glasslstm as gl

N, S, F, H = 8, 11, 3, 6
X = torch.randn(N, S, F, generator=torch.Generator().manual_seed(1))
kinds = pytest.mark.parametrize("kind", [nn.LSTM, gl.LSTM])


def look(model, *inputs):
    return gl.diagnose(model, inputs, codes=["axes-mixed"])


def last(self, x):
    return self.head(self.lstm(x)[0][:, -1])


def parts(kind=nn.LSTM, classes=2, **options):
    width = H * (2 if options.get("bidirectional") else 1)
    return {"lstm": kind(F, H, **options), "head": nn.Linear(width, classes)}


@kinds
def test_a_batch_that_is_read_as_time(kind, made) -> None:
    model = made(last, **parts(kind))
    (found,) = look(model, X)
    assert (found.code, found.severity, str(found.place)) == ("axes-mixed", "error", "lstm")
    with torch.no_grad():
        changed = X.clone()
        changed[4] += 1
        moved = ((model(changed) - model(X)).abs().amax(1) > 0).nonzero().flatten().tolist()
    assert moved == [4, 5, 6, 7]
    assert found.value == 3
    assert found.evidence == (
        "changing sequence 4 alone changes the outputs of 3 of the 7 others, all of them behind it: the LSTM takes the "
        "axis of 8 for time and the one of 11 for the batch"
    )
    assert "Give the LSTM batch_first=True (now False)" in found.change


def test_the_change_makes_it_go_away_and_the_model_learns(made) -> None:
    x = torch.randn(64, 12, F, generator=torch.Generator().manual_seed(2))
    y = (x[:, :, 0].sum(1) > 0).long()
    losses = {}
    for batch_first in (False, True):
        torch.manual_seed(0)
        model = made(last, **parts(batch_first=batch_first))
        optimizer = torch.optim.Adam(model.parameters(), 0.02)
        for _ in range(60):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        losses[batch_first] = loss.item()
        assert len(look(model, x)) == (0 if batch_first else 1)
    assert losses[True] < losses[False] / 2


@pytest.mark.parametrize(
    "inputs", [X, torch.randn(S, S, F), torch.randn(N, 2, F)], ids=["N>S", "N=S", "S=classes"]
)
def test_whatever_the_sizes(inputs, made) -> None:
    assert len(look(made(last, **parts()), inputs)) == 1


def test_time_first_data_for_a_batch_first_lstm(made) -> None:
    model = made(lambda self, x: self.head(self.lstm(x)[0][-1]), **parts(batch_first=True))
    (found,) = look(model, X.transpose(0, 1))
    assert "Give the LSTM batch_first=False (now True)" in found.change


def test_two_directions(made) -> None:
    model = made(lambda self, x: self.head(self.lstm(x)[0].mean(1)), **parts(bidirectional=True))
    (found,) = look(model, X)
    assert found.value == 7
    assert "changes the outputs of 7 of the 7 others: the LSTM" in found.evidence


def test_tokens(made) -> None:
    tokens = torch.randint(0, 20, (N, S))
    model = made(lambda self, x: last(self, self.embedding(x)), embedding=nn.Embedding(20, F), **parts())
    assert len(look(model, tokens)) == 1
    model.lstm.batch_first = True
    assert not look(model, tokens)


@kinds
def test_states_that_are_viewed_and_not_joined(kind, made) -> None:
    mine = parts(kind, bidirectional=True, batch_first=True)
    model = made(lambda self, x: self.head(self.lstm(x)[1][0].view(len(x), -1)), **mine)
    (found,) = look(model, X)
    # Row r of the view holds the states 2r and 2r + 1 of the sixteen: sequence 1 is in rows 0 and 4.
    assert found.evidence == (
        "changing sequence 1 alone leaves its own output as it is, and changes that of sequence 0, 4; so for 2 of 4 "
        "that were tried"
    )
    assert found.snippet == "features = h_n.transpose(0, 1).flatten(1)"
    joined = made(lambda self, x: self.head(torch.cat(tuple(self.lstm(x)[1][0][-2:]), dim=-1)), **mine)
    assert not look(joined, X)


def test_sorted_by_length_and_not_sorted_back(made) -> None:
    lengths = torch.tensor([3, 11, 7, 2, 5, 9, 4, 10])

    def call(self, x, lengths):
        order = lengths.argsort(descending=True)
        h_n = self.lstm(pack_padded_sequence(x[order], lengths[order], batch_first=True))[1][0][-1]
        return self.head(h_n[order.argsort()] if self.back else h_n)

    model = made(call, **parts(batch_first=True))
    for model.back, count in ((False, 1), (True, 0)):
        assert len(look(model, X, lengths)) == count


@pytest.mark.parametrize("square", [False, True])
@kinds
def test_silent_on_healthy_models(kind, square, made) -> None:
    x = torch.randn(N, N, F) if square else X
    first, both = {"batch_first": True}, {"batch_first": True, "bidirectional": True}
    healthy = [
        (made(last, **parts(kind, **first)), x),
        (made(lambda self, x: self.head(self.lstm(x)[1][0][-1]), **parts(kind)), x.transpose(0, 1)),
        (made(lambda self, x: self.head(self.lstm(x)[0]), **parts(kind, **both)), x),
        (made(lambda self, x: self.head(self.lstm(x)[0]), **parts(kind)), x.transpose(0, 1)),
        (made(lambda self, x: self.norm(last(self, x)), norm=nn.BatchNorm1d(2), **parts(kind, **first)), x),
        (made(lambda self, x: last(self, x)[:, 0], **parts(kind, **first)), x),
        (made(lambda self, x: last(self, x).softmax(0), **parts(kind, **first)), x),
        (made(lambda self, x: self.head(self.lstm(x)[0].mean(1)).softmax(0), **parts(kind, **both)), x),
        (kind(F, H), x),
    ]
    for model, inputs in healthy:
        found = look(model, inputs)
        assert not found
        assert not found.skipped


@pytest.mark.parametrize(
    "inputs", [X[:1], X[:, :1], X[0], X * torch.nan, X[:2]], ids=["B=1", "T=1", "unbatched", "NaN", "N=2"]
)
def test_edges(inputs, made) -> None:
    assert not look(made(lambda self, x: self.head(self.lstm(x)[0]), **parts(batch_first=True)), inputs)


def test_outputs_of_other_kinds(made) -> None:
    first = parts(batch_first=True)
    for form in (lambda y: {"logits": y}, lambda y: (y, None), lambda y: y.double()):
        assert not look(made(lambda self, x, form=form: form(last(self, x)), **first), X)
    counts = made(lambda self, x: last(self, x).argmax(1), **first)
    assert look(counts, X).skipped == {"axes-mixed": "the model gives no tensor of real numbers"}
