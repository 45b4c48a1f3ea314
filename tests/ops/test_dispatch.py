"""Which kernel runs, why, and how a user asks for another one."""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch

import glasslstm as gl
from glasslstm.ops import cpu, dispatch, equations, layer, stack
from glasslstm.ops.dispatch import KERNELS, NOT_BUILT, Choice, Work, choose, explain

# torch's own forward-mode formulas are scripted when they are first used
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
built = pytest.mark.skipif(cpu.NATIVE is None, reason="the native kernels were not compiled at installation")
USUAL = "torch" if cpu.NATIVE is None else "native"  # what runs where nothing special is asked for


@contextmanager
def _seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Record which kernels really run."""
    ran: set[str] = set()
    spied = {
        "native": (cpu, "forward"),
        "torch": (torch, "lstm"),
        "plain": (layer.plain, "forward"),
        "equations": (equations, "sequence"),
    }
    with monkeypatch.context() as patch:
        for name, (module, attribute) in spied.items():
            real = getattr(module, attribute)

            def spy(*args: Any, _real: Any = real, _name: str = name, **kwargs: Any) -> Any:
                ran.add(_name)
                return _real(*args, **kwargs)

            patch.setattr(module, attribute, spy)
        yield ran


LARGE = {"ragged": True, "gradient": True, "states": 10**6}
CHOICES: list[tuple[dict[str, Any], str, str]] = [
    ({}, "native", "fastest"),
    ({"gradient": True}, "native", "fastest"),
    ({"ragged": True}, "native", "fastest"),
    ({"ragged": True, "gradient": True, "states": 10}, "native", "fastest"),
    (LARGE, "native", "fastest"),
    ({"gates": True}, "native", "fastest"),
    ({"compiled": True}, "native", "fastest"),
    ({"compiled": True, "gates": True, "ragged": True, "gradient": True}, "native", "fastest"),
    ({"recompute": True, "gradient": True}, "native", "fastest"),
    ({"step": True}, "torch", "fastest"),
    ({"sixteen": True}, "torch", "fastest"),
    ({"sixteen": True, "gates": True}, "native", "fastest"),
    ({"sixteen": True, "compiled": True}, "native", "fastest"),
    ({"projection": True}, "torch", "fastest"),
    ({"projection": True, "gates": True}, "plain", "gates"),
    ({"projection": True, "compiled": True}, "plain", "compile"),
    ({"projection": True, **LARGE}, "plain", "ragged"),
    ({"projection": True, "recompute": True}, "torch", "fastest"),
    ({"projection": True, "recompute": True, "gradient": True}, "plain", "keeps its gates"),
    ({"complex": True}, "torch", "fastest"),
    ({"complex": True, "gates": True}, "equations", "real numbers"),
    ({"transform": True}, "equations", "torch.func"),
    ({"transform": True, "gates": True, "ragged": True, "gradient": True}, "equations", "torch.func"),
    ({"device": "cuda"}, "torch", "fastest"),
    ({"device": "cuda", **LARGE}, "torch", "fastest"),
    ({"device": "cuda", "gates": True}, "plain", "gates"),
    ({"device": "cuda", "recompute": True, "gradient": True}, "plain", "keeps its gates"),
    ({"device": "mps", "gradient": True}, "torch", "fastest"),
]
WITHOUT: list[tuple[dict[str, Any], str, str]] = [
    ({}, "torch", "fastest"),
    ({"gradient": True}, "torch", "fastest"),
    ({"ragged": True, "gradient": True, "states": 10}, "torch", "fastest"),
    (LARGE, "plain", "ragged"),
    ({"gates": True}, "plain", "gates"),
    ({"compiled": True}, "plain", "compile"),
    ({"recompute": True, "gradient": True}, "plain", "keeps its gates"),
]
CHOICES = [({"built": True, **work}, *rest) for work, *rest in CHOICES]  # type: ignore[misc]
CHOICES += [({"built": False, **work}, *rest) for work, *rest in WITHOUT]  # type: ignore[misc]


@pytest.mark.parametrize(("work", "kernel", "reason"), CHOICES, ids=[repr(w) for w, _, _ in CHOICES])
def test_the_choice_and_its_reason(work: dict[str, Any], kernel: str, reason: str) -> None:
    choice = choose(Work(**work))
    assert choice.kernel == kernel
    assert reason in choice.reason


FLAGS = (
    *("gates", "ragged", "gradient", "transform", "compiled"),
    *("complex", "sixteen", "projection", "step", "recompute", "built"),
)


def test_every_kind_of_work_has_a_kernel_that_can_do_it() -> None:
    for bits in range(2 ** len(FLAGS)):
        work = Work(**{name: bool(bits >> k & 1) for k, name in enumerate(FLAGS)})
        chosen = choose(work).kernel
        with gl.use_kernel(chosen):
            assert choose(work) == Choice(chosen, "asked for by name")
        with gl.use_kernel("equations"):
            assert choose(work).kernel == "equations"


@pytest.mark.parametrize("call", [{}, {"lengths": [4, 2]}], ids=["padded", "ragged"])
def test_the_kernel_that_is_named_runs_and_no_other(
    call: dict[str, Any], kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lstm, x = gl.LSTM(2, 3, 2, bidirectional=True), torch.randn(4, 2, 2)
    with _seen(monkeypatch) as ran:
        lstm(x, **call)[0].sum().backward()
    assert ran == {kernel}


@built
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_auto_runs_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    lstm, projected, kept = gl.LSTM(2, 64), gl.LSTM(2, 64, proj_size=2), gl.LSTM(2, 3, recompute=True)
    double, half = gl.LSTM(2, 3, dtype=torch.float64), gl.LSTM(2, 3, dtype=torch.bfloat16)
    x = torch.randn(3, 40, 2)
    _check_runs(
        monkeypatch,
        {
            "native": [
                lambda: lstm(x),
                lambda: lstm(x, lengths=[3, 1] * 20),
                lambda: lstm(x, return_trace=True),
                lambda: double(x.double()),
                lambda: half(x.bfloat16(), return_trace=True),
                lambda: kept(x)[0].sum().backward(),
            ],
            "torch": [
                lambda: half(x.bfloat16()),
                lambda: projected(x[:, :2]),
                lambda: projected(x[:, :2], lengths=[3, 1]),
                lambda: _inference(projected, x),
            ],
            "plain": [
                lambda: projected(x, return_trace=True),
                lambda: projected(x, lengths=[3, 1] * 20),
            ],
            "equations": [
                lambda: torch.func.vmap(lambda x: lstm(x)[0])(x),
                lambda: torch.func.jvp(lambda x: lstm(x)[0], (x,), (x,)),
            ],
        },
    )


def test_auto_runs_what_it_says_where_nothing_was_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    _take_away(monkeypatch)
    lstm, x = gl.LSTM(2, 64), torch.randn(3, 40, 2)
    kept = gl.LSTM(2, 3, recompute=True)
    _check_runs(
        monkeypatch,
        {
            "torch": [
                lambda: lstm(x),
                lambda: lstm(x[:, :2], lengths=[3, 1]),
                lambda: _inference(lstm, x),
                lambda: _inference(kept, x),
            ],
            "plain": [
                lambda: lstm(x, return_trace=True),
                lambda: lstm(x, lengths=[3, 1] * 20),
                lambda: kept(x)[0].sum().backward(),
            ],
            "equations": [lambda: torch.func.vmap(lambda x: lstm(x)[0])(x)],
        },
    )


def _check_runs(monkeypatch: pytest.MonkeyPatch, calls: dict[str, list[Callable[[], Any]]]) -> None:
    for expected, group in calls.items():
        for call in group:
            with _seen(monkeypatch) as ran:
                call()
            assert ran == {expected}


def _inference(lstm: gl.LSTM, x: torch.Tensor) -> None:
    with torch.no_grad():
        lstm(x, lengths=[3, 1] * 20)


def _take_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it as if nothing had been compiled at installation, with the warning still to come."""
    monkeypatch.setattr(cpu, "NATIVE", None)
    monkeypatch.setattr(stack, "Work", partial(Work, built=False))
    monkeypatch.setattr(dispatch, "_warned", False)


