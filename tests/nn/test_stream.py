"""One step at a time: the numbers of the whole sequence, a state that is kept, a copy of the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import glasslstm as gl

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

OPTIONS: dict[str, dict[str, Any]] = {
    "usual": {},
    "three layers": {"num_layers": 3},
    "no bias": {"bias": False, "num_layers": 2},
    "projection": {"proj_size": 3, "num_layers": 2},
    "batch first, dropout": {"batch_first": True, "num_layers": 2, "dropout": 0.5},
}


def _steps(stream: Any, x: Tensor) -> Tensor:
    return torch.stack([stream.step(x_t) for x_t in x])


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("batch_size", [1, 2, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_give_what_the_whole_sequence_gives(
    options: dict[str, Any], batch_size: int, dtype: torch.dtype, kernel: str
) -> None:
    lstm = gl.LSTM(5, 19, dtype=dtype, **options)
    x = torch.randn(12, batch_size, 5, dtype=dtype)
    stream = lstm.stream(batch_size)
    y = _steps(stream, x)
    with torch.no_grad(), gl.use_kernel("equations"):
        output, states = lstm.eval()(x.transpose(0, 1) if lstm.batch_first else x)
    atol = 1e-6 if dtype == torch.float32 else 1e-14
    expected = output.transpose(0, 1) if lstm.batch_first else output
    torch.testing.assert_close((y, stream.state), (expected, states), atol=atol, rtol=0)


def test_a_hundred_thousand_steps_stay_where_the_whole_sequence_is() -> None:
    lstm = gl.LSTM(3, 8, num_layers=2)
    x = torch.randn(100_000, 1, 3)
    stream = lstm.stream()
    y = _steps(stream, x)
    with torch.no_grad():
        output, states = lstm(x)
    torch.testing.assert_close((y, stream.state), (output, states), atol=2e-6, rtol=0)
    with torch.no_grad():
        theirs = nn.LSTM(3, 8, num_layers=2)
        theirs.load_state_dict(lstm.state_dict())
        torch.testing.assert_close(y[-1000:], theirs(x)[0][-1000:], atol=2e-6, rtol=0)


def test_large_layers_use_several_threads_and_give_the_same() -> None:
    """From a quarter of a megabyte of weights on, the units of a layer are shared out."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        lstm = gl.LSTM(40, 300, num_layers=2)
        x = torch.randn(30, 2, 40)
        y = _steps(lstm.stream(2), x)
    finally:
        torch.set_num_threads(before)
    with torch.no_grad():
        torch.testing.assert_close(y, lstm(x)[0], atol=1e-5, rtol=0)


def test_the_weights_are_those_of_the_moment() -> None:
    lstm, x = gl.LSTM(3, 4), torch.randn(1, 3)
    stream = lstm.stream()
    with torch.no_grad():
        for weight in lstm.parameters():
            weight.zero_()
    assert stream.step(x).abs().min() > 0
    assert lstm.stream().step(x).abs().max() == 0


def test_parametrised_and_tied_weights_are_read_as_they_are() -> None:
    lstm = gl.LSTM(4, 4)
    nn.utils.parametrizations.weight_norm(lstm, "weight_hh_l0")
    lstm.weight_ih_l0 = lstm.parametrizations.weight_hh_l0.original1
    x = torch.randn(5, 1, 4)
    with torch.no_grad():
        torch.testing.assert_close(_steps(lstm.stream(), x), lstm(x)[0], atol=1e-6, rtol=0)


def test_results_are_tensors_of_their_own() -> None:
    stream = gl.LSTM(3, 4).stream()
    first = stream.step(torch.randn(1, 3))
    kept = first.clone()
    second = stream.step(torch.randn(1, 3))
    assert torch.equal(first, kept)
    second.zero_()
    assert stream.state[0].abs().max() > 0


def test_the_state_is_read_set_and_reset() -> None:
    lstm, x = gl.LSTM(3, 4, num_layers=2), torch.randn(6, 2, 3)
    stream = lstm.stream(2)
    y = _steps(stream, x[:3])
    half = stream.state
    rest = _steps(stream, x[3:])
    stream.state = half
    assert torch.equal(_steps(stream, x[3:]), rest)
    stream.reset()
    assert torch.equal(_steps(stream, x[:3]), y)
    stream.reset(torch.tensor([True, False]))
    h, c = stream.state
    assert h[:, 0].abs().max() == c[:, 0].abs().max() == 0
    assert torch.equal(h[:, 1], half[0][:, 1])
    assert torch.equal(c[:, 1], half[1][:, 1])
    h.zero_()
    assert stream.state[0].abs().max() > 0


