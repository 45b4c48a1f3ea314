"""The network against torch.nn.LSTM and loops over the valid steps: padding never counts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from glasslstm.estimators.network import SequenceNetwork

LENGTHS = torch.tensor([7, 1, 4, 6])
POOLINGS = ("last", "mean", "max", "attention")


def make(**parameters: Any) -> SequenceNetwork:
    chosen = {"inputs": 3, "outputs": 2, "hidden_size": 5, "num_layers": 2}
    return SequenceNetwork(**(chosen | parameters)).eval()


def inputs(filler: float = 0.0) -> Tensor:
    x = torch.randn(7, 4, 3, generator=torch.Generator().manual_seed(1))
    for b, length in enumerate(LENGTHS):
        x[length:, b] = filler
    return x


def outputs_by_torch(network: SequenceNetwork, x: Tensor) -> list[Tensor]:
    """Return the outputs of each series alone, (T_b, D * H)."""
    reference = nn.LSTM(3, 5, network.lstm.num_layers, bidirectional=network.lstm.bidirectional)
    reference.load_state_dict(network.lstm.state_dict())
    return [reference(x[:length, b])[0].detach() for b, length in enumerate(LENGTHS)]


def pooled_by_hand(pooling: str, network: SequenceNetwork, output: Tensor) -> Tensor:
    if pooling == "last":
        return torch.cat([output[-1, :5], output[0, 5:]])
    total, largest = torch.zeros_like(output[0]), output[0].clone()
    scores = (
        [network.attention(step).item() for step in output] if pooling == "attention" else [0.0] * len(output)
    )
    whole = sum(math.exp(score) for score in scores)
    for step, one in zip(output, scores, strict=True):
        largest = torch.maximum(largest, step)
        total += step * math.exp(one) / whole  # of equal scores: the mean
    return largest if pooling == "max" else total


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_pools_the_valid_steps(pooling: Any, layer_norm: bool, bidirectional: bool) -> None:
    network = make(pooling=pooling, bidirectional=bidirectional, layer_norm=layer_norm)
    nn.init.normal_(network.head.bias)
    if layer_norm:
        nn.init.normal_(network.norm.weight), nn.init.normal_(network.norm.bias)
    found = network(inputs(), LENGTHS)
    for b, output in enumerate(outputs_by_torch(network, inputs())):
        features = pooled_by_hand(pooling, network, output)
        if layer_norm:
            mean, spread = features.mean(), features.var(unbiased=False)
            features = (features - mean) / torch.sqrt(spread + 1e-5) * network.norm.weight + network.norm.bias
        expected = network.head.weight @ features + network.head.bias
        torch.testing.assert_close(found[b], expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_each_step_is_answered_from_its_own_output(bidirectional: bool) -> None:
    network = make(per_step=True, bidirectional=bidirectional)
    found = network(inputs(), LENGTHS)
    for b, output in enumerate(outputs_by_torch(network, inputs())):
        expected = output @ network.head.weight.T + network.head.bias
        torch.testing.assert_close(found[: LENGTHS[b], b], expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_what_stands_in_the_padding_changes_neither_answers_nor_gradients(pooling: Any) -> None:
    network = make(pooling=pooling)
    found = []
    for filler in (0.0, 1e3):
        network.zero_grad()
        answer = network(inputs(filler), LENGTHS)
        answer.sum().backward()
        found.append([answer.detach(), *(weight.grad.clone() for weight in network.parameters())])
    for first, second in zip(*found, strict=True):
        assert torch.equal(first, second)


def test_recurrent_dropout_is_one_mask_for_all_steps_and_acts_in_training_alone() -> None:
    network = make(recurrent_dropout=0.5, num_layers=1, bidirectional=False, dropout=0.0)
    plain = make(num_layers=1, bidirectional=False)
    plain.load_state_dict(network.state_dict())
    x = inputs()
    assert torch.equal(network(x, LENGTHS), plain(x, LENGTHS))
    network.train()
    torch.manual_seed(4)
    dropped = network(x, LENGTHS)
    torch.manual_seed(4)
    masked = nn.functional.dropout(network.lstm.weight_hh_l0, 0.5)
    assert set((masked / network.lstm.weight_hh_l0).round(decimals=4).unique().tolist()) == {0.0, 2.0}
    plain.lstm.weight_hh_l0.data.copy_(masked)
    torch.testing.assert_close(dropped, plain(x, LENGTHS), atol=1e-7, rtol=0)
    assert not torch.equal(network(x, LENGTHS), dropped)
    # One step has no step before it: nothing is dropped.
    torch.testing.assert_close(network(x[:1], torch.ones(4).long()), plain(x[:1], torch.ones(4).long()))


def test_recurrent_dropout_reaches_every_layer_and_direction_and_its_gradients() -> None:
    network = make(recurrent_dropout=0.5, dropout=0.0).train()
    network(inputs(), LENGTHS).sum().backward()
    for name, weight in network.lstm.named_parameters():
        share = (weight.grad == 0).float().mean().item()
        assert (0.2 < share < 0.8) if name.startswith("weight_hh") else share < 0.2, name


def test_dropout_acts_on_what_the_head_reads_in_training_alone() -> None:
    network = make(dropout=0.5, num_layers=1)
    assert network.lstm.dropout == 0  # there is nothing between layers
    still = network(inputs(), LENGTHS)
    h = torch.stack([torch.cat([o[-1, :5], o[0, 5:]]) for o in outputs_by_torch(network, inputs())])
    network.train()
    torch.manual_seed(2)
    dropped = network(inputs(), LENGTHS)
    torch.manual_seed(2)
    torch.testing.assert_close(dropped, network.head(nn.functional.dropout(h, 0.5)), atol=2e-6, rtol=0)
    network.eval()
    assert torch.equal(network(inputs(), LENGTHS), still)


def test_orthogonal_initialisation() -> None:
    lstm = make(hidden_size=8).lstm
    for suffix in ("l0", "l0_reverse", "l1", "l1_reverse"):
        for gate in getattr(lstm, f"weight_hh_{suffix}").detach().split(8):
            torch.testing.assert_close(gate @ gate.T, torch.eye(8), atol=1e-5, rtol=0)
        bias = getattr(lstm, f"bias_ih_{suffix}") + getattr(lstm, f"bias_hh_{suffix}")
        np.testing.assert_allclose(bias.detach(), np.repeat([0.0, 1.0, 0.0, 0.0], 8))


def test_chrono_initialisation_spreads_the_memories_up_to_the_longest_series() -> None:
    lstm = make(hidden_size=200, num_layers=1, initialisation="chrono", max_steps=500).lstm
    for suffix in ("l0", "l0_reverse"):
        bias = (getattr(lstm, f"bias_ih_{suffix}") + getattr(lstm, f"bias_hh_{suffix}")).detach()
        write, forget, *rest = bias.split(200)
        steps = 1 + forget.exp()  # b_f = log(T - 1)
        assert 2 <= steps.min() < 30
        assert 450 < steps.max() <= 500
        torch.testing.assert_close(write, -forget)
        assert not torch.cat(rest).any()


def test_torch_initialisation_is_that_of_torch() -> None:
    torch.manual_seed(3)
    network = make(initialisation="torch")
    torch.manual_seed(3)
    reference = nn.LSTM(3, 5, 2, bidirectional=True)
    for name, weight in reference.state_dict().items():
        assert torch.equal(network.lstm.state_dict()[name], weight), name


def test_a_batch_of_none_has_gradients_of_zero() -> None:
    """One of several processes may have no series of a batch."""
    for pooling in POOLINGS:
        network = make(pooling=pooling).train()
        answer = network(torch.zeros(4, 0, 3), torch.zeros(0, dtype=torch.long))
        assert answer.shape == (0, 2)
        answer.sum().backward()
        assert not any(weight.grad.any() for weight in network.parameters())
