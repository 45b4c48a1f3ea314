from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import glasslstm as gl

B, T, F, H = 6, 10, 3, 8
LENGTHS = torch.tensor([10, 3, 7, 10, 1, 5])
X = torch.randn(B, T, F, generator=torch.Generator().manual_seed(1))
PADDED = X * (torch.arange(T)[None, :, None] < LENGTHS[:, None, None])
kinds = pytest.mark.parametrize("kind", [nn.LSTM, gl.LSTM])


def look(model, inputs):
    return gl.diagnose(model, inputs, codes=["padding-matters"])


def last(self, x):
    return self.head(self.lstm(x)[0][:, -1])


def packed(self, x, lengths):
    x = pack_padded_sequence(x, torch.as_tensor(lengths), batch_first=True, enforce_sorted=False)
    return self.head(self.lstm(x)[1][0][-1])


def parts(kind=nn.LSTM, **options):
    width = H * (2 if options.get("bidirectional") else 1)
    return {"lstm": kind(F, H, batch_first=True, **options), "head": nn.Linear(width, 2)}


@kinds
def test_padding_that_is_read_as_steps(kind, made) -> None:
    model = made(last, **parts(kind))
    (found,) = look(model, PADDED)
    assert (found.code, found.severity, str(found.place)) == ("padding-matters", "warning", "lstm")
    with torch.no_grad():
        outputs = model(PADDED)
        alone = [model(PADDED[b : b + 1, :length])[0] for b, length in enumerate(LENGTHS)]
    moved = (torch.stack(alone) - outputs).square().mean(1).sqrt()
    spread = (outputs - outputs.mean(0)).square().mean().sqrt()
    assert found.value == pytest.approx(float(moved.max() / spread), rel=1e-4)
    assert f"by up to {found.value:.2g} of the outputs' standard deviation" in found.evidence
    assert (
        "for 4 of the 4 sequences that were tried; the LSTM is not told where the sequences end"
        in found.evidence
    )
    assert "batch_first=True, enforce_sorted=False)" in found.change


def test_tokens_with_a_padding_token(made) -> None:
    tokens = torch.randint(1, 20, (B, T)) * (torch.arange(T) < LENGTHS[:, None])
    model = made(lambda self, x: last(self, self.embedding(x)), embedding=nn.Embedding(20, F), **parts())
    assert [found.severity for found in look(model, tokens)] == ["warning"]
    lm = made(
        lambda self, x: self.head(self.lstm(self.embedding(x))[0]), embedding=nn.Embedding(20, F), **parts()
    )
    assert not look(lm, tokens)  # what comes later changes nothing


def test_the_row_behind_the_end_is_an_error_where_the_lengths_are_known(made) -> None:
    model = made(
        lambda self, x, lengths: self.head(self.lstm(x, lengths=lengths)[0][:, -1]), **parts(gl.LSTM)
    )
    (found,) = look(model, (PADDED, LENGTHS))
    assert found.severity == "error"
    assert "not told" not in found.evidence


def test_a_mean_over_the_padding_too(made) -> None:
    def mean(self, x, lengths):
        x = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.head(pad_packed_sequence(self.lstm(x)[0], batch_first=True)[0].mean(1))

    assert [found.severity for found in look(made(mean, **parts()), (PADDED, LENGTHS))] == ["error"]


def test_lengths_make_it_go_away(made) -> None:
    mine = parts(gl.LSTM)
    assert look(made(last, **mine), PADDED)
    told = made(lambda self, x, lengths: self.head(self.lstm(x, lengths=lengths)[1][0][-1]), **mine)
    found = look(told, (PADDED, LENGTHS))
    assert not found
    assert found.looked_for == ("padding-matters",)


def test_lengths_help_to_learn_what_came_first(made) -> None:
    """Whether the first value is positive, with padding of every length behind it: padding washes it away."""
    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 60, (64,), generator=draw)
    lengths[0] = 60
    values = torch.randn(64, 60, 1, generator=draw)
    x = values * (torch.arange(60)[None, :, None] < lengths[:, None, None])
    y = (values[torch.arange(64), lengths - 1, 0] > 0).float()
    losses = {}
    for told in (False, True):
        torch.manual_seed(0)
        lstm, head = gl.LSTM(1, 8, batch_first=True), nn.Linear(8, 1)
        model = made(
            lambda self, x, n: self.head(self.lstm(x, lengths=n)[1][0][-1])[:, 0], lstm=lstm, head=head
        )
        given = (x, lengths if told else None)
        optimizer = torch.optim.Adam(model.parameters(), 0.02)
        for _ in range(60):
            optimizer.zero_grad()
            loss = nn.functional.binary_cross_entropy_with_logits(model(*given), y)
            loss.backward()
            optimizer.step()
        losses[told] = loss.item()
        assert [found.code for found in look(model, given)] == ([] if told else ["padding-matters"])
    assert losses[True] < losses[False] / 4