def test_inputs_of_any_strides() -> None:
    lstm, x = gl.LSTM(3, 4), torch.randn(3, 2, 2)
    expected = lstm.stream(2).step(x[:, :, 1].T.contiguous())
    assert torch.equal(lstm.stream(2).step(x[:, :, 1].T), expected)
    imaginary = torch.view_as_complex(torch.randn(2, 3, 2)).conj().imag
    assert imaginary.is_neg()
    assert torch.equal(lstm.stream(2).step(imaginary), lstm.stream(2).step(imaginary.resolve_neg()))
    assert torch.equal(
        lstm.stream(2).step(nn.Parameter(x[0, :, :1].expand(2, 3))).isnan(), torch.zeros(2, 4).bool()
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits(dtype: torch.dtype) -> None:
    lstm, x = gl.LSTM(3, 4, dtype=dtype), torch.randn(5, 1, 3, dtype=dtype)
    wide = gl.LSTM(3, 4)
    wide.load_state_dict({name: weight.float() for name, weight in lstm.state_dict().items()})
    with torch.no_grad():
        torch.testing.assert_close(_steps(lstm.stream(), x).float(), wide(x.float())[0], atol=2e-2, rtol=0)


REFUSED: list[tuple[Callable[[Any], object], type[Exception], str]] = [
    (lambda s: s.step(torch.randn(1, 4)), RuntimeError, r"x_t: expected shape \(2, 3\), .*got \(1, 4\)"),
    (lambda s: s.step(torch.randn(3)), RuntimeError, r"x_t: expected shape \(2, 3\), .*got \(3,\)"),
    (
        lambda s: s.step(torch.randn(2, 3).double()),
        ValueError,
        r"x_t: its dtype torch.float64 .*x_t.to\(torch",
    ),
    (lambda s: s.step(torch.empty(2, 3, device="meta")), RuntimeError, "x_t: is on meta, expected cpu"),
    (lambda s: s.step([[0.0] * 3] * 2), TypeError, "x_t: expected a torch.Tensor, got list"),
    (lambda s: setattr(s, "state", torch.zeros(2)), TypeError, r"state: expected a pair \(h, c\)"),
    (lambda s: setattr(s, "state", (1, 2)), TypeError, "state: expected h as a torch.Tensor, got int"),
    (
        lambda s: setattr(s, "state", (torch.zeros(1, 2, 4), torch.zeros(1, 1, 4))),
        RuntimeError,
        r"state: expected c of size \(1, 2, 4\), got \(1, 1, 4\)",
    ),
    (
        lambda s: s.reset(torch.zeros(2)),
        ValueError,
        r"mask: expected a bool tensor of shape \(2,\), got \(2,\), torch",
    ),
    (lambda s: s.reset([True, False]), ValueError, r"mask: expected a bool tensor of shape \(2,\), got list"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_what_cannot_be_is_refused_and_changes_nothing(
    call: Callable[[Any], object], error: type[Exception], message: str, kernel: str
) -> None:
    stream = gl.LSTM(3, 4).stream(2)
    stream.step(torch.randn(2, 3))
    before = stream.state
    with pytest.raises(error, match=message):
        call(stream)
    assert all(map(torch.equal, stream.state, before))


def test_what_cannot_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="stream: a bidirectional LSTM reads each sequence from its end too"):
        gl.LSTM(3, 4, bidirectional=True).stream()
    with pytest.raises(ValueError, match="batch_size: expected 1 or more, got 0"):
        gl.LSTM(3, 4).stream(0)
    with pytest.raises(TypeError, match=r"batch_size: expected an int, got 1.0 \(float\)"):
        gl.LSTM(3, 4).stream(1.0)


def test_a_stream_says_what_it_is() -> None:
    stream = gl.LSTM(3, 8, num_layers=2, proj_size=5).stream(4)
    assert repr(stream) == "Stream(batch_size=4, input_size=3, num_layers=2, output_size=5)"
