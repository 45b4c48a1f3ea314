"""The native kernels against the equations in float64: every result and every gradient, at awkward sizes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

import pytest
import torch
from torch import Tensor

import glasslstm as gl
from glasslstm.ops import cpu
from glasslstm.ops.layer import layer
from glasslstm.ops.values import Keep, LayerWeights, Result, StateGradients

pytestmark = pytest.mark.skipif(
    cpu.NATIVE is None, reason="the native kernels were not compiled at installation"
)

SIZES = (
    1,
    3,
    5,
    15,
    16,
    17,
    33,
    64,
    65,
    130,
)  # around multiples of 2, 4, 8 and 16, the widths of the vectors
BATCHES = (1, 2, 3, 5, 6, 7, 13, 40)
TIMES = (1, 2, 3, 7, 16, 40)
LENGTHS = ("full", "ragged", "with empty ones", "full", "all empty")


@pytest.fixture(autouse=True)
def _poisoned_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fresh memory holds NaN: whatever is read before it is written shows in a result."""
    monkeypatch.setattr(cpu, "_LARGE", 1 << 60)  # all of it from torch, which knows how to fill it
    torch.use_deterministic_algorithms(True)
    assert torch.empty(1).isnan()
    yield
    torch.use_deterministic_algorithms(False)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """For the native kernel alone: torch's own threads crawl where another process has the processors."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass
class Case:
    """The sizes of one layer, as short names have them everywhere."""

    T: int
    B: int
    I: int  # noqa: E741
    H: int
    D: int = 1
    lengths: str = "full"
    threads: int = 1

    def __str__(self) -> str:
        return "-".join(f"{name}{value}" for name, value in vars(self).items()).replace("lengths", "")

    def draw_lengths(self) -> Tensor | None:
        if self.lengths == "full":
            return None
        if self.lengths == "all empty":
            return torch.zeros(self.B, dtype=torch.int64)
        least = 0 if self.lengths == "with empty ones" else 1
        drawn = torch.randint(least, self.T + 1, (self.B,))
        if self.lengths == "with empty ones":
            drawn[self.B // 2] = 0
        return drawn


@dataclass
class Inputs:
    """What goes into a layer, and what of it has gradients."""

    x: Tensor
    h_0: Tensor
    c_0: Tensor
    weights: list[LayerWeights]
    lengths: Tensor | None

    @property
    def leaves(self) -> list[Tensor]:
        return [self.x, self.h_0, self.c_0, *(w for part in self.weights for w in part.present())]

    def map(self, function: Callable[[Tensor], Tensor]) -> Inputs:
        """Return the same with `function` applied to each floating-point tensor, as leaves of their own."""

        def leaf(tensor: Tensor) -> Tensor:
            return function(tensor.detach()).detach().requires_grad_()

        weights = [part.map(leaf) for part in self.weights]
        return Inputs(leaf(self.x), leaf(self.h_0), leaf(self.c_0), weights, self.lengths)

    def run(self, kernel: str, keep: Keep = "trace", gradients: Sequence[StateGradients] = ()) -> Result:
        return layer(
            self.x,
            self.h_0,
            self.c_0,
            self.weights,
            lengths=self.lengths,
            kernel=kernel,
            keep=keep,
            state_gradients=gradients,
        )


def _draw(case: Case, dtype: torch.dtype = torch.float64, bias: bool = True) -> Inputs:
    T, B, I, H, D = case.T, case.B, case.I, case.H, case.D  # noqa: E741

    def draw(*shape: int, scale: float = 1.0) -> Tensor:
        return (torch.randn(shape, dtype=torch.float64) * scale).to(dtype).requires_grad_()

    scale = H**-0.5
    weights = [
        LayerWeights(
            draw(4 * H, I, scale=scale),
            draw(4 * H, H, scale=scale),
            *((draw(4 * H), draw(4 * H)) if bias else ()),
        )
        for _ in range(D)
    ]
    return Inputs(draw(T, B, I), draw(D, B, H), draw(D, B, H), weights, case.draw_lengths())


def _everything(inputs: Inputs, kernel: str, keep: Keep = "trace", threads: int = 1) -> dict[str, Tensor]:
    """Return every result, every gradient, and dL/dc_t and dL/dh_t; with `keep` the results that it names."""
    left = [StateGradients() for _ in inputs.weights] if keep == "trace" else ()
    with _threads(threads):
        result = inputs.run(kernel, keep, left)
    draw = torch.Generator().manual_seed(1)
    given = result if keep == "trace" else result[:3]
    loss = sum((value * torch.randn(value.shape, generator=draw, dtype=value.dtype)).sum() for value in given)
    with _threads(threads):
        grads = torch.autograd.grad(loss, inputs.leaves, allow_unused=True, materialize_grads=True)
    found = dict(zip(Result._fields, given, strict=False))
    found |= {f"gradient {k}": grad for k, grad in enumerate(grads)}
    for d, kept in enumerate(left):
        for name in ("cell", "hidden"):
            gradient = getattr(kept, name)
            found[f"{name} gradient {d}"] = torch.zeros(()) if gradient is None else gradient
    return {name: value.detach() for name, value in found.items()}


def _check(inputs: Inputs, threads: int = 1) -> None:
    found = _everything(inputs, "native", threads=threads)
    expected = _everything(inputs, "equations")
    if inputs.lengths is not None:
        # The equations give the states of the padding a gradient too, by which nothing is multiplied.
        steps = torch.arange(len(inputs.x)).unsqueeze(1)
        valid = (steps < inputs.lengths).unsqueeze(2)
        for name in (name for name in expected if name.startswith(("cell g", "hidden g"))):
            expected[name] = torch.where(valid, expected[name], 0.0)
    _check_close(found, expected)


def _check_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, ours in found.items():
        wanted = expected[name].expand(ours.shape)
        atol = 1e-12 * max(1.0, wanted.abs().max().item() if wanted.numel() else 0.0)
        torch.testing.assert_close(
            ours, wanted, atol=atol, rtol=1e-10, msg=lambda text, name=name: f"{name}: {text}"
        )


def _cases() -> list[Case]:
    """Every hidden size with every batch size, and the rest as it comes, the same in every run."""
    draw = Random(4)
    return [
        Case(
            T=draw.choice(TIMES if B < 40 else TIMES[:-1]),
            B=B,
            I=draw.choice(SIZES),
            H=H,
            D=draw.choice((1, 2)),
            lengths=draw.choice(LENGTHS),
            threads=draw.choice((1, 2, 3, 5)),
        )
        for H in SIZES
        for B in BATCHES
    ]


@pytest.mark.parametrize("case", _cases(), ids=str)
def test_every_size(case: Case) -> None:
    _check(_draw(case), case.threads)


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize("lengths", ["full", "with empty ones"])
@pytest.mark.parametrize(("T", "B", "H"), [(5, 3, 130), (6, 40, 33), (4, 9, 65)])
def test_shared_out_over_threads(T: int, B: int, H: int, lengths: str, D: int, threads: int) -> None:
    """Few sequences, and the threads split the units; many, and they split the sequences."""
    inputs = _draw(Case(T=T, B=B, I=17, H=H, D=D, lengths=lengths))
    for keep in ("trace", "states"):
        _check_close(_everything(inputs, "native", keep, threads), _everything(inputs, "plain", keep))


@pytest.mark.parametrize("bias", [True, False])
def test_without_bias(bias: bool) -> None:
    _check(_draw(Case(T=4, B=5, I=3, H=17, D=2, lengths="ragged"), bias=bias))


@pytest.mark.parametrize("keep", ["nothing", "states", "gates", "trace"])
@pytest.mark.parametrize("lengths", [False, True], ids=["padded", "ragged"])
@pytest.mark.parametrize("D", [1, 2])
def test_a_batch_of_none(D: int, lengths: bool, keep: Keep) -> None:
    inputs = _draw(Case(T=4, B=0, I=3, H=5, D=D, lengths="all empty" if lengths else "full"))
    with torch.set_grad_enabled(keep != "nothing"):
        result = inputs.run("native", keep)
    assert result.output.shape == (4, 0, 5 * D)
    assert result.h_n.shape == result.c_n.shape == (D, 0, 5)
    if keep == "nothing":
        return
    grads = torch.autograd.grad(result.output.sum() + result.h_n.sum(), inputs.leaves)
    assert [grad.shape for grad in grads] == [leaf.shape for leaf in inputs.leaves]
    assert not any(grad.any() for grad in grads)


# Memory: nothing is read that does not belong to a tensor, however it lies


def _between_nan(tensor: Tensor) -> Tensor:
    """Return the same numbers at an odd address, with NaN before and behind."""
    memory = torch.full((tensor.numel() + 134,), torch.nan, dtype=tensor.dtype)
    place = memory[67:-67].view(tensor.shape)
    return place.copy_(tensor)


def _between_nan_rows(tensor: Tensor) -> Tensor:
    """Return the same numbers with NaN between any two rows of the last dimension."""
    *steps, count = tensor.shape
    memory = torch.full((*steps, count + 3), torch.nan, dtype=tensor.dtype)
    place = memory[..., 1 : count + 1]
    return place.copy_(tensor)


def _transposed(tensor: Tensor) -> Tensor:
    return tensor.transpose(0, -1).contiguous().transpose(0, -1)


def _batch_first(tensor: Tensor) -> Tensor:
    return tensor.transpose(0, 1).contiguous().transpose(0, 1) if tensor.dim() > 2 else tensor


def _every_other(tensor: Tensor) -> Tensor:
    return torch.full((2, *tensor.shape), torch.nan, dtype=tensor.dtype).copy_(tensor).movedim(0, -1)[..., 1]


LAYOUTS = (_between_nan, _between_nan_rows, _transposed, _batch_first, _every_other)


@pytest.mark.parametrize("lay", LAYOUTS, ids=lambda lay: lay.__name__.strip("_"))
@pytest.mark.parametrize("lengths", ["full", "with empty ones"])
@pytest.mark.parametrize(("B", "H"), [(2, 17), (7, 5), (7, 16)])
@pytest.mark.parametrize("keep", ["states", "gates", "trace"])
def test_any_layout_of_any_input(
    keep: Keep, B: int, H: int, lengths: str, lay: Callable[[Tensor], Tensor]
) -> None:
    inputs = _draw(Case(T=5, B=B, I=3, H=H, D=2, lengths=lengths))
    laid = inputs.map(lay)
    assert torch.equal(laid.x, inputs.x)
    found, expected = (_everything(one, "native", keep) for one in (laid, inputs))
    _check_close(found, expected)
    if keep == "trace":
        _check_close(found, _everything(inputs, "plain"))


def _from_the_pool(monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    """Let every result come from memory that was used before, by as many NaN as fit."""
    monkeypatch.setattr(cpu, "_LARGE", 0)
    H, D = case.H, case.D
    sizes = [(case.T, case.B, D * H), (D, case.T, case.B, 4 * H), (D, case.B, H), (4 * H, case.I), (4 * H, H)]
    spoiled = [cpu.NATIVE.empty_f64(size).fill_(torch.nan) for size in sizes for _ in range(4)]
    assert spoiled
    del spoiled


@pytest.mark.parametrize("keep", ["states", "gates", "trace"])
@pytest.mark.parametrize("lengths", ["full", "with empty ones", "all empty"])
@pytest.mark.parametrize("threads", [1, 2])
def test_used_memory_leaves_nothing_behind(
    threads: int, lengths: str, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(T=9, B=12, I=5, H=33, D=2, lengths=lengths)
    inputs = _draw(case)
    expected = _everything(inputs, "native", keep)
    _from_the_pool(monkeypatch, case)
    _check_close(_everything(inputs, "native", keep, threads), expected)


def test_what_came_from_the_pool_is_the_callers_for_as_long_as_it_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Later calls, of the same sizes and of others, write somewhere else; a view alone keeps the memory."""
    monkeypatch.setattr(cpu, "_LARGE", 0)
    inputs = _draw(Case(T=6, B=3, I=4, H=9, D=2))
    with torch.no_grad():
        result = inputs.run("native")
        views, copies = [value[-1] for value in result], [value[-1].clone() for value in result]
        storage = result.output.untyped_storage()
        assert storage.nbytes() >= 6 * 3 * 18 * 8
        del result, storage
        inputs.x.add_(1)
        for size in (3, 6, 5):
            shorter = Inputs(inputs.x[:size], inputs.h_0, inputs.c_0, inputs.weights, None)
            for _ in range(3):
                shorter.run("native")
    assert all(torch.equal(a, b) for a, b in zip(views, copies, strict=True))


