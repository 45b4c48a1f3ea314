"""torch.compile, torch.export and torch.jit.trace: the whole graph, any batch and length, and it still trains."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export

import glasslstm as gl
from glasslstm.ops import cpu, dispatch, stack
from glasslstm.ops.dispatch import Work

built = pytest.mark.skipif(cpu.NATIVE is None, reason="the native kernels were not compiled at installation")
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning"),
]


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def _compile(function: Callable[..., Any], backend: str = "aot_eager", **options: Any) -> Callable[..., Any]:
    return torch.compile(function, fullgraph=True, backend=backend, **options)


def _lstm(**options: Any) -> gl.LSTM:
    return gl.LSTM(3, 4, 2, bidirectional=True, dtype=torch.float64, **options)


class Tensors(nn.Module):
    """An LSTM that gives tensors alone, a trace's too."""

    def __init__(self, lstm: gl.LSTM, traced: bool = False) -> None:
        super().__init__()
        self.lstm, self.traced = lstm, traced

    def forward(self, x: Tensor, lengths: Tensor | None = None, hx: Any = None) -> tuple[Tensor, ...]:
        if not self.traced:
            output, states = self.lstm(x, hx, lengths=lengths)
            return output, *states
        output, states, trace = self.lstm(x, hx, lengths=lengths, return_trace=True)
        return output, *states, trace[0, 0].forget_gate, trace[1, 1].cell


def _same(found: Callable[..., Any], expected: nn.Module, *arguments: Any, atol: float = 1e-12) -> None:
    """Compare values, and the gradients of weights and input, of two functions of the same weights."""
    tensors = torch.utils._pytree.tree_leaves(arguments)
    leaves = [t for t in tensors if isinstance(t, Tensor) and t.requires_grad] + list(expected.parameters())
    results = [function(*arguments) for function in (found, expected)]
    torch.testing.assert_close(*results, atol=atol, rtol=0)
    grads = [
        torch.autograd.grad(sum((k + 1) * value.pow(2).sum() for k, value in enumerate(result)), leaves)
        for result in results
    ]
    torch.testing.assert_close(*grads, atol=atol * 100, rtol=0)


@pytest.mark.parametrize("traced", [False, True], ids=["", "traced"])
@pytest.mark.parametrize("lengths", [None, [5, 0, 2]], ids=["padded", "ragged"])
@pytest.mark.parametrize("options", [{}, {"proj_size": 2, "batch_first": True}], ids=["", "projection"])
def test_the_whole_graph_compiles(options: dict[str, Any], lengths: list[int] | None, traced: bool) -> None:
    module = Tensors(_lstm(**options), traced)
    x = torch.randn(*((3, 5, 3) if options else (5, 3, 3)), dtype=torch.float64, requires_grad=True)
    n = None if lengths is None else torch.tensor(lengths)
    _same(_compile(module), module, x, n)


def test_compiled_takes_states_and_other_sizes_without_a_new_graph() -> None:
    module = Tensors(_lstm())
    compiled = _compile(module, dynamic=True)
    for time, batch in ((5, 6), (7, 2), (2, 9)):  # no two sizes alike at first: they would count as one
        x = torch.randn(time, batch, 3, dtype=torch.float64, requires_grad=True)
        hx = torch.randn(4, batch, 4, dtype=torch.float64), torch.randn(4, batch, 4, dtype=torch.float64)
        with torch.compiler.set_stance("default" if time == 5 else "fail_on_recompile"):
            _same(compiled, module, x, None, hx)


def test_compiled_sees_changed_weights() -> None:
    module = Tensors(_lstm())
    compiled, x = _compile(module), torch.randn(5, 2, 3, dtype=torch.float64)
    before = compiled(x)[0]
    with torch.no_grad():
        module.lstm.weight_hh_l0.mul_(-1)
    torch.testing.assert_close(compiled(x), module(x), atol=1e-12, rtol=0)
    assert not torch.allclose(compiled(x)[0], before)


def test_a_compiled_lstm_returns_the_trace_itself() -> None:
    lstm, x = _lstm(), torch.randn(5, 2, 3, dtype=torch.float64)
    _, _, found = _compile(lstm)(x, return_trace=True)
    _, _, expected = lstm(x, return_trace=True)
    assert list(found) == list(expected)
    torch.testing.assert_close(found[1, 1].candidate, expected[1, 1].candidate, atol=1e-12, rtol=0)


