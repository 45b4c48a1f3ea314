"""A learned initial state: what torch gives for the same state handed in, exact gradients, and nothing when off."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import glasslstm as gl

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

OPTIONS: dict[str, dict[str, Any]] = {
    "usual": {},
    "two layers, both directions": {"num_layers": 2, "bidirectional": True},
    "projection": {"num_layers": 2, "proj_size": 3},
    "recompute": {"recompute": True},
    "batch first": {"batch_first": True},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def _learned(**options: Any) -> gl.LSTM:
    """Return an LSTM whose initial state has been learned, as it were."""
    lstm = gl.LSTM(3, 5, dtype=torch.float64, learn_initial_state=True, **options)
    with torch.no_grad():
        lstm.h_0.uniform_(-1, 1)
        lstm.c_0.uniform_(-2, 2)
    return lstm


def _twin(lstm: gl.LSTM, **options: Any) -> nn.LSTM:
    options.pop("recompute", None)
    theirs = nn.LSTM(3, 5, dtype=torch.float64, **options)
    theirs.load_state_dict({name: value for name, value in lstm.state_dict().items() if name[1:] != "_0"})
    return theirs


def _states(lstm: gl.LSTM, batch: int) -> tuple[Tensor, Tensor]:
    return lstm.h_0.unsqueeze(1).repeat(1, batch, 1), lstm.c_0.unsqueeze(1).repeat(1, batch, 1)


@every_option
def test_every_sequence_starts_from_it(options: dict[str, Any], kernel: str) -> None:
    """Output, states, and the gradients of the state and the weights are torch's for this state handed in."""
    lstm = _learned(**options)
    theirs = _twin(lstm, **options)
    x = torch.randn(4, 4, 3, dtype=torch.float64)
    found = lstm(x)
    expected = theirs(x, _states(lstm, 4))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    ours = torch.autograd.grad(_loss(found), list(lstm.parameters()))
    truth = torch.autograd.grad(_loss(expected), [*theirs.parameters(), lstm.h_0, lstm.c_0])
    torch.testing.assert_close(ours, truth, atol=1e-10, rtol=0)
    assert [name for name, _ in lstm.named_parameters()][-2:] == ["h_0", "c_0"]


def _loss(results: Any) -> Tensor:
    output, (h_n, c_n) = results
    return output.square().sum() + h_n.sin().sum() + c_n.cos().sum()


@pytest.mark.parametrize("proj_size", [0, 2])
def test_gradcheck(proj_size: int, kernel: str) -> None:
    lstm = gl.LSTM(
        2, 3, 2, bidirectional=True, proj_size=proj_size, dtype=torch.float64, learn_initial_state=True
    )
    x = torch.randn(3, 2, 2, dtype=torch.float64)

    def run(h_0: Tensor, c_0: Tensor) -> tuple[Tensor, ...]:
        states = {"h_0": h_0, "c_0": c_0}
        output, (h_n, c_n) = torch.func.functional_call(lstm, states, (x,), {"lengths": [3, 1]})
        return output, h_n, c_n

    width = proj_size or 3
    h_0 = torch.randn(4, width, dtype=torch.float64, requires_grad=True)
    c_0 = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (h_0, c_0))


def test_lengths_packed_and_unbatched_agree(kernel: str) -> None:
    lstm = _learned(num_layers=2, bidirectional=True)
    x, lengths = torch.randn(6, 3, 3, dtype=torch.float64), [6, 4, 1]
    output, states = lstm(x, lengths=lengths)
    packed, packed_states = lstm(pack_padded_sequence(x, torch.tensor(lengths)))
    torch.testing.assert_close(
        packed.data, pack_padded_sequence(output, torch.tensor(lengths)).data, atol=1e-12, rtol=0
    )
    torch.testing.assert_close(packed_states, states, atol=1e-12, rtol=0)
    for k, length in enumerate(lengths):
        alone, (h_n, c_n) = lstm(x[:length, k])
        torch.testing.assert_close(alone, output[:length, k], atol=1e-12, rtol=0)
        torch.testing.assert_close((h_n, c_n), (states[0][:, k], states[1][:, k]), atol=1e-12, rtol=0)


