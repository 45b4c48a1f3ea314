"""Every side of every work gives the right numbers, and a wrong kernel of ours does not pass."""

from __future__ import annotations

import pytest
import torch

import glasslstm as gl
from glasslstm.bench import opponents, pairs
from glasslstm.bench.measure import fault
from glasslstm.bench.opponents import ONNX, loop_by_hand
from glasslstm.bench.shapes import PEAK, STEP, Shape
from glasslstm.bench.twins import Twins
from glasslstm.nn.trace import QUANTITIES

SHAPES = [Shape(6, 3, 4, 5), Shape(1, 1, 1, 1), Shape(7, 2, 3, 4, L=2, D=2)]
WORKS = {
    "inference": pairs.inference,
    "training": pairs.training,
    "ragged-inference": pairs.ragged_inference,
    "ragged-training": pairs.ragged_training,
    "gates-inference": pairs.gates_inference,
    "gates-training": pairs.gates_training,
    "watch-inference": pairs.watch_inference,
    "watch-training": pairs.watch_training,
    "recompute": pairs.recompute,
    "scaling": pairs.per_step(pairs.training),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", WORKS)
def test_every_side_gives_the_numbers_of_float64(name, shape) -> None:
    for pair in WORKS[name](shape):
        assert [fault(side) for side in pair[:2]] == [None, None]
        assert pair.subject.name != pair.against.name


@pytest.mark.parametrize("shape", [Shape(6, 3, 4, 5), Shape(9, 1, 2, 32)], ids=str)
def test_every_way_to_take_single_steps_gives_the_numbers_of_float64(shape) -> None:
    found = list(pairs.step(shape))
    assert [(fault(pair.subject), fault(pair.against)) for pair in found] == [(None, None)] * len(found)
    assert {(pair.subject.amount, pair.subject.unit) for pair in found} == {(shape.T, "s per step")}


def test_steps_are_forward_alone_and_a_cell_is_one_layer() -> None:
    assert list(pairs.step(Shape(2, 1, 3, 4, 1, 2))) == []
    (pair,) = pairs.step(Shape(2, 1, 3, 4, 2))
    assert (pair.against.name, fault(pair.subject), fault(pair.against)) == ("torch.nn.LSTM", None, None)


@pytest.mark.parametrize(
    "name",
    ["inference", "training", "ragged-inference", "ragged-training", "gates-inference", "watch-training"],
)
def test_a_wrong_kernel_of_ours_is_found(name, monkeypatch: pytest.MonkeyPatch) -> None:
    correct = gl.LSTM.forward

    def last_unit_a_step_late(self, input, *args, **more):
        output, *rest = correct(self, input, *args, **more)
        late = torch.cat([torch.zeros_like(output[:1, :, -1:]), output[:-1, :, -1:]])
        return torch.cat([output[..., :-1], late], dim=-1), *rest

    monkeypatch.setattr(gl.LSTM, "forward", last_unit_a_step_late)
    pair = next(iter(WORKS[name](SHAPES[0])))
    assert "differs by" in fault(pair.subject)


def test_what_is_compared_with_what() -> None:
    def names(name):
        return {pair.against.name for pair in WORKS[name](SHAPES[0])} - {ONNX}

    assert names("inference") == names("training") == {"torch.nn.LSTM"}
    assert names("ragged-inference") == names("ragged-training") == {"torch.nn.LSTM", "glasslstm, padded"}
    assert names("gates-inference") == names("gates-training") == {"glasslstm", "loop by hand"}
    assert names("watch-inference") == names("watch-training") == {"glasslstm", "loop by hand"}


@pytest.mark.parametrize("name", ["inference", "ragged-inference"])
def test_onnx_runtime_takes_part_where_it_is_installed(name, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    sides = [pair.against for pair in WORKS[name](SHAPES[2]) if pair.against.name == ONNX]
    assert [side.own_threads for side in sides] == [True]
    monkeypatch.setattr(pairs, "missing", lambda: {ONNX: "not installed"})
    assert ONNX not in {pair.against.name for pair in WORKS[name](SHAPES[2])}


def test_a_wrong_order_of_gates_in_onnx_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(opponents, "_ORDER", (0, 1, 2, 3))
    side = next(pair.against for pair in pairs.inference(SHAPES[0]) if pair.against.name == ONNX)
    assert "differs by" in fault(side)


def test_the_loop_by_hand_has_the_gates_of_the_equations_in_the_order_of_a_trace() -> None:
    twins = Twins(SHAPES[2])
    exact, x = twins.ours.double(), twins.x.double()
    with gl.use_kernel("equations"):
        output, _, trace = exact(x, return_trace=True)
    expected = [getattr(trace[key], name) for key in trace for name in QUANTITIES] + [output]
    torch.testing.assert_close(loop_by_hand(exact, x), expected, atol=1e-12, rtol=0)


def test_lengths_go_from_a_fifth_to_all_steps() -> None:
    lengths = Twins(Shape(100, 4000, 1, 1)).lengths
    assert (lengths.min().item(), lengths.max().item()) == (20, 100)
    assert lengths.float().mean().item() == pytest.approx(60, abs=2)


def test_our_weights_count_as_changed_before_each_inference() -> None:
    twins = Twins(SHAPES[0])
    before = [weight._version for weight in twins.ours.parameters()]
    run = twins.inference(twins.ours, twins.padded)
    for _ in range(3):
        run()
    assert [weight._version for weight in twins.ours.parameters()] == [version + 3 for version in before]


def test_the_goals_of_single_steps_hang_on_the_hidden_size() -> None:
    goals = {shape.H: [pair.goal for pair in pairs.step(shape._replace(T=1))][:2] for shape in STEP}
    assert goals == {32: [30, 8], 128: [30, 8], 256: [20, 5]}


def test_the_share_counts_three_forward_passes_for_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "_best_product", lambda _: pairs._product(8))
    shape = SHAPES[0]
    for pair in pairs.peak_share(pairs.training, 3, 0.75)(shape):
        assert (pair.subject.amount, pair.subject.unit) == (3 * shape.flops, "s per flop")
        assert (pair.against.amount, pair.against.unit, pair.kind) == (2 * 8**3, "s per flop", "share")
        assert (fault(pair.subject), fault(pair.against)) == (None, None)
    assert len(PEAK) == 3


def test_the_best_product_is_the_one_with_the_most_operations_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pairs, "in_turn", lambda *_: [[5e-12, 4e-12], [9e-12, 2e-12], [3e-12, 3e-12]])
    pairs._best_product.cache_clear()
    best = pairs._best_product(1)
    pairs._best_product.cache_clear()
    assert best.name == "torch.mm, 1024 x 1024"