def test_dropout_compiles_and_drops() -> None:
    lstm = gl.LSTM(3, 40, 2, dropout=0.5)
    compiled, x = _compile(lstm), torch.randn(5, 2, 3)
    with torch.no_grad():
        assert not torch.equal(compiled(x)[0], compiled(x)[0])
        lstm.eval()
        torch.testing.assert_close(compiled(x)[0], lstm(x)[0], atol=1e-6, rtol=0)


def test_the_whole_graph_compiles_where_nothing_was_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The warning that says so, too."""
    monkeypatch.setattr(stack, "Work", partial(Work, built=False))
    monkeypatch.setattr(dispatch, "_warned", False)
    module, x = Tensors(_lstm()), torch.randn(5, 2, 3, dtype=torch.float64)
    _same(_compile(module), module, x, torch.tensor([5, 2]))


def test_without_a_gradient_nothing_is_kept_and_all_is_the_same() -> None:
    module, x = Tensors(_lstm()), torch.randn(5, 2, 3, dtype=torch.float64)
    compiled = _compile(module)
    for grad in (False, True, False):
        with torch.set_grad_enabled(grad):
            torch.testing.assert_close(compiled(x), module(x), atol=1e-12, rtol=0)
    compiled(x)[0].sum().backward()  # with gradients again, after a graph that keeps nothing
    assert module.lstm.weight_hh_l0.grad.abs().max() > 0


def test_autocast_compiles() -> None:
    lstm, x = gl.LSTM(3, 4, 2), torch.randn(5, 2, 3)

    def run(x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return lstm(x)[0]

    found = _compile(run)(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, run(x), atol=0.02, rtol=0)


@pytest.mark.parametrize("traced", [False, True], ids=["", "traced"])
def test_the_cell_compiles(traced: bool) -> None:
    cell, x = gl.LSTMCell(3, 4, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)

    def run(x: Tensor) -> tuple[Tensor, ...]:
        if not traced:
            return cell(x, cell(x))
        states, gates = cell(x, return_trace=True)
        return *states, gates.forget_gate

    torch.testing.assert_close(_compile(run)(x), run(x), atol=1e-12, rtol=0)


@pytest.mark.filterwarnings(
    "ignore:There is a performance drop because we have not yet implemented the batching"
)
@pytest.mark.parametrize("transform", [torch.func.vmap, lambda f: torch.func.grad(lambda x: f(x).sum())])
def test_transforms_compile(transform: Callable[..., Any]) -> None:
    lstm, x = gl.LSTM(3, 4, dtype=torch.float64), torch.randn(2, 3, 2, 3, dtype=torch.float64)
    run = transform(lambda x: lstm(x)[0])
    argument = x if transform is torch.func.vmap else x[0]
    torch.testing.assert_close(_compile(run)(argument), run(argument), atol=1e-10, rtol=0)


def test_every_kernel_that_can_be_compiled_is() -> None:
    module, x = Tensors(_lstm()), torch.randn(3, 2, 3, dtype=torch.float64)
    for name in ("plain", "equations", *(["native"] if cpu.NATIVE else [])):
        torch._dynamo.reset()
        with gl.use_kernel(name):
            _same(_compile(module), module, x)
    torch._dynamo.reset()
    with (
        gl.use_kernel("torch"),
        pytest.raises(Exception, match=r"torch\.compile and torch\.export cannot look into it"),
    ):
        _compile(module)(x)


@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("strides", ["usual", "transposed"])
def test_inductor_with_states_of_any_strides(
    strides: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inductor trusts the strides that the operator's description promises."""
    import torch._inductor.config as inductor

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    module = Tensors(gl.LSTM(3, 4, dtype=torch.float64))
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    if strides == "usual":
        hx = [torch.randn(1, 2, 4, dtype=x.dtype, requires_grad=True) for _ in range(2)]
    else:
        hx = [torch.randn(1, 4, 2, dtype=x.dtype).transpose(1, 2).requires_grad_() for _ in range(2)]
    # Without vector instructions there are four runs less of the C++ compiler.
    with inductor.patch({"cpp.vec_isa_ok": False, "cpp_cache_precompile_headers": False}):
        _same(_compile(module, "inductor"), module, x, None, hx)


# torch.export

T, B = Dim("T"), Dim("B")
SHAPES = [(9, 4), (1, 1), (1, 6), (30, 1)]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("traced", [False, True], ids=["", "traced"])
def test_export_with_any_time_and_batch(traced: bool, strict: bool) -> None:
    module = Tensors(_lstm(), traced)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    dynamic = {"x": {0: T, 1: B}}
    exported = export(module, (x,), dynamic_shapes=dynamic, strict=strict).module()
    for time, batch in SHAPES:
        x = torch.randn(time, batch, 3, dtype=torch.float64)
        torch.testing.assert_close(exported(x), module(x), atol=1e-12, rtol=0)


