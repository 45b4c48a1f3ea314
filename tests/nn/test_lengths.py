"""`lengths=` means pack -> LSTM -> pad, for any lengths in any order; what stands in the padding changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import glasslstm as gl

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

LENGTHS = {
    "unsorted": [2, 5, 1, 4],
    "sorted": [5, 4, 4, 1],
    "zeros among them": [0, 3, 0, 5],
    "none is full": [2, 3, 0, 1],
    "all full": [5, 5, 5, 5],
    "one step": [1, 1, 1, 1],
    "all empty": [0, 0, 0, 0],
}
OPTIONS: dict[str, dict[str, Any]] = {
    "forward": {},
    "both directions": {"bidirectional": True},
    "two layers, both directions": {"num_layers": 2, "bidirectional": True},
    "projection, batch first": {"num_layers": 2, "bidirectional": True, "proj_size": 2, "batch_first": True},
    "no bias": {"bias": False},
}
every_length = pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


class PackedTorch(nn.Module):
    """torch.nn.LSTM behind pack and in front of pad; empty sequences, which torch refuses, are left out."""

    def __init__(self, lstm: nn.LSTM, lengths: list[int]) -> None:
        super().__init__()
        self._lstm, self.lengths = [lstm], lengths  # in a list, so that the names have no prefix
        self.named_parameters = lstm.named_parameters

    def forward(self, x: Tensor, hx: Any = None) -> Any:
        (lstm,), lengths = self._lstm, torch.tensor(self.lengths)
        x = x.transpose(0, 1) if lstm.batch_first else x
        count = lstm.num_layers * (2 if lstm.bidirectional else 1)
        width = lstm.proj_size or lstm.hidden_size
        zeros = [x.new_zeros(count, x.size(1), n) for n in (width, lstm.hidden_size)]
        h, c = hx if hx is not None else zeros
        here = lengths.nonzero().squeeze(1)
        output = x.new_zeros(*x.shape[:2], width * (2 if lstm.bidirectional else 1))
        # Whatever the loss is, every weight belongs to it, with a gradient of zero if need be.
        output = output + 0 * sum(p.sum() for p in lstm.parameters()) + 0 * x.sum()
        if len(here):
            packed = pack_padded_sequence(x[:, here], lengths[here], enforce_sorted=False)
            found, (h_n, c_n) = lstm(packed, (h[:, here], c[:, here]))
            output = output.index_copy(1, here, pad_packed_sequence(found, total_length=x.size(0))[0])
            h, c = h.index_copy(1, here, h_n), c.index_copy(1, here, c_n)
        return output.transpose(0, 1) if lstm.batch_first else output, (h, c)


def _inputs(module: gl.LSTM, time: int = 5, batch: int = 4) -> list[Tensor]:
    count, width = (
        module.num_layers * (2 if module.bidirectional else 1),
        module.proj_size or module.hidden_size,
    )
    steps = (batch, time) if module.batch_first else (time, batch)
    shapes = ((*steps, module.input_size), (count, batch, width), (count, batch, module.hidden_size))
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


@every_option
@every_length
@pytest.mark.parametrize("given", [True, False], ids=["hx", "no hx"])
def test_lengths_mean_pack_and_pad(
    lengths: list[int],
    options: dict[str, Any],
    given: bool,
    kernel: str,
    twin: Callable[..., Any],
    results: Callable[..., Any],
    equal: Callable[..., Any],
) -> None:
    ours, theirs = twin(3, 4, **options)
    inputs = _inputs(ours)
    hx = inputs[1:] if given else None
    leaves = inputs if given else inputs[:1]
    expected = results(PackedTorch(theirs, lengths), inputs[0], hx, inputs=leaves)
    equal(results(ours, inputs[0], hx, inputs=leaves, lengths=lengths), expected)
    if kernel == "plain":  # and the same with a trace
        traced = results(ours, inputs[0], hx, inputs=leaves, lengths=lengths, return_trace=True)
        equal(traced, expected)


@pytest.mark.parametrize(
    "form",
    [
        list,
        tuple,
        np.array,
        torch.tensor,
        lambda n: torch.tensor(n, dtype=torch.int32),
        lambda n: torch.tensor(n, dtype=torch.int16),
        lambda n: torch.tensor(n, dtype=torch.uint8),
        lambda n: [torch.tensor(k) for k in n],
        lambda n: list(np.array(n)),
    ],
    ids=[
        "list",
        "tuple",
        "numpy",
        "int64",
        "int32",
        "int16",
        "uint8",
        "list of tensors",
        "list of numpy ints",
    ],
)
def test_lengths_come_in_any_form(form: Callable[[list[int]], Any], kernel: str) -> None:
    lstm, x = gl.LSTM(3, 4, 2, bidirectional=True), torch.randn(5, 4, 3)
    expected, states = lstm(x, lengths=[2, 5, 0, 4])
    found, found_states = lstm(x, lengths=form([2, 5, 0, 4]))
    assert torch.equal(found, expected)
    assert all(torch.equal(a, b) for a, b in zip(found_states, states, strict=True))


def test_the_callers_lengths_are_left_as_they_are(kernel: str) -> None:
    lengths = torch.tensor([2, 5, 0, 4])
    gl.LSTM(3, 4, bidirectional=True)(torch.randn(5, 4, 3), lengths=lengths)[0].sum().backward()
    assert lengths.tolist() == [2, 5, 0, 4]


@pytest.mark.parametrize("form", [np.array, torch.tensor], ids=["numpy", "tensor"])
def test_the_caller_may_overwrite_the_lengths_after_the_call(form: Callable[..., Any], kernel: str) -> None:
    """As with pack_padded_sequence; a loader that fills the same buffer for every batch does so."""
    lstm, x = gl.LSTM(3, 4, 2, bidirectional=True), torch.randn(5, 4, 3)
    given = form([2, 5, 0, 4])
    traced = {} if kernel == "torch" else {"return_trace": True}
    expected, *_ = lstm(x, lengths=[2, 5, 0, 4], **traced)
    wanted = torch.autograd.grad(expected.pow(2).sum(), list(lstm.parameters()))
    output, _, *trace = lstm(x, lengths=given, **traced)
    given[:] = 1
    found = torch.autograd.grad(output.pow(2).sum(), list(lstm.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert all(part.lengths.tolist() == [2, 5, 0, 4] for part in trace)


@pytest.mark.parametrize("hidden", [4, 1024], ids=["small", "large"])
def test_a_ragged_output_may_be_changed_in_place_as_that_of_pad_packed_sequence(hidden: int) -> None:
    """Whatever kernel "auto" takes: a masked_fill_, or a dropout with inplace=True, is no error."""
    lstm, x = gl.LSTM(3, hidden), torch.randn(5, 4, 3)
    theirs = nn.LSTM(3, hidden)
    theirs.load_state_dict(lstm.state_dict())
    packed = pack_padded_sequence(x, [5, 2, 3, 1], enforce_sorted=False)
    grads = []
    for module, output in (
        (lstm, lstm(x, lengths=[5, 2, 3, 1])[0]),
        (theirs, pad_packed_sequence(theirs(packed)[0])[0]),
    ):
        output.mul_(3.0).relu_()
        grads.append(torch.autograd.grad(output.sum(), module.weight_ih_l0)[0])
    torch.testing.assert_close(*grads, atol=1e-4, rtol=1e-4)


PADDINGS = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "huge": 3e38, "random": None}


@pytest.mark.parametrize("padding", PADDINGS.values(), ids=PADDINGS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("lengths", [[2, 5, 0, 4], [1, 3, 2, 0], [0, 0, 0, 0]], ids=str)
@pytest.mark.parametrize("how", ["torch", "plain", "equations", "plain, traced", "equations, traced"])
def test_the_padding_changes_nothing_bit_for_bit(
    padding: float | None, dtype: torch.dtype, lengths: list[int], how: str, results: Callable[..., Any]
) -> None:
    kernel, _, traced = how.partition(", ")
    lstm = gl.LSTM(3, 4, 2, bidirectional=True, proj_size=2, dtype=dtype)
    _, h_0, c_0 = (tensor.detach().to(dtype).requires_grad_() for tensor in _inputs(lstm))
    clean = torch.randn(5, 4, 3).to(dtype)
    outside = torch.arange(5).unsqueeze(1) >= torch.tensor(lengths)
    clean[outside] = 0.0
    dirty = clean.clone()
    dirty[outside] = torch.randn(int(outside.sum()), 3).to(dtype) if padding is None else padding
    call: dict[str, Any] = {"lengths": lengths, "return_trace": True} if traced else {"lengths": lengths}
    found: list[dict[str, Any]] = []
    for x in (clean, dirty):
        x.requires_grad_()
        with gl.use_kernel(kernel):
            found.append(results(lstm, x, (h_0, c_0), inputs=[x, h_0, c_0], **call))
            trace = lstm(x, (h_0, c_0), **call)[2] if traced else {}
        for key in trace:
            found[-1] |= {f"{key} {name}": value for name, value in trace[key].numpy().items()}
    for name, value in found[0].items():
        assert _finite_bytes(value) == _finite_bytes(found[1][name]), name
    assert torch.equal(found[1]["d input 0"][outside], torch.zeros(int(outside.sum()), 3, dtype=dtype))
    assert torch.equal(found[1]["output"][outside], torch.zeros(int(outside.sum()), 4, dtype=dtype))


def _finite_bytes(value: Tensor | np.ndarray) -> bytes:
    array = value.double().numpy() if isinstance(value, Tensor) else value
    assert np.isfinite(array).all()
    return array.tobytes()


def test_a_gradient_that_arrives_in_the_padding_is_ignored(kernel: str) -> None:
    """A loss that divides by a mask sends NaN there."""
    lstm, x = gl.LSTM(3, 4, 2, bidirectional=True), torch.randn(5, 3, 3, requires_grad=True)
    output, _ = lstm(x, lengths=[2, 5, 0])
    outside = torch.arange(5).unsqueeze(1) >= torch.tensor([2, 5, 0])
    grad = torch.randn_like(output)
    leaves = [x, *lstm.parameters()]
    grads = [grad.masked_fill(outside.unsqueeze(2), value) for value in (0.0, np.nan)]
    found = [torch.autograd.grad(output, leaves, grad, retain_graph=True) for grad in grads]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_an_empty_sequence_keeps_its_states_and_their_gradient(kernel: str) -> None:
    lstm = gl.LSTM(3, 4, 2, bidirectional=True)
    h_0, c_0 = torch.randn(4, 3, 4, requires_grad=True), torch.randn(4, 3, 4, requires_grad=True)
    _, (h_n, c_n) = lstm(torch.randn(5, 3, 3), (h_0, c_0), lengths=[2, 0, 5])
    assert torch.equal(h_n[:, 1], h_0[:, 1])
    assert torch.equal(c_n[:, 1], c_0[:, 1])
    weights = torch.randn(2, 4, 3, 4)
    grads = torch.autograd.grad((h_n * weights[0] + c_n * weights[1]).sum(), [h_0, c_0])
    assert torch.equal(grads[0][:, 1], weights[0][:, 1])
    assert torch.equal(grads[1][:, 1], weights[1][:, 1])


def test_a_batch_of_empty_sequences_can_be_trained_on(kernel: str) -> None:
    """The gradient of everything is zero; it is no error, whatever the loss."""
    lstm = gl.LSTM(3, 4, 2, bidirectional=True)
    output, (h_n, c_n) = lstm(torch.randn(5, 2, 3), lengths=[0, 0])
    (output.sum() + h_n.sum() + c_n.sum()).backward()
    assert all(p.grad is None or not p.grad.any() for p in lstm.parameters())


@pytest.mark.parametrize("traced", [False, True])
def test_large_ragged_batches_take_the_other_kernel_and_agree(
    traced: bool, twin: Callable[..., Any], results: Callable[..., Any], equal: Callable[..., Any]
) -> None:
    """Above a size "auto" goes to another kernel for training; the numbers stay."""
    ours, theirs = twin(2, 64, bidirectional=True)
    lengths = [(7 * k) % 6 for k in range(40)]
    inputs = _inputs(ours, 5, 40)
    expected = results(PackedTorch(theirs, lengths), inputs[0], inputs[1:], inputs=inputs)
    call = {"return_trace": True} if traced else {}
    equal(results(ours, inputs[0], inputs[1:], inputs=inputs, lengths=lengths, **call), expected)


x3 = torch.zeros(5, 2, 3)
BAD = {
    "too long": (x3, [6, 2], ValueError, r"lengths: expected 0 to 5.*got 6 for sequence 0"),
    "negative": (x3, [5, -1], ValueError, r"lengths: expected 0 to 5.*got -1 for sequence 1"),
    "too few": (x3, [5], ValueError, r"lengths: .*each of the 2 sequences, got shape \(1,\)"),
    "too many": (x3, torch.tensor([5, 5, 5]), ValueError, r"2 sequences, got shape \(3,\)"),
    "a matrix": (x3, [[5], [5]], ValueError, r"2 sequences, got shape \(2, 1\)"),
    "a number": (x3, 5, ValueError, r"2 sequences, got shape \(\)"),
    "floats": (x3, [5.0, 2.0], TypeError, r"lengths: expected integers, got torch.float32"),
    "float tensor": (x3, torch.tensor([5.0, 2.0]), TypeError, r"expected integers, got torch.float32"),
    "a mask": (x3, torch.tensor([True, False]), TypeError, r"expected integers, got torch.bool"),
    "unbatched": (torch.zeros(5, 3), [5], ValueError, r"lengths: an unbatched input is one sequence"),
    "packed": (
        pack_padded_sequence(x3, [5, 2]),
        [5, 2],
        ValueError,
        r"lengths: a PackedSequence has its own; leave lengths out",
    ),
}


@pytest.mark.parametrize(("x", "lengths", "kind", "message"), BAD.values(), ids=BAD)
def test_bad_lengths_are_refused(x: Any, lengths: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        gl.LSTM(3, 4)(x, lengths=lengths)
    assert isinstance(caught.value, gl.errors.GlassLSTMError)


@pytest.mark.parametrize("lengths", ["52", [5, None], [[5], [1, 2]]], ids=repr)
def test_lengths_that_are_no_numbers_get_a_clear_error_too(lengths: Any) -> None:
    with pytest.raises(gl.errors.GlassLSTMError, match="lengths: expected"):
        gl.LSTM(3, 4)(x3, lengths=lengths)


def test_a_packed_sequence_longer_than_its_data_is_no_way_around_the_check() -> None:
    """pack_padded_sequence builds a broken object from a length above T, without a word; `lengths=` does not."""
    with pytest.raises(gl.errors.ArgumentError, match="got 9 for sequence 0"):
        gl.LSTM(3, 4, batch_first=True)(torch.zeros(2, 5, 3), lengths=[9, 2])
