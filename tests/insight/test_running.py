from __future__ import annotations

import random
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

import glasslstm as gl
from glasslstm.errors import ArgumentError
from glasslstm.insight.running import first_tensor, rewound, run, tensors, undisturbed


class Model(nn.Module):
    """Has all that a run may change."""

    def __init__(self):
        super().__init__()
        self.norm, self.drop, self.lstm = nn.BatchNorm1d(3), nn.Dropout(), nn.LSTM(3, 4)
        self.register_buffer("count", torch.zeros(2))
        self.states, self.seen, self.last = None, [], {}

    def forward(self, x):
        x = self.drop(self.norm(x.flatten(0, 1)).view_as(x))
        self.count += 1
        self.seen.append(x)
        self.last["x"] = x
        output, self.states = self.lstm(x, self.states)
        self.new = output
        return output


X = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(1))


def test_undisturbed_gives_everything_back() -> None:
    model = Model()
    model.norm.eval()
    model(X).sum().backward()
    kept = [dict(vars(module)) for module in model.modules()]
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    grads = {name: parameter.grad for name, parameter in model.named_parameters()}
    values = [grad.clone() for grad in grads.values() if grad is not None]
    modes = [module.training for module in model.modules()]
    random, seen, states = torch.get_rng_state(), list(model.seen), model.states
    with undisturbed(model):
        assert not any(module.training for module in model.modules())
        assert all(parameter.grad is None for parameter in model.parameters())
        model.train()
        model(X).sum().backward()
        assert model.count.tolist() == [2, 2]
    assert [module.training for module in model.modules()] == modes
    assert [dict(vars(module)).keys() for module in model.modules()] == [own.keys() for own in kept]
    assert all(parameter.grad is grads[name] for name, parameter in model.named_parameters())
    assert all(torch.equal(*pair) for pair in zip(filter_none(grads), values, strict=True))
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in model.named_buffers())
    assert torch.equal(torch.get_rng_state(), random)
    assert model.states is states
    assert [part is other for part, other in zip(model.seen, seen, strict=True)] == [True]
    assert model.last["x"] is seen[0]


def filter_none(grads):
    return [grad for grad in grads.values() if grad is not None]


def test_undisturbed_after_an_error_too() -> None:
    model = Model()
    with pytest.raises(ArgumentError, match="the model refused them"), undisturbed(model):
        run(model, torch.zeros(5, 2, 7))
    assert model.training
    assert model.norm.training
    assert model.seen == []
    assert not hasattr(model, "new")


def test_rewound_starts_each_run_from_the_same_state() -> None:
    model = Model().eval()
    outputs = []
    for _ in range(2):
        with rewound(model):
            outputs += [model(X), model(X)]
            assert model.new is outputs[-1]
    assert not hasattr(model, "new")
    assert torch.equal(outputs[0], outputs[2])
    assert torch.equal(outputs[1], outputs[3])
    assert not torch.equal(outputs[0], outputs[1])


def test_rewound_takes_what_is_kept_off_its_graph() -> None:
    """A state whose graph was freed by a backward pass cannot be differentiated again."""
    model = Model().eval()
    model(X).sum().backward()
    with rewound(model):
        model(X).sum().backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        model(X).sum().backward()


def test_rewound_keeps_what_is_shared_shared() -> None:
    outer, inner = nn.Module(), nn.LSTM(3, 4)
    outer.inner = inner
    outer.cache = inner.cache = [torch.zeros(2)]
    with rewound(outer):
        assert outer.cache is inner.cache
        outer.cache[0] += 1
        assert inner.weight_ih_l0 is inner._flat_weights[0]
    assert outer.cache is inner.cache
    assert not outer.cache[0].any()


