"""Converted and reverted modules are the same objects with the same numbers, and all that refers to them goes on."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils._python_dispatch import TorchDispatchMode

import glasslstm as gl
from glasslstm.errors import ArgumentError, ArgumentTypeError
from glasslstm.nn.convert import convert, revert

OPTIONS: dict[str, dict[str, Any]] = {
    "one layer": {},
    "both directions, no bias": {"bidirectional": True, "bias": False},
    "three layers, batch first": {"num_layers": 3, "batch_first": True, "dropout": 0.3},
    "two layers, both directions, projection": {"num_layers": 2, "bidirectional": True, "proj_size": 2},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
both_ways = pytest.mark.parametrize(
    ("theirs", "change", "back", "kind"),
    [(nn, convert, revert, gl), (gl, revert, convert, nn)],
    ids=["convert", "revert"],
)


class Tagger(nn.Module):
    """A model with an LSTM in it, as people write them."""

    def __init__(self, kind: Any = nn) -> None:
        super().__init__()
        self.lstm = kind.LSTM(3, 4, num_layers=2, batch_first=True, dtype=torch.float64)
        self.head = nn.Linear(4, 2, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0])


def inputs(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@both_ways
@every_option
@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
def test_the_numbers_and_every_gradient_stay(
    theirs: Any,
    change: Any,
    back: Any,
    kind: Any,
    options: dict[str, Any],
    packed: bool,
    results: Callable[..., Any],
    equal: Callable[..., None],
) -> None:
    lstm = theirs.LSTM(3, 4, dtype=torch.float64, **options).eval()
    x: Any = inputs(6, 6, 3)
    if packed:
        x = pack_padded_sequence(x, [2, 6, 1, 4, 3, 3], lstm.batch_first, enforce_sorted=False)
    hx = inputs(*lstm(x)[1][0].shape), inputs(*lstm(x)[1][1].shape)
    before, shown = results(lstm, x, hx), repr(lstm)
    assert change(lstm) is lstm
    assert type(lstm) is kind.LSTM
    equal(results(lstm, x, hx), before)
    assert repr(lstm) == shown
    assert back(lstm) is lstm
    assert type(lstm) is theirs.LSTM
    after = results(lstm, x, hx)
    assert all(torch.equal(after[name], before[name]) for name in before)


@both_ways
@pytest.mark.parametrize("bias", [True, False])
def test_cells_too(theirs: Any, change: Any, back: Any, kind: Any, bias: bool) -> None:
    cell = theirs.LSTMCell(3, 4, bias=bias, dtype=torch.float64)
    x, hx = inputs(5, 3), (inputs(5, 4), inputs(5, 4))
    before = cell(x, hx)
    change(cell)
    assert type(cell) is kind.LSTMCell
    torch.testing.assert_close(cell(x, hx), before, atol=1e-12, rtol=0)
    back(cell)
    assert type(cell) is theirs.LSTMCell
    torch.testing.assert_close(cell(x, hx), before, atol=0, rtol=0)


@both_ways
@every_option
def test_a_module_is_left_as_its_class_makes_it(
    theirs: Any, change: Any, back: Any, kind: Any, options: dict[str, Any]
) -> None:
    """No attribute of the class before stays, and none of the new class's is missing."""
    found, made = change(theirs.LSTM(3, 4, **options)), kind.LSTM(3, 4, **options)
    assert vars(found).keys() == vars(made).keys()
    assert list(found._parameters) == list(made._parameters)
    assert list(found.state_dict()) == list(made.state_dict())
    private = {"_parameters", "_flat_weights", "_flat_weight_refs"}
    assert all(vars(found)[name] == vars(made)[name] for name in vars(made).keys() - private)
    if kind is nn:
        assert [id(weight) for weight in found._flat_weights] == [id(p) for p in found.parameters()]


