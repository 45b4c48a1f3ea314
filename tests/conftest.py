"""What the tests share, as fixtures: kernels, twins of torch's modules, results with gradients, a hand-made LSTM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

import glasslstm as gl
from glasslstm.errors import KernelError
from glasslstm.ops.dispatch import KERNELS

Results = dict[str, Tensor]


def pytest_configure(config: pytest.Config) -> None:
    """Let the tests run where nothing was compiled; ops/test_dispatch.py holds the warning to its words."""
    config.addinivalue_line(
        "filterwarnings", "ignore:glasslstm runs without its native kernels:RuntimeWarning"
    )


@pytest.fixture(autouse=True)
def _seed() -> None:
    """No test depends on the ones before it."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - for libraries that draw from the global generator


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every kernel in turn, in force for the whole test."""
    with gl.use_kernel(request.param):
        yield request.param


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Skip what a kernel says that it cannot do, where a test goes through every kernel."""
    try:
        return (yield)
    except KernelError as error:
        limits = {
            "native": (
                "it knows no projections",
                "it runs on the CPU",
                "they were not compiled at installation",
            ),
            "torch": ("it keeps its gates for the backward pass",),
        }
        of_kernel = next((limits[name] for name in limits if f"'{name}' was asked" in str(error)), ())
        if not any(limit in str(error) for limit in of_kernel):
            raise
        pytest.skip(str(error))


@pytest.fixture
def twin() -> Callable[..., tuple[gl.LSTM, nn.LSTM]]:
    """Make a glasslstm.LSTM and a torch.nn.LSTM of the same weights; float64 unless told otherwise."""

    def make(*args: Any, dtype: torch.dtype = torch.float64, **kwargs: Any) -> tuple[gl.LSTM, nn.LSTM]:
        ours, theirs = gl.LSTM(*args, dtype=dtype, **kwargs), nn.LSTM(*args, dtype=dtype, **kwargs)
        theirs.load_state_dict(ours.state_dict(), strict=True)
        return ours, theirs

    return make


@pytest.fixture
def results() -> Callable[..., Results]:
    """Call a module and give its output, its states, and the gradient of everything, by name.

    The loss weighs every element of output, h_n and c_n with a random number of its own, the same ones
    in every call.
    """
    return _results


@pytest.fixture
def equal() -> Callable[..., None]:
    """Compare two dictionaries of tensors: same names, and each within `atol`."""
    return _equal


@pytest.fixture
def numpy_lstm() -> Callable[..., dict[str, Any]]:
    """Run an LSTM by hand: the six equations, one sequence and one step at a time, in numpy."""
    return _numpy_lstm


def _results(
    module: nn.Module,
    x: Tensor | PackedSequence,
    hx: Sequence[Tensor] | None = None,
    *,
    inputs: Sequence[Tensor] = (),
    **call: Any,
) -> Results:
    output, (h_n, c_n), *_ = module(x, hx, **call)
    tensor = output.data if isinstance(output, PackedSequence) else output
    values = {"output": tensor, "h_n": h_n, "c_n": c_n}
    draw = torch.Generator().manual_seed(1)
    loss = sum(
        (value * torch.randn(value.shape, generator=draw, dtype=torch.float64).to(value)).sum()
        for value in values.values()
    )
    leaves = dict(module.named_parameters())
    leaves |= {f"input {k}": leaf for k, leaf in enumerate(inputs)}
    wanted = {name: leaf for name, leaf in leaves.items() if leaf.requires_grad}
    if wanted:
        grads = torch.autograd.grad(loss, list(wanted.values()), retain_graph=True)
        values |= {f"d {name}": grad for name, grad in zip(wanted, grads, strict=True)}
    return {name: value.detach() for name, value in values.items()}


def _equal(ours: Results, theirs: Results, atol: float = 1e-10) -> None:
    assert list(ours) == list(theirs)
    for name, expected in theirs.items():
        torch.testing.assert_close(
            ours[name], expected, atol=atol, rtol=0, msg=lambda text, name=name: f"{name}: {text}"
        )


def _numpy_lstm(
    module: nn.Module,
    x: Tensor,
    hx: Sequence[Tensor] | None = None,
    lengths: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Return output, h_n, c_n, and under (layer, direction) the six quantities, for x of (T, B, I)."""
    weights = {name: value.detach().double().numpy() for name, value in module.state_dict().items()}
    sequences = x.detach().double().numpy()
    T, B, _ = sequences.shape
    H, P = module.hidden_size, module.proj_size or module.hidden_size
    D = 2 if module.bidirectional else 1
    h_n, c_n = np.zeros((module.num_layers * D, B, P)), np.zeros((module.num_layers * D, B, H))
    if hx is not None:
        h_n, c_n = (state.detach().double().numpy().copy() for state in hx)
    found: dict[Any, Any] = {}
    for layer in range(module.num_layers):
        outputs = []
        for direction in range(D):
            record = {name: np.zeros((T, B, H)) for name in ("i", "f", "g", "o", "c")} | {
                "h": np.zeros((T, B, P))
            }
            k = layer * D + direction
            suffix = f"_l{layer}{'_reverse' if direction else ''}"
            for b in range(B):
                length = T if lengths is None else int(lengths[b])
                for t in reversed(range(length)) if direction else range(length):
                    step = _numpy_step(weights, suffix, H, sequences[t, b], h_n[k, b], c_n[k, b])
                    h_n[k, b], c_n[k, b] = step["h"], step["c"]
                    for name, value in step.items():
                        record[name][t, b] = value
            found[layer, direction] = record
            outputs.append(record["h"])
        sequences = np.concatenate(outputs, axis=-1)
    return found | {"output": sequences, "h_n": h_n, "c_n": c_n}


def _numpy_step(
    weights: dict[str, np.ndarray], suffix: str, H: int, x: np.ndarray, h: np.ndarray, c: np.ndarray
) -> dict[str, np.ndarray]:
    hx = np.concatenate([h, x])
    gate = {}
    for k, name in enumerate("ifgo"):
        rows = slice(k * H, (k + 1) * H)
        W = np.concatenate([weights["weight_hh" + suffix][rows], weights["weight_ih" + suffix][rows]], axis=1)
        gate[name] = W @ hx
        if "bias_ih" + suffix in weights:
            gate[name] += weights["bias_ih" + suffix][rows] + weights["bias_hh" + suffix][rows]
    f, i, o = (1 / (1 + np.exp(-gate[name])) for name in "fio")
    g = np.tanh(gate["g"])
    c = f * c + i * g
    h = o * np.tanh(c)
    if "weight_hr" + suffix in weights:
        h = weights["weight_hr" + suffix] @ h
    return {"i": i, "f": f, "g": g, "o": o, "c": c, "h": h}