@pytest.mark.parametrize("shape", [(1, 3, 4), (5, 1, 4), (5, 3, 1), (1, 1, 4), (1, 1, 1)], ids=str)
def test_an_input_that_is_expanded(shape: tuple[int, ...]) -> None:
    inputs = _draw(Case(T=5, B=3, I=4, H=9, D=2))
    inputs.x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    narrow = inputs.x
    found = []
    for kernel in ("native", "equations"):
        inputs.x = narrow.expand(5, 3, 4)
        result = inputs.run(kernel)
        grads = torch.autograd.grad(result.output.pow(2).sum(), [narrow, *inputs.leaves[1:]])
        found.append(dict(enumerate([*result, *grads])))
    _check_close(*found)


def _expanded(like: Tensor) -> Tensor:
    return torch.tensor(0.7, dtype=like.dtype).expand(like.shape)


def _expanded_rows(like: Tensor) -> Tensor:
    return torch.randn(like.size(-1), dtype=like.dtype).expand(like.shape)


GRADIENTS = (*LAYOUTS, _expanded, _expanded_rows)


@pytest.mark.parametrize("lay", GRADIENTS, ids=lambda lay: lay.__name__.strip("_"))
@pytest.mark.parametrize("lengths", ["full", "with empty ones"])
@pytest.mark.parametrize("D", [1, 2])
def test_any_layout_of_any_gradient(D: int, lengths: str, lay: Callable[[Tensor], Tensor]) -> None:
    inputs = _draw(Case(T=5, B=6, I=3, H=7, D=D, lengths=lengths))
    drawn = [torch.randn_like(value) for value in inputs.run("native")]
    grads = [lay(value) for value in drawn]
    found = []
    for kernel in ("native", "equations"):
        result = inputs.run(kernel)
        found.append(dict(enumerate(torch.autograd.grad(result, inputs.leaves, grads))))
    _check_close(*found)


