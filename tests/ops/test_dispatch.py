"""Which kernel runs, why, and how a user asks for another one."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

import glasslstm as gl
from glasslstm.ops import dispatch, equations, layer
from glasslstm.ops.dispatch import KERNELS, Choice, Work, choose, explain

# torch's own forward-mode formulas are scripted when they are first used
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")


@contextmanager
def _seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Record which kernels really run."""
    ran: set[str] = set()
    spied = {
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


CHOICES: list[tuple[dict[str, Any], str, str]] = [
    ({}, "torch", "fastest"),
    ({"gradient": True}, "torch", "fastest"),
    ({"ragged": True}, "torch", "fastest"),
    ({"ragged": True, "gradient": True, "states": 10}, "torch", "fastest"),
    ({"ragged": True, "gradient": True, "states": 10**6}, "plain", "ragged"),
    ({"gates": True}, "plain", "gates"),
    ({"compiled": True}, "plain", "compile"),
    ({"compiled": True, "gates": True, "ragged": True, "gradient": True}, "plain", "compile"),
    ({"transform": True}, "equations", "torch.func"),
    ({"transform": True, "gates": True, "ragged": True, "gradient": True}, "equations", "torch.func"),
    ({"device": "cuda"}, "torch", "fastest"),
    ({"device": "cuda", "gradient": True, "ragged": True, "states": 10**6}, "torch", "fastest"),
    ({"device": "cuda", "gates": True}, "plain", "gates"),
    ({"device": "mps", "gradient": True}, "torch", "fastest"),
]


@pytest.mark.parametrize(("work", "kernel", "reason"), CHOICES, ids=[repr(w) for w, _, _ in CHOICES])
def test_the_choice_and_its_reason(work: dict[str, Any], kernel: str, reason: str) -> None:
    choice = choose(Work(**work))
    assert choice.kernel == kernel
    assert reason in choice.reason


def test_every_kind_of_work_has_a_kernel_that_can_do_it() -> None:
    for bits in range(2**5):
        flags = {
            name: bool(bits >> k & 1)
            for k, name in enumerate(("gates", "ragged", "gradient", "transform", "compiled"))
        }
        chosen = choose(Work(**flags)).kernel
        with gl.use_kernel(chosen):
            assert choose(Work(**flags)) == Choice(chosen, "asked for by name")
        with gl.use_kernel("equations"):
            assert choose(Work(**flags)).kernel == "equations"


@pytest.mark.parametrize("call", [{}, {"lengths": [4, 2]}], ids=["padded", "ragged"])
def test_the_kernel_that_is_named_runs_and_no_other(
    call: dict[str, Any], kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lstm, x = gl.LSTM(2, 3, 2, bidirectional=True), torch.randn(4, 2, 2)
    with _seen(monkeypatch) as ran:
        lstm(x, **call)[0].sum().backward()
    assert ran == {kernel}


def test_auto_runs_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    lstm, x = gl.LSTM(2, 64), torch.randn(3, 40, 2)
    calls = {
        "torch": [lambda: lstm(x), lambda: lstm(x[:, :2], lengths=[3, 1]), lambda: _inference(lstm, x)],
        "plain": [lambda: lstm(x, return_trace=True), lambda: lstm(x, lengths=[3, 1] * 20)],
        "equations": [
            lambda: torch.func.vmap(lambda x: lstm(x)[0])(x),
            lambda: torch.func.jvp(lambda x: lstm(x)[0], (x,), (x,)),
        ],
    }
    for expected, group in calls.items():
        for call in group:
            with _seen(monkeypatch) as ran:
                call()
            assert ran == {expected}


def _inference(lstm: gl.LSTM, x: torch.Tensor) -> None:
    with torch.no_grad():
        lstm(x, lengths=[3, 1] * 20)


LIMITS: list[tuple[str, dict[str, Any], str]] = [
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
                assert choose(Work()).kernel == "torch"
        assert choose(Work()).kernel == "plain"
    assert choose(Work()) == Choice("torch", choose(Work()).reason)


def test_the_setting_ends_with_an_exception_too() -> None:
    with pytest.raises(ZeroDivisionError), gl.use_kernel("equations"):
        1 / (choose(Work()).kernel != "equations")
    assert choose(Work()).kernel == "torch"
    with gl.use_kernel("torch"), pytest.raises(gl.errors.KernelError):
        gl.LSTM(2, 3)(torch.zeros(4, 1, 2), return_trace=True)
    assert choose(Work(gates=True)).kernel == "plain"


def test_the_setting_may_decorate_a_function() -> None:
    @gl.use_kernel("equations")
    def run() -> str:
        return choose(Work()).kernel

    assert [run(), run(), choose(Work()).kernel] == ["equations", "equations", "torch"]


@pytest.mark.parametrize("name", ["cuda", "Torch", "", "best", None, 3], ids=repr)
def test_an_unknown_name_is_refused(name: Any) -> None:
    with (
        pytest.raises(
            ValueError, match="is no kernel; choose from 'auto', 'torch', 'plain', 'equations'"
        ) as caught,
        gl.use_kernel(name),
    ):
        pytest.fail("the block was entered")
    assert isinstance(caught.value, gl.errors.ArgumentError)
    assert choose(Work()).kernel == "torch"


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
        assert choose(Work()).kernel == "torch"
    finally:
        dispatch._asked = before


IN_A_FRESH_PROCESS = """
import importlib, os, sys
for name in sys.argv[1:]:
    os.environ["GLASSLSTM_KERNEL"] = name
    try:
        from glasslstm.ops import dispatch
        dispatch = importlib.reload(dispatch)
        print(name, *dispatch.choose(dispatch.Work()), sep="|")
    except ValueError as error:
        print(name, error, sep="|")
"""


def test_the_environment_variable_sets_it_from_the_start() -> None:
    """Each name as if it stood there when the process started; an empty value is none."""
    names = ["fast", *KERNELS, "auto", ""]
    done = subprocess.run(
        [sys.executable, "-c", IN_A_FRESH_PROCESS, *names], capture_output=True, text=True, check=True
    )
    auto = "torch|the fastest kernel here for this work"
    assert done.stdout.splitlines() == [
        "fast|GLASSLSTM_KERNEL: 'fast' is no kernel; choose from 'auto', 'torch', 'plain', 'equations'",
        *(f"{name}|{name}|asked for by name" for name in KERNELS),
        f"auto|{auto}",
        f"|{auto}",
    ]


# explain


def test_explain_lists_every_usual_kind_of_work() -> None:
    rows = explain()
    assert {device for device, _, _ in rows} >= {"cpu"}
    table = {work: choice.kernel for device, work, choice in rows if device == "cpu"}
    assert table["inference"] == table["training"] == "torch"
    assert table["with all gates"] == "plain"
    assert table["torch.func transforms"] == "equations"
    assert table["training, ragged, large"] != table["training, ragged, small"]
    assert all(choice.reason and choice.kernel in KERNELS for _, _, choice in rows)
    assert len({(device, work) for device, work, _ in rows}) == len(rows)


def test_explain_explains_a_setting_too(kernel: str) -> None:
    """`glasslstm doctor` prints this, and a user of GLASSLSTM_KERNEL has the more reason to ask."""
    rows = explain()
    assert len(rows) >= 8
    plain_work = [choice for device, work, choice in rows if work == "inference"]
    assert plain_work == [Choice(kernel, "asked for by name")] * len(plain_work)
