"""An LSTMCell in a loop leaves one trace for each loop, equal to the equations, whatever the model does in between."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import glasslstm as gl
from glasslstm.nn.trace import QUANTITIES

KINDS = {"torch": nn.LSTMCell, "ours": gl.LSTMCell}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
T, B, H = 6, 3, 4
States = tuple[Tensor, Tensor]


class _Net(nn.Module):
    """A cell in a loop; `between` changes the states from step to step."""

    def __init__(
        self, kind: Any, between: Callable[[int, States], States] = lambda t, states: states, **options: Any
    ):
        super().__init__()
        self.cell = kind(3, H, dtype=torch.float64, **options)
        self.between = between

    def forward(self, x: Tensor, states: Any = None) -> Tensor:
        outputs = []
        for t, x_t in enumerate(x):
            states = self.cell(x_t, states)
            outputs.append(states[0])
            states = self.between(t, states)
        return torch.stack(outputs) + states[1].sum()


def _by_hand(
    cell: Any, x: Tensor, states: Any = None, between: Any = lambda t, states: states
) -> dict[str, list[Tensor]]:
    """Return the six quantities, and what each step started from, step by step, with their graph."""
    zeros = x.new_zeros(*x.shape[1:-1], H)
    h, c = (zeros, zeros) if states is None else states
    found: dict[str, list[Tensor]] = {name: [] for name in (*QUANTITIES, "before_hidden", "before_cell")}
    for t, x_t in enumerate(x):
        found["before_hidden"].append(h)
        found["before_cell"].append(c)
        a = x_t @ cell.weight_ih.T + h @ cell.weight_hh.T
        a = a + cell.bias_ih + cell.bias_hh if cell.bias else a
        i, f, g, o = a.chunk(4, dim=-1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        c = f * c + i * g
        h = o * c.tanh()
        for name, value in zip(QUANTITIES, (i, f, g, o, c, h), strict=True):
            found[name].append(value)
            value.retain_grad()
        h, c = between(t, (h, c))
    return found | {"last_cell": [c]}


def _check(trace: Any, by_hand: dict[str, list[Tensor]], *, gradients: bool = True) -> None:
    gates = trace[0, 0]
    assert (len(trace), gates.reverse, gates.lengths) == (1, False, None)
    for name in QUANTITIES:
        _close(getattr(gates, name), torch.stack(by_hand[name]).detach())
    for name in ("hidden", "cell"):
        _close(getattr(gates, f"initial_{name}"), by_hand[f"before_{name}"][0].detach())
        if gradients:
            zero = torch.zeros_like(gates.cell[0])
            wanted = [zero if value.grad is None else value.grad for value in by_hand[name]]
            _close(getattr(gates, f"{name}_grad"), torch.stack(wanted))


def _close(found: Tensor, wanted: Tensor) -> None:
    assert not found.requires_grad
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)


def _x(*shape: int) -> Tensor:
    return torch.randn(*(shape or (T, B, 3)), dtype=torch.float64)


ACTIVE = torch.arange(T)[:, None] < torch.tensor([6, 2, 4])
KEEP = torch.rand(T, B, H, generator=torch.Generator().manual_seed(3)).double().gt(0.4) / 0.6
DONE = torch.tensor([[0, 0, 1], [0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 1, 1], [0, 0, 0]]).double()[..., None]
BETWEEN: dict[str, Callable[[int, States], States]] = {
    "handed on": lambda t, states: states,
    "detached": lambda t, states: (states[0].detach(), states[1].detach()) if t % 2 else states,
    "cloned": lambda t, states: (states[0].clone(), states[1].clone()),
    "hidden dropped": lambda t, states: (states[0] * KEEP[t], states[1]),
    "both dropped": lambda t, states: (states[0] * KEEP[t], states[1] * KEEP[t]),
    "episodes end": lambda t, states: (states[0] * (1 - DONE[t]), states[1] * (1 - DONE[t])),
    "hidden changed": lambda t, states: (states[0].tanh(), states[1]),
    "clipped": lambda t, states: (states[0], states[1].clamp(-0.05, 0.05)),
}


@every_kind
@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
@pytest.mark.parametrize("given", [False, True], ids=["from zeros", "from states"])
def test_a_loop_is_one_trace_equal_to_the_equations(kind: Any, between: Any, given: bool) -> None:
    net, x = _Net(kind, between), _x()
    states = (_x(B, H), _x(B, H)) if given else None
    by_hand = _by_hand(net.cell, x, states, between)
    with gl.watch(net) as watcher:
        (net(x, states) ** 2).sum().backward()
        (net(x, states) ** 2).sum().backward()  # another call, another trace
    ((torch.stack(by_hand["hidden"]) + by_hand["last_cell"][0].sum()) ** 2).sum().backward()
    assert len(watcher.calls("cell")) == 2
    for trace in watcher.calls("cell"):
        _check(trace, by_hand)
        assert torch.equal(trace.input, x)
        assert (trace.start, trace.left_out, trace.lengths) == (0, None, None)


@every_kind
def test_the_model_is_not_changed(kind: Any) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        net, found = _Net(kind).to(dtype), []
        x = torch.randn(T, B, 3, dtype=dtype)
        for watched in (False, True):
            net.zero_grad()
            if watched:
                with gl.watch(net):
                    output = net(x)
            else:
                output = net(x)
            output.sum().backward()
            found.append([output, *(p.grad.clone() for p in net.parameters()), torch.get_rng_state()])
        assert all(map(torch.equal, *found))


@every_kind
def test_unbatched_without_a_bias_and_in_no_grad(kind: Any) -> None:
    net, x = _Net(kind, bias=False), _x(T, 3)
    with gl.watch(net) as watcher:
        net(x).sum().backward()
        with torch.no_grad():
            net(x)
        with torch.inference_mode():
            net(x)
    by_hand = _by_hand(net.cell, x)
    (torch.stack(by_hand["hidden"]).sum() + T * H * by_hand["last_cell"][0].sum()).backward()
    first, *others = watcher.calls("cell")
    assert first[0, 0].cell.shape == (T, H)
    _check(first, by_hand)
    for trace in others:
        _check(trace, by_hand, gradients=False)
        assert trace[0, 0].cell_grad is None
    assert len(others) == 2


@every_kind
def test_steps_that_do_not_reach_the_loss_have_gradient_zero(kind: Any) -> None:
    net, x = _Net(kind), _x()
    with gl.watch(net) as watcher:
        hidden = []
        states = None
        for x_t in x:
            states = net.cell(x_t, states)
            hidden.append(states[0])
        hidden[2].backward(torch.ones_like(hidden[2]))  # from a state itself
    gates = watcher["cell"][0, 0]
    by_hand = _by_hand(net.cell, x)
    by_hand["hidden"][2].sum().backward()
    _check(watcher["cell"], by_hand)
    assert not gates.cell_grad[3:].any()
    assert gates.cell_grad[:3].abs().min() > 0


@every_kind
def test_two_cells_one_upon_the_other(kind: Any) -> None:
    class Stacked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells = nn.ModuleList([kind(3, H, dtype=torch.float64), kind(H, H, dtype=torch.float64)])

        def forward(self, x: Tensor) -> Tensor:
            states: list[Any] = [None, None]
            for x_t in x:
                for k, cell in enumerate(self.cells):
                    states[k] = cell(x_t, states[k])
                    x_t = states[k][0]  # noqa: PLW2901
            return x_t

    net, x = Stacked(), _x()
    with gl.watch(net) as watcher:
        net(x).sum().backward()
    lower = _by_hand(net.cells[0], x)
    upper = _by_hand(net.cells[1], torch.stack(lower["hidden"]))
    upper["hidden"][-1].sum().backward()
    assert watcher.names == ("cells.0", "cells.1")
    for name, expected in zip(watcher.names, (lower, upper), strict=True):
        assert len(watcher.calls(name)) == 1
        _check(watcher[name], expected)


@every_kind
def test_encoder_and_decoder(kind: Any) -> None:
    class Translator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = (kind(3, H, dtype=torch.float64) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            states = None
            for x_t in x:
                states = self.encoder(x_t, states)
            for x_t in x[:4]:
                states = self.decoder(x_t, states)
            return states[0]

    net, x = Translator(), _x()
    with gl.watch(net) as watcher:
        net(x).sum().backward()
    encoder = _by_hand(net.encoder, x)
    decoder = _by_hand(net.decoder, x[:4], (encoder["hidden"][-1], encoder["cell"][-1]))
    decoder["hidden"][-1].sum().backward()
    _check(watcher["encoder"], encoder)
    _check(watcher["decoder"], decoder)


@every_kind
def test_ragged_sequences_by_a_mask(kind: Any) -> None:
    """States that torch.where keeps for the sequences that are over."""

    class Ragged(_Net):
        def forward(self, x: Tensor, states: Any = None) -> Tensor:
            h, c = x.new_zeros(B, H), x.new_zeros(B, H)
            for t, x_t in enumerate(x):
                states = self.cell(x_t, (h, c))
                h, c = (torch.where(ACTIVE[t, :, None], *pair) for pair in zip(states, (h, c), strict=True))
            return h

    net, x = Ragged(kind), _x()
    with gl.watch(net) as watcher:
        net(x).sum().backward()
    (trace,) = watcher.calls("cell")
    truth, cell = gl.LSTM(3, H, dtype=torch.float64), net.cell
    truth.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})
    _, (h_n, _), expected = truth(x, lengths=ACTIVE.sum(0), return_trace=True)
    h_n.sum().backward()
    for name in ("cell", "cell_grad", "hidden_grad"):
        # What the mask throws away is in the trace of the cell too, and has no gradient.
        found = torch.where(ACTIVE[..., None], getattr(trace[0, 0], name), 0.0)
        _close(found, getattr(expected[0, 0], name).detach())
    assert not trace[0, 0].cell_grad[~ACTIVE].any()


@every_kind
def test_truncated_backpropagation_keeps_what_each_pass_brought(kind: Any) -> None:
    cell, x = kind(3, H, dtype=torch.float64), _x()
    with gl.watch(cell) as watcher:
        states: Any = None
        for t, x_t in enumerate(x):
            states = cell(x_t, states)
            if t % 2:
                states[0].sum().backward()
                states = tuple(state.detach() for state in states)
    (trace,) = watcher.calls("")
    for t in range(0, T, 2):
        start = (trace[0, 0].hidden[t - 1], trace[0, 0].cell[t - 1]) if t else None
        part = _by_hand(cell, x[t : t + 2], start)
        part["hidden"][-1].sum().backward()
        _check(trace.window(t, t + 2), part)


@every_kind
def test_a_state_that_is_handed_from_call_to_call_of_the_model_goes_on(kind: Any) -> None:
    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = kind(3, H, dtype=torch.float64)

        def forward(self, x_t: Tensor, states: Any = None) -> Any:
            return self.cell(x_t, states)

    net, x = Step(), _x()
    with gl.watch(net) as watcher, torch.no_grad():
        for _ in range(2):
            states = None
            for x_t in x:
                states = net(x_t, states)
        net(x[0], tuple(state.clone() for state in states))  # no longer the same: a new sequence
    first, second, third = watcher.calls("cell")
    for trace in (first, second):
        _check(trace, _by_hand(net.cell, x), gradients=False)
    assert len(third[0, 0].cell) == 1
    _close(third[0, 0].initial_cell, states[1])


@every_kind
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("calls", [8, 1])
def test_two_sequences_side_by_side_through_one_cell(kind: Any, masked: bool, calls: int) -> None:
    """As in a siamese network, or a model that shares its cell between its layers."""
    between = (lambda t, s: tuple(state * (1 - DONE[t]) for state in s)) if masked else lambda t, s: s
    xs = _x(), _x()

    class Twins(_Net):
        def forward(self, x: Any, states: Any = None) -> Tensor:
            states = [None, None]
            for t in range(T):
                for k in range(2):
                    states[k] = between(t, self.cell(x[k][t], states[k]))
            return sum(state[0].sum() for state in states)

    net = Twins(kind)
    with gl.watch(net, calls=calls) as watcher:
        net(xs).backward()
    expected = [_by_hand(net.cell, x, between=between) for x in xs]
    for by_hand in expected:
        between(T - 1, (by_hand["hidden"][-1], by_hand["hidden"][-1]))[0].sum().backward()
    traces = watcher.calls("cell")
    assert len(traces) == min(calls, 2)
    assert watcher.dropped["cell"] == 2 - len(traces)
    for trace, by_hand in zip(traces, expected[-calls:], strict=True):
        _check(trace, by_hand)


@every_kind
def test_two_sequences_one_after_the_other_from_the_same_learned_state(kind: Any) -> None:
    class Learned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = kind(3, H, dtype=torch.float64)
            self.start = nn.Parameter(_x(2, 1, H))

        def forward(self, sequences: Any) -> None:
            for x in sequences:
                states = tuple(self.start.expand(-1, B, -1))
                for x_t in x:
                    states = self.cell(x_t, states)

    net, xs = Learned(), (_x(), _x())
    with gl.watch(net) as watcher, torch.no_grad():
        net(xs)
    start = tuple(net.start.detach().expand(-1, B, -1))
    for trace, x in zip(watcher.calls("cell"), xs, strict=True):
        _check(trace, _by_hand(net.cell, x, start), gradients=False)
    net.float()
    with gl.watch(net) as watcher, torch.autocast("cpu", torch.bfloat16):
        net([x.float() for x in xs])
    assert [len(trace[0, 0].cell) for trace in watcher.calls("cell")] == [T, T]


@every_kind
def test_another_batch_size_is_another_sequence(kind: Any) -> None:
    net = _Net(kind)
    with gl.watch(net) as watcher:
        net(_x(T, B, 3))
        net(_x(2, 1, 3))
        net(_x(3, 3))
    assert [trace[0, 0].cell.shape for trace in watcher.calls("cell")] == [(T, B, H), (2, 1, H), (3, H)]


def test_the_options_of_our_own_cell() -> None:
    cell, x = gl.LSTMCell(3, H, dtype=torch.float64), _x()
    with gl.watch(cell) as watcher:
        states, gates = cell(x[0], return_trace=True)
        states, _ = cell(x[1], list(states), return_trace=True)
        cell(x[2], (None, states[1]))
    first, second = watcher.calls("")
    assert len(first[0, 0].cell) == 2
    _close(first[0, 0].forget_gate[0], gates.forget_gate.detach())
    _close(second[0, 0].initial_cell, states[1].detach())
    assert not second[0, 0].initial_hidden.any()


@every_kind
def test_what_the_caller_changes_in_place_stays_in_the_trace_as_it_was(kind: Any) -> None:
    cell, buffer, sequence = kind(3, H, dtype=torch.float64), _x(B, 3), _x()
    start = _x(B, H), _x(B, H)
    by_hand = _by_hand(cell, sequence, tuple(state.clone() for state in start))
    with gl.watch(cell) as watcher, torch.no_grad():
        states = start
        for x_t in sequence:
            h, c = cell(buffer.copy_(x_t), states)
            if states is start:
                for old in start:
                    old.zero_()
            states = h, c
        states[1].zero_()
    _check(watcher[""], by_hand, gradients=False)
    assert torch.equal(watcher[""].input, sequence)


@every_kind
def test_autocast(kind: Any) -> None:
    net, x = (
        _Net(kind, lambda t, states: tuple(2 * state.float() for state in states)).float(),
        torch.randn(T, B, 3),
    )
    with gl.watch(net) as watcher, torch.autocast("cpu", torch.bfloat16):
        output = net(x)
    assert len(watcher["cell"][0, 0].cell) == T
    states = watcher["cell"][0, 0]
    found = states.hidden.float() + 2 * states.cell[-1].float().sum()
    torch.testing.assert_close(found, output.float().detach(), atol=1e-2, rtol=1e-2)


@every_kind
def test_a_trace_holds_no_graph(kind: Any) -> None:
    linear, net = nn.Linear(3, 3).double(), _Net(kind)
    for backward in (True, False):
        with gl.watch(net) as watcher:
            x = linear(_x())
            activation = weakref.ref(x)
            output = net(x)
            if backward:
                output.sum().backward()
            del x, output
        assert activation() is None
        assert (watcher["cell"][0, 0].cell_grad is not None) == backward


@every_kind
def test_steps_and_gradients_are_chosen_and_initial_states_are_those_that_enter(kind: Any) -> None:
    between = BETWEEN["hidden dropped"]
    net, x = _Net(kind, between), _x()
    by_hand = _by_hand(net.cell, x, None, between)
    for steps, kept in ((slice(-2, None), (4, 6)), (slice(1, 3), (1, 3)), (slice(9, None), (6, 6))):
        with gl.watch(net, steps=steps, gradients=False) as watcher:
            net(x).sum().backward()
        trace, (start, stop) = watcher["cell"], kept
        assert trace.start == start
        _close(trace[0, 0].cell, torch.stack(by_hand["cell"]).detach()[start:stop])
        assert torch.equal(trace.input, x[start:stop])
        assert trace[0, 0].cell_grad is None
        if start < stop:
            _close(trace[0, 0].initial_hidden, by_hand["before_hidden"][start].detach())


@every_kind
def test_beyond_the_limit_the_oldest_steps_of_a_loop_go(kind: Any) -> None:
    net, x = _Net(kind), _x()
    by_hand = _by_hand(net.cell, x)
    each = (B * 3 + 10 * B * H) * 8  # of the input, the states before, six quantities and two gradients
    with gl.watch(net, limit=3 * each) as watcher:
        net(x).sum().backward()
    trace = watcher["cell"]
    assert trace.start == 3
    assert trace.left_out == "the first 3 steps were let go, to stay below the limit"
    _close(trace[0, 0].cell, torch.stack(by_hand["cell"]).detach()[3:])
    _close(trace[0, 0].initial_cell, by_hand["cell"][2].detach())
    (torch.stack(by_hand["hidden"]).sum() + T * B * H * by_hand["last_cell"][0].sum()).backward()
    _close(trace[0, 0].cell_grad, torch.stack([c.grad for c in by_hand["cell"]])[3:])
    assert trace.nbytes <= 3 * each
    with gl.watch(net, limit=3 * each, steps=slice(0, 4)) as watcher:
        net(x).sum().backward()
    assert (watcher["cell"].start, len(watcher["cell"][0, 0].cell)) == (3, 1)


def test_a_long_loop_of_two_cells_within_a_limit() -> None:
    """Neither drives the other out: each has its part of the limit."""
    cells = nn.ModuleList([nn.LSTMCell(1, 2), nn.LSTMCell(2, 2)])
    limit = 100_000
    with gl.watch(cells, limit=limit) as watcher, torch.no_grad():
        states: list[Any] = [None, None]
        for x_t in torch.randn(2000, 1, 1):
            states[0] = cells[0](x_t, states[0])
            states[1] = cells[1](states[0][0], states[1])
    for name in ("0", "1"):
        (trace,) = watcher.calls(name)
        assert trace.start + len(trace[0, 0].cell) == 2000
        assert trace.start > 0
        assert 0.8 * limit / 2 < trace.nbytes + 2 * trace[0, 0].cell.nbytes <= limit / 2
    assert watcher.dropped == {"0": 0, "1": 0}


def test_a_loop_that_was_dropped_stays_dropped() -> None:
    """It takes no part of another one, and its steps are not counted as calls."""
    cell = nn.LSTMCell(3, H, dtype=torch.float64)
    xs = _x(), _x(), _x()
    with gl.watch(cell, calls=1) as watcher, torch.no_grad():
        states: list[Any] = [None, None, None]
        for t in range(T):
            for k in range(3):
                states[k] = cell(xs[k][t], states[k])
    assert repr(watcher) == "Watcher('': 1 of 3 calls)"
    _check(watcher[""], _by_hand(cell, xs[2]), gradients=False)
