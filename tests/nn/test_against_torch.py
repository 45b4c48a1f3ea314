"""Output, final states and every gradient equal torch.nn.LSTM's, over a matrix of options, in every kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import count, product
from typing import Any, NamedTuple

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import glasslstm as gl

# torch says so once for each process, of its own LSTM too.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

SIZES = ((5, 3, 3, 5), (1, 3, 2, 3), (4, 1, 3, 4), (7, 2, 1, 3), (2, 5, 7, 3))  # T, B, I, H
LAYOUTS = ("time first", "batch first", "unbatched", "packed", "packed unsorted")
KERNELS = ("torch", "plain", "equations", "auto, traced")


class Case(NamedTuple):
    """One combination of options."""

    layers: int
    bidirectional: bool
    proj_size: int
    bias: bool
    layout: str
    batch_first: bool
    states: str
    size: tuple[int, int, int, int]

    def __str__(self) -> str:
        parts = [
            f"L{self.layers}",
            "both" if self.bidirectional else "forward",
            f"proj{self.proj_size}",
            "bias" if self.bias else "no bias",
            self.layout + (" (batch_first)" if self.batch_first and self.layout != "batch first" else ""),
            f"hx {self.states}",
            "TBIH " + "x".join(map(str, self.size)),
        ]
        return "-".join(parts)


def _cases() -> Iterator[Case]:
    """The product of the options that shape the computation; the other options take turns in it."""
    turn = count()
    for layers, both, proj, bias, layout, given in product(
        (1, 2, 3), (False, True), (0, 2), (True, False), LAYOUTS, (False, True)
    ):
        k = next(turn)
        swapped = layout == "batch first" or (layout in LAYOUTS[2:] and k % 3 == 0)
        states = ("tuple", "list")[k // 2 % 2] if given else "none"
        yield Case(layers, both, proj, bias, layout, swapped, states, SIZES[k // 7 % len(SIZES)])


CASES = list(_cases())


def test_the_matrix_is_large_and_has_every_option() -> None:
    assert len(set(CASES)) >= 200
    for field, values in zip(Case._fields, zip(*CASES, strict=True), strict=True):
        wanted = {"layers": 3, "layout": 5, "states": 3, "size": len(SIZES)}.get(field, 2)
        assert len(set(values)) == wanted, field
    # Each size meets each layout, with states and without.
    assert len({(c.size, c.layout, c.states == "none") for c in CASES}) == len(SIZES) * len(LAYOUTS) * 2


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_torch(
    case: Case, kernel: str, twin: Callable[..., Any], results: Callable[..., Any], equal: Callable[..., Any]
) -> None:
    ours, theirs = twin(
        case.size[2],
        case.size[3],
        case.layers,
        bias=case.bias,
        batch_first=case.batch_first,
        bidirectional=case.bidirectional,
        proj_size=case.proj_size,
    )
    x, value, hx = _arguments(case)
    inputs = [x, *(hx or ())]
    traced = {"return_trace": True} if kernel == "auto, traced" else {}
    with nullcontext() if traced else gl.use_kernel(kernel):
        found = results(ours, value, hx, inputs=inputs, **traced)
    equal(found, results(theirs, value, None if hx is None else tuple(hx), inputs=inputs))


def _arguments(case: Case) -> tuple[torch.Tensor, torch.Tensor | PackedSequence, Any]:
    T, B, _, H = case.size
    draw = {"dtype": torch.float64, "requires_grad": True}
    x = torch.randn(*_input_shape(case), **draw)
    value: torch.Tensor | PackedSequence = x
    if case.layout.startswith("packed"):
        lengths = torch.randint(1, T + 1, (B,))
        if case.layout == "packed":
            lengths = lengths.sort(descending=True).values
        value = pack_padded_sequence(
            x, lengths, batch_first=case.batch_first, enforce_sorted=case.layout == "packed"
        )
    if case.states == "none":
        return x, value, None
    count = case.layers * (2 if case.bidirectional else 1)
    batch = () if case.layout == "unbatched" else (B,)
    states = (torch.randn(count, *batch, width, **draw) for width in (case.proj_size or H, H))
    return x, value, tuple(states) if case.states == "tuple" else list(states)


def _input_shape(case: Case) -> tuple[int, ...]:
    T, B, width, _ = case.size
    if case.layout == "unbatched":
        return T, width
    return (B, T, width) if case.batch_first else (T, B, width)


@pytest.mark.parametrize("enforce_sorted", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_a_packed_output_keeps_the_order_of_its_input(
    enforce_sorted: bool, batch_first: bool, twin: Callable[..., Any], kernel: str
) -> None:
    ours, theirs = twin(3, 4, bidirectional=True, batch_first=batch_first)
    lengths = [4, 3, 1] if enforce_sorted else [1, 4, 3]
    x = torch.randn((3, 4, 3) if batch_first else (4, 3, 3), dtype=torch.float64)
    packed = pack_padded_sequence(x, lengths, batch_first=batch_first, enforce_sorted=enforce_sorted)
    found, expected = ours(packed)[0], theirs(packed)[0]
    assert isinstance(found, PackedSequence)
    torch.testing.assert_close(found.data, expected.data, atol=1e-10, rtol=0)
    assert torch.equal(found.batch_sizes, packed.batch_sizes)
    for name in ("sorted_indices", "unsorted_indices"):
        index = getattr(packed, name)
        assert (getattr(found, name) is None) if index is None else torch.equal(getattr(found, name), index)


def test_a_tuple_comes_back_and_states_are_never_batch_first(kernel: str) -> None:
    lstm = gl.LSTM(3, 4, 2, batch_first=True, bidirectional=True, proj_size=2)
    output, states = lstm(torch.zeros(5, 7, 3), [torch.zeros(4, 5, 2), torch.zeros(4, 5, 4)])
    assert type(states) is tuple
    assert output.shape == (5, 7, 4)
    assert [tuple(state.shape) for state in states] == [(4, 5, 2), (4, 5, 4)]
    output, states = lstm(torch.zeros(7, 3))
    assert output.shape == (7, 4)
    assert [tuple(state.shape) for state in states] == [(4, 2), (4, 4)]


@pytest.mark.parametrize("T", [1, 3])
@pytest.mark.parametrize("lengths", [None, [3, 1], [0, 0]])
def test_states_share_no_memory_with_the_output(kernel: str, T: int, lengths: list[int] | None) -> None:
    lstm = gl.LSTM(2, 3, batch_first=True)
    hx = torch.randn(1, 2, 3), torch.randn(1, 2, 3)
    lengths = None if lengths is None else [min(n, T) for n in lengths]
    with torch.no_grad():
        output, states = lstm(torch.randn(2, T, 2), hx, lengths=lengths)
        before = [state.clone() for state in (*states, *hx)]
        output.fill_(7.0)
        assert all(torch.equal(a, b) for a, b in zip((*states, *hx), before, strict=True))
        for state in states:
            state.fill_(9.0)
    assert torch.equal(output, torch.full_like(output, 7.0))
    assert torch.equal(hx[0], before[2])
    assert torch.equal(hx[1], before[3])


@pytest.mark.parametrize("shape", [(5, 0, 3), (1, 0, 3)])
@pytest.mark.parametrize("ragged", [False, True])
def test_a_batch_of_none_works(kernel: str, shape: tuple[int, ...], ragged: bool) -> None:
    lstm = gl.LSTM(3, 4, 2, bidirectional=True)
    lengths = torch.zeros(0, dtype=torch.int64) if ragged else None
    output, (h_n, c_n) = lstm(torch.zeros(shape), lengths=lengths)
    assert output.shape == (shape[0], 0, 8)
    assert h_n.shape == c_n.shape == (4, 0, 4)
    (output.sum() + h_n.sum() + c_n.sum()).backward()
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in lstm.parameters() if p.grad is not None)


def test_strange_strides_change_nothing(
    kernel: str, twin: Callable[..., Any], results: Callable[..., Any], equal: Callable[..., Any]
) -> None:
    ours, theirs = twin(3, 4, 2, bidirectional=True)
    draw = {"dtype": torch.float64}
    layouts = {
        "channels first": torch.randn(2, 3, 5, **draw).permute(2, 0, 1),
        "every other step": torch.randn(10, 2, 3, **draw)[::2],
        "a slice of more channels": torch.randn(5, 2, 9, **draw)[..., 2:8:2],
        "one step for all": torch.randn(1, 2, 3, **draw).expand(5, 2, 3),
    }
    h_0 = torch.randn(4, 4, 2, **draw).transpose(1, 2).requires_grad_()
    c_0 = torch.randn(2, 4, 4, **draw).permute(1, 0, 2).requires_grad_()
    assert not h_0.is_contiguous()
    assert not c_0.is_contiguous()
    for x in layouts.values():
        value = x.detach().requires_grad_()
        hx, inputs = (h_0, c_0), [value, h_0, c_0]
        equal(results(ours, value, hx, inputs=inputs), results(theirs, value, hx, inputs=inputs))


@pytest.mark.parametrize(
    "wanted", ["input", "h_0", "c_0", "weight_hh_l0", "bias_ih_l1_reverse", "weight_hr_l1"]
)
@pytest.mark.parametrize("through", ["output", "h_n", "c_n"])
def test_a_gradient_can_be_asked_for_alone(
    kernel: str, wanted: str, through: str, twin: Callable[..., Any]
) -> None:
    ours, theirs = twin(3, 4, 2, bidirectional=True, proj_size=2)
    x, h_0, c_0 = (torch.randn(*s, dtype=torch.float64) for s in ((5, 2, 3), (4, 2, 2), (4, 2, 4)))
    grads = []
    for module in (ours, theirs):
        module.requires_grad_(False)
        leaf = {"input": x, "h_0": h_0, "c_0": c_0}.get(wanted)
        leaf = module.get_parameter(wanted) if leaf is None else leaf
        leaf.requires_grad_()
        output, (h_n, c_n) = module(x, (h_0, c_0))
        result = {"output": output, "h_n": h_n, "c_n": c_n}[through]
        grads += torch.autograd.grad((result**2).sum(), leaf)
    torch.testing.assert_close(grads[0], grads[1], atol=1e-10, rtol=0)


def test_a_hundred_and_more_steps(
    kernel: str, twin: Callable[..., Any], results: Callable[..., Any], equal: Callable[..., Any]
) -> None:
    ours, theirs = twin(2, 3, bidirectional=True)
    x = torch.randn(300, 2, 2, dtype=torch.float64, requires_grad=True)
    equal(results(ours, x, inputs=[x]), results(theirs, x, inputs=[x]))


def test_backward_twice_gives_the_same_gradient(kernel: str) -> None:
    lstm = gl.LSTM(3, 4, 2, bidirectional=True)
    loss = (lstm(torch.randn(5, 2, 3), lengths=[5, 2])[0] ** 2).sum()
    grads = [torch.autograd.grad(loss, list(lstm.parameters()), retain_graph=True) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients(kernel: str, mode: Any, twin: Callable[..., Any]) -> None:
    ours, theirs = twin(3, 4, 2)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    with mode():
        output, (h_n, c_n) = ours(x, lengths=[5, 5])
        expected, states = theirs(x)
    assert not any(tensor.requires_grad for tensor in (output, h_n, c_n))
    torch.testing.assert_close((output, (h_n, c_n)), (expected, states), atol=1e-10, rtol=0)


def test_training_and_eval_give_the_same_and_both_have_a_backward(kernel: str) -> None:
    lstm = gl.LSTM(3, 4, 2)
    x = torch.randn(5, 2, 3)
    grads = []
    for training in (True, False):
        lstm.train(training)
        grads.append(torch.autograd.grad(lstm(x)[0].sum(), list(lstm.parameters())))
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing(kernel: str, reentrant: bool) -> None:
    from torch.utils.checkpoint import checkpoint

    lstm = gl.LSTM(3, 4, 2, dtype=torch.float64)
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    direct = torch.autograd.grad(lstm(x)[0].square().sum(), [x])
    output, _ = checkpoint(lstm, x, use_reentrant=reentrant)
    output.square().sum().backward()
    torch.testing.assert_close(x.grad, direct[0], atol=1e-12, rtol=0)