@both_ways
def test_nothing_is_drawn_and_no_memory_taken(theirs: Any, change: Any, back: Any, kind: Any) -> None:
    class Watch(TorchDispatchMode):
        devices: set[str] = set()  # noqa: RUF012

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            self.devices.add(result.device.type)
            return result

    model = Tagger(theirs)
    state, weights = torch.get_rng_state(), list(model.parameters())
    pointers = [weight.data_ptr() for weight in weights]
    with Watch() as watch:
        change(model)
    assert watch.devices == {"meta"}
    assert torch.equal(torch.get_rng_state(), state)
    assert all(now is weight for now, weight in zip(model.parameters(), weights, strict=True))
    assert [weight.data_ptr() for weight in weights] == pointers


def test_wherever_it_stands_in_a_model() -> None:
    lstm = nn.LSTM(3, 3)
    model = nn.ModuleDict(
        {
            "chain": nn.Sequential(nn.LSTM(3, 3), nn.Identity()),
            "list": nn.ModuleList([nn.LSTM(3, 3), nn.ModuleList([nn.LSTMCell(3, 3)])]),
            "first": lstm,
            "second": lstm,
        }
    )
    model.unregistered = [lstm]  # as some models keep them, beside the registered ones
    lstm.inner = nn.LSTM(3, 3)
    assert convert(model) is model
    assert not any(isinstance(module, nn.LSTM | nn.LSTMCell) for module in model.modules())
    assert sum(isinstance(module, gl.LSTM) for module in model.modules()) == 4
    assert model["first"] is model["second"] is model.unregistered[0] is lstm
    revert(model)
    assert sum(type(module) is nn.LSTM for module in model.modules()) == 4
    assert type(model["list"][1][0]) is nn.LSTMCell


@both_ways
def test_mode_frozen_weights_buffers_and_attributes_stay(
    theirs: Any, change: Any, back: Any, kind: Any
) -> None:
    model = Tagger(theirs).eval()
    lstm = model.lstm
    lstm.weight_hh_l0.requires_grad_(False)
    lstm.register_buffer("scale", torch.ones(1))
    lstm.register_buffer("count", torch.ones(1), persistent=False)
    lstm.name, lstm.extra = "encoder", nn.Linear(1, 1)
    keys = list(model.state_dict())
    change(model)
    assert type(lstm) is kind.LSTM
    assert not lstm.training
    assert model.head.training is False
    assert [p.requires_grad for p in lstm.parameters()][:3] == [True, False, True]
    assert lstm.name == "encoder"
    assert isinstance(lstm.extra, nn.Linear)
    assert list(model.state_dict()) == keys
    assert not any("count" in key for key in keys)
    assert lstm.train().training


@both_ways
def test_what_was_changed_after_the_construction_counts(
    theirs: Any, change: Any, back: Any, kind: Any
) -> None:
    """And no warning comes that the constructor gave before."""
    with pytest.warns(UserWarning, match="dropout"):
        lstm = theirs.LSTM(3, 4, dropout=0.5)
    lstm.dropout, lstm.batch_first = 0.25, True
    change(lstm)
    assert lstm.dropout == 0.25
    assert lstm.batch_first
    assert lstm(torch.zeros(2, 5, 3))[1][0].shape == (1, 2, 4)


def test_a_model_without_memory_and_one_of_sixteen_bits() -> None:
    assert {p.device.type for p in convert(nn.LSTM(3, 4, device="meta")).parameters()} == {"meta"}
    lstm = nn.LSTM(3, 4, dtype=torch.bfloat16)
    x = torch.randn(5, 2, 3, dtype=torch.bfloat16)
    before = lstm(x)[0]
    torch.testing.assert_close(convert(lstm)(x)[0], before, atol=2e-2, rtol=0)
    assert lstm(x)[0].dtype == torch.bfloat16