def test_a_sequence_of_no_steps_ends_where_it_starts() -> None:
    lstm = _learned(num_layers=2)
    _, (h_n, c_n) = lstm(torch.randn(4, 2, 3, dtype=torch.float64), lengths=[4, 0])
    assert torch.equal(h_n[:, 1], lstm.h_0)
    assert torch.equal(c_n[:, 1], lstm.c_0)


def test_states_that_are_given_go_before() -> None:
    lstm = _learned()
    theirs, x = _twin(lstm), torch.randn(4, 2, 3, dtype=torch.float64)
    h, c = torch.randn(2, 1, 2, 5, dtype=torch.float64).unbind()
    torch.testing.assert_close(lstm(x, (h, c)), theirs(x, (h, c)), atol=1e-12, rtol=0)
    lstm(x, (h, c))[0].sum().backward()
    assert lstm.h_0.grad is None
    assert lstm.c_0.grad is None


def test_the_trace_knows_where_it_started() -> None:
    lstm = _learned(num_layers=2, bidirectional=True)
    _, _, trace = lstm(torch.randn(4, 2, 3, dtype=torch.float64), return_trace=True)
    for row, (layer, direction) in enumerate(trace):
        gates = trace[layer, direction]
        assert torch.equal(gates.initial_hidden, lstm.h_0[row].expand(2, 5))
        assert torch.equal(gates.initial_cell, lstm.c_0[row].expand(2, 5))
    first = trace[0, 0]
    expected = first.forget_gate[0] * lstm.c_0[0] + first.input_gate[0] * first.candidate[0]
    torch.testing.assert_close(first.cell[0], expected, atol=1e-14, rtol=0)


def test_it_is_learned() -> None:
    """Where nothing is read and no bias helps, the initial state alone can make the output what it should be."""
    lstm = gl.LSTM(1, 4, bias=False, learn_initial_state=True)
    x, target = torch.zeros(3, 2, 1), 0.1 * torch.arange(1, 5)
    states = [lstm.h_0, lstm.c_0]
    optimiser = torch.optim.Adam(states, lr=0.05)
    losses = []
    for _ in range(300):
        loss = (lstm(x)[0][-1] - target).square().mean()
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[0] == pytest.approx(0.01 * (1 + 4 + 9 + 16) / 4)  # from zero to zero
    assert losses[-1] < 1e-4


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "proj_size": 3}], ids=["usual", "projection"])
def test_a_stream_starts_from_it_and_goes_back_to_it(
    options: dict[str, Any], batch_size: int, kernel: str
) -> None:
    lstm = _learned(**options)
    x = torch.randn(5, batch_size, 3, dtype=torch.float64)
    stream = lstm.stream(batch_size)
    start = stream.state
    assert all(map(torch.equal, start, _states(lstm, batch_size)))
    with torch.no_grad():
        expected, _ = lstm(x)
        lstm.h_0.zero_()  # a stream is frozen
        lstm.c_0.zero_()
    for _ in range(2):
        y = torch.stack([stream.step(x_t) for x_t in x])
        torch.testing.assert_close(y, expected, atol=1e-12, rtol=0)
        stream.reset()
        assert all(map(torch.equal, stream.state, start))
    stream.step(x[0])
    moved = stream.state
    stream.reset(torch.arange(batch_size) == 0)
    for now, old, first in zip(stream.state, moved, start, strict=True):
        assert torch.equal(now[:, 0], first[:, 0])
        assert torch.equal(now[:, 1:], old[:, 1:])


def test_off_nothing_is_there() -> None:
    lstm, theirs = gl.LSTM(3, 5), nn.LSTM(3, 5)
    assert lstm.h_0 is None
    assert lstm.c_0 is None
    assert list(lstm.state_dict()) == list(theirs.state_dict())
    assert len(list(lstm.parameters())) == 4
    assert repr(lstm) == repr(theirs)
    assert repr(gl.LSTM(3, 5, learn_initial_state=True)) == "LSTM(3, 5, learn_initial_state=True)"


