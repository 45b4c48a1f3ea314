"""Parameters: names, initial values, state dicts both ways, and that a changed weight is always seen."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import glasslstm as gl

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "no bias": {"bias": False},
    "three layers": {"num_layers": 3},
    "both directions": {"bidirectional": True, "num_layers": 2},
    "projection": {"proj_size": 2},
    "everything": {
        "num_layers": 3,
        "bias": False,
        "batch_first": True,
        "dropout": 0.25,
        "bidirectional": True,
        "proj_size": 3,
    },
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


@every_option
def test_the_same_seed_gives_the_same_parameters_bit_for_bit(options: dict[str, Any]) -> None:
    modules = []
    for kind in (gl.LSTM, nn.LSTM):
        torch.manual_seed(3)
        modules.append(kind(5, 7, **options))
    ours, theirs = (dict(module.named_parameters()) for module in modules)
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert torch.equal(_after(gl.LSTM, options), _after(nn.LSTM, options))  # as many were drawn, no more


def _after(kind: Any, options: dict[str, Any]) -> torch.Tensor:
    torch.manual_seed(3)
    kind(5, 7, **options)
    return torch.rand(1)


@every_option
def test_reset_parameters_draws_torchs_numbers(options: dict[str, Any]) -> None:
    ours, theirs = gl.LSTM(5, 7, **options), nn.LSTM(5, 7, **options)
    for module in (ours, theirs):
        torch.manual_seed(8)
        module.reset_parameters()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert max(p.abs().max().item() for p in ours.parameters()) <= 7**-0.5


@every_option
def test_a_state_dict_passes_either_way(options: dict[str, Any]) -> None:
    ours, theirs = gl.LSTM(5, 7, **options), nn.LSTM(5, 7, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict(), strict=True)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    theirs.reset_parameters()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@every_option
def test_a_state_dict_of_other_sizes_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(RuntimeError, match="size mismatch"):
        gl.LSTM(5, 7, **options).load_state_dict(nn.LSTM(6, 7, **options).state_dict())


@every_option
def test_text_attributes_and_all_weights_are_torchs(options: dict[str, Any]) -> None:
    ours, theirs = gl.LSTM(5, 7, **options), nn.LSTM(5, 7, **options)
    assert ours.extra_repr() == theirs.extra_repr()
    assert repr(ours) == repr(theirs)
    for name in (
        *("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout"),
        *("bidirectional", "proj_size", "training"),
    ):
        assert getattr(ours, name) == getattr(theirs, name), name
        assert type(getattr(ours, name)) is type(getattr(theirs, name)), name
    assert [[tuple(w.shape) for w in layer] for layer in ours.all_weights] == [
        [tuple(w.shape) for w in layer] for layer in theirs.all_weights
    ]
    flat = [weight for layer in ours.all_weights for weight in layer]
    assert all(weight is parameter for weight, parameter in zip(flat, ours.parameters(), strict=True))
    assert ours.flatten_parameters() is None
    assert ours.bias == options.get("bias", True)


def test_mode_is_torchs() -> None:
    assert gl.LSTM(3, 4).mode == nn.LSTM(3, 4).mode == "LSTM"


@every_option
def test_copies_are_independent_and_equal(options: dict[str, Any], kernel: str) -> None:
    lstm = gl.LSTM(5, 7, **options).eval()
    x = torch.randn(4, 3, 5)
    before = lstm(x)[0]
    lstm(x)[0].sum().backward()
    file = io.BytesIO()
    torch.save(lstm, file)
    file.seek(0)
    copies = [
        copy.deepcopy(lstm),
        copy.copy(lstm),
        pickle.loads(pickle.dumps(lstm)),
        torch.load(file, weights_only=False),
    ]
    for other in copies:
        assert repr(other) == repr(lstm)
        assert torch.equal(other(x)[0], before)
    with torch.no_grad():
        lstm.weight_hh_l0.zero_()
    independent = [not torch.equal(other(x)[0], lstm(x)[0]) for other in copies]
    assert independent == [True, False, True, True]


def test_a_whole_module_changes_type(kernel: str) -> None:
    lstm = gl.LSTM(3, 4, 2, bidirectional=True)
    x = torch.randn(5, 2, 3)
    lstm(x)
    wide = copy.deepcopy(lstm).double()
    assert lstm(x)[0].dtype == torch.float32
    assert wide(x.double())[0].dtype == torch.float64
    torch.testing.assert_close(wide(x.double())[0].float(), lstm(x)[0], atol=1e-6, rtol=0)
    before = lstm(x)[0]
    assert (
        lstm.to(torch.float64)(x.double())[0].dtype == torch.float64
    )  # the very module that was called before
    torch.testing.assert_close(lstm(x.double())[0].float(), before, atol=1e-6, rtol=0)
    assert lstm.to(torch.bfloat16)(x.bfloat16())[0].dtype == torch.bfloat16
    for dtype in (torch.float16, torch.float64):
        assert gl.LSTM(3, 4, dtype=dtype)(x.to(dtype))[0].dtype == dtype


def test_on_the_meta_device_only_shapes_are_computed(kernel: str) -> None:
    lstm = gl.LSTM(3, 4, 2, bidirectional=True, proj_size=2, device="meta")
    output, (h_n, c_n) = lstm(torch.empty(5, 7, 3, device="meta"))
    assert output.is_meta
    assert (output.shape, h_n.shape, c_n.shape) == ((5, 7, 4), (4, 7, 2), (4, 7, 4))
    real = lstm.to_empty(device="cpu")
    torch.manual_seed(5)
    real.reset_parameters()
    torch.manual_seed(5)
    fresh = gl.LSTM(3, 4, 2, bidirectional=True, proj_size=2)
    assert all(torch.equal(a, b) for a, b in zip(real.parameters(), fresh.parameters(), strict=True))


# Every way in which a weight changes between two calls.


def _data(lstm: gl.LSTM) -> None:
    lstm.weight_hh_l0.data = torch.randn_like(lstm.weight_hh_l0)


def _data_in_place(lstm: gl.LSTM) -> None:
    lstm.weight_ih_l1_reverse.data.mul_(-1)


def _copy(lstm: gl.LSTM) -> None:
    with torch.no_grad():
        lstm.bias_hh_l1.copy_(torch.randn(16))


def _numpy(lstm: gl.LSTM) -> None:
    lstm.weight_hh_l1.detach().numpy()[:] *= 3  # behind autograd's back, no version is counted


def _optimiser(lstm: gl.LSTM) -> None:
    lstm(torch.ones(5, 2, 3, dtype=torch.float64))[0].sum().backward()
    torch.optim.SGD(lstm.parameters(), lr=1.0).step()


def _load(lstm: gl.LSTM) -> None:
    lstm.load_state_dict({name: value + 0.5 for name, value in lstm.state_dict().items()})


def _load_assign(lstm: gl.LSTM) -> None:
    lstm.load_state_dict({name: value - 0.5 for name, value in lstm.state_dict().items()}, assign=True)


def _replace(lstm: gl.LSTM) -> None:
    lstm.weight_ih_l0 = nn.Parameter(torch.randn_like(lstm.weight_ih_l0))


def _reset(lstm: gl.LSTM) -> None:
    lstm.reset_parameters()


def _swap(lstm: gl.LSTM) -> None:
    torch.utils.swap_tensors(lstm.weight_hh_l0, nn.Parameter(torch.randn_like(lstm.weight_hh_l0)))


def _data_no_grad(lstm: gl.LSTM) -> None:
    with torch.no_grad():
        lstm.weight_hh_l1.data.add_(0.5)
        lstm.bias_ih_l0_reverse.data[:] = 2.0


def _moved(lstm: gl.LSTM) -> None:
    """To another type and back: new memory, and the numbers rounded."""
    lstm.to(torch.bfloat16).double()


def _vector(lstm: gl.LSTM) -> None:
    vector = nn.utils.parameters_to_vector(lstm.parameters())
    nn.utils.vector_to_parameters(vector.detach().neg(), lstm.parameters())


def _fused_optimiser(lstm: gl.LSTM) -> None:
    lstm(torch.ones(5, 2, 3, dtype=torch.float64))[0].sum().backward()
    torch.optim.Adam(lstm.parameters(), lr=0.5, fused=True).step()


CHANGES = (
    *(_data, _data_in_place, _data_no_grad, _copy, _numpy, _optimiser, _fused_optimiser),
    *(_load, _load_assign, _replace, _reset, _swap, _moved, _vector),
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.strip("_"))
@pytest.mark.parametrize("call", [{}, {"lengths": [5, 3]}], ids=["padded", "ragged"])
@pytest.mark.parametrize("grad", [True, False], ids=["training", "inference"])
def test_a_changed_weight_is_seen_by_the_next_call(
    change: Callable[[gl.LSTM], None], grad: bool, call: dict[str, Any], kernel: str
) -> None:
    lstm = gl.LSTM(3, 4, 2, bidirectional=True, dtype=torch.float64)
    x = torch.randn(5, 2, 3, dtype=torch.float64)

    def run(module: gl.LSTM) -> list[torch.Tensor]:
        with torch.set_grad_enabled(grad):
            output, _ = module(x, **call)
        grads = torch.autograd.grad(output.sum(), list(module.parameters())) if grad else ()
        return [output.detach(), *grads]

    before = run(lstm)
    change(lstm)
    after = run(lstm)
    fresh = gl.LSTM(3, 4, 2, bidirectional=True, dtype=torch.float64)
    fresh.load_state_dict(lstm.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(after, run(fresh), strict=True))
    least = 1e-5 if change is _moved else 1e-3
    assert not torch.allclose(after[0], before[0], atol=least)


@pytest.mark.parametrize("proj_size", [0, 2])
def test_functional_call_sees_its_own_weights(proj_size: int, kernel: str, twin: Callable[..., Any]) -> None:
    ours, theirs = twin(3, 4, 2, bidirectional=True, proj_size=proj_size)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    before = ours(x)[0]
    weights = {name: torch.randn_like(value).requires_grad_() for name, value in ours.named_parameters()}
    found, expected = (torch.func.functional_call(m, weights, (x,))[0] for m in (ours, theirs))
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    grads = [torch.autograd.grad(y.square().sum(), list(weights.values())) for y in (found, expected)]
    torch.testing.assert_close(*grads, atol=1e-9, rtol=0)
    assert torch.equal(ours(x)[0], before)  # its own weights again


def test_two_modules_that_share_a_weight_both_see_it_change(kernel: str) -> None:
    first, second = gl.LSTM(3, 4, dtype=torch.float64), gl.LSTM(3, 4, dtype=torch.float64)
    second.weight_hh_l0 = first.weight_hh_l0
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    before = second(x)[0].detach()
    (first(x)[0].sum() + second(x)[0].sum()).backward()
    both = first.weight_hh_l0.grad.clone()
    alone = []
    for lstm in (first, second):
        first.zero_grad()
        lstm(x)[0].sum().backward()
        alone.append(first.weight_hh_l0.grad.clone())
    torch.testing.assert_close(sum(alone), both, atol=1e-12, rtol=0)
    torch.optim.SGD(first.parameters(), lr=1.0).step()
    after = second(x)[0].detach()
    assert not torch.allclose(after, before, atol=1e-3)
    fresh = gl.LSTM(3, 4, dtype=torch.float64)
    fresh.load_state_dict(second.state_dict())
    assert torch.equal(after, fresh(x)[0])


def test_a_parametrization_is_seen_by_the_next_call(kernel: str) -> None:
    """What the user changes is not the weight but what it is computed from."""
    lstm = gl.LSTM(3, 4, dtype=torch.float64)
    parametrizations.weight_norm(lstm, "weight_hh_l0")
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    before = lstm(x)[0].detach()
    with torch.no_grad():
        lstm.parametrizations.weight_hh_l0.original0.mul_(-2)
    fresh = gl.LSTM(3, 4, dtype=torch.float64)
    names = [name for name, _ in fresh.named_parameters()]
    fresh.load_state_dict({name: getattr(lstm, name).detach() for name in names})
    after = lstm(x)[0]
    assert torch.equal(after, fresh(x)[0])
    assert not torch.allclose(after, before, atol=1e-3)


def _weight_norm(module: nn.Module) -> None:
    parametrizations.weight_norm(module, "weight_hh_l0")
    parametrizations.weight_norm(module, "weight_ih_l1")


def _spectral_norm(module: nn.Module) -> None:
    torch.manual_seed(4)  # its power iteration starts at random, and torch's LSTM makes more steps of it
    parametrizations.spectral_norm(module, "weight_hh_l1", n_power_iterations=200)


def _frozen(module: nn.Module) -> None:
    module.weight_hh_l0.requires_grad_(False)
    module.bias_ih_l1.requires_grad_(False)


def _tied(module: nn.Module) -> None:
    module.weight_hh_l1 = module.weight_hh_l0
    module.bias_hh_l1 = module.bias_ih_l1


def _pruned(module: nn.Module) -> None:
    prune.l1_unstructured(module, "weight_hh_l0", amount=0.5)


DRESSES = (_weight_norm, _spectral_norm, _frozen, _tied, _pruned)


@pytest.mark.parametrize("dress", DRESSES, ids=lambda dress: dress.__name__.strip("_"))
def test_dressed_weights_train_as_torchs_do(
    dress: Callable[[nn.Module], None], kernel: str, twin: Callable[..., Any]
) -> None:
    ours, theirs = twin(3, 4, 2)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    for module in (ours, theirs):
        dress(module)
    optimisers = [torch.optim.SGD(module.parameters(), lr=0.1) for module in (ours, theirs)]
    for _ in range(3):
        outputs = []
        for module, optimiser in zip((ours, theirs), optimisers, strict=True):
            optimiser.zero_grad()
            output, _ = module(x)
            output.square().sum().backward()
            optimiser.step()
            outputs.append(output)
        torch.testing.assert_close(*outputs, atol=1e-10, rtol=0)
    left, right = dict(ours.named_parameters()), dict(theirs.named_parameters())
    assert list(left) == list(right)
    for name, expected in right.items():
        torch.testing.assert_close(left[name], expected, atol=1e-10, rtol=0)
        assert (left[name].grad is None) == (expected.grad is None), name


def test_a_weight_may_become_a_plain_tensor(kernel: str) -> None:
    """As in DropConnect and hypernetworks, where something else computes the weight before each call."""
    lstm = gl.LSTM(3, 4)
    raw = nn.Parameter(torch.randn(16, 4))
    del lstm.weight_hh_l0
    lstm.weight_hh_l0 = raw * 0.5
    lstm(torch.randn(5, 2, 3))[0].sum().backward()
    assert raw.grad is not None
    assert raw.grad.abs().max() > 0
    for name in [name for name, _ in lstm.named_parameters()]:
        value = getattr(lstm, name).detach()
        delattr(lstm, name)
        setattr(lstm, name, value)
    lstm.double().float()  # nothing is left to move, and that is no error
    lstm.flatten_parameters()


def test_training_with_an_optimiser_follows_torch(kernel: str, twin: Callable[..., Any]) -> None:
    ours, theirs = twin(3, 4, 2, bidirectional=True)
    x, target = torch.randn(6, 4, 3, dtype=torch.float64), torch.randn(6, 4, 8, dtype=torch.float64)
    losses: list[list[float]] = []
    for module in (ours, theirs):
        optimiser = torch.optim.Adam(module.parameters(), lr=0.05)
        losses.append([])
        for _ in range(5):
            loss = (module(x)[0] - target).square().mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), 0.5)
            optimiser.step()
            losses[-1].append(loss.item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-9)
    assert losses[0][-1] < losses[0][0]