@both_ways
def test_hooks_stay_and_can_be_removed(theirs: Any, change: Any, back: Any, kind: Any) -> None:
    model, calls = Tagger(theirs), []
    lstm = model.lstm
    handles = [
        lstm.register_forward_pre_hook(lambda module, args: calls.append(("before", module))),
        lstm.register_forward_hook(lambda module, args, output: calls.append(("after", module))),
        lstm.register_full_backward_hook(lambda module, *grads: calls.append(("backward", module))),
        lstm.register_load_state_dict_pre_hook(lambda module, *rest: calls.append(("load", module))),
    ]
    change(model)
    x = inputs(2, 5, 3).requires_grad_()
    model(x).sum().backward()
    model.load_state_dict(model.state_dict())
    assert calls == [(name, lstm) for name in ("before", "after", "backward", "load")]
    for handle in handles:
        handle.remove()
    model(x).sum().backward()
    model.load_state_dict(model.state_dict())
    assert len(calls) == 4


NORMS: dict[str, Callable[[nn.LSTM], Any]] = {
    "weight norm": lambda lstm: parametrizations.weight_norm(lstm, "weight_hh_l0"),
    "orthogonal": lambda lstm: parametrizations.orthogonal(lstm, "weight_hh_l1"),
    "two of them": lambda lstm: [
        parametrizations.weight_norm(lstm, name) for name in ("weight_ih_l0", "bias_hh_l1")
    ],
    "weight norm, old style": lambda lstm: weight_norm(lstm, "weight_hh_l0"),
    "spectral norm, old style": lambda lstm: spectral_norm(lstm, "weight_hh_l0"),
    "pruned": lambda lstm: prune.l1_unstructured(lstm, "weight_hh_l0", 0.5),
}


@both_ways
@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_parametrized_weights_stay_so(theirs: Any, change: Any, back: Any, kind: Any, norm: Any) -> None:
    model = Tagger(theirs)
    norm(model.lstm)
    model.eval()
    x = inputs(2, 5, 3)
    before, weights, keys = model(x), list(model.parameters()), list(model.state_dict())
    before.sum().backward()
    expected = [weight.grad.clone() for weight in weights]
    model.zero_grad()
    change(model)
    assert isinstance(model.lstm, kind.LSTM)
    assert list(model.state_dict()) == keys
    found = model(x)
    found.sum().backward()
    torch.testing.assert_close(found, before, atol=1e-12, rtol=0)
    for weight, grad in zip(weights, expected, strict=True):
        torch.testing.assert_close(weight.grad, grad, atol=1e-10, rtol=0)
    with torch.no_grad():  # the weight is made anew in each call
        for weight in model.lstm.parameters():
            weight.mul_(2)
    assert not torch.allclose(model(x), before)
    back(model)
    assert isinstance(model.lstm, theirs.LSTM)
    assert model(x).isfinite().all()


def test_a_parametrization_can_be_copied_and_taken_off_after_it() -> None:
    model = Tagger()
    parametrizations.weight_norm(model.lstm, "weight_hh_l0")
    other = copy.deepcopy(model)
    x = inputs(2, 5, 3)
    before = model(x)
    convert(model)
    assert type(other.lstm) is not type(model.lstm)
    assert isinstance(other.lstm, nn.LSTM)
    torch.testing.assert_close(copy.deepcopy(model)(x), before, atol=1e-12, rtol=0)
    parametrize.remove_parametrizations(model.lstm, "weight_hh_l0")
    assert type(model.lstm) is gl.LSTM
    assert "weight_hh_l0" in dict(model.lstm.named_parameters())
    torch.testing.assert_close(model(x), before, atol=1e-12, rtol=0)
    torch.testing.assert_close(other(x), before, atol=0, rtol=0)


@both_ways
def test_an_optimiser_and_tied_weights_go_on(theirs: Any, change: Any, back: Any, kind: Any) -> None:
    def tied() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = nn.ModuleList([Tagger(theirs), Tagger(theirs)])
        model[1].lstm.weight_hh_l1 = model[0].lstm.weight_hh_l1
        return model, torch.optim.Adam(model.parameters(), 0.1)

    def step(model: nn.Module, optimiser: torch.optim.Optimizer) -> float:
        optimiser.zero_grad()
        loss = sum(tagger(x).square().mean() for tagger in model)
        loss.backward()
        optimiser.step()
        return loss.item()

    x = inputs(4, 5, 3)
    model, optimiser = tied()
    other, other_optimiser = tied()
    other.load_state_dict(model.state_dict())
    for _ in range(3):
        assert step(model, optimiser) == step(other, other_optimiser)
    change(model)
    losses = [(step(model, optimiser), step(other, other_optimiser)) for _ in range(5)]
    assert losses[-1][0] < losses[0][0]
    for ours, expected in losses:
        assert ours == pytest.approx(expected, abs=1e-9)
    assert model[0].lstm.weight_hh_l1 is model[1].lstm.weight_hh_l1


