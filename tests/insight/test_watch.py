"""What watch() records is what a loop written by hand computes, and what autograd keeps of that loop."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch.utils.checkpoint import checkpoint

import glasslstm as gl
from glasslstm.nn.trace import QUANTITIES

KINDS = {"torch": nn.LSTM, "ours": gl.LSTM}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
OPTIONS: dict[str, dict[str, Any]] = {
    "one layer": {},
    "both directions": {"bidirectional": True},
    "three layers, no bias": {"num_layers": 3, "bias": False},
    "two layers, both directions, projection": {"num_layers": 2, "bidirectional": True, "proj_size": 2},
}
LAYOUTS = ("padded", "batch first", "unbatched", "packed", "packed unsorted", "lengths")
LOSSES = {"output": (1, 0, 0), "h_n": (0, 1, 0), "c_n": (0, 0, 1), "all": (1, 1, 1)}
T = 6


@every_kind
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_equals_a_loop_by_hand_gradients_too(kind: Any, options: dict[str, Any], layout: str) -> None:
    if layout == "lengths" and kind is nn.LSTM:
        pytest.skip("torch's LSTM knows no lengths")
    lstm = kind(3, 4, dtype=torch.float64, batch_first=layout == "batch first", **options)
    value, hx, call, (x, states, lengths) = _arguments(lstm, layout)
    for given, which in product((True, False), LOSSES):
        if not given:
            states = tuple(map(torch.zeros_like, states))
        by_hand = _by_hand(lstm, x, states, lengths)
        with gl.watch(lstm) as watcher:
            output, (h_n, c_n) = lstm(value, hx if given else None, **call)
        trace = watcher[""]
        _check_quantities(trace, by_hand, lengths)
        assert torch.equal(trace.input.reshape(x.shape)[_valid(x, lengths)], x[_valid(x, lengths)])
        assert all(trace[key].cell_grad is None and trace[key].hidden_grad is None for key in trace)
        output = output.data if isinstance(output, PackedSequence) else output
        expected = by_hand["output"]
        if "packed" in layout:
            expected = pack_padded_sequence(expected, lengths, enforce_sorted=layout == "packed").data
        expected = expected.transpose(0, 1) if layout == "batch first" else expected
        _loss(which, output, h_n, c_n).backward()
        _loss(which, expected, by_hand["h_n"], by_hand["c_n"]).backward()
        _check_gradients(trace, by_hand)


def _close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)


def _arguments(lstm: Any, layout: str) -> tuple[Any, Any, dict[str, Any], Any]:
    """Return input, hx and options for the call, and beside them (T, B, I), (h_0, c_0) and lengths."""
    B = 1 if layout == "unbatched" else 4
    lengths = {"packed": [6, 5, 5, 1], "packed unsorted": [2, 6, 1, 4], "lengths": [2, 6, 0, 4]}.get(layout)
    count, P = lstm.num_layers * (2 if lstm.bidirectional else 1), lstm.proj_size or 4
    x, h_0, c_0 = (torch.randn(s, dtype=torch.float64) for s in ((T, B, 3), (count, B, P), (count, B, 4)))
    value: Any = x.transpose(0, 1) if lstm.batch_first else x
    hx: Any = [h_0, c_0] if "packed" not in layout else (h_0, c_0)
    if layout == "unbatched":
        value, hx = x.squeeze(1), (h_0.squeeze(1), c_0.squeeze(1))
    if "packed" in layout:
        value = pack_padded_sequence(x, lengths, enforce_sorted=layout == "packed")
    call = {"lengths": lengths} if layout == "lengths" else {}
    return value, hx, call, (x, (h_0, c_0), lengths)


def _check_quantities(trace: Any, by_hand: dict[Any, Any], lengths: list[int] | None) -> None:
    assert sorted(key for key in by_hand if isinstance(key, tuple)) == list(trace)
    assert (trace.start, trace.left_out) == (0, None)
    for (layer, direction), gates in ((key, trace[key]) for key in trace):
        record = by_hand[layer, direction]
        for name in QUANTITIES:
            wanted = _stacked(record[name])
            found = getattr(gates, name)
            assert not found.requires_grad
            _close(found.reshape(wanted.shape), wanted)
            for b, length in enumerate(lengths or ()):  # exactly zero, not only nearly
                assert not found[length:, b].any()
        for name in ("initial_hidden", "initial_cell"):
            wanted = record[name]
            torch.testing.assert_close(getattr(gates, name).reshape(wanted.shape), wanted, atol=0, rtol=0)
        assert gates.reverse == (direction == 1)
        for owner in (gates, trace):
            assert (None if owner.lengths is None else owner.lengths.tolist()) == lengths


def _check_gradients(trace: Any, by_hand: dict[Any, Any]) -> None:
    for key in trace:
        for name in ("cell", "hidden"):
            found, wanted = getattr(trace[key], f"{name}_grad"), _stacked(by_hand[key][name], grad=True)
            assert not found.requires_grad
            _close(found.reshape(wanted.shape), wanted)


def _loss(which: str, *results: Tensor) -> Tensor:
    draw = torch.Generator().manual_seed(2)
    weighed = [
        (result.square() * torch.randn(result.shape, generator=draw, dtype=torch.float64)).sum()
        for result in (
            result.squeeze(1) if result.dim() == 3 and result.size(1) == 1 else result for result in results
        )
    ]
    return sum(weight * value for weight, value in zip(LOSSES[which], weighed, strict=True))


def _by_hand(
    lstm: Any, x: Tensor, states: tuple[Tensor, ...], lengths: list[int] | None = None
) -> dict[Any, Any]:
    """Run one sequence and one step at a time; the quantities of each layer and direction as [t][b]."""
    steps, B = x.shape[:2]
    lengths = [steps] * B if lengths is None else lengths
    found: dict[Any, Any] = {}
    ends: list[list[Tensor]] = [[], []]
    for layer in range(lstm.num_layers):
        outputs = []
        for direction in range(2 if lstm.bidirectional else 1):
            record = {name: [[None] * B for _ in range(steps)] for name in QUANTITIES}
            row, last = len(ends[0]), ([], [])
            record["initial_hidden"], record["initial_cell"] = states[0][row], states[1][row]
            for b in range(B):
                h, c = states[0][row, b], states[1][row, b]
                for t in reversed(range(lengths[b])) if direction else range(lengths[b]):
                    now = _step(lstm, f"_l{layer}{'_reverse' * direction}", x[t, b], h, c)
                    for name, value in now.items():
                        record[name][t][b] = value
                    h, c = now["hidden"], now["cell"]
                last[0].append(h)
                last[1].append(c)
            for end, state in zip(ends, last, strict=True):
                end.append(torch.stack(state))
            outputs.append(_stacked(record["hidden"], graph=True))
            found[layer, direction] = record
        x = torch.cat(outputs, dim=-1)
    h_n, c_n = map(torch.stack, ends)
    return found | {"output": x, "h_n": h_n, "c_n": c_n}


def _step(lstm: Any, suffix: str, x: Tensor, h: Tensor, c: Tensor) -> dict[str, Tensor]:
    W, U = (getattr(lstm, name + suffix).detach() for name in ("weight_ih", "weight_hh"))
    a = W @ x + U @ h
    if lstm.bias:
        a = a + getattr(lstm, "bias_ih" + suffix).detach() + getattr(lstm, "bias_hh" + suffix).detach()
    i, f, g, o = a.chunk(4)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    c = (f * c + i * g).requires_grad_()
    c.retain_grad()
    h = o * c.tanh()
    if lstm.proj_size:
        h = getattr(lstm, "weight_hr" + suffix).detach() @ h
    h.retain_grad()
    return dict(zip(QUANTITIES, (i, f, g, o, c, h), strict=True))


def _stacked(record: list[list[Tensor | None]], *, grad: bool = False, graph: bool = False) -> Tensor:
    """Return what stands at [t][b], or its gradient, as one tensor; zero where there is nothing."""
    width = next(value.numel() for row in record for value in row if value is not None)
    empty = torch.zeros(width, dtype=torch.float64)

    def shown(value: Tensor | None) -> Tensor:
        if value is None or (grad and value.grad is None):
            return empty
        return value.grad if grad else value if graph else value.detach()

    return torch.stack([torch.stack([shown(value) for value in row]) for row in record])


def _valid(x: Tensor, lengths: list[int] | None) -> Tensor:
    steps = torch.arange(len(x))[:, None]
    return steps < torch.tensor([len(x)] * x.size(1) if lengths is None else lengths)


# Every way of asking for a gradient ----------------------------------------------------------------------


WAYS: dict[str, Callable[[Any, Tensor, Tensor, Tensor], Any]] = {
    "backward": lambda lstm, x, output, g: (output * g).sum().backward(),
    "backward of the output itself": lambda lstm, x, output, g: output.backward(g),
    "grad of the input": lambda lstm, x, output, g: torch.autograd.grad((output * g).sum(), x),
    "grad of the output itself": lambda lstm, x, output, g: torch.autograd.grad(output, x, g),
    "grad of one weight": lambda lstm, x, output, g: torch.autograd.grad(
        (output * g).sum(), lstm.weight_ih_l0
    ),
    "create_graph": lambda lstm, x, output, g: torch.autograd.grad((output * g).sum(), x, create_graph=True),
    "twice": lambda lstm, x, output, g: [
        (7 * output).sum().backward(retain_graph=True),
        (output * g).sum().backward(),
    ],
    "in two threads of the graph": lambda lstm, x, output, g: torch.autograd.backward(
        [output[:3], output[3:]], [g[:3], g[3:]]
    ),
}


@every_kind
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)  # torch takes other code for each
def test_gradients_are_there_however_they_were_asked_for(kind: Any, way: Any, dtype: torch.dtype) -> None:
    lstm, x = kind(3, 4, 2, dtype=dtype), torch.randn(T, 2, 3, dtype=dtype, requires_grad=True)
    g = torch.randn(T, 2, 4, dtype=dtype)
    with gl.watch(lstm) as watcher:
        output, _ = lstm(x)
    way(lstm, x, output, g)  # after the context
    exact = _exact_gradients(lstm, x, g)
    for key in watcher[""]:
        for name, wanted in exact[key].items():
            found = getattr(watcher[""][key], name)
            torch.testing.assert_close(
                found.double(), wanted, atol=1e-12 if dtype == torch.float64 else 1e-5, rtol=0
            )


def _exact_gradients(lstm: Any, x: Tensor, g: Tensor) -> dict[Any, dict[str, Tensor]]:
    double = gl.LSTM(3, 4, 2, dtype=torch.float64)
    double.load_state_dict(lstm.state_dict())
    states = (torch.zeros(2, x.size(1), 4, dtype=torch.float64),) * 2
    by_hand = _by_hand(double, x.detach().double(), states)
    (by_hand["output"] * g.double()).sum().backward()
    return {
        (k, 0): {f"{name}_grad": _stacked(by_hand[k, 0][name], grad=True) for name in ("cell", "hidden")}
        for k in range(2)
    }


@every_kind
def test_a_state_alone_may_be_where_backward_starts(kind: Any) -> None:
    """torch counts the nodes of such a pass in another way."""
    lstm, x = kind(3, 4), torch.randn(T, 2, 3)
    for k in range(2):
        with gl.watch(lstm) as watcher:
            state = lstm(x)[1][k]
            state.backward(torch.ones_like(state))
        last = watcher[""][0, 0]
        o, c = last.output_gate[-1], last.cell[-1]
        expected = torch.ones_like(c) if k else o * (1 - c.tanh().square())
        torch.testing.assert_close(last.cell_grad[-1], expected, atol=1e-6, rtol=0)
        torch.testing.assert_close(last.hidden_grad[-1], torch.full_like(c, 1.0 - k), atol=0, rtol=0)


@every_kind
@pytest.mark.parametrize("layout", ["padded", "batch first", "unbatched"])
@pytest.mark.parametrize("change", ["add", "relu", "dropout", "item"])
def test_a_change_of_the_output_in_place_is_part_of_the_loss(kind: Any, layout: str, change: str) -> None:
    lstm = kind(3, 4, batch_first=layout == "batch first", dtype=torch.float64, proj_size=2)
    x = torch.randn(T, 2, 3, dtype=torch.float64)[:, 0 if layout == "unbatched" else slice(None)]
    mask = torch.rand(lstm(x)[0].shape) < 0.5

    def changed(output: Tensor) -> Tensor:
        if change == "item":
            output[1] = 0.0
        return {
            "add": lambda: output.add_(1.0).square(),
            "relu": output.relu_,
            "dropout": lambda: output.masked_fill_(mask, 0.0),
            "item": lambda: output,
        }[change]()

    with gl.watch(lstm) as watcher:
        output, _ = lstm(x)
        before = output.detach().clone()
        changed(output).sum().backward()
    leaf = before.clone().requires_grad_()
    changed(leaf.clone()).sum().backward()
    g = leaf.grad
    reference = gl.LSTM(3, 4, batch_first=lstm.batch_first, dtype=torch.float64, proj_size=2)
    reference.load_state_dict(lstm.state_dict())
    output, _, trace = reference(x, return_trace=True)
    output.backward(g)
    seen = watcher[""][0, 0]
    _close(seen.cell_grad, trace[0, 0].cell_grad)
    _close(seen.hidden_grad, trace[0, 0].hidden_grad)
    _close(seen.hidden, before.transpose(0, 1) if lstm.batch_first else before)


@every_kind
def test_what_hooks_of_others_make_of_a_gradient_counts(kind: Any) -> None:
    lstm, x = kind(3, 4, dtype=torch.float64), torch.randn(T, 2, 3, dtype=torch.float64)
    with gl.watch(lstm) as watcher:
        for factor in (1, 3):
            output, _ = lstm(x)
            output.register_hook(lambda grad, factor=factor: factor * grad)
            output.square().sum().backward()
    plain, tripled = (trace[0, 0].cell_grad for trace in watcher.calls(""))
    _close(tripled, 3 * plain)


@every_kind
def test_a_frozen_model_has_gradients_where_its_input_requires_them(kind: Any) -> None:
    lstm = kind(3, 4).requires_grad_(False)
    x = torch.randn(T, 2, 3)
    with gl.watch(lstm) as watcher:
        lstm(x.requires_grad_())[0].sum().backward()
        lstm(x.detach())
    first, second = watcher.calls("")
    assert first[0, 0].cell_grad.abs().min() > 0
    assert second[0, 0].cell_grad is None


@every_kind
def test_the_gradients_are_those_of_the_last_pass_that_came_by(kind: Any) -> None:
    lstm, x = kind(3, 4), torch.randn(T, 2, 3)
    with gl.watch(lstm) as watcher:
        output, _ = lstm(x)
    output[-1].sum().backward(retain_graph=True)
    first = watcher[""][0, 0].hidden_grad.clone()
    (2 * output[-1].sum()).backward()
    torch.testing.assert_close(watcher[""][0, 0].hidden_grad, 2 * first)


@every_kind
def test_calls_keep_their_gradients_apart(kind: Any) -> None:
    """A module that the model calls twice, the second time with what the first gave."""
    lstm, x = kind(4, 4, dtype=torch.float64), torch.randn(T, 2, 4, dtype=torch.float64)
    with gl.watch(lstm) as watcher:
        middle, states = lstm(x)
        output, _ = lstm(middle, states)
        output.sum().backward()
    first, second = (trace[0, 0] for trace in watcher.calls(""))
    _close(first.hidden, middle)
    _close(second.initial_cell, states[1][0])
    whole = nn.LSTM(4, 4, dtype=torch.float64)
    whole.load_state_dict(lstm.state_dict())
    leaf = middle.detach().requires_grad_()
    hx = [state.detach().requires_grad_() for state in states]
    whole(leaf, hx)[0].sum().backward()
    expected = hx[1].grad[0] + (leaf.grad[-1] + hx[0].grad[0]) * first.output_gate[-1] * (
        1 - first.cell[-1].tanh().square()
    )
    _close(first.cell_grad[-1], expected)
    torch.testing.assert_close(second.hidden_grad[-1], torch.ones_like(middle[-1]), atol=0, rtol=0)


@every_kind
def test_gradients_that_are_batched_are_left_alone(kind: Any) -> None:
    lstm, x = kind(3, 4), torch.randn(T, 2, 3, requires_grad=True)
    g = torch.randn(2, T, 2, 4)
    expected = [torch.autograd.grad(lstm(x)[0], x, one)[0] for one in g]
    with gl.watch(lstm):
        (found,) = torch.autograd.grad(lstm(x)[0], x, g, is_grads_batched=True)
    torch.testing.assert_close(found, torch.stack(expected))


@every_kind
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("inside", [True, False], ids=["backward inside", "backward after"])
def test_checkpointing_goes_on(kind: Any, reentrant: bool, inside: bool) -> None:
    lstm, x = kind(3, 4), torch.randn(T, 2, 3, requires_grad=True)

    def run() -> Tensor:
        return checkpoint(lambda x: lstm(x)[0].square(), x, use_reentrant=reentrant).sum()

    expected = torch.autograd.grad((lstm(x)[0].square()).sum(), lstm.weight_ih_l0)[0]
    with gl.watch(lstm) as watcher:
        loss = run()
        if inside:
            loss.backward()
    if not inside:
        loss.backward()
    torch.testing.assert_close(lstm.weight_ih_l0.grad, expected)
    # The second run, in the backward pass, is no call of its own; a reentrant one runs the first without a graph.
    assert [trace[0, 0].cell_grad is not None for trace in watcher.calls("")] == [not reentrant]


# Dropout, precision, memory -------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("proj_size", [0, 2])
def test_dropout_between_the_layers_is_the_same_one(kind: Any, layout: str, proj_size: int) -> None:
    """The top layer of the trace is the output, which depends on what was dropped below it."""
    if layout == "lengths" and kind is nn.LSTM:
        pytest.skip("torch's LSTM knows no lengths")
    lstm = kind(
        3, 4, 3, dropout=0.5, bidirectional=True, proj_size=proj_size,
        batch_first=layout == "batch first", dtype=torch.float64,
    )  # fmt: skip
    value, hx, call, (_, _, lengths) = _arguments(lstm, layout)
    with gl.watch(lstm) as watcher:
        output, (h_n, c_n) = lstm(value, hx, **call)
        _loss("all", output.data if isinstance(output, PackedSequence) else output, h_n, c_n).backward()
    trace = watcher[""]
    top = torch.cat([trace[2, 0].hidden, trace[2, 1].hidden], dim=-1)
    if "packed" in layout:
        top, output = pack_padded_sequence(top, lengths, enforce_sorted=layout == "packed").data, output.data
    top = top.transpose(0, 1) if layout == "batch first" else top
    _close(top, output)
    # At the bottom stands what the weights' gradient is made of: dL/dc_t of the first layer depends on every mask.
    bottom = trace[0, 1]
    grad = bottom.cell_grad * bottom.input_gate * (1 - bottom.candidate.square())
    rows = slice(8, 12)  # of the candidate
    _close(grad.reshape(-1, 4).sum(0), lstm.bias_ih_l0_reverse.grad[rows])


def test_dropout_with_lengths_of_which_all_are_zero() -> None:
    lstm = gl.LSTM(3, 4, 2, dropout=0.5, proj_size=2)
    with gl.watch(lstm) as watcher:
        lstm(torch.randn(T, 2, 3), lengths=[0, 0])
    assert not watcher[""][1, 0].hidden.any()


@every_kind
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_sixteen_bits(kind: Any, dtype: torch.dtype) -> None:
    lstm, x = kind(3, 4, 2, dtype=dtype), torch.randn(T, 2, 3, dtype=dtype)
    with gl.watch(lstm) as watcher:
        output, _ = lstm(x)
        output.float().sum().backward()
    top = watcher[""][1, 0]
    assert top.cell.dtype == dtype
    torch.testing.assert_close(top.hidden, output, atol=1e-2, rtol=0)
    assert torch.equal(top.hidden_grad[-1].float(), torch.ones(2, 4))


@every_kind
def test_autocast(kind: Any) -> None:
    lstm, x = kind(3, 4), torch.randn(T, 2, 3)
    with gl.watch(lstm) as watcher, torch.autocast("cpu", torch.bfloat16):
        output, _ = lstm(x)
    torch.testing.assert_close(watcher[""][0, 0].hidden.float(), output.float(), atol=1e-2, rtol=0)


@every_kind
def test_a_trace_holds_no_graph(kind: Any) -> None:
    linear, lstm = nn.Linear(3, 3).double(), kind(3, 4, proj_size=2, dtype=torch.float64)
    for backward, gradients in product((True, False), (None, False)):
        with gl.watch(lstm, gradients=gradients) as watcher:
            x = linear(torch.randn(T, 2, 3, dtype=torch.float64))
            activation = weakref.ref(x)
            output, states = lstm(x)
            if backward:
                output.sum().backward()
            del x, output, states
        assert activation() is None
        trace = watcher[""]
        tensors = [getattr(trace[0, 0], name) for name in (*QUANTITIES, "initial_hidden", "initial_cell")]
        assert not any(tensor.requires_grad for tensor in (*tensors, trace.input))
        assert (trace[0, 0].cell_grad is not None) == (backward and gradients is None)


@every_kind
def test_what_the_caller_changes_in_place_stays_in_the_trace_as_it_was(kind: Any) -> None:
    """As models do that keep their states, or their input, in buffers of their own."""
    lstm = kind(3, 4)
    x, h_0, c_0 = torch.randn(T, 2, 3), torch.randn(1, 2, 4), torch.randn(1, 2, 4)
    copies = x.clone(), h_0[0].clone(), c_0[0].clone()
    with gl.watch(lstm) as watcher, torch.no_grad():
        output, (h_n, c_n) = lstm(x, (h_0, c_0))
        expected = output.clone(), c_n.clone()
        for tensor in (x, h_0, c_0, output, h_n, c_n):
            tensor.fill_(7.0)
    trace = watcher[""]
    found = (trace.input, trace[0, 0].initial_hidden, trace[0, 0].initial_cell)
    assert all(map(torch.equal, found, copies))
    torch.testing.assert_close(trace[0, 0].hidden, expected[0])
    torch.testing.assert_close(trace[0, 0].cell[-1:], expected[1])


def test_an_input_that_is_changed_in_place_before_the_backward_pass() -> None:
    """A frozen LSTM does not need it any more, and what looks on must not either."""
    lstm, x = (
        nn.LSTM(3, 4, dtype=torch.float64).requires_grad_(False),
        torch.randn(T, 2, 3, dtype=torch.float64),
    )
    h_0 = torch.randn(1, 2, 4, dtype=torch.float64, requires_grad=True)
    with gl.watch(lstm) as watcher:
        for change in (False, True):
            output, _ = lstm(x, (h_0, h_0))
            if change:
                x.zero_()
            output.sum().backward()
    first, second = watcher.calls("")
    _close(second[0, 0].cell_grad, first[0, 0].cell_grad)


@every_kind
def test_a_batch_of_no_sequence(kind: Any) -> None:
    lstm = kind(3, 4)
    with gl.watch(lstm) as watcher:
        lstm(torch.randn(T, 0, 3))[0].sum().backward()
    assert watcher[""][0, 0].cell.shape == (T, 0, 4)


def test_learned_initial_states_are_what_the_trace_starts_from() -> None:
    lstm = gl.LSTM(3, 4, 2, learn_initial_state=True, dtype=torch.float64)
    with torch.no_grad():
        lstm.h_0.normal_()
        lstm.c_0.normal_()
    x = torch.randn(T, 2, 3, dtype=torch.float64)
    with gl.watch(lstm) as watcher:
        output, _ = lstm(x)
        output.sum().backward()
    trace = watcher[""]
    for k in range(2):
        assert torch.equal(trace[k, 0].initial_cell, lstm.c_0[k].detach().expand(2, -1))
        assert torch.equal(trace[k, 0].initial_hidden, lstm.h_0[k].detach().expand(2, -1))
    states = tuple(state.detach()[:, None].expand(-1, 2, -1) for state in (lstm.h_0, lstm.c_0))
    _check_quantities(trace, _by_hand(lstm, x, states), None)


@every_kind
def test_whatever_kernel_is_asked_for_by_name(kind: Any) -> None:
    """torch's own hides its gates: they come from elsewhere, and the model keeps to the one that was asked for."""
    lstm, x = kind(3, 4, dtype=torch.float64), torch.randn(T, 2, 3, dtype=torch.float64)
    for kernel in ("torch", "plain", "equations", "auto"):
        with gl.use_kernel(kernel), gl.watch(lstm) as watcher:
            output, _ = lstm(x)
        _close(watcher[""][0, 0].hidden, output.detach())


@pytest.mark.parametrize("kind", [gl.LSTM, nn.LSTM, nn.LSTMCell])
@pytest.mark.parametrize("gradients", [False, True])
def test_the_traces_go_with_the_watcher_at_once(kind: Any, gradients: bool) -> None:
    """Without the garbage collector: what is in no cycle serves the next call at once, as memory."""
    module, x = kind(3, 4), torch.randn(5, 2, 3)
    gc.collect()
    gc.disable()
    try:
        with torch.set_grad_enabled(gradients), gl.watch(module) as watcher:
            if kind is nn.LSTMCell:
                states = None
                for x_t in x:
                    states = module(x_t, states)
            else:
                _, states = module(x)
            if gradients:
                states[0].sum().backward()
        kept = weakref.ref(watcher._records)
        assert kept() is not None
        del watcher, states
        assert kept() is None
    finally:
        gc.enable()