@pytest.mark.parametrize("form", ["tuple", "dict", "list of lengths", "more padding than needed"])
@kinds
def test_silent_where_lengths_are_used(kind, form, made) -> None:
    model = made(packed, **parts(kind))
    longer = nn.functional.pad(PADDED, (0, 0, 0, 4))
    inputs = {
        "tuple": (PADDED, LENGTHS),
        "dict": {"x": PADDED, "lengths": LENGTHS},
        "list of lengths": (PADDED, LENGTHS.tolist()),
        "more padding than needed": (longer, LENGTHS),
    }[form]
    found = look(model, inputs)
    assert not found
    assert not found.skipped


def test_silent_for_a_gathered_step_and_a_masked_mean(made) -> None:
    gathered = made(lambda self, x, n: self.head(self.lstm(x)[0][torch.arange(len(x)), n - 1]), **parts())
    masked = made(lambda self, x, m: self.head((self.lstm(x)[0] * m).sum(1) / m.sum(1)), **parts())
    mask = (torch.arange(T) < LENGTHS[:, None]).unsqueeze(2).float()
    for model, inputs in ((gathered, (PADDED, LENGTHS)), (masked, (PADDED, mask))):
        found = look(model, inputs)
        assert not found
        assert not found.skipped


def test_silent_for_a_cell_that_stops_by_a_mask_and_not_for_one_that_goes_on(made) -> None:
    def loop(self, x, mask=None):
        h = c = x.new_zeros(len(x), H)
        for t in range(x.size(1)):
            new_h, new_c = self.cell(x[:, t], (h, c))
            keep = 1 if mask is None else mask[:, t, None]
            h, c = keep * new_h + (1 - keep) * h, keep * new_c + (1 - keep) * c
        return self.head(h)

    model = made(loop, cell=gl.LSTMCell(F, H), head=nn.Linear(H, 2))
    assert [str(found.place) for found in look(model, PADDED)] == ["cell"]
    assert not look(model, (PADDED, (torch.arange(T) < LENGTHS[:, None]).float()))


def test_zeros_among_the_steps_are_no_padding(made) -> None:
    rare = PADDED.clone()
    rare[0, 4] = 0
    found = look(made(last, **parts()), rare)
    assert not found
    assert found.skipped == {
        "padding-matters": "no padding was found: give a batch of sequences of different lengths"
    }


def test_the_same_end_for_all_is_no_padding(made) -> None:
    blank = X.clone()
    blank[:, 6:] = 0
    assert "padding-matters" in look(made(last, **parts()), blank).skipped


def test_below_the_threshold_is_no_finding(made) -> None:
    """The padding reaches the output through one weight, which is turned down."""
    model = made(lambda self, x: self.head(self.lstm(x)[0][:, 0]) + self.weight * x[:, -1, :2], **parts())
    level = 0.01 * float(spread_of(model, PADDED))
    for factor, count in ((0.5, 0), (2, 1)):
        # The last step is 0 in every padded sequence; cut, it is the sequence's own: a shift of RMS one.
        ends = X[torch.arange(B), LENGTHS - 1, :2]
        most = ends[LENGTHS < T].square().mean(1).sqrt().max()
        model.weight = factor * level / float(most)
        assert len(look(model, PADDED)) == count


def spread_of(model, x):
    model.weight = 0.0
    with torch.no_grad():
        output = model(x)
    return (output - output.mean(0)).square().mean().sqrt()


def test_a_model_that_mixes_its_batch_is_not_looked_at(made) -> None:
    model = made(lambda self, x: last(self, x).softmax(0), **parts())
    reason = look(model, PADDED).skipped["padding-matters"]
    assert reason.startswith("a sequence alone gives another output than in its batch, padding or not (by ")


@pytest.mark.parametrize(
    "inputs",
    [PADDED[:1], PADDED[:, :1], PADDED[0], PADDED * torch.nan],
    ids=["B=1", "T=1", "unbatched", "NaN"],
)
def test_edges(inputs, made) -> None:
    model = made(lambda self, x: self.head(self.lstm(x)[0]), **parts())
    assert not look(model, inputs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes(dtype, made) -> None:
    told = made(lambda self, x, n: self.head(self.lstm(x, lengths=n)[1][0][-1]), **parts(gl.LSTM)).to(dtype)
    assert not look(told, (PADDED.to(dtype), LENGTHS))
    assert look(made(last, **parts()).to(dtype), PADDED.to(dtype))


def test_a_sequence_of_no_steps_and_a_packed_input(made) -> None:
    lengths = LENGTHS.clone()
    lengths[2] = 0
    told = made(lambda self, x, n: self.head(self.lstm(x, lengths=n)[1][0][-1]), **parts(gl.LSTM))
    found = look(told, (PADDED, lengths))
    assert not found
    assert not found.skipped
    whole = made(lambda self, p: self.head(self.lstm(p)[1][0][-1]), **parts())
    inputs = pack_padded_sequence(PADDED, LENGTHS, batch_first=True, enforce_sorted=False)
    assert "packed sequences" in look(whole, inputs).skipped["padding-matters"]


def test_a_model_that_wants_its_own_number_of_steps(made) -> None:
    fixed = made(
        lambda self, x: self.head(self.lstm(x)[0].flatten(1)), **parts() | {"head": nn.Linear(H * T, 2)}
    )
    assert "refuses a part of its batch" in look(fixed, PADDED).skipped["padding-matters"]
