"""A trace holds what an LSTM computed by hand holds, gradients too, and taking it changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

import glasslstm as gl
from glasslstm.nn.trace import QUANTITIES

OPTIONS: dict[str, dict[str, Any]] = {
    "one layer": {},
    "both directions": {"bidirectional": True},
    "three layers": {"num_layers": 3, "bias": False},
    "two layers, both directions, projection": {"num_layers": 2, "bidirectional": True, "proj_size": 2},
}
LAYOUTS = ("padded", "batch first", "unbatched", "ragged", "ragged, batch first", "packed", "packed unsorted")
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
every_layout = pytest.mark.parametrize("layout", LAYOUTS)


@pytest.fixture(params=["auto", "equations"])
def _kernel(request: pytest.FixtureRequest) -> Any:
    """The kernels that can keep the gates."""
    with gl.use_kernel(request.param):
        yield


def _make(options: dict[str, Any], layout: str) -> tuple[gl.LSTM, Any, Any, Tensor, Any, list[int] | None]:
    """Return module, its arguments (input, hx, call), and the same as (T, B, I), states and lengths."""
    lstm = gl.LSTM(3, 4, dtype=torch.float64, batch_first="batch first" in layout, **options)
    B = 1 if layout == "unbatched" else 4
    lengths = {"packed": [6, 5, 5, 1], "packed unsorted": [2, 6, 1, 4]}.get(layout)
    if "ragged" in layout:
        lengths = [2, 6, 0, 4]
    count, width = lstm.num_layers * (2 if lstm.bidirectional else 1), lstm.proj_size or 4
    x, h_0, c_0 = (torch.randn(s, dtype=torch.float64) for s in ((6, B, 3), (count, B, width), (count, B, 4)))
    value: Any = x.transpose(0, 1) if lstm.batch_first else x
    hx = h_0, c_0
    if layout == "unbatched":
        value, hx = x.squeeze(1), (h_0.squeeze(1), c_0.squeeze(1))
    if "packed" in layout:
        assert lengths is not None
        value = pack_padded_sequence(x, lengths, enforce_sorted=layout == "packed")
    call = {"lengths": lengths} if "ragged" in layout else {}
    return lstm, (value, hx), call, x, (h_0, c_0), lengths


@pytest.mark.usefixtures("_kernel")
@every_option
@every_layout
def test_equals_the_equations_by_hand(
    options: dict[str, Any], layout: str, numpy_lstm: Callable[..., Any]
) -> None:
    lstm, arguments, call, x, hx, lengths = _make(options, layout)
    output, (h_n, c_n), trace = lstm(*arguments, **call, return_trace=True)
    expected = numpy_lstm(lstm, x, hx, lengths)
    directions = 2 if lstm.bidirectional else 1
    assert list(trace) == list(product(range(lstm.num_layers), range(directions)))
    assert (len(trace), trace.num_layers, trace.num_directions) == (
        lstm.num_layers * directions,
        lstm.num_layers,
        directions,
    )
    for key in trace:
        for name, short in zip(QUANTITIES, "ifgoch", strict=True):
            found, wanted = trace[key].numpy()[name], expected[key][short]
            wanted = wanted.squeeze(1) if layout == "unbatched" else wanted
            assert found.shape == wanted.shape
            np.testing.assert_allclose(found, wanted, atol=1e-12, rtol=0, err_msg=f"{key} {name}")
            for b, length in enumerate(lengths or ()):  # exactly zero, not only nearly
                assert not found[length:, b].any()
    if lengths is None:
        assert trace.lengths is None
        steps = output.transpose(0, 1) if "batch first" in layout else output
        wanted = expected["output"].reshape(steps.shape)
        np.testing.assert_allclose(steps.detach().numpy(), wanted, atol=1e-12, rtol=0)
    else:
        assert trace.lengths.tolist() == lengths
    for state, name in ((h_n, "h_n"), (c_n, "c_n")):
        wanted = expected[name].reshape(state.shape)
        np.testing.assert_allclose(state.detach().numpy(), wanted, atol=1e-12, rtol=0)


@pytest.mark.usefixtures("_kernel")
@every_option
@pytest.mark.parametrize("layout", ["padded", "unbatched", "ragged", "packed unsorted"])
def test_cell_grad_and_hidden_grad_are_exact(options: dict[str, Any], layout: str) -> None:
    """dL/dc_t and dL/dh_t, through every path, as retain_grad() on a loop written by hand gives them."""
    lstm, arguments, call, x, hx, lengths = _make(options, layout)
    output, (h_n, c_n), trace = lstm(*arguments, **call, return_trace=True)
    assert all(trace[key].cell_grad is None and trace[key].hidden_grad is None for key in trace)
    by_hand = _by_hand(lstm, x, hx, lengths)
    if "packed" in layout:
        output = output.data
        expected_output = pack_padded_sequence(by_hand["output"], lengths, enforce_sorted=False).data
    else:
        expected_output = by_hand["output"].reshape(output.shape)
    _loss(output, h_n, c_n).backward()
    _loss(expected_output, by_hand["h_n"].view(h_n.shape), by_hand["c_n"].view(c_n.shape)).backward()
    for key in trace:
        for name, found in (("c", trace[key].cell_grad), ("h", trace[key].hidden_grad)):
            wanted = _grads(by_hand[key][name])
            assert found is not None
            torch.testing.assert_close(found, wanted.reshape(found.shape), atol=1e-12, rtol=0)


def _loss(output: Tensor, h_n: Tensor, c_n: Tensor) -> Tensor:
    draw = torch.Generator().manual_seed(2)
    return sum(
        (value.square() * torch.randn(value.shape, generator=draw, dtype=torch.float64)).sum()
        for value in (output, h_n, c_n)
    )


def _by_hand(
    lstm: gl.LSTM, x: Tensor, hx: tuple[Tensor, Tensor], lengths: list[int] | None
) -> dict[Any, Any]:
    """Return output, h_n, c_n and, for each layer and direction, lists [t][b] of the c_t and h_t."""
    T, B = x.shape[:2]
    lengths = [T] * B if lengths is None else lengths
    states: list[list[list[Tensor]]] = [[], []]
    found: dict[Any, Any] = {}
    for layer in range(lstm.num_layers):
        outputs = []
        for direction in range(2 if lstm.bidirectional else 1):
            record: dict[str, Any] = {name: [[None] * B for _ in range(T)] for name in "ch"}
            k, last = len(states[0]), ([], [])
            for b in range(B):
                h, c = hx[0][k, b], hx[1][k, b]
                for t in reversed(range(lengths[b])) if direction else range(lengths[b]):
                    h, c = _one_step(lstm, layer, direction, x[t, b], h, c)
                    record["h"][t][b], record["c"][t][b] = h, c
                last[0].append(h)
                last[1].append(c)
            states[0].append(last[0])
            states[1].append(last[1])
            empty = torch.zeros(lstm.proj_size or lstm.hidden_size, dtype=x.dtype)
            rows = [torch.stack([empty if h is None else h for h in row]) for row in record["h"]]
            outputs.append(torch.stack(rows))
            found[layer, direction] = record
        x = torch.cat(outputs, dim=-1)
    h_n, c_n = (torch.stack([torch.stack(batch) for batch in state]) for state in states)
    return found | {"output": x, "h_n": h_n, "c_n": c_n}


def _one_step(
    lstm: gl.LSTM, layer: int, direction: int, x: Tensor, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor]:
    weights = [w.detach() for w in lstm.all_weights[layer * (2 if lstm.bidirectional else 1) + direction]]
    W_i, W_f, W_g, W_o = weights[0].chunk(4)
    U_i, U_f, U_g, U_o = weights[1].chunk(4)
    bias = weights[2] + weights[3] if lstm.bias else torch.zeros(4 * lstm.hidden_size, dtype=x.dtype)
    b_i, b_f, b_g, b_o = bias.chunk(4)
    f = torch.sigmoid(W_f @ x + U_f @ h + b_f)
    i = torch.sigmoid(W_i @ x + U_i @ h + b_i)
    g = torch.tanh(W_g @ x + U_g @ h + b_g)
    c = (f * c + i * g).requires_grad_()
    c.retain_grad()
    o = torch.sigmoid(W_o @ x + U_o @ h + b_o)
    h = o * torch.tanh(c)
    if lstm.proj_size:
        h = weights[-1] @ h
    h.retain_grad()
    return h, c


def _grads(record: list[list[Tensor | None]]) -> Tensor:
    width = next(value.numel() for row in record for value in row if value is not None)
    empty = torch.zeros(width, dtype=torch.float64)
    return torch.stack(
        [torch.stack([empty if v is None or v.grad is None else v.grad for v in row]) for row in record]
    )


@pytest.mark.usefixtures("_kernel")
def test_gradients_through_the_trace_itself_count_in_cell_grad() -> None:
    """A loss on c_t adds its own part to dL/dc_t."""
    lstm, x = gl.LSTM(3, 4), torch.randn(5, 2, 3)
    _, _, plain = lstm(x, return_trace=True)
    plain[0, 0].cell[4].sum().backward()
    ones = torch.ones(2, 4)
    assert torch.equal(plain[0, 0].cell_grad[4], ones)
    expected = plain[0, 0].forget_gate[4] * ones  # the path c_4 -> c_3 through the forget gate alone
    torch.testing.assert_close(
        plain[0, 0].cell_grad[3] - expected, _through_hidden(lstm, x), atol=1e-5, rtol=0
    )


def _through_hidden(lstm: gl.LSTM, x: Tensor) -> Tensor:
    """Return the part of dc_4/dc_3 that goes through h_3."""
    _, (h, c) = lstm(x[:4])
    h = h.detach()
    c = c.detach().requires_grad_()
    # h_3 = o_3 * tanh(c_3): o_3 stays, c_3 changes h_3, and h_3 changes the gates of step 4.
    o = h / c.detach().tanh()
    _, (_, after) = lstm(x[4:], (o * c.tanh(), c.detach()))
    return torch.autograd.grad(after.sum(), c)[0][0]


@pytest.mark.usefixtures("_kernel")
@pytest.mark.parametrize("name", QUANTITIES)
@pytest.mark.parametrize("lengths", [None, [5, 2, 0]], ids=["padded", "ragged"])
def test_every_quantity_is_differentiable(name: str, lengths: list[int] | None) -> None:
    """A loss on any gate has the gradients that the equations give."""
    lstm = gl.LSTM(3, 4, 2, bidirectional=True, proj_size=2, dtype=torch.float64)
    x = torch.randn(5, 3, 3, dtype=torch.float64, requires_grad=True)
    leaves, grads = [x, *lstm.parameters()], []
    trace = lstm(x, lengths=lengths, return_trace=True)[2]
    with gl.use_kernel("equations"), torch.no_grad():
        truth = _differentiable_truth(lstm, x, lengths)
    for record in (trace, truth):
        loss = sum(
            (getattr(record[key], name) ** 2).sum() * (k + 1)
            for k, key in enumerate([(0, 1), (1, 0), (1, 1)])
        )
        grads.append(torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True))
    torch.testing.assert_close(*grads, atol=1e-10, rtol=0)


@torch.enable_grad()
def _differentiable_truth(lstm: gl.LSTM, x: Tensor, lengths: list[int] | None) -> dict[Any, Any]:
    """Return the steps of every layer from the equations alone."""
    steps: dict[Any, Any] = {}
    n = None if lengths is None else torch.tensor(lengths)
    for layer in range(2):
        for direction in range(2):
            *weights, hr = lstm.all_weights[2 * layer + direction]
            zeros = [x.new_zeros(x.size(1), width) for width in (2, 4)]
            steps[layer, direction], _, _ = gl.ops.equations.sequence(
                x, *zeros, gl.concatenate_weights(*weights), hr, n, bool(direction)
            )
        x = torch.cat([steps[layer, 0].hidden, steps[layer, 1].hidden], dim=-1)
    return steps


@every_option
@pytest.mark.parametrize("layout", ["padded", "ragged"])
def test_tracing_changes_neither_numbers_nor_gradients(
    options: dict[str, Any], layout: str, results: Callable[..., Any]
) -> None:
    lstm, (x, hx), call, *_ = _make(options, layout)
    x.requires_grad_()
    with gl.use_kernel("plain"):
        plain = results(lstm, x, hx, inputs=[x], **call)
        traced = results(lstm, x, hx, inputs=[x], **call, return_trace=True)
    assert all(torch.equal(traced[name], plain[name]) for name in plain)
    for name, value in results(lstm, x, hx, inputs=[x], **call).items():  # whatever "auto" takes untraced
        torch.testing.assert_close(traced[name], value, atol=1e-10, rtol=0)


def test_tracing_draws_the_same_dropout() -> None:
    lstm = gl.LSTM(3, 4, 3, dropout=0.5, dtype=torch.float64)
    x, outputs = torch.randn(5, 2, 3, dtype=torch.float64), []
    for traced in (False, True):
        torch.manual_seed(1)
        outputs.append(lstm(x, return_trace=traced)[0])
    torch.testing.assert_close(*outputs, atol=1e-12, rtol=0)


@pytest.mark.usefixtures("_kernel")
def test_gradients_are_there_however_backward_was_called() -> None:
    lstm, x = gl.LSTM(3, 4, 2), torch.randn(5, 2, 3, requires_grad=True)
    ways: dict[str, Callable[[Tensor], Any]] = {
        "backward": lambda loss: loss.backward(),
        "grad of the input": lambda loss: torch.autograd.grad(loss, x),
        "grad of one weight": lambda loss: torch.autograd.grad(loss, lstm.weight_ih_l0),
        "twice": lambda loss: [loss.backward(retain_graph=True), loss.backward()],
        "create_graph": lambda loss: torch.autograd.grad(loss, x, create_graph=True),
    }
    expected = None
    for way, run in ways.items():
        output, _, trace = lstm(x, return_trace=True)
        run(output.square().sum())
        assert trace[0, 0].cell_grad is not None, way
        expected = trace[0, 0].cell_grad if expected is None else expected
        torch.testing.assert_close(trace[0, 0].cell_grad, expected, atol=1e-6, rtol=0, msg=way)
        assert trace[0, 0].hidden_grad is not None, way


def test_the_gradients_are_the_last_backward_pass_s() -> None:
    lstm, x = gl.LSTM(3, 4), torch.randn(5, 2, 3)
    output, _, trace = lstm(x, return_trace=True)
    output[-1].sum().backward(retain_graph=True)
    first = trace[0, 0].hidden_grad.clone()
    (2 * output[-1].sum()).backward()
    torch.testing.assert_close(trace[0, 0].hidden_grad, 2 * first)


@pytest.mark.usefixtures("_kernel")
def test_two_traces_of_one_module_keep_their_gradients_apart() -> None:
    lstm = gl.LSTM(3, 4)
    (first, _, one), (second, _, two) = (lstm(torch.randn(5, 2, 3), return_trace=True) for _ in range(2))
    first.sum().backward()
    assert one[0, 0].cell_grad is not None
    assert two[0, 0].cell_grad is None
    (second.sum() * 2).backward()
    assert not torch.equal(one[0, 0].cell_grad, two[0, 0].cell_grad)


@pytest.mark.usefixtures("_kernel")
def test_without_a_graph_there_is_no_gradient() -> None:
    with torch.no_grad():
        _, _, trace = gl.LSTM(3, 4)(torch.randn(5, 2, 3), return_trace=True)
    assert trace[0, 0].cell_grad is None
    assert trace[0, 0].hidden_grad is None
    assert not trace[0, 0].cell.requires_grad


@pytest.mark.usefixtures("_kernel")
def test_frozen_weights_still_give_gradients_of_the_states() -> None:
    lstm = gl.LSTM(3, 4, 2).requires_grad_(False)
    x = torch.randn(5, 2, 3, requires_grad=True)
    output, _, trace = lstm(x, return_trace=True)
    output.sum().backward()
    assert trace[1, 0].hidden_grad is not None
    assert trace[0, 0].cell_grad is not None


def test_changing_the_output_in_place_leaves_the_trace_as_it_was() -> None:
    with torch.no_grad():
        output, (h_n, c_n), trace = gl.LSTM(3, 4)(torch.randn(5, 2, 3), return_trace=True)
        before = trace[0, 0].numpy()["hidden"].copy(), trace[0, 0].numpy()["cell"].copy()
        for tensor in (output, h_n, c_n):
            tensor.fill_(7.0)
    assert np.array_equal(trace[0, 0].numpy()["hidden"], before[0])
    assert np.array_equal(trace[0, 0].numpy()["cell"], before[1])


def test_a_trace_survives_checkpointing() -> None:
    from torch.utils.checkpoint import checkpoint

    lstm, x = gl.LSTM(3, 4), torch.randn(5, 2, 3, requires_grad=True)
    output, _, direct = lstm(x, return_trace=True)
    output.sum().backward()
    output, _, trace = checkpoint(lstm, x, return_trace=True, use_reentrant=False)
    output.sum().backward()
    assert torch.equal(trace[0, 0].cell_grad, direct[0, 0].cell_grad)


def test_index_repr_and_numpy() -> None:
    _, _, trace = gl.LSTM(3, 4, 2, proj_size=2)(torch.zeros(5, 2, 3), return_trace=True)
    assert repr(trace) == "Trace(num_layers=2, num_directions=1, cell=(5, 2, 4))"
    for key in ((2, 0), (0, 1), (-1, 0), 0, "cell", [0, 0]):
        with pytest.raises(gl.errors.ArgumentError, match=r"layer 0 to 1 and direction 0 to 0"):
            trace[key]
    assert list(trace[0, 0].numpy()) == list(QUANTITIES)
    for name, array in trace[0, 0].numpy().items():
        assert np.array_equal(array, getattr(trace[0, 0], name).detach().numpy())
    assert trace[0, 0].hidden.shape == (5, 2, 2)
    assert repr(trace[0, 0]) == "GateTrace(cell=(5, 2, 4), forward)"


def test_gate_traces_are_compared_by_identity() -> None:
    """Comparing tensors has no single truth value; a trace in a list or a set must not fall over that."""
    _, _, trace = gl.LSTM(3, 4, 2)(torch.zeros(5, 2, 3), return_trace=True)
    first, second = trace[0, 0], trace[1, 0]
    assert first == first  # noqa: PLR0124
    assert first != second
    assert len({first, second}) == 2


def test_a_gate_is_between_its_bounds_and_the_cell_follows_from_the_gates() -> None:
    lstm = gl.LSTM(3, 4, dtype=torch.float64)
    _, _, trace = lstm(10 * torch.randn(50, 2, 3, dtype=torch.float64), return_trace=True)
    step = trace[0, 0]
    for gate in (step.input_gate, step.forget_gate, step.output_gate):
        assert gate.min() >= 0
        assert gate.max() <= 1
    assert step.candidate.abs().max() <= 1
    cell = step.forget_gate[1:] * step.cell[:-1] + step.input_gate[1:] * step.candidate[1:]
    torch.testing.assert_close(step.cell[1:], cell, atol=1e-14, rtol=0)
    torch.testing.assert_close(step.hidden, step.output_gate * step.cell.tanh(), atol=1e-14, rtol=0)


@every_option
@every_layout
def test_a_trace_knows_what_it_read_and_what_it_started_from(options: dict[str, Any], layout: str) -> None:
    lstm, (value, hx), call, x, states, lengths = _make(options, layout)
    directions = 2 if lstm.bidirectional else 1
    for given in (True, False):
        _, _, trace = lstm(value, hx if given else None, **call, return_trace=True)
        assert (trace.start, trace.left_out) == (0, None)
        valid = torch.arange(6)[:, None] < torch.tensor([6] * x.size(1) if lengths is None else lengths)
        assert torch.equal(trace.input.reshape(x.shape)[valid], x[valid])
        for key in trace:
            gates, row = trace[key], key[0] * directions + key[1]
            assert gates.reverse == (key[1] == 1)
            assert torch.equal(gates.valid.reshape(valid.shape), valid)
            assert gates.valid.shape == gates.cell.shape[:-1]
            assert (None if gates.lengths is None else gates.lengths.tolist()) == lengths
            for name, state in zip(("hidden", "cell"), states, strict=True):
                found, expected = getattr(gates, f"initial_{name}"), state[row] if given else 0 * state[row]
                assert found.shape == getattr(gates, name).shape[1:]
                assert torch.equal(found, expected.reshape(found.shape))


def test_learned_initial_states_are_in_the_trace_and_in_its_graph() -> None:
    lstm = gl.LSTM(3, 4, 2, learn_initial_state=True)
    torch.nn.init.normal_(lstm.c_0)
    _, _, trace = lstm(torch.randn(6, 2, 3), return_trace=True)
    assert torch.equal(trace[1, 0].initial_cell, lstm.c_0[1].expand(2, -1))
    assert trace[1, 0].initial_cell.requires_grad


@every_option
@pytest.mark.parametrize("layout", ["padded", "unbatched", "ragged"])
def test_a_window_is_a_part_with_the_states_that_enter_it(options: dict[str, Any], layout: str) -> None:
    lstm, (value, hx), call, _, _, lengths = _make(options, layout)
    output, _, trace = lstm(value, hx, **call, return_trace=True)
    before = trace.window(2, 5)
    output.square().sum().backward()
    for start, stop in ((0, 6), (2, 5), (0, 3), (4, 6), (3, 3), (6, 6)):
        part = trace.window(start, stop)
        assert (part.start, len(part.input)) == (start, stop - start)
        assert part.window(0, stop - start).start == start
        for key in trace:
            whole, some = trace[key], part[key]
            for name in (*QUANTITIES, "cell_grad", "hidden_grad"):
                assert torch.equal(getattr(some, name), getattr(whole, name)[start:stop])
            assert torch.equal(some.valid, whole.valid[start:stop])
            assert some.reverse == whole.reverse
            assert (part.lengths is None) == (lengths is None)
            for name in ("hidden", "cell"):
                entering = [
                    _entering(whole, name, start, stop, b, length)
                    for b, length in enumerate([None] if lengths is None else lengths)
                ]
                found = getattr(some, f"initial_{name}")
                expected = entering[0] if lengths is None else torch.stack(entering)
                assert torch.equal(found, expected)
            order = range(stop - start)
            cell = some.initial_cell
            for t in reversed(order) if some.reverse else order:  # which the part goes on from
                now = some.forget_gate[t] * cell + some.input_gate[t] * some.candidate[t]
                cell = torch.where(some.valid[t, ..., None], now, cell)
                expected = torch.where(some.valid[t, ..., None], some.cell[t], cell)
                torch.testing.assert_close(cell, expected, atol=1e-14, rtol=0)
    # One that was taken before the backward pass has the gradients as well.
    assert torch.equal(before[0, 0].cell_grad, trace[0, 0].cell_grad[2:5])


def _entering(whole: Any, name: str, start: int, stop: int, b: int, length: int | None) -> Tensor:
    """Return the state before the first step that is read inside, of one sequence or, without lengths, of all."""
    states, initial = getattr(whole, name), getattr(whole, f"initial_{name}")
    if length is not None:
        states, initial = states[:length, b], initial[b]
    if whole.reverse:
        return states[stop] if stop < len(states) else initial
    return states[min(start, len(states)) - 1] if min(start, len(states)) else initial


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (4, 2), (0, 7), (7, 7)])
def test_a_window_outside_of_the_trace(start: int, stop: int) -> None:
    trace = gl.LSTM(3, 4)(torch.zeros(6, 2, 3), return_trace=True)[2]
    message = rf"window: expected 0 <= start <= stop <= 6, the number of steps; got {start} and {stop}"
    with pytest.raises(gl.errors.ArgumentError, match=message):
        trace.window(start, stop)


def test_map_changes_each_entry_and_nothing_else() -> None:
    lstm = gl.LSTM(3, 4, 2, bidirectional=True)
    output, _, trace = lstm(torch.randn(6, 3, 3), lengths=[6, 2, 0], return_trace=True)
    output.sum().backward()
    part = trace.window(1, 5)
    doubled = part.map(lambda gates: gates.map(lambda tensor: 2 * tensor))
    assert doubled.start == 1
    assert doubled.lengths is part.lengths
    assert doubled.input is part.input
    assert list(doubled) == list(part)
    for key in part:
        for name in (*QUANTITIES, "initial_hidden", "initial_cell"):
            assert torch.equal(getattr(doubled[key], name), 2 * getattr(part[key], name))
        assert doubled[key].reverse == part[key].reverse
        assert doubled[key].lengths is part[key].lengths
        assert torch.equal(doubled[key].cell_grad, part[key].cell_grad)


def test_nbytes_counts_the_input_and_the_gradients_when_they_are_there() -> None:
    lstm = gl.LSTM(3, 4, 2, bidirectional=True, proj_size=2, dtype=torch.float64)
    output, _, trace = lstm(torch.randn(6, 3, 3, dtype=torch.float64), return_trace=True)
    each = 6 * 3 * 8  # bytes of one unit at all steps of all sequences
    assert trace.nbytes == (3 + 4 * (5 * 4 + 2)) * each
    output.sum().backward()
    assert trace.nbytes == (3 + 4 * (6 * 4 + 2 * 2)) * each
    assert trace.window(0, 2).nbytes == trace.nbytes // 3