def test_torchs_random_numbers_for_torchs_seed() -> None:
    torch.manual_seed(5)
    theirs = nn.LSTM(3, 5, num_layers=2, bidirectional=True)
    following = torch.rand(3)
    torch.manual_seed(5)
    lstm = gl.LSTM(3, 5, num_layers=2, bidirectional=True, learn_initial_state=True)
    assert torch.equal(torch.rand(3), following)  # the zeros took no draws
    assert all(torch.equal(value, lstm.get_parameter(name)) for name, value in theirs.named_parameters())
    assert not lstm.h_0.any()
    assert not lstm.c_0.any()
    with torch.no_grad():
        lstm.h_0.fill_(7)
        lstm.c_0.fill_(7)
    torch.manual_seed(5)
    lstm.reset_parameters()
    assert torch.equal(torch.rand(3), following)
    assert all(torch.equal(value, lstm.get_parameter(name)) for name, value in theirs.named_parameters())
    assert not lstm.h_0.any()
    assert not lstm.c_0.any()


def _loaded(lstm: gl.LSTM) -> gl.LSTM:
    other = gl.LSTM(3, 5, num_layers=2, dtype=torch.float64, learn_initial_state=True)
    other.load_state_dict(lstm.state_dict())
    return other


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), _loaded])
def test_copies_start_from_the_same(again: Callable[[gl.LSTM], gl.LSTM]) -> None:
    lstm, x = _learned(num_layers=2), torch.randn(4, 2, 3, dtype=torch.float64)
    other = again(lstm)
    assert other.h_0 is not lstm.h_0
    assert torch.equal(other(x)[0], lstm(x)[0])
    with torch.no_grad():
        other.c_0.add_(1)
    assert not torch.equal(other(x)[0], lstm(x)[0])


def test_a_move_moves_it() -> None:
    lstm = _learned().to(torch.float32)
    assert lstm.h_0.dtype == lstm.c_0.dtype == torch.float32
    assert lstm(torch.randn(4, 2, 3))[0].dtype == torch.float32
    assert gl.LSTM(3, 5, learn_initial_state=True, device="meta").c_0.is_meta


def test_under_autocast() -> None:
    lstm = _learned().to(torch.float32)
    x = torch.randn(4, 2, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, _ = lstm(x)
        expected, _ = lstm(x, tuple(_states(lstm, 2)))
    assert output.dtype == torch.bfloat16
    assert torch.equal(output, expected)


def test_under_torch_func() -> None:
    """Batched by vmap over sequences of their own, each starts from the same state, and its gradients add up."""
    lstm = _learned(num_layers=2)
    x = torch.randn(4, 3, 3, dtype=torch.float64)
    each = torch.func.vmap(lambda one: lstm(one)[0], 1, 1)(x)
    torch.testing.assert_close(each, lstm(x)[0], atol=1e-12, rtol=0)
    states = {"h_0": lstm.h_0.detach(), "c_0": lstm.c_0.detach()}
    grads = torch.func.grad(lambda s: torch.func.functional_call(lstm, s, (x,))[0].square().sum())(states)
    lstm(x)[0].square().sum().backward()
    torch.testing.assert_close(grads, {"h_0": lstm.h_0.grad, "c_0": lstm.c_0.grad}, atol=1e-12, rtol=0)


@pytest.mark.parametrize("traced", [False, True])
def test_under_torch_compile(traced: bool) -> None:
    torch._dynamo.reset()
    lstm = _learned(num_layers=2, bidirectional=True)
    x = torch.randn(4, 2, 3, dtype=torch.float64)

    def run(x: Tensor) -> Tensor:
        return lstm(x, lengths=[4, 2], return_trace=True)[2][1, 1].cell if traced else lstm(x)[0]

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    found, expected = compiled(x), run(x)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    grads = [torch.autograd.grad(y.square().sum(), [lstm.h_0, lstm.c_0]) for y in (found, expected)]
    torch.testing.assert_close(*grads, atol=1e-12, rtol=0)
    torch._dynamo.reset()


def test_a_flag_that_is_none_is_refused() -> None:
    with pytest.raises(TypeError, match=r"learn_initial_state: expected True or False, got 1 \(int\)"):
        gl.LSTM(3, 5, learn_initial_state=1)
