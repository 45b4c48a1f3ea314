from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, unpad_sequence

import glasslstm as gl
from glasslstm.errors import ArgumentTypeError, ShapeError
from glasslstm.insight.intervene import edited_input, read_input

every_lstm = pytest.mark.parametrize("kind", [gl.LSTM, nn.LSTM], ids=["ours", "torch"])
every_cell = pytest.mark.parametrize("kind", [gl.LSTMCell, nn.LSTMCell], ids=["ours", "torch"])


def shifted(x, first_step):
    """An edit that is another one at each step, sequence and channel."""
    n, B, channels = x.shape
    step = torch.arange(first_step, first_step + n, dtype=x.dtype).view(-1, 1, 1)
    return (
        x
        + step
        + 0.1 * torch.arange(B, dtype=x.dtype).view(1, -1, 1)
        + 0.01 * torch.arange(channels, dtype=x.dtype)
    )


def hooks(module):
    return sum(len(part._forward_pre_hooks) + len(part._forward_hooks) for part in module.modules())


class Loop(nn.Module):
    """A model that calls its cell in a loop."""

    def __init__(self, kind, keyword=False):
        super().__init__()
        self.cell, self.keyword = kind(3, 4), keyword

    def forward(self, x):
        states = None
        for x_t in x:
            states = self.cell(input=x_t, hx=states) if self.keyword else self.cell(x_t, states)
        return states[0]


class TestAnLSTM:
    @every_lstm
    @pytest.mark.parametrize("keyword", [False, True])
    @pytest.mark.parametrize("layout", ["padded", "batch_first", "unbatched"])
    def test_reads_the_edited_input(self, kind, keyword, layout):
        lstm = kind(3, 4, 2, bidirectional=True, batch_first=layout == "batch_first")
        x = torch.randn(6, 3) if layout == "unbatched" else torch.randn(6, 5, 3)
        canonical = {"padded": x, "batch_first": x.transpose(0, 1), "unbatched": x.unsqueeze(1)}[layout]
        edited = shifted(canonical, 0)
        expected = {"batch_first": edited.transpose(0, 1), "unbatched": edited.squeeze(1)}.get(layout, edited)
        seen = []

        def edit(x, first_step):
            seen.append((x, first_step))
            return shifted(x, first_step)

        hx = tuple(torch.randn(4, 5 if layout == "padded" else 6, 4) for _ in range(2))
        hx = tuple(state[:, 0] for state in hx) if layout == "unbatched" else hx
        with edited_input(lstm, edit):
            output, (h_n, c_n) = lstm(input=x, hx=hx) if keyword else lstm(x, hx)
        truth, (h, c) = lstm(expected, hx)
        assert torch.equal(output, truth)
        assert torch.equal(h_n, h)
        assert torch.equal(c_n, c)
        [(found, first)] = seen
        assert torch.equal(found, canonical)
        assert first == 0
        assert not torch.equal(output, lstm(x, hx)[0])

    @every_lstm
    @pytest.mark.parametrize("enforce_sorted", [False, True])
    def test_reads_the_edited_input_packed(self, kind, enforce_sorted):
        lengths = [6, 4, 1] if enforce_sorted else [4, 1, 6]
        lstm, x = kind(3, 4, bidirectional=True), torch.randn(6, 3, 3)
        packed = pack_padded_sequence(x, lengths, enforce_sorted=enforce_sorted)
        with edited_input(lstm, shifted):
            output, (h_n, _) = lstm(packed)
        padded, found = pad_packed_sequence(output)
        assert found.tolist() == lengths
        for b, sequence in enumerate(unpad_sequence(shifted(x, 0), torch.tensor(lengths))):
            alone, (h, _) = lstm(sequence)
            torch.testing.assert_close(padded[: lengths[b], b], alone, atol=1e-6, rtol=0)
            torch.testing.assert_close(h_n[:, b], h, atol=1e-6, rtol=0)

    def test_keeps_its_lengths(self):
        lstm, x, lengths = gl.LSTM(3, 4, bidirectional=True), torch.randn(6, 3, 3), [4, 0, 6]
        with edited_input(lstm, shifted):
            output, (h_n, _), trace = lstm(x, lengths=lengths, return_trace=True)
        truth, (h, _) = lstm(shifted(x, 0), lengths=lengths)
        assert torch.equal(h_n, h)
        torch.testing.assert_close(output, truth, atol=1e-6, rtol=0)
        assert trace.lengths.tolist() == lengths
        assert torch.equal(trace.input, shifted(x, 0))

    def test_gradients_reach_what_the_edit_returns(self):
        lstm, x = nn.LSTM(3, 4), torch.randn(5, 2, 3)
        leaf = torch.randn(5, 2, 3, requires_grad=True)
        with edited_input(lstm, lambda x, _: leaf):
            lstm(x)[0].sum().backward()
        again = leaf.detach().clone().requires_grad_()
        lstm(again)[0].sum().backward()
        assert torch.equal(leaf.grad, again.grad)

    def test_inside_a_model(self):
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.embed, self.lstm, self.head = nn.Linear(2, 3), nn.LSTM(3, 4), nn.Linear(4, 1)

            def forward(self, x):
                return self.head(self.lstm(self.embed(x))[0][-1])

        model, x = Model(), torch.randn(5, 2, 2)
        with edited_input(model.lstm, shifted, model=model):
            first, second = model(x), model(x)
        expected = model.head(model.lstm(shifted(model.embed(x), 0))[0][-1])
        assert torch.equal(first, expected)
        assert torch.equal(second, expected)