# Where nothing was compiled


def test_without_native_one_warning_says_how_to_mend_it(
    monkeypatch: pytest.MonkeyPatch, twin: Callable[..., Any], results: Callable[..., Any]
) -> None:
    """Then come right results, and no other warning."""
    _take_away(monkeypatch)
    ours, theirs = twin(3, 4, 2, bidirectional=True)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = [results(ours, x) for _ in range(3)]
        ours(x, lengths=[5, 1], return_trace=True)
    assert [(w.category, str(w.message)) for w in caught] == [
        (RuntimeWarning, f"glasslstm runs without its native kernels, on slower ones: {NOT_BUILT}")
    ]
    for remedy in ("install a C++ compiler", "glasslstm doctor"):
        assert remedy in NOT_BUILT
    expected = results(theirs, x)
    for one in found:
        torch.testing.assert_close(one, expected, atol=1e-10, rtol=0)


def test_no_warning_where_native_would_not_run_or_another_kernel_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _take_away(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gl.LSTM(2, 3, dtype=torch.bfloat16)(torch.zeros(4, 1, 2, dtype=torch.bfloat16))
        with gl.use_kernel("plain"):
            gl.LSTM(2, 3)(torch.zeros(4, 1, 2))


def test_native_by_name_raises_where_nothing_was_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    _take_away(monkeypatch)
    message = f"kernel 'native' was asked for and cannot do this: {NOT_BUILT}; use 'auto' or 'equations'"
    with gl.use_kernel("native"), pytest.raises(gl.errors.KernelError) as caught:
        gl.LSTM(2, 3)(torch.zeros(4, 1, 2))
    assert str(caught.value) == message


# Limits

LIMITS: list[tuple[str, dict[str, Any], str]] = [
    ("native", {"built": False}, "not compiled at installation; install a C"),
    ("native", {"built": True, "device": "cuda"}, "runs on the CPU"),
    ("native", {"built": True, "transform": True}, "torch.func"),
    ("native", {"built": True, "complex": True}, "real numbers"),
    ("native", {"built": True, "projection": True}, "no projections"),
    ("plain", {"complex": True}, "real numbers"),
    ("torch", {"gates": True}, "hand out its gates"),
    ("torch", {"compiled": True}, "torch.compile"),
    ("torch", {"transform": True}, "torch.func"),
    ("plain", {"transform": True}, "torch.func"),
]


@pytest.mark.parametrize(("name", "work", "why"), LIMITS)
def test_a_kernel_that_cannot_do_it_raises_when_it_was_asked_for(
    name: str, work: dict[str, Any], why: str
) -> None:
    message = f"kernel '{name}' was asked for and cannot do this: .*{why}.*; use 'auto' or 'equations'"
    with gl.use_kernel(name), pytest.raises(gl.errors.KernelError, match=message):
        choose(Work(**work))


def test_torchs_kernel_refuses_a_trace() -> None:
    lstm, cell = gl.LSTM(2, 3), gl.LSTMCell(2, 3)
    with gl.use_kernel("torch"):
        for call in (
            lambda: lstm(torch.zeros(4, 1, 2), return_trace=True),
            lambda: cell(torch.zeros(1, 2), return_trace=True),
        ):
            with pytest.raises(RuntimeError, match="does not hand out its gates; use 'auto' or 'equations'"):
                call()


# The setting


def test_the_setting_ends_with_its_block_and_nests() -> None:
    with gl.use_kernel("plain"):
        with gl.use_kernel("equations"):
            assert choose(Work()).kernel == "equations"
            with gl.use_kernel("auto"):
                assert choose(Work()).kernel == USUAL
        assert choose(Work()).kernel == "plain"
    assert choose(Work()) == Choice(USUAL, choose(Work()).reason)


def test_the_setting_ends_with_an_exception_too() -> None:
    with pytest.raises(ZeroDivisionError), gl.use_kernel("equations"):
        1 / (choose(Work()).kernel != "equations")
    assert choose(Work()).kernel == USUAL
    with gl.use_kernel("torch"), pytest.raises(gl.errors.KernelError):
        gl.LSTM(2, 3)(torch.zeros(4, 1, 2), return_trace=True)
    assert choose(Work(gates=True, projection=True)).kernel == "plain"


def test_the_setting_may_decorate_a_function() -> None:
    @gl.use_kernel("equations")
    def run() -> str:
        return choose(Work()).kernel

    assert [run(), run(), choose(Work()).kernel] == ["equations", "equations", USUAL]


@pytest.mark.parametrize("name", ["cuda", "Torch", "", "best", None, 3], ids=repr)
def test_an_unknown_name_is_refused(name: Any) -> None:
    with (
        pytest.raises(
            ValueError, match="is no kernel; choose from 'auto', 'native', 'torch', 'plain', 'equations'"
        ) as caught,
        gl.use_kernel(name),
    ):
        pytest.fail("the block was entered")
    assert isinstance(caught.value, gl.errors.ArgumentError)
    assert choose(Work()).kernel == USUAL


def test_blocks_of_two_threads_that_overlap_leave_no_setting_behind() -> None:
    """Thread 1 enters, 2 enters, 1 leaves, 2 leaves: afterwards it is as before."""
    steps = [threading.Event() for _ in range(3)]

    def first() -> None:
        with gl.use_kernel("plain"):
            steps[0].set()
            steps[1].wait(10)
        steps[2].set()

    def second() -> None:
        steps[0].wait(10)
        with gl.use_kernel("equations"):
            steps[1].set()
            steps[2].wait(10)

    threads = [threading.Thread(target=run) for run in (first, second)]
    before = dispatch._asked
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert choose(Work()).kernel == USUAL
    finally:
        dispatch._asked = before


IN_A_FRESH_PROCESS = """
import importlib, os, sys
for name in sys.argv[1:]:
    os.environ["GLASSLSTM_KERNEL"] = name
    try:
        from glasslstm.ops import dispatch
        dispatch = importlib.reload(dispatch)
        print(name, *dispatch.choose(dispatch.Work(built=True)), sep="|")
    except ValueError as error:
        print(name, error, sep="|")
"""


def test_the_environment_variable_sets_it_from_the_start() -> None:
    """Each name as if it stood there when the process started; an empty value is none."""
    names = ["fast", *KERNELS, "auto", ""]
    done = subprocess.run(
        [sys.executable, "-c", IN_A_FRESH_PROCESS, *names], capture_output=True, text=True, check=True
    )
    auto = "native|the fastest kernel here for this work"
    assert done.stdout.splitlines() == [
        "fast|GLASSLSTM_KERNEL: 'fast' is no kernel; choose from 'auto', 'native', 'torch', 'plain', 'equations'",
        *(f"{name}|{name}|asked for by name" for name in KERNELS),
        f"auto|{auto}",
        f"|{auto}",
    ]


# explain


def test_explain_lists_every_usual_kind_of_work() -> None:
    rows = explain()
    assert {device for device, _, _ in rows} >= {"cpu"}
    table = {work: choice.kernel for device, work, choice in rows if device == "cpu"}
    assert table["inference"] == table["training"] == USUAL
    assert table["with all gates"] == ("plain" if USUAL == "torch" else "native")
    assert table["torch.func transforms"] == "equations"
    assert table["with a projection"] == table["bfloat16, float16"] == "torch"
    large, small = table["training, ragged, large"], table["training, ragged, small"]
    assert (large, small) == (("plain", "torch") if USUAL == "torch" else ("native", "native"))
    assert all(choice.reason and choice.kernel in KERNELS for _, _, choice in rows)
    assert len({(device, work) for device, work, _ in rows}) == len(rows)


def test_explain_explains_a_setting_too(kernel: str) -> None:
    """`glasslstm doctor` prints this, and a user of GLASSLSTM_KERNEL has the more reason to ask."""
    expected, rows = choose(Work()), explain()
    assert expected == Choice(kernel, "asked for by name")
    assert len(rows) >= 8
    plain_work = [choice for device, work, choice in rows if (device, work) == ("cpu", "inference")]
    assert plain_work == [expected]
