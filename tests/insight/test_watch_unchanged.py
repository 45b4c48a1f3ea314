"""A model that is watched computes what it computes without, to the last bit, and is afterwards as it was."""

from __future__ import annotations

import copy
import io
import pickle
import threading
from collections.abc import Callable
from contextlib import nullcontext
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch.optim.swa_utils import AveragedModel

import glasslstm as gl
from glasslstm.errors import ArgumentError

KINDS = {"torch": nn.LSTM, "ours": gl.LSTM}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
B, T, H = 5, 7, 8  # large enough for the order of additions to matter
LENGTHS = [1, 4, 7, 3, 6]  # one of them is alone at the last step, which goes another way
MODES = {"train": nullcontext, "no_grad": torch.no_grad, "inference_mode": torch.inference_mode}


@every_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, "autocast"], ids=str)
@pytest.mark.parametrize("layout", ["padded", "batch first", "packed", "lengths"])
def test_every_number_is_the_same(kind: Any, dtype: Any, layout: str) -> None:
    if layout == "lengths" and kind is nn.LSTM:
        pytest.skip("torch's LSTM knows no lengths")
    recomputes = (False, True) if kind is gl.LSTM else (False,)
    for training, recompute, mode in product((True, False), recomputes, MODES):
        model = _Model(kind, dtype, layout, recompute).train(training)
        plain = _run(model, MODES[mode], dtype)
        with gl.watch(model) as watcher:
            watched = _run(model, MODES[mode], dtype)
        assert list(watched) == list(plain)
        for name, value in plain.items():
            assert torch.equal(watched[name], value), f"{name} {training=} {recompute=} {mode=}"
        assert list(watcher) == ["lstm"]
        assert (watcher["lstm"][1, 1].cell_grad is not None) == (mode == "train")


class _Model(nn.Module):
    """Dropout, running statistics and an output that is changed in place, around an LSTM of several layers."""

    def __init__(self, kind: Any, dtype: Any, layout: str, recompute: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        own = {"dtype": torch.float32 if dtype == "autocast" else dtype}
        self.layout = layout
        self.norm = nn.BatchNorm1d(3, **own)
        more = {"recompute": True} if recompute else {}
        first = layout == "batch first"
        self.lstm = kind(3, H, 2, batch_first=first, bidirectional=True, dropout=0.4, **own, **more)
        self.head = nn.Linear(2 * H, 2, **own)

    def forward(self, x: Tensor, hx: Any) -> dict[str, Tensor]:
        x = self.norm(x.flatten(0, 1)).view(x.shape)
        value: Any = x.transpose(0, 1) if self.layout == "batch first" else x
        if self.layout == "packed":
            value = pack_padded_sequence(x, LENGTHS, enforce_sorted=False)
        call = {"lengths": LENGTHS} if self.layout == "lengths" else {}
        output, (h_n, c_n) = self.lstm(value, hx, **call)
        output = output.data if isinstance(output, PackedSequence) else output
        if not torch.is_grad_enabled():
            output += 1  # what the trace holds of it must not be this
        return {"output": output, "read": self.head(output), "h_n": h_n, "c_n": c_n}


def _run(model: _Model, mode: Callable[[], Any], dtype: Any) -> dict[str, Tensor]:
    """Return results, gradients, buffers and the generator's state after a call from the same start."""
    torch.manual_seed(1)
    own = torch.float32 if dtype == "autocast" else dtype
    x, h_0, c_0 = (torch.randn(s, dtype=own) for s in ((T, B, 3), (4, B, H), (4, B, H)))
    model.zero_grad()
    model.norm.reset_running_stats()
    x.requires_grad_()
    with mode():
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "autocast"):
            found = model(x, (h_0, c_0))
        if torch.is_grad_enabled():
            weighed = [
                (value.float() * torch.linspace(-1, 1, value.numel()).view(value.shape)).sum()
                for value in found.values()
            ]
            sum(weighed).backward()
    grads = {f"d {name}": p.grad for name, p in (*model.named_parameters(), ("x", x)) if p.grad is not None}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    return found | grads | buffers | {"generator": torch.get_rng_state()}