class TestACell:
    @every_cell
    @pytest.mark.parametrize("keyword", [False, True])
    @pytest.mark.parametrize("batched", [False, True])
    def test_counts_its_steps_and_starts_again_with_the_model(self, kind, keyword, batched):
        model, x = Loop(kind, keyword), torch.randn(5, 2, 3) if batched else torch.randn(5, 3)
        with edited_input(model.cell, shifted, model=model):
            first, second = model(x), model(x)
        expected = model(shifted(x if batched else x[:, None], 0).view_as(x))
        assert torch.equal(first, expected)
        assert torch.equal(second, expected)

    @every_cell
    def test_without_a_model_the_count_starts_with_the_context(self, kind):
        model, x = Loop(kind), torch.randn(5, 2, 3)
        steps = []
        with edited_input(model.cell, lambda x, first_step: steps.append(first_step) or x):
            model(x)
            model(x)
        assert steps == list(range(10))
        with edited_input(model.cell, lambda x, first_step: steps.append(first_step) or x):
            model(x[:2])
        assert steps[10:] == [0, 1]


@every_lstm
def test_a_model_that_calls_its_lstm_in_parts_goes_on_counting(kind):
    class Parts(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = kind(3, 4)

        def forward(self, x):
            output, states = self.lstm(x[:2])
            return torch.cat([output, self.lstm(x[2:], states)[0]])

    model, x = Parts(), torch.randn(5, 2, 3)
    with edited_input(model.lstm, shifted, model=model):
        output = model(x)
    torch.testing.assert_close(output, model.lstm(shifted(x, 0))[0], atol=1e-6, rtol=0)
    with edited_input(model.lstm, shifted):
        parts = model(x)
    expected = torch.cat([shifted(x[:2], 0), shifted(x[2:], 0)])
    torch.testing.assert_close(parts, model.lstm(expected)[0], atol=1e-6, rtol=0)


def test_edits_within_one_another_apply_in_the_order_of_their_contexts():
    lstm, x = nn.LSTM(3, 4), torch.randn(5, 2, 3)
    with edited_input(lstm, lambda x, _: x + 1), edited_input(lstm, lambda x, _: x * 2):
        output, _ = lstm(x)
    assert torch.equal(output, lstm((x + 1) * 2)[0])


class TestAfterwards:
    def test_no_hook_is_left(self):
        model = Loop(nn.LSTMCell)
        with edited_input(model.cell, shifted, model=model):
            assert hooks(model) == 2
        assert hooks(model) == 0

    def test_no_hook_is_left_by_an_exception(self):
        model = Loop(nn.LSTMCell)
        with pytest.raises(ZeroDivisionError), edited_input(model.cell, lambda x, _: 1 / 0, model=model):
            model(torch.randn(5, 2, 3))
        assert hooks(model) == 0

    def test_the_caller_s_input_is_as_it_was(self):
        lstm, x = gl.LSTM(3, 4), torch.randn(5, 2, 3)
        before = x.clone()
        with edited_input(lstm, shifted):
            lstm(x)
        assert torch.equal(x, before)


class TestBadInput:
    def test_a_module_that_is_no_lstm(self):
        with (
            pytest.raises(ArgumentTypeError, match=r"module: expected an LSTM or LSTMCell .*, got GRU"),
            edited_input(nn.GRU(3, 4), shifted),
        ):
            pass

    @every_lstm
    def test_an_edit_that_returns_something_else(self, kind):
        lstm, x = kind(3, 4), torch.randn(5, 2, 3)
        with (
            pytest.raises(ShapeError, match=r"edit: expected it to return \(5, 2, 3\), .* got \(4, 2, 3\)"),
            edited_input(lstm, lambda x, _: x[1:]),
        ):
            lstm(x)
        with (
            pytest.raises(
                ArgumentTypeError, match=r"edit: expected it to return a torch.Tensor, got NoneType"
            ),
            edited_input(lstm, lambda x, _: None),
        ):
            lstm(x)

    def test_an_input_that_cannot_be_read(self):
        with pytest.raises(ArgumentTypeError, match=r"input: expected a torch.Tensor, got NoneType"):
            read_input(nn.LSTMCell(3, 4), (), {})
        with pytest.raises(ShapeError, match="expected input_size=3 in the last dimension, got 2"):
            read_input(nn.LSTM(3, 4), (torch.zeros(5, 1, 2),), {})