def test_the_model_computes_the_same_afterwards() -> None:
    model = nn.Sequential(nn.BatchNorm1d(5), gl.LSTM(3, 4, batch_first=True))
    x = X.transpose(0, 1)
    twin = nn.Sequential(nn.BatchNorm1d(5), gl.LSTM(3, 4, batch_first=True))
    twin.load_state_dict(model.state_dict())
    gl.diagnose(model, x)
    assert torch.equal(model(x)[0], twin(x)[0])
    assert torch.equal(model[0].running_mean, twin[0].running_mean)


@pytest.mark.parametrize("inputs", [X, (X,), {"input": X}], ids=["one", "tuple", "mapping"])
def test_run_takes_arguments_in_every_form(inputs) -> None:
    lstm = gl.LSTM(3, 4)
    assert torch.equal(run(lstm, inputs)[0], lstm(X)[0])


def test_run_hands_a_packed_sequence_on_as_one_argument() -> None:
    lstm = nn.LSTM(3, 4)
    packed = pack_sequence([X[:, 0], X[:2, 1]])
    assert torch.equal(run(lstm, packed)[0].data, lstm(packed)[0].data)


@pytest.mark.parametrize(
    ("inputs", "got"),
    [
        (torch.zeros(5, 2, 7), r"got a tensor \(5, 2, 7\) of torch.float32 on cpu; give a tuple"),
        ((X, 3), r"got \(a tensor \(5, 2, 3\) of torch.float32 on cpu, int\)"),
        ({"other": X}, r"got other: a tensor \(5, 2, 3\)"),
    ],
)
def test_run_says_what_was_refused(inputs, got) -> None:
    with pytest.raises(ArgumentError, match=got) as caught:
        run(nn.LSTM(3, 4), inputs)
    assert caught.value.__cause__ is not None


def test_tensors_of_every_kind_of_output() -> None:
    a, b, whole = torch.zeros(2), torch.ones(3), torch.tensor([1])
    packed = pack_sequence([X[:, 0]])
    assert [t is other for t, other in zip(tensors((whole, [a, {"x": b}])), (a, b), strict=True)] == [
        True
    ] * 2
    assert first_tensor(OrderedDict(n=whole, y=(None, b))) is b
    assert first_tensor((packed, a)) is packed.data
    for nothing in (whole, None, "text", (), {"n": whole}):
        assert first_tensor(nothing) is None


class _Restless(nn.Module):
    """Draws from Python's and numpy's random numbers, and changes its input in place."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = gl.LSTM(3, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(1.5)
        x = x + random.random() + np.random.rand()  # noqa: NPY002
        return self.lstm(x)[0][:, -1]


def test_what_a_model_draws_elsewhere_and_does_to_its_input_is_no_fault_and_is_given_back() -> None:
    model, x = _Restless(), torch.randn(12, 20, 3)
    before = x.clone(), random.getstate(), np.random.get_state()  # noqa: NPY002
    found = gl.diagnose(model, x, codes=["axes-mixed", "state-carried-over"])
    assert not found
    assert len(found.looked_for) == 2
    assert torch.equal(x, before[0])
    assert random.getstate() == before[1]
    assert all(map(np.array_equal, np.random.get_state(), before[2]))  # noqa: NPY002


def test_no_optimiser_in_a_hook_steps() -> None:
    """A loss that weighs the parameters gives each a gradient, also while the best guess is looked for."""
    model, x, y = nn.Sequential(gl.LSTM(3, 4)), torch.randn(6, 8, 3), torch.randn(6, 8, 4)
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(lambda _: optimiser.step())
    before = [parameter.clone() for parameter in model.parameters()]

    def loss(output: Any, y: Tensor) -> Tensor:
        return (output[0] - y).square().mean() + 0.1 * sum(p.square().sum() for p in model.parameters())

    gl.diagnose(model, x, y, loss)
    assert all(map(torch.equal, model.parameters(), before))


def test_gradients_under_inference_mode() -> None:
    model, x = gl.LSTM(3, 4), torch.randn(6, 8, 3)
    with torch.inference_mode():
        assert "gradient-explodes" in gl.diagnose(model, x, codes=["gradient-explodes"]).looked_for
        assert torch.is_inference_mode_enabled()