@every_kind
def test_a_copy_is_not_watched(kind: Any) -> None:
    """Neither of the module, nor of the model, made inside, by whatever way."""
    model = nn.Sequential(kind(3, 4))
    with gl.watch(model):
        model(torch.randn(T, B, 3))
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        copies = [
            copy.deepcopy(model),
            copy.copy(model[0]),
            torch.load(file, weights_only=False),
            AveragedModel(model).module,
            *(pickle.loads(pickle.dumps(model, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)),
        ]
        state = model.state_dict()
    assert list(state) == [f"0.{name}" for name, _ in kind(3, 4).named_parameters()]
    for other in copies:
        lstm = other if isinstance(other, kind) else other[0]
        assert type(lstm) is kind
        assert not any((lstm._forward_pre_hooks, other._forward_pre_hooks, lstm._forward_hooks))
        torch.testing.assert_close(lstm.weight_hh_l0, model[0].weight_hh_l0)
        with gl.watch(other) as watcher:  # no trace of the other context is left
            other(torch.randn(T, B, 3))
        assert len(watcher.calls(watcher.names[0])) == 1


@every_kind
def test_a_copy_of_a_module_that_copies_itself_in_its_own_way(kind: Any) -> None:
    lstm = parametrizations.weight_norm(kind(3, 4), "weight_hh_l0")
    with gl.watch(lstm):
        other = copy.deepcopy(lstm)
    assert type(other) is type(lstm)
    torch.testing.assert_close(other.weight_hh_l0, lstm.weight_hh_l0)


@every_kind
def test_a_replica_runs_and_is_not_watched(kind: Any) -> None:
    model = nn.Sequential(kind(3, 4))
    x = torch.randn(T, B, 3)
    with gl.watch(model) as watcher:
        replica = model[0]._replicate_for_data_parallel()
        for name, weight in model[0]._parameters.items():  # as torch.nn.parallel.replicate does
            setattr(replica, name, weight)
        output, _ = replica(x)
        assert watcher.names == ("0",)
        assert list(watcher) == []
    assert torch.equal(output, model(x)[0])


def _is_as_before(module: nn.Module, kind: type[nn.Module]) -> None:
    assert type(module) is kind
    assert "forward" not in vars(module)
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    assert not any(getattr(module, name) for name in hooks)
    assert not any(getattr(nn.modules.module, f"_global{name}") for name in hooks)
    with gl.watch(module):  # it can be watched again
        pass


@every_kind
@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, GeneratorExit], ids=lambda e: e.__name__)
@pytest.mark.parametrize("where", ["context", "forward", "lstm"])
def test_an_exception_leaves_nothing_behind(kind: Any, error: Any, where: str) -> None:
    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.cell = kind(3, 4), nn.LSTMCell(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            output, _ = self.lstm(x)
            if where == "forward":
                raise error
            return output

    model = Failing()
    if where == "lstm":

        def fail(*_: object) -> None:
            raise error

        handle = model.lstm.register_forward_pre_hook(fail)
    watcher = gl.watch(model)
    with pytest.raises(error), watcher:  # noqa: PT012
        model(torch.randn(T, B, 3))
        raise error
    if where == "lstm":
        handle.remove()
    _is_as_before(model.lstm, kind)
    _is_as_before(model.cell, nn.LSTMCell)
    _is_as_before(model, Failing)
    assert list(watcher) == ([] if where == "lstm" else ["lstm"])


def test_an_input_that_the_model_refuses() -> None:
    """The error is the one that comes without a watcher."""
    for kind in (nn.LSTM, gl.LSTM):
        lstm = kind(3, 4)
        wrong = [(torch.randn(T, B, 5),), (torch.randn(T, B, 3).double(),), (torch.randn(3),), ("x",), ()]
        wrong += [
            (torch.randn(T, B, 3), (torch.randn(1, B, 5),) * 2),
            (torch.randn(T, B, 3), torch.randn(1, B, 4)),
        ]
        for arguments in wrong:
            with pytest.raises(Exception, match=r"\w") as plain:
                lstm(*arguments)
            with pytest.raises(type(plain.value)) as watched, gl.watch(lstm):
                lstm(*arguments)
            said = str(watched.value)
            assert said == str(plain.value) or "positional argument" in said
        _is_as_before(lstm, kind)


def test_entering_twice_and_watching_what_is_watched() -> None:
    model = nn.Sequential(nn.LSTM(3, 4), nn.LSTM(3, 4))
    watcher = gl.watch(model, modules="0")
    with watcher:
        with pytest.raises(ArgumentError, match=r"used before; make another with watch\(model\)"), watcher:
            pass
        with (
            pytest.raises(ArgumentError, match=r"being watched already; leave that context first.*modules="),
            gl.watch(model),
        ):
            pass
        # What the one that failed had taken is free again.
        with gl.watch(model, modules="1") as inner:
            model[1](torch.randn(T, B, 3))
        model[0](torch.randn(T, B, 3))
    assert (list(watcher), list(inner)) == (["0"], ["1"])
    for module in model:
        _is_as_before(module, nn.LSTM)
    with pytest.raises(ArgumentError, match="used before"), watcher:
        pass


def test_contexts_end_in_any_order() -> None:
    model = nn.Sequential(nn.LSTM(3, 4), nn.LSTM(3, 4))
    first, second = gl.watch(model, modules="0"), gl.watch(model, modules="1")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    model[1](torch.randn(T, B, 3))
    second.__exit__(None, None, None)
    assert list(second) == ["1"]
    for module in model:
        _is_as_before(module, nn.LSTM)


def test_two_threads_each_with_a_watcher() -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            model = nn.Sequential(nn.LSTM(3, 4, dtype=torch.float64))
            for _ in range(10):
                x = torch.randn(T, B, 3, dtype=torch.float64)
                with gl.watch(model) as watcher:
                    output, _ = model(x)
                    output.sum().backward()
                torch.testing.assert_close(watcher["0"][0, 0].hidden, output.detach(), atol=1e-12, rtol=0)
                assert torch.equal(watcher["0"].input, x)
                assert watcher["0"][0, 0].cell_grad is not None
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


# Modules of other people ----------------------------------------------------------------------------------


class _Packing(nn.LSTM):
    """An LSTM with arguments of its own that packs, and calls torch's with something else."""

    def forward(self, x: Tensor, lengths: list[int], *, scale: float = 1.0) -> Any:
        packed = pack_padded_sequence(x * scale, lengths, batch_first=True, enforce_sorted=False)
        output, states = super().forward(packed)
        return nn.utils.rnn.pad_packed_sequence(output, batch_first=True)[0] + 1, states


class _Mixin:
    def hello(self) -> str:
        return "hello"


class _Before(_Mixin, nn.LSTM):
    pass


class _After(nn.LSTM, _Mixin):
    def forward(self, *arguments: Any, **options: Any) -> Any:
        return nn.Module.__getattribute__(self, "hello")(), super().forward(*arguments, **options)


def test_a_subclass_that_calls_torchs_with_other_arguments() -> None:
    lstm = _Packing(3, 4, batch_first=True)
    x = torch.randn(B, T, 3)
    with gl.watch(lstm) as watcher:
        output, _ = lstm(x, LENGTHS, scale=2.0)
        assert isinstance(lstm, _Packing)
    trace = watcher[""]
    assert trace.lengths.tolist() == LENGTHS
    torch.testing.assert_close(trace[0, 0].hidden.transpose(0, 1), output.detach() - 1)
    torch.testing.assert_close(trace.input[0], 2 * x[:, 0])
    _is_as_before(lstm, _Packing)


def test_subclasses_with_several_parents() -> None:
    for kind in (_Before, _After):
        lstm = kind(3, 4)
        with gl.watch(lstm) as watcher:
            lstm(torch.randn(T, B, 3))
            assert lstm.hello() == "hello"
        assert list(watcher) == [""]
        _is_as_before(lstm, kind)


@every_kind
def test_hooks_of_others_see_what_they_always_see(kind: Any) -> None:
    lstm, x = kind(3, 4), torch.randn(T, B, 3)
    seen: list[Any] = []
    lstm.register_forward_pre_hook(lambda module, args: (2 * args[0], *args[1:]))
    lstm.register_forward_pre_hook(lambda m, args, kwargs: (args, {"hx": None}), with_kwargs=True)
    lstm.register_forward_hook(lambda module, args, result: seen.append((len(args), len(result))))
    lstm.register_forward_hook(lambda m, args, kwargs, result: seen.append(list(kwargs)), with_kwargs=True)
    lstm.register_forward_hook(lambda module, args, result: (result[0] + 1, result[1]))
    expected, seen_without = lstm(x)[0], list(seen)
    with gl.watch(lstm) as watcher:
        output, _ = lstm(x)
    assert torch.equal(output, expected)
    assert seen == 2 * seen_without == 2 * [(1, 2), ["hx"]]
    torch.testing.assert_close(watcher[""].input, 2 * x)
    torch.testing.assert_close(watcher[""][0, 0].hidden, output.detach() - 1)


@every_kind
def test_forward_called_by_its_name(kind: Any) -> None:
    lstm, x = kind(3, 4), torch.randn(T, B, 3)
    with gl.watch(lstm) as watcher:
        lstm.forward(x)
        lstm.forward(input=x, hx=None)
    assert [torch.equal(trace.input, x) for trace in watcher.calls("")] == [True, True]


@every_kind
def test_weights_that_are_computed(kind: Any) -> None:
    """A parametrized weight, and one by the older weight_norm, is traced as it is in the call."""
    x = torch.randn(T, B, 3, dtype=torch.float64)
    for norm in (parametrizations.weight_norm, nn.utils.spectral_norm):
        lstm = norm(kind(3, 4, dtype=torch.float64), "weight_hh_l0")
        own = type(lstm)
        expected = lstm.eval()(x)[0]
        with gl.watch(lstm) as watcher:
            output, _ = lstm(x)
            output.sum().backward()
        assert torch.equal(output, expected)
        torch.testing.assert_close(watcher[""][0, 0].hidden, output.detach(), atol=1e-12, rtol=0)
        assert watcher[""][0, 0].cell_grad.abs().min() > 0
        assert type(lstm) is own
        assert parametrize.is_parametrized(lstm) == (norm is parametrizations.weight_norm)


@every_kind
def test_functional_call_uses_the_parameters_that_it_is_given(kind: Any) -> None:
    model, x = nn.Sequential(kind(3, 4, dtype=torch.float64)), torch.randn(T, B, 3, dtype=torch.float64)
    others = {name: torch.randn_like(value) for name, value in model.named_parameters()}
    with gl.watch(model) as watcher:
        output, _ = torch.func.functional_call(model, others, (x,))
    torch.testing.assert_close(watcher["0"][0, 0].hidden, output, atol=1e-12, rtol=0)


@every_kind
def test_transforms_are_not_recorded_and_said_so(kind: Any) -> None:
    model, x = nn.Sequential(kind(3, 4)), torch.randn(T, B, 3)
    parameters = dict(model.named_parameters())

    def loss(parameters: Any, x: Tensor) -> Tensor:
        return torch.func.functional_call(model, parameters, (x,))[0].square().sum()

    expected = torch.func.grad(loss)(parameters, x)
    with gl.watch(model) as watcher:
        found = torch.func.grad(loss)(parameters, x)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    with pytest.raises(ArgumentError, match=r"called only inside a torch\.func transform, where nothing"):
        watcher["0"]
    with gl.watch(model) as watcher:
        model(x)
        torch.func.grad(loss)(parameters, x)
    assert len(watcher.calls("0")) == 1


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")  # torch's own, in its jvp
def test_vmap_and_jvp_go_on() -> None:
    lstm, x = gl.LSTM(3, 4), torch.randn(2, T, B, 3)
    run: Callable[[Tensor], Tensor] = lambda x: lstm(x)[0]  # noqa: E731
    with gl.watch(lstm) as watcher:
        mapped = torch.vmap(run)(x)
        _, tangent = torch.func.jvp(run, (x[0],), (x[1],))
    torch.testing.assert_close(mapped, torch.stack([run(one) for one in x]))
    torch.testing.assert_close(tangent, torch.func.jvp(run, (x[0],), (x[1],))[1])
    assert list(watcher) == []


@every_kind
@pytest.mark.filterwarnings("ignore:Converting a tensor to a Python:torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:Iterating over a tensor:torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit.trace:DeprecationWarning")
def test_a_traced_program_has_the_model_s_operations_alone(kind: Any) -> None:
    lstm, x = kind(3, 4), torch.randn(T, B, 3)
    plain = torch.jit.trace(lstm, x)
    with gl.watch(lstm):
        traced = torch.jit.trace(lstm, x)
    assert [node.kind() for node in traced.graph.nodes()] == [node.kind() for node in plain.graph.nodes()]


@every_kind
def test_code_that_was_compiled_around_the_model(kind: Any) -> None:
    """It computes the same; where torch looks into the LSTM nothing is recorded, and it says so."""
    torch.compiler.reset()
    lstm, x = kind(3, 4), torch.randn(T, B, 3)
    expected = lstm(x)[0]
    run = torch.compile(lambda x: lstm(x)[0], backend="eager")
    with gl.watch(lstm) as watcher:
        torch.testing.assert_close(run(x), expected)
    if kind is gl.LSTM:
        with pytest.raises(ArgumentError, match="by compiled code alone"):
            watcher[""]
    else:  # torch leaves its own LSTM out of compiled code
        torch.testing.assert_close(watcher[""][0, 0].hidden, expected.detach())


def test_a_class_that_the_module_gets_inside_the_context_stays() -> None:
    class Twice(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return 2 * weight

    model, x = nn.Sequential(nn.LSTM(3, 4)), torch.randn(5, 2, 3)
    plain = model[0].weight_hh_l0.detach().clone()
    with gl.watch(model):
        parametrize.register_parametrization(model[0], "weight_hh_l0", Twice())
    assert parametrize.is_parametrized(model[0])
    assert torch.equal(model[0].weight_hh_l0, 2 * plain)
    output = model(x)[0]
    with gl.watch(model) as watcher:
        assert torch.equal(model(x)[0], output)
    torch.testing.assert_close(watcher["0"][0, 0].hidden, output, atol=1e-6, rtol=0)