@both_ways
def test_copies_pickles_and_state_dicts(theirs: Any, change: Any, back: Any, kind: Any) -> None:
    model = change(Tagger(theirs))
    x = inputs(2, 5, 3)
    expected = model(x)
    saved = io.BytesIO()
    torch.save(model, saved)
    saved.seek(0)
    fresh = Tagger(theirs)
    fresh.load_state_dict(model.state_dict())
    for other in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        torch.load(saved, weights_only=False),
        fresh,
    ):
        torch.testing.assert_close(other(x), expected, atol=1e-12, rtol=0)
    assert type(copy.deepcopy(model).lstm) is kind.LSTM
    halved = {name: weight / 2 for name, weight in model.state_dict().items()}
    called = torch.func.functional_call(model, halved, (x,))
    model.load_state_dict(halved)
    torch.testing.assert_close(called, model(x), atol=1e-12, rtol=0)
    model.float()
    assert model(x.float()).dtype == torch.float32


def test_a_reverted_model_can_be_scripted_at_once() -> None:
    model = Tagger(gl)
    x = inputs(2, 5, 3)
    expected = model(x)
    torch.testing.assert_close(_script(revert(model))(x), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("way", ["compiled", "in place", "the LSTM itself"])
def test_a_compiled_model_sees_the_change(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    forward = gl.LSTM.forward
    monkeypatch.setattr(
        gl.LSTM, "forward", lambda self, *args, **kwargs: (calls.append(1), forward(self, *args, **kwargs))[1]
    )
    model: Any = Tagger() if way != "the LSTM itself" else Tagger().lstm
    if way == "in place":
        model.compile(backend="eager")
    else:
        model = torch.compile(model, backend="eager")
    x = inputs(2, 5, 3)
    before = model(x)
    assert convert(model) is model
    torch.testing.assert_close(model(x), before, atol=1e-12, rtol=0)
    assert calls


def _script(model: nn.Module) -> Any:
    with pytest.warns(DeprecationWarning, match="script"):
        return torch.jit.script(model)


class Peephole(nn.LSTM):
    """An LSTM that computes something else."""

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        return super().forward(2 * input, hx)


class Ours(gl.LSTM):
    """The same, of ours."""


def _own_forward() -> nn.LSTM:
    lstm = nn.LSTM(3, 4)
    forward = lstm.forward
    lstm.forward = lambda x: forward(2 * x)
    return lstm


def _with(name: str, value: Any) -> nn.LSTM:
    lstm = nn.LSTM(3, 4)
    setattr(lstm, name, value)
    return lstm


def _quantized() -> nn.Module:
    class LSTM(nn.Module): ...

    LSTM.__module__ = "torch.ao.nn.quantized.dynamic.modules.rnn"  # making one is deprecated
    return LSTM()


LEFT: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a subclass": (
        lambda: Peephole(3, 4),
        r"is of the subclass \S+\.Peephole, which may compute something else",
    ),
    "its own forward": (_own_forward, "has a forward of its own, set on the instance, which may compute"),
    "a method's name": (lambda: _with("stream", 1), r"has \['stream'\] set by someone, which glasslstm"),
    "a parameter's name": (
        lambda: _with("h_0", nn.Parameter(torch.ones(1))),
        r"has \['h_0'\] set by someone",
    ),
    "a setting's name": (lambda: _with("recompute", "often"), r"has \['recompute'\] set by someone"),
    "TorchScript": (
        lambda: _script(nn.LSTM(3, 4)),
        "is TorchScript; convert the model before it is scripted or traced",
    ),
    "quantized": (_quantized, "is quantized"),
}