@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize("keep", ["states", "gates", "trace"])
@pytest.mark.parametrize(("B", "H"), [(2, 17), (9, 5)])
def test_the_padding_may_hold_nan(B: int, H: int, keep: Keep, D: int) -> None:
    """In the input, and in what comes back for the output's padding."""
    inputs = _draw(Case(T=6, B=B, I=3, H=H, D=D, lengths="with empty ones"))
    padding = torch.arange(6).unsqueeze(1) >= inputs.lengths
    poisoned = inputs.map(torch.clone)
    poisoned.x.data[padding] = torch.nan
    found = []
    for one in (poisoned, inputs):
        result = one.run("native", keep)
        assert not result.output[padding].any()
        grad = torch.ones_like(result.output)
        if one is poisoned:
            grad[padding] = torch.nan
        grads = torch.autograd.grad(
            result.output, one.leaves, grad, materialize_grads=True, allow_unused=True
        )
        found.append(dict(enumerate([*result[:3], *grads])))
    assert not found[0][3][padding].any()
    _check_close(*found)


# Blocks of time in the backward pass


@pytest.mark.parametrize("steps", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("lengths", ["full", "ragged", "with empty ones", "all empty"])
@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize("keep", ["states", "gates", "trace"])
def test_blocks_of_time_change_nothing(
    keep: Keep, D: int, lengths: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(T=7, B=4, I=3, H=5, D=D, lengths=lengths)
    inputs = _draw(case)
    whole = _everything(inputs, "native", keep)
    monkeypatch.setattr(cpu, "_BLOCK_BYTES", steps * case.B * 4 * case.H * 8)
    _check_close(_everything(inputs, "native", keep), whole)


@pytest.mark.parametrize("size", [1, 100])
def test_blocks_smaller_than_a_step_are_steps(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_BLOCK_BYTES", size)
    _check(_draw(Case(T=4, B=3, I=2, H=17, D=2, lengths="ragged")))


@pytest.mark.parametrize("keep", ["states", "gates", "trace"])
def test_without_the_gradient_of_the_input(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_BLOCK_BYTES", 1000)
    for lengths in ("full", "ragged"):
        inputs = _draw(Case(T=5, B=3, I=2, H=6, D=2, lengths=lengths))
        grads = []
        for wanted in (True, False):
            inputs.x.requires_grad_(wanted)
            grads.append(torch.autograd.grad(inputs.run("native", keep).output.sum(), inputs.leaves[3:]))
        assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


# Numbers that are none


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf], ids=str)
@pytest.mark.parametrize("where", ["x", "h_0", "c_0"])
@pytest.mark.parametrize(("B", "H"), [(2, 5), (7, 17)])
def test_nan_and_infinity_go_where_torch_lets_them_go(
    B: int, H: int, where: str, value: float, dtype: torch.dtype
) -> None:
    inputs = _draw(Case(T=5, B=B, I=3, H=H, D=2), dtype)
    clean = inputs.run("native")
    grad = torch.randn_like(clean.output)
    clean_d_x = torch.autograd.grad(clean.output, inputs.x, grad)[0]
    with torch.no_grad():
        getattr(inputs, where)[(1 if where != "x" else 2), 1, 0] = value
    ours = inputs.run("native")
    flat = [w for part in inputs.weights for w in part[:4]]
    theirs = torch.lstm(inputs.x, (inputs.h_0, inputs.c_0), flat, True, 1, 0.0, False, True, False)
    atol = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(ours[:3], theirs, atol=atol, rtol=0, equal_nan=True)
    assert not torch.equal(ours.output[:, 1], clean.output[:, 1])
    others = [b for b in range(B) if b != 1]
    assert torch.equal(ours.output[:, others], clean.output[:, others])
    (d_x,) = torch.autograd.grad(ours.output, inputs.x, grad)
    assert torch.equal(d_x[:, others], clean_d_x[:, others])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_nan_in_one_sequence_reaches_the_weights_as_with_torch(dtype: torch.dtype) -> None:
    inputs = _draw(Case(T=5, B=4, I=3, H=5, D=2), dtype)
    with torch.no_grad():
        inputs.x[2, 1, 0] = torch.nan
    flat = [w for part in inputs.weights for w in part[:4]]
    theirs = torch.lstm(inputs.x, (inputs.h_0, inputs.c_0), flat, True, 1, 0.0, False, True, False)
    found = [
        torch.autograd.grad(output.sum(), inputs.leaves)
        for output in (inputs.run("native").output, theirs[0])
    ]
    for ours, wanted in zip(*found, strict=True):
        assert torch.equal(ours.isnan(), wanted.isnan())


# float32


@pytest.mark.parametrize("magnitude", [1e4, 1.0, 1e-6])
@pytest.mark.parametrize(
    "case",
    [Case(30, 1, 16, 33), Case(30, 3, 1, 130, threads=2), Case(30, 40, 7, 17, threads=3)],
    ids=str,
)
@pytest.mark.parametrize("keep", ["states", "gates"])
def test_error_is_at_most_twice_torchs(keep: Keep, case: Case, magnitude: float) -> None:
    """As root mean squares over several draws: where nearly all gates are shut, few steps make the error."""
    squares = sum(_squared_errors(case, keep, magnitude) for _ in range(4))
    ours, torchs, largest = squares.sqrt().unbind(1)
    assert (ours <= 2 * torchs + 1e-7 * largest).all(), (ours / torchs, ours / largest)


def _squared_errors(case: Case, keep: Keep, magnitude: float) -> Tensor:
    """Return mean squares of our error and of torch's, and the largest square, of each result and gradient."""
    ours = _draw(case, torch.float32)
    ours.x.data.mul_(magnitude)
    theirs, wide = ours.map(torch.clone), ours.map(torch.Tensor.double)
    weighed = torch.randn(case.T, case.B, case.H)

    def with_gradients(result: Sequence[Tensor], inputs: Inputs) -> list[Tensor]:
        loss = (result[0] * weighed.to(result[0])).sum() + result[1].sum() + result[2].sum()
        return [*result, *torch.autograd.grad(loss, inputs.leaves)]

    with _threads(case.threads):
        found = with_gradients(ours.run("native", keep)[:3], ours)
    flat = list(theirs.weights[0][:4])
    torchs = torch.lstm(theirs.x, (theirs.h_0, theirs.c_0), flat, True, 1, 0.0, True, False, False)
    values = zip(
        found,
        with_gradients(torchs, theirs),
        with_gradients(wide.run("equations")[:3], wide),
        strict=True,
    )
    rows = [
        [(one - truth).square().mean(), (other - truth).square().mean(), truth.square().max()]
        for one, other, truth in ([value.detach() for value in three] for three in values)
    ]
    return torch.tensor(rows, dtype=torch.float64)


def _activations(at: Tensor) -> tuple[Tensor, Tensor]:
    """Return sigmoid and tanh as the kernel computes them: gates of one unit, whose input weights are one."""
    zeros = at.new_zeros(1, len(at), 1)
    weights = LayerWeights(at.new_ones(4, 1), at.new_zeros(4, 1))
    gates = layer(at.view(1, -1, 1), zeros, zeros, [weights], kernel="native").gates[0, 0]
    return gates[:, 0], gates[:, 2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_sigmoid_and_tanh_are_as_exact_as_they_say(dtype: torch.dtype) -> None:
    """csrc/vector.h says it: in float32 tanh is off by three halves of the last place below one, at most."""
    bounds = (4e-16, 4e-16) if dtype == torch.float64 else (1.0e-7, 1.8e-7)
    for largest in (1e-6, 1, 4, 10, 100):
        at = torch.linspace(-largest, largest, 20_001, dtype=dtype)
        for found, function, bound in zip(_activations(at), (torch.sigmoid, torch.tanh), bounds, strict=True):
            assert (found.double() - function(at.double())).abs().max() <= bound, (function.__name__, largest)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_small_numbers_keep_their_digits(dtype: torch.dtype) -> None:
    """tanh of a small number, and sigmoid far below zero: to the last digits, however small the result."""
    digits = 1e-6 if dtype == torch.float32 else 4e-15
    small = torch.logspace(-30, -5, 1001, dtype=dtype)
    torch.testing.assert_close(_activations(small)[1], small.tanh(), atol=0, rtol=digits)
    far = torch.linspace(20, 80, 1001, dtype=dtype)
    torch.testing.assert_close(_activations(-far)[0], far.neg().sigmoid(), atol=0, rtol=20 * digits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_far_out_the_slope_is_nothing_as_with_torch(dtype: torch.dtype) -> None:
    """A tanh that ends one digit short of one would send a gradient on, times an input of 1e4."""
    far = torch.tensor([20.0, 88.0, 709.0, 1e4, 1e30, torch.inf], dtype=dtype)
    ones = torch.ones_like(far)
    if dtype == torch.float64:
        far, ones = far[1:], ones[1:]
    for sign in (1, -1):
        assert torch.equal(_activations(sign * far)[1], sign * ones)
    assert torch.equal(_activations(far)[0], ones)
    assert (_activations(-far)[0] < 1e-8).all()


# Instruction sets


def test_the_instruction_set_is_the_one_asked_for() -> None:
    names = cpu.NATIVE.instruction_sets()
    assert names[-1] == "baseline"
    assert cpu.NATIVE.instruction_set() == (os.environ.get("GLASSLSTM_ISA") or names[0])


def _child(name: str, *command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"GLASSLSTM_ISA": name, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.skipif("GLASSLSTM_ISA" in os.environ, reason="this is a child, or one set was asked for")
@pytest.mark.parametrize("name", ["avx2", "baseline"])
def test_every_other_instruction_set_passes_too(name: str) -> None:
    if name not in cpu.NATIVE.instruction_sets():
        pytest.skip(f"this processor has no {name}")
    chosen = "asked_for or small_numbers or far_out or (every_size and (B1- or B7-))"
    done = _child(name, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", chosen)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_an_unknown_instruction_set_is_refused_in_one_line() -> None:
    done = _child("sse9", "-c", "import glasslstm; glasslstm.LSTM")
    there = ", ".join(map(repr, cpu.NATIVE.instruction_sets()))
    assert done.stderr.splitlines()[-1] == (
        "glasslstm.errors.ArgumentError: GLASSLSTM_ISA names no instruction set that is here; "
        f"choose from {there}, or leave it unset"
    )


def test_tensors_that_show_other_numbers_than_they_hold_are_seen() -> None:
    """A negative view holds the numbers with the other sign; torch's dispatcher alone knows."""
    draw = torch._neg_view(torch.randn(9, 2, 3))  # as of the imaginary part of a conjugate
    assert draw.is_neg()
    lstm = gl.LSTM(3, 17)
    plain, negative = draw.resolve_neg(), draw
    with torch.no_grad():
        assert torch.equal(lstm(negative)[0], lstm(plain)[0])
    weights = list(lstm.parameters())
    d_output = torch._neg_view(torch.randn(9, 2, 17))
    found = torch.autograd.grad(lstm(plain)[0], weights, d_output)
    expected = torch.autograd.grad(lstm(plain)[0], weights, d_output.resolve_neg())
    assert all(map(torch.equal, found, expected))


def test_a_weight_of_a_subclass_is_not_read_behind_its_back() -> None:
    from torch.testing._internal.two_tensor import TwoTensor

    lstm, x = gl.LSTM(3, 4), torch.randn(5, 2, 3)
    with torch.no_grad():
        expected = lstm(x)[0]
        weight = lstm.weight_hh_l0.detach()
        lstm.weight_hh_l0 = torch.nn.Parameter(TwoTensor(weight, weight.clone()))
        output = lstm(x)[0]
    assert isinstance(output, TwoTensor)
    assert torch.equal(output.a, expected)
