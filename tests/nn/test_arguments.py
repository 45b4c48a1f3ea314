"""Bad arguments and bad input: the exceptions are the built-in ones that torch raises, with better words."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn, zeros
from torch.nn.utils.rnn import pack_padded_sequence

import glasslstm as gl
from glasslstm.errors import GlassLSTMError


def _refused_as_by_torch(
    call: Callable[[Any], Any],
    kind: type[Exception],
    message: str,
    torch_raises: type[Exception] | None = None,
) -> None:
    """`call` is given a namespace, torch.nn or glasslstm; both must raise `kind`, ours with our words."""
    with pytest.raises(torch_raises or kind) as theirs:
        call(nn)
    assert type(theirs.value) is (torch_raises or kind), "what torch raises is not what this test says"
    with pytest.raises(kind, match=message) as ours:
        call(gl)
    assert isinstance(ours.value, GlassLSTMError)


# The constructor


@pytest.mark.parametrize("kind", ["LSTM", "LSTMCell"])
def test_signatures_are_torchs(kind: str) -> None:
    ours = inspect.signature(getattr(gl, kind)).parameters
    if kind == "LSTM":
        names = (
            "input_size hidden_size num_layers bias batch_first dropout bidirectional proj_size device dtype "
            "recompute learn_initial_state"
        )
        defaults = [inspect.Parameter.empty] * 2 + [1, True, False, 0.0, False, 0, None, None, False, False]
    else:
        names, defaults = (
            "input_size hidden_size bias device dtype",
            [inspect.Parameter.empty] * 2 + [True, None, None],
        )
        assert list(inspect.signature(nn.LSTMCell).parameters) == names.split()
    assert list(ours) == names.split()
    assert [p.default for p in ours.values()] == defaults


def test_every_argument_may_be_positional() -> None:
    arguments = (3, 4, 2, False, True, 0.5, True, 2, "meta", torch.float64)
    ours, theirs = gl.LSTM(*arguments), nn.LSTM(*arguments)
    assert repr(ours) == repr(theirs)
    assert [(n, p.shape, p.dtype, p.device) for n, p in ours.named_parameters()] == [
        (n, p.shape, p.dtype, p.device) for n, p in theirs.named_parameters()
    ]
    assert repr(gl.LSTMCell(3, 4, False, "meta", torch.float64)) == "LSTMCell(3, 4, bias=False)"


def test_it_is_no_subclass_of_torchs_which_could_not_be_compiled() -> None:
    assert not issubclass(gl.LSTM, nn.LSTM)
    assert issubclass(gl.LSTM, nn.Module)


VALUES: list[tuple[dict[str, Any], str]] = [
    ({"dropout": -0.1}, "dropout: .*0 to 1.*got -0.1"),
    ({"dropout": 1.5}, "dropout: .*got 1.5"),
    ({"dropout": float("nan")}, "dropout: .*got nan"),
    ({"dropout": True}, "dropout: .*got True"),
    ({"dropout": "0.5"}, "dropout: .*got '0.5'"),
    ({"input_size": 0}, "input_size: expected 1 or more, got 0"),
    ({"input_size": -3}, "input_size: expected 1 or more, got -3"),
    ({"hidden_size": 0}, "hidden_size: expected 1 or more, got 0"),
    ({"num_layers": 0}, "num_layers: expected 1 or more, got 0"),
    ({"num_layers": -1}, "num_layers: expected 1 or more, got -1"),
    ({"proj_size": -1}, "proj_size: .*hidden_size=4, got -1"),
    ({"proj_size": 4}, "proj_size: .*less than hidden_size=4, got 4"),
]
TYPES: list[tuple[dict[str, Any], str]] = [
    ({"hidden_size": 4.0}, r"hidden_size: expected an int, got 4.0 \(float\)"),
    ({"input_size": "3"}, r"input_size: expected an int, got '3' \(str\)"),
    ({"input_size": np.int64(3)}, r"input_size: expected an int, got .*\(int64\)"),
    ({"num_layers": 1.0}, r"num_layers: expected an int, got 1.0 \(float\)"),
    ({"bias": 1}, r"bias: expected True or False, got 1 \(int\)"),
    ({"bias": None}, r"bias: expected True or False, got None \(NoneType\)"),
    ({"batch_first": "no"}, r"batch_first: expected True or False, got 'no' \(str\)"),
    ({"proj_size": 1.0}, r"proj_size: expected an int, got 1.0 \(float\)"),
]


@pytest.mark.filterwarnings("ignore:dropout")
@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [(a, ValueError, m) for a, m in VALUES] + [(a, TypeError, m) for a, m in TYPES],
    ids=[repr(a) for a, _ in VALUES + TYPES],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], kind: type[Exception], message: str) -> None:
    sizes = {"input_size": 3, "hidden_size": 4}
    _refused_as_by_torch(lambda namespace: namespace.LSTM(**{**sizes, **arguments}), kind, message)


@pytest.mark.parametrize("name", ["num_layers", "proj_size"])
def test_numpy_integers_are_taken_where_torch_takes_them(name: str) -> None:
    arguments: dict[str, Any] = {name: np.int64(2)}
    assert [p.shape for p in gl.LSTM(3, 4, **arguments).parameters()] == [
        p.shape for p in nn.LSTM(3, 4, **arguments).parameters()
    ]


def test_an_unknown_argument_is_refused() -> None:
    for namespace in (nn, gl):
        with pytest.raises(TypeError, match="unexpected keyword argument 'hidden'"):
            namespace.LSTM(3, 4, hidden=5)


def test_dropout_without_a_second_layer_is_warned_of_at_the_callers_line() -> None:
    with pytest.warns(
        UserWarning, match="dropout=0.5 has no effect with num_layers=1.*add a layer"
    ) as caught:
        gl.LSTM(3, 4, dropout=0.5)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="num_layers greater than 1"):
        nn.LSTM(3, 4, dropout=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gl.LSTM(3, 4, 2, dropout=0.5)
        gl.LSTM(3, 4, dropout=0)


@pytest.mark.parametrize("dropout", [0, 1, 0.5, np.float32(0.5)], ids=repr)
def test_a_dropout_of_any_number_is_kept_as_a_float(dropout: Any) -> None:
    assert type(gl.LSTM(3, 4, 2, dropout=dropout).dropout) is float
    assert gl.LSTM(3, 4, 2, dropout=dropout).dropout == nn.LSTM(3, 4, 2, dropout=dropout).dropout


@pytest.mark.parametrize("bidirectional", [1, 0, "yes"], ids=repr)
def test_torch_takes_any_truth_value_for_bidirectional(bidirectional: Any) -> None:
    ours, theirs = (namespace.LSTM(3, 4, bidirectional=bidirectional) for namespace in (gl, nn))
    assert list(ours.state_dict()) == list(theirs.state_dict())


# The call


def _states(*shapes: tuple[int, ...], **options: Any) -> tuple[torch.Tensor, ...]:
    return tuple(zeros(shape, **options) for shape in shapes)


good = (1, 2, 4)
packed = pack_padded_sequence(zeros(5, 2, 3), [5, 2])
CALLS: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "no dimension": (lambda lstm: lstm(zeros(())), ValueError, r"input: expected 3 .*or 2 .*got 0"),
    "1-D": (lambda lstm: lstm(zeros(3)), ValueError, r"input: .*got 1, shape \(3,\)"),
    "4-D": (lambda lstm: lstm(zeros(1, 5, 2, 3)), ValueError, r"got 4, shape \(1, 5, 2, 3\)"),
    "float64": (
        lambda lstm: lstm(zeros(5, 2, 3).double()),
        ValueError,
        r"torch.float64 differs .* torch.float32; call input.to\(torch.float32\) or module.to\(torch.float64\)",
    ),
    "integers": (lambda lstm: lstm(zeros(5, 2, 3).long()), ValueError, r"call input.to\(torch.float32\)$"),
    "channels": (
        lambda lstm: lstm(zeros(5, 2, 4)),
        RuntimeError,
        r"input \(5, 2, 4\): expected input_size=3 in the last dimension, got 4",
    ),
    "channels, unbatched": (lambda lstm: lstm(zeros(5, 4)), RuntimeError, r"input \(5, 4\): .*got 4"),
    "no step": (lambda lstm: lstm(zeros(0, 2, 3)), RuntimeError, r"input \(0, 2, 3\): .*one time step"),
    "no step, unbatched": (lambda lstm: lstm(zeros(0, 3)), RuntimeError, "at least one time step, got none"),
    "no step, no batch": (lambda lstm: lstm(zeros(0, 0, 3)), RuntimeError, "at least one time step"),
    "h of another width": (
        lambda lstm: lstm(zeros(5, 2, 3), _states((1, 2, 5), good)),
        RuntimeError,
        r"hx: expected h_0 of size \(1, 2, 4\), got \(1, 2, 5\)",
    ),
    "c of another width": (
        lambda lstm: lstm(zeros(5, 2, 3), _states(good, (1, 2, 5))),
        RuntimeError,
        r"hx: expected c_0 of size \(1, 2, 4\), got \(1, 2, 5\)",
    ),
    "h of another batch": (
        lambda lstm: lstm(zeros(5, 2, 3), _states((1, 3, 4), (1, 3, 4))),
        RuntimeError,
        r"hx: expected h_0 of size \(1, 2, 4\), got \(1, 3, 4\)",
    ),
    "h of another depth": (
        lambda lstm: lstm(zeros(5, 2, 3), _states((2, 2, 4), (2, 2, 4))),
        RuntimeError,
        r"expected h_0 of size \(1, 2, 4\), got \(2, 2, 4\)",
    ),
    "h without a batch": (
        lambda lstm: lstm(zeros(5, 2, 3), _states((1, 4), (1, 4))),
        RuntimeError,
        r"hx: expected h_0 with 3 dimensions, \(1, 2, 4\), .*input of 3 dimensions; got 2, \(1, 4\)",
    ),
    "c without a batch": (
        lambda lstm: lstm(zeros(5, 2, 3), _states(good, (1, 4))),
        RuntimeError,
        r"hx: expected c_0 with 3 dimensions, .*got 2, \(1, 4\)",
    ),
    "h with a batch, input without": (
        lambda lstm: lstm(zeros(5, 3), _states((1, 1, 4), (1, 1, 4))),
        RuntimeError,
        r"hx: expected h_0 with 2 dimensions, \(1, 4\), .*input of 2 dimensions; got 3, \(1, 1, 4\)",
    ),
    "h elsewhere": (
        lambda lstm: lstm(zeros(5, 2, 3), _states(good, good, device="meta")),
        RuntimeError,
        r"hx: h_0: is on meta, expected cpu; move it with .to\('cpu'\)",
    ),
    "input elsewhere": (
        lambda lstm: lstm(zeros(5, 2, 3, device="meta")),
        RuntimeError,
        r"input: is on meta, expected cpu; move it with .to\('cpu'\)",
    ),
    "h of another type": (
        lambda lstm: lstm(zeros(5, 2, 3), _states(good, good, dtype=torch.float64)),
        RuntimeError,
        r"hx: h_0 is torch.float64 and the input torch.float32; call h_0.to\(torch.float32\)",
    ),
    "hx a dict": (
        lambda lstm: lstm(zeros(5, 2, 3), {0: zeros(good), 1: zeros(good)}),
        TypeError,
        r"hx: expected a tuple or list of two tensors, \(h, c\), got dict",
    ),
    "hx one tensor": (
        lambda lstm: lstm(zeros(5, 2, 3), zeros(2, 1, 2, 4)),
        TypeError,
        r"hx: expected a tuple or list of two tensors, \(h, c\), got Tensor",
    ),
    "three states": (
        lambda lstm: lstm(zeros(5, 2, 3), _states(good, good, good)),
        RuntimeError,
        r"hx: expected two tensors, \(h, c\), got 3",
    ),
    "packed channels": (
        lambda lstm: lstm(pack_padded_sequence(zeros(5, 2, 4), [5, 2])),
        RuntimeError,
        r"input \(7, 4\): expected input_size=3",
    ),
    "packed, h of another batch": (
        lambda lstm: lstm(packed, _states((1, 3, 4), (1, 3, 4))),
        RuntimeError,
        r"hx: expected h_0 of size \(1, 2, 4\), got \(1, 3, 4\)",
    ),
}


@pytest.mark.parametrize(("call", "kind", "message"), CALLS.values(), ids=CALLS)
def test_bad_calls_are_refused(call: Callable[[Any], Any], kind: type[Exception], message: str) -> None:
    _refused_as_by_torch(lambda namespace: call(namespace.LSTM(3, 4)), kind, message)


# Where torch falls over a detail, with whatever exception that gives, ours says what is wrong.
CLEARER: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "numpy": (lambda lstm: lstm(np.zeros((5, 2, 3))), TypeError, r"expected a torch.Tensor .*got ndarray"),
    "a list": (
        lambda lstm: lstm([[1.0, 2.0, 3.0]]),
        TypeError,
        "expected a torch.Tensor or a PackedSequence, got list",
    ),
    "one state": (
        lambda lstm: lstm(zeros(5, 2, 3), _states(good)),
        ValueError,
        "expected two tensors.*got 1",
    ),
    "state a list": (
        lambda lstm: lstm(zeros(5, 2, 3), ([0.0], zeros(good))),
        TypeError,
        "h_0 as a torch.Tensor, got list",
    ),
    "packed, h without a batch": (
        lambda lstm: lstm(packed, _states((1, 4), (1, 4))),
        RuntimeError,
        r"hx: expected h_0 with 3 dimensions, \(1, 2, 4\)",
    ),
    "packed float64": (
        lambda lstm: lstm(pack_padded_sequence(zeros(5, 2, 3).double(), [5, 2])),
        ValueError,
        r"torch.float64 differs from the weights' torch.float32",
    ),
    "packed scalars": (
        lambda lstm: lstm(pack_padded_sequence(zeros(5, 3), [5, 2, 1])),
        RuntimeError,
        r"input \(8,\): expected",
    ),
    "packed images": (
        lambda lstm: lstm(pack_padded_sequence(zeros(5, 2, 7, 3), [5, 2])),
        (ValueError, RuntimeError),
        r"input",
    ),
}


@pytest.mark.parametrize(("call", "kind", "message"), CLEARER.values(), ids=CLEARER)
def test_calls_that_torch_answers_with_a_detail(call: Callable[[Any], Any], kind: Any, message: str) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it is
        call(nn.LSTM(3, 4))
    with pytest.raises(kind, match=message) as ours:
        call(gl.LSTM(3, 4))
    assert isinstance(ours.value, GlassLSTMError)


def test_packed_states_are_checked_which_torch_does_not_do() -> None:
    """torch takes states of one depth too many beside a packed sequence, and reads the first."""
    states = _states((3, 2, 4), (3, 2, 4))
    with pytest.raises(gl.errors.ShapeError, match=r"expected h_0 of size \(1, 2, 4\), got \(3, 2, 4\)"):
        gl.LSTM(3, 4)(packed, states)


@pytest.mark.parametrize("kernel", ["auto", "torch", "plain", "equations"])
def test_input_is_checked_before_any_kernel_starts(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import glasslstm.nn.lstm

    monkeypatch.setattr(glasslstm.nn.lstm, "stack", lambda *_, **__: pytest.fail("a kernel was started"))
    with gl.use_kernel(kernel):
        for call, *_ in CALLS.values():
            with pytest.raises(GlassLSTMError):
                call(gl.LSTM(3, 4))


def test_with_two_layers_and_directions_the_expected_sizes_are_named() -> None:
    lstm = gl.LSTM(3, 4, 2, bidirectional=True, proj_size=2, batch_first=True)
    with pytest.raises(RuntimeError, match=r"expected h_0 of size \(4, 5, 2\), got \(4, 7, 2\)"):
        lstm(zeros(5, 7, 3), (zeros(4, 7, 2), zeros(4, 7, 4)))
    with pytest.raises(RuntimeError, match=r"expected c_0 of size \(4, 5, 4\), got \(4, 5, 2\)"):
        lstm(zeros(5, 7, 3), (zeros(4, 5, 2), zeros(4, 5, 2)))


def test_a_state_of_none_is_zero() -> None:
    lstm, x = gl.LSTM(3, 4), torch.randn(5, 2, 3)
    assert torch.equal(lstm(x, (None, None))[0], lstm(x)[0])
    assert torch.equal(lstm(x, hx=None)[0], lstm(x)[0])


def test_a_module_on_no_device_is_used_with_inputs_on_none() -> None:
    lstm = gl.LSTM(3, 4)
    output, _, trace = lstm.to("meta")(zeros(5, 2, 3, device="meta"), return_trace=True)
    assert output.shape == trace[0, 0].cell.shape == (5, 2, 4)