@pytest.mark.parametrize(("make", "reason"), LEFT.values(), ids=LEFT)
def test_left_with_the_reason(make: Callable[[], nn.Module], reason: str) -> None:
    odd = make()
    model = nn.ModuleDict({"odd": odd, "plain": nn.LSTM(3, 4)})
    kind, attributes = type(odd), dict(vars(odd))
    with pytest.raises(UserWarning):  # as an error, before anything is changed
        convert(model)
    assert type(model["plain"]) is nn.LSTM
    with pytest.warns(UserWarning, match=f"^left as it is: odd {reason}") as warned:
        convert(model)
    assert warned[0].filename == __file__
    assert type(odd) is kind
    assert vars(odd) == attributes
    assert type(model["plain"]) is gl.LSTM
    with pytest.raises(ArgumentError, match=rf"found none in \S+ that can be exchanged: the model {reason}"):
        convert(odd)


def test_the_way_back_leaves_subclasses_and_knows_nothing_of_torchs() -> None:
    model = nn.ModuleList([Ours(3, 4), gl.LSTM(3, 4), Peephole(3, 4), _script(nn.LSTM(3, 4))])
    with pytest.warns(UserWarning, match=r"^left as it is: 0 is of the subclass \S+\.Ours, [^;]*$"):
        revert(model)
    assert [type(module) for module in model][:3] == [Ours, nn.LSTM, Peephole]


@both_ways
def test_not_while_it_is_watched(theirs: Any, change: Any, back: Any, kind: Any) -> None:
    model = Tagger(theirs)
    with (
        gl.watch(model),
        pytest.raises(ArgumentError, match=r"lstm is being watched; leave that context first"),
    ):
        change(model)
    assert type(model.lstm) is theirs.LSTM
    change(model)
    with gl.watch(model) as watcher:
        output = model.lstm(inputs(2, 5, 3))[0]
    torch.testing.assert_close(watcher["lstm"][1, 0].hidden.transpose(0, 1), output, atol=1e-12, rtol=0)


def test_a_learned_initial_state_is_refused_before_anything_is_changed() -> None:
    model = nn.ModuleList([gl.LSTM(3, 4), gl.LSTM(3, 4, learn_initial_state=True)])
    with pytest.raises(
        ArgumentError,
        match=r"model: 1 has a learned initial state \(h_0, c_0\), which torch.nn.LSTM does not",
    ):
        revert(model)
    assert [type(lstm) for lstm in model] == [gl.LSTM, gl.LSTM]
    model[1].h_0 = model[1].c_0 = None
    revert(model)
    assert [type(lstm) for lstm in model] == [nn.LSTM, nn.LSTM]
    assert list(model[1].state_dict()) == list(nn.LSTM(3, 4).state_dict())


def test_sizes_that_make_no_lstm_are_refused_before_anything_is_changed() -> None:
    model = nn.ModuleList([nn.LSTM(3, 4), nn.LSTM(3, 4)])
    model[1].hidden_size = "four"
    with pytest.raises(TypeError, match="hidden_size"):
        convert(model)
    assert [type(lstm) for lstm in model] == [nn.LSTM, nn.LSTM]


@both_ways
def test_what_is_there_already_stays(theirs: Any, change: Any, back: Any, kind: Any) -> None:
    model = Tagger(kind)
    attributes = dict(vars(model.lstm))
    assert change(model) is model
    assert vars(model.lstm) == attributes


def test_refuses_what_has_no_lstm() -> None:
    for change, wanted in ((convert, "torch.nn"), (revert, "glasslstm")):
        with pytest.raises(
            ArgumentError, match=rf"expected a {wanted}.LSTM or {wanted}.LSTMCell in it, found none in GRU$"
        ):
            change(nn.GRU(3, 4))
        with pytest.raises(ArgumentTypeError, match=r"model: expected a torch.nn.Module, got dict"):
            change({"lstm": nn.LSTM(3, 4)})