@pytest.mark.parametrize("traced", [False, True], ids=["", "traced"])
def test_export_with_lengths(traced: bool) -> None:
    module = Tensors(_lstm(batch_first=True), traced)
    example = torch.randn(2, 5, 3, dtype=torch.float64), torch.tensor([5, 2])
    exported = export(module, example, dynamic_shapes={"x": {0: B, 1: T}, "lengths": {0: B}}).module()
    for time, batch in SHAPES:
        x, lengths = torch.randn(batch, time, 3, dtype=torch.float64), torch.randint(0, time + 1, (batch,))
        torch.testing.assert_close(exported(x, lengths), module(x, lengths), atol=1e-12, rtol=0)


def test_an_exported_program_trains() -> None:
    module = Tensors(_lstm())
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    exported = export(module, (x,), dynamic_shapes={"x": {0: T, 1: B}}).module()
    z = torch.randn(7, 3, 3, dtype=torch.float64)
    names = [name for name, _ in module.named_parameters()]
    grads = []
    for program in (exported, module):
        weights = dict(program.named_parameters())
        grads.append(torch.autograd.grad(program(z)[0].pow(2).sum(), [weights[name] for name in names]))
    torch.testing.assert_close(*grads, atol=1e-10, rtol=0)
    optimiser = torch.optim.SGD(exported.parameters(), lr=0.05)
    before = exported(z)[0].pow(2).sum()
    before.backward()
    optimiser.step()
    assert exported(z)[0].pow(2).sum() < before


@pytest.mark.parametrize("name", [pytest.param("native", marks=built), "plain"])
@pytest.mark.parametrize("frozen", [True, False], ids=["frozen weights", "no_grad"])
def test_what_was_exported_without_a_gradient_may_need_one_later(frozen: bool, name: str) -> None:
    """Of the input of a frozen model, say, for saliency."""
    module, x = Tensors(_lstm().requires_grad_(not frozen)), torch.randn(5, 2, 3, dtype=torch.float64)
    with gl.use_kernel(name), torch.set_grad_enabled(frozen):
        exported = export(module, (x,)).module()
    x.requires_grad_()
    found, expected = (torch.autograd.grad(run(x)[0].pow(2).sum(), x)[0] for run in (exported, module))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_a_native_program_runs_where_nothing_was_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Tensors(_lstm())
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    exported = export(module, (x,)).module()
    expected = module(x)
    monkeypatch.setattr(cpu, "NATIVE", None)
    torch.testing.assert_close(exported(x), expected, atol=1e-12, rtol=0)
    exported(x)[0].sum().backward()


WRONG_LENGTHS = """
import sys, torch, glasslstm as gl
class Ragged(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = gl.LSTM(3, 4)
    def forward(self, x, lengths):
        return self.lstm(x, lengths=lengths)[0]
x = torch.randn(5, 3, 3)
program = torch.export.export(Ragged(), (x, torch.tensor([5, 2, 1]))).module()
for wrong in ([6, 2, 1], [-1, 2, 1], [10**6, 2, 1], [-(10**6), 1, 1]):
    try:
        program(x, torch.tensor(wrong))
    except Exception as error:
        print(error)
print("still here")
"""


def test_wrong_lengths_do_not_crash_an_exported_program() -> None:
    """It has no check before it, and the kernel takes lengths for places in memory."""
    command = [sys.executable, "-W", "ignore", "-c", WRONG_LENGTHS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.stdout.splitlines()[-1:] == ["still here"], (done.returncode, done.stderr)


def test_export_passes_through_a_file_and_decompositions() -> None:
    module, file = Tensors(_lstm()), io.BytesIO()
    program = export(module, (torch.randn(5, 2, 3, dtype=torch.float64),), dynamic_shapes={"x": {0: T, 1: B}})
    torch.export.save(program.run_decompositions(), file)
    file.seek(0)
    x = torch.randn(8, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(torch.export.load(file).module()(x), module(x), atol=1e-12, rtol=0)


@pytest.mark.filterwarnings("ignore:Converting a tensor to a Python:torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:Iterating over a tensor:torch.jit.TracerWarning")
@pytest.mark.parametrize("training", [True, False])
def test_jit_trace_follows_new_values_and_batches(training: bool, kernel: str) -> None:
    lstm = gl.LSTM(3, 4, 2, bidirectional=True, dtype=torch.float64).train(training)
    traced = torch.jit.trace(lstm, torch.randn(5, 2, 3, dtype=torch.float64))
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(traced(x), lstm(x), atol=1e-12, rtol=0)
