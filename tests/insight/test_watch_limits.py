"""What watch() keeps: which modules, steps, calls and gradients, within which limit; and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import glasslstm as gl
from glasslstm.errors import ArgumentError, ArgumentTypeError, KernelError
from glasslstm.nn.trace import QUANTITIES

KINDS = {"torch": nn.LSTM, "ours": gl.LSTM}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
T, B = 12, 5
LENGTHS = [7, 12, 3, 9, 12]
SLICES = [
    slice(-4, None), slice(0, 5), slice(4, 9), slice(3, 4), slice(None, -2), slice(None), slice(0, 99),
    slice(5, 5), slice(50, None), slice(8, 2),
]  # fmt: skip


def _whole_and_part(
    kind: Any, layout: str, expected: type[Warning] | None = None, **choice: Any
) -> tuple[Any, Any, Any]:
    """Trace the same call whole and in part, each with a backward pass through everything."""
    lstm = kind(3, 4, 2, bidirectional=True, proj_size=choice.pop("proj_size", 0), dtype=torch.float64)
    draw = torch.Generator().manual_seed(4)
    P = lstm.proj_size or 4
    x, h_0, c_0, g = (
        torch.randn(shape, dtype=torch.float64, generator=draw)
        for shape in ((T, B, 3), (4, B, P), (4, B, 4), (T, B, 2 * P))
    )
    value: Any = pack_padded_sequence(x, LENGTHS, enforce_sorted=False) if layout == "packed" else x
    call = {"lengths": LENGTHS} if layout == "lengths" else {}
    found = []
    for options in ({}, choice):
        with gl.watch(lstm, **options) as watcher:
            if options and expected:
                with pytest.warns(expected, match="watch: of a call of ''"):
                    output, (h_n, c_n) = lstm(value, (h_0, c_0), **call)
            else:
                output, (h_n, c_n) = lstm(value, (h_0, c_0), **call)
            if isinstance(output, PackedSequence):
                output, _ = nn.utils.rnn.pad_packed_sequence(output)
            ((output * g).sum() + h_n.square().sum() + (3 * c_n).sum()).backward()
        found.append(watcher[""])
    return found[0], found[1], x


def _check_part(
    whole: Any, part: Any, start: int, stop: int, sequences: int = B, *, gradients: bool = True
) -> None:
    """Compare a part with the same part of the whole, and the states that enter it."""
    assert part.start == start
    for key in whole:
        every, some = whole[key], part[key]
        assert some.reverse == every.reverse
        names = (*QUANTITIES, *(("cell_grad", "hidden_grad") if gradients else ()))
        for name in names if stop > start else QUANTITIES:
            expected = getattr(every, name)[start:stop, :sequences]
            torch.testing.assert_close(getattr(some, name), expected, atol=1e-12, rtol=0)
        for b in range(sequences):
            length = T if every.lengths is None else int(every.lengths[b])
            row = stop if every.reverse else min(start, length) - 1
            for name in ("hidden", "cell"):
                entering = (
                    getattr(every, name)[row, b]
                    if 0 <= row < length
                    else getattr(every, f"initial_{name}")[b]
                )
                found = getattr(some, f"initial_{name}")[b]
                torch.testing.assert_close(found, entering, atol=1e-12, rtol=0)
        if every.lengths is None:
            assert some.lengths is None
        else:
            expected = [min(max(length - start, 0), stop - start) for length in LENGTHS[:sequences]]
            assert some.lengths.tolist() == expected
            assert part.lengths.tolist() == expected


@every_kind
@pytest.mark.parametrize("layout", ["padded", "packed", "lengths"])
@pytest.mark.parametrize("limit", [2**30, 53_000], ids=["of what the call keeps", "computed once more"])
def test_steps_are_those_of_the_whole(kind: Any, layout: str, limit: int) -> None:
    """Where the whole would be beyond the limit, and the part is not, the part is computed for itself."""
    if layout == "lengths" and kind is nn.LSTM:
        pytest.skip("torch's LSTM knows no lengths")
    for steps, proj_size in (*((steps, 0) for steps in SLICES), (slice(4, 9), 2)):
        start, stop, _ = steps.indices(T)
        if limit < 2**30 and stop - start == T:
            continue
        whole, part, x = _whole_and_part(kind, layout, steps=steps, limit=limit, proj_size=proj_size)
        _check_part(whole, part, start, max(start, stop))
        assert part.left_out is None
        if layout == "padded":
            assert torch.equal(part.input, x[steps])


def test_a_part_adds_up_to_its_last_cell_state() -> None:
    """The states that enter are what the contributions of the steps inside go on from."""
    _, part, _ = _whole_and_part(gl.LSTM, "padded", steps=slice(4, 9))
    for key in part:
        gates = part[key]
        order = reversed(range(5)) if gates.reverse else range(5)
        cell = gates.initial_cell
        for t in order:
            cell = gates.forget_gate[t] * cell + gates.input_gate[t] * gates.candidate[t]
            torch.testing.assert_close(cell, gates.cell[t], atol=1e-12, rtol=0)


PER_STEP = (
    4 * 8 * 4 + 3
) * 8  # bytes: two layers of two directions with six quantities and two gradients; the input


@every_kind
@pytest.mark.parametrize("layout", ["padded", "packed", "lengths"])
def test_of_a_call_that_is_too_large_the_first_sequences_are_kept(kind: Any, layout: str) -> None:
    if layout == "lengths" and kind is nn.LSTM:
        pytest.skip("torch's LSTM knows no lengths")
    for steps, total in ((slice(None), 12), (slice(2, 11), 9)):
        limit = 3 * total * PER_STEP + 1
        whole, part, _ = _whole_and_part(kind, layout, UserWarning, limit=limit, steps=steps)
        start, stop, _ = steps.indices(T)
        _check_part(whole, part, start, stop, sequences=3)
        assert (
            part.left_out
            == f"only the first 3 of 5 sequences were kept, to stay below the limit of {limit:,} bytes"
        )
        assert part.nbytes <= limit


@every_kind
@pytest.mark.parametrize("layout", ["padded", "packed", "lengths"])
def test_of_a_sequence_that_is_too_long_the_last_steps_are_kept(kind: Any, layout: str) -> None:
    if layout == "lengths" and kind is nn.LSTM:
        pytest.skip("torch's LSTM knows no lengths")
    for steps, stop, total in ((slice(None), 12, 12), (slice(0, 8), 8, 8)):
        limit = 4 * PER_STEP
        whole, part, _ = _whole_and_part(kind, layout, UserWarning, limit=limit, steps=steps)
        _check_part(whole, part, stop - 4, stop, sequences=1)
        assert part.left_out == (
            f"only the last 4 of {total} steps of the first of 5 sequences were kept, "
            f"to stay below the limit of {limit:,} bytes"
        )
        assert part.nbytes <= limit
    _, part, _ = _whole_and_part(kind, layout, UserWarning, limit=1)
    assert part[1, 1].cell.shape == (1, 1, 4)


def test_a_part_with_dropout_is_that_of_the_same_call() -> None:
    """Of the first sequences, and of the last steps, the same is dropped as of the whole."""
    for kind, packed in product((nn.LSTM, gl.LSTM), (False, True)):
        lstm = kind(3, 4, 3, dropout=0.5, dtype=torch.float64)
        x: Any = torch.randn(T, B, 3, dtype=torch.float64)
        x = pack_padded_sequence(x, LENGTHS, enforce_sorted=False) if packed else x
        for limit, steps, sequences in (
            (20_000, slice(None), 4),
            (2**30, slice(-3, None), B),
            (600, slice(None), 1),
        ):
            found = []
            for options in ({}, {"limit": limit, "steps": steps}):
                torch.manual_seed(3)
                with gl.watch(lstm, **options) as watcher:
                    if options and limit < 2**30:
                        with pytest.warns(UserWarning, match="watch: of a call"):
                            lstm(x)
                    else:
                        lstm(x)
                found.append(watcher[""])
            whole, part = found
            count = part[2, 0].cell.size(1)
            assert 0 < count <= sequences
            stop = part.start + len(part[2, 0].cell)
            for k in range(3):
                expected = whole[k, 0].hidden[part.start : stop, :count]
                torch.testing.assert_close(part[k, 0].hidden, expected, atol=1e-12, rtol=0)


@every_kind
def test_twenty_thousand_steps(kind: Any) -> None:
    """The last of them are kept, and what they are does not depend on those that are not."""
    lstm = kind(1, 4, dtype=torch.float64)
    x = torch.randn(20_000, 1, 1, dtype=torch.float64)
    limit = 500 * (6 * 4 + 1) * 8
    message = "watch: of a call of '' only the last 500 of 20000 steps"
    with pytest.warns(UserWarning, match=message), torch.no_grad(), gl.watch(lstm, limit=limit) as watcher:
        output, (_, c_n) = lstm(x)
    trace = watcher[""]
    assert (trace.start, len(trace[0, 0].cell)) == (19_500, 500)
    assert trace.nbytes <= limit
    torch.testing.assert_close(trace[0, 0].hidden, output[-500:], atol=1e-12, rtol=0)
    torch.testing.assert_close(trace[0, 0].cell[-1], c_n[0], atol=1e-12, rtol=0)
    with torch.no_grad(), gl.watch(lstm, limit=limit, steps=slice(100, 300)) as watcher:
        lstm(x)
    assert watcher[""].left_out is None
    torch.testing.assert_close(watcher[""][0, 0].hidden, output[100:300], atol=1e-12, rtol=0)


@every_kind
def test_calls_are_the_last_ones(kind: Any) -> None:
    model = nn.ModuleDict({"a": kind(3, 4), "b": kind(3, 4)})
    x = torch.randn(5, T, B, 3)
    with gl.watch(model, calls=2) as watcher, torch.no_grad():
        for x_k in x:
            model["a"](x_k)
        model["b"](x[0])
    assert [trace.input.equal(x_k) for trace, x_k in zip(watcher.calls("a"), x[3:], strict=True)] == [
        True
    ] * 2
    assert watcher["a"] is watcher.calls("a")[-1]
    assert watcher.dropped == {"a": 3, "b": 0}
    assert repr(watcher) == "Watcher('a': 2 of 5 calls, 'b': 1 of 1 calls)"


@every_kind
def test_beyond_the_limit_the_oldest_calls_go(kind: Any) -> None:
    model = nn.ModuleDict({"a": kind(3, 4), "b": kind(3, 4)}).requires_grad_(False)
    x = torch.randn(4, T, B, 3)
    with gl.watch(model) as watcher:
        model["a"](x[0])
    each = watcher["a"].nbytes
    with gl.watch(model, limit=3 * each) as watcher:
        model["a"](x[0])
        for x_k in x[1:]:
            model["b"](x_k)
    assert watcher.dropped == {"a": 1, "b": 0}
    assert len(watcher.calls("b")) == 3
    assert list(watcher) == ["b"]
    with pytest.raises(
        ArgumentError, match=r"watcher\['a'\]: its calls were dropped to stay below the limit; give"
    ):
        watcher["a"]


@every_kind
def test_gradients_as_chosen(kind: Any) -> None:
    lstm, x = kind(3, 4), torch.randn(T, B, 3)
    for gradients in (None, True, False):
        with gl.watch(lstm, gradients=gradients) as watcher:
            lstm(x)[0].sum().backward()
        assert (watcher[""][0, 0].cell_grad is None) == (gradients is False)
        assert (watcher[""][0, 0].hidden_grad is None) == (gradients is False)


class _Tree(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleList([nn.LSTM(3, 3), gl.LSTM(3, 3)])
        self.decoder = nn.ModuleDict({"rnn": gl.LSTM(3, 3), "cell": nn.LSTMCell(3, 3)})
        self.again = self.encoder[0]
        self.head = nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        for lstm in (*self.encoder, self.again, self.decoder["rnn"]):
            x, _ = lstm(x)
        return self.head(self.decoder["cell"](x[-1])[0])


@pytest.mark.parametrize(
    ("modules", "names"),
    [
        (None, ("encoder.0", "encoder.1", "decoder.rnn", "decoder.cell")),
        ("encoder.1", ("encoder.1",)),
        ("decoder.*", ("decoder.rnn", "decoder.cell")),
        (["*.rnn", "encoder.?"], ("encoder.0", "encoder.1", "decoder.rnn")),
        (("*.0", "*.0"), ("encoder.0",)),
    ],
)
def test_modules_by_name(modules: Any, names: tuple[str, ...]) -> None:
    model = _Tree()
    with gl.watch(model, modules=modules) as watcher:
        model(torch.randn(T, B, 3))
    assert watcher.names == tuple(watcher.modules) == names == tuple(watcher)
    assert len(watcher) == len(names)
    assert all(name in watcher and watcher.modules[name] is model.get_submodule(name) for name in names)
    assert "head" not in watcher
    # One module under two names has the first, and both its calls.
    assert len(watcher.calls(names[0])) == (2 if names[0] == "encoder.0" else 1)


# What is refused ------------------------------------------------------------------------------------------


def _compiled() -> nn.Module:
    return torch.compile(nn.Sequential(gl.LSTM(3, 4)), backend="eager")


def _compiled_in_place() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 3), gl.LSTM(3, 4))
    model[1].compile(backend="eager")
    return model


def _scripted() -> nn.Module:
    return torch.jit.script(nn.Sequential(nn.LSTM(3, 4)))


REFUSED: list[tuple[Callable[[], Any], dict[str, Any], type[Exception], str]] = [
    (lambda: "lstm", {}, ArgumentTypeError, r"model: expected a torch\.nn\.Module, got str"),
    (lambda: gl.LSTM, {}, ArgumentTypeError, r"model: expected a torch\.nn\.Module, got type"),
    (
        lambda: nn.Sequential(nn.Linear(1, 1), nn.GRU(1, 1)),
        {},
        ArgumentError,
        r"model: expected an LSTM or LSTMCell of glasslstm or torch\.nn somewhere in it; found GRU, Linear, Sequential",
    ),
    (_compiled, {}, ArgumentError, r"'' is compiled, .* model\._orig_mod after torch\.compile\(model\)"),
    (
        _compiled_in_place,
        {},
        ArgumentError,
        r"'1' is compiled, .* copy\.deepcopy\(model\) after model\.compile\(\)",
    ),
    (
        _scripted,
        {},
        ArgumentError,
        r"model: TorchScript cannot be seen into; take the model that it was made from",
    ),
    (
        _Tree,
        {"modules": "x*"},
        ArgumentError,
        r"modules: 'x\*' fits none of the model's LSTMs: 'encoder\.0', .*cell'",
    ),
    (
        _Tree,
        {"modules": ["encoder.0", "head"]},
        ArgumentError,
        r"modules: 'head' fits none of the model's LSTMs",
    ),
    (
        _Tree,
        {"modules": []},
        ArgumentError,
        r"modules: expected at least one name of the model's LSTMs: 'encoder\.0'",
    ),
    (_Tree, {"modules": [3]}, ArgumentTypeError, r"modules: expected names, or one, got \[3\]"),
    (_Tree, {"modules": 3}, ArgumentTypeError, r"modules: expected names, or one, got 3"),
    *(
        (_Tree, {"calls": calls}, ArgumentError, rf"calls: expected how many to keep, 1 or more; got {calls}")
        for calls in (0, -1, 2.0, True)
    ),
    *(
        (
            _Tree,
            {"limit": limit},
            ArgumentError,
            rf"limit: expected a number of bytes, 1 or more; got {limit}",
        )
        for limit in (0, 1e9, False)
    ),
    (
        _Tree,
        {"steps": slice(0, 9, 2)},
        ArgumentError,
        r"steps: expected a slice without gaps.*got slice\(0, 9, 2\)",
    ),
    (
        _Tree,
        {"steps": 5},
        ArgumentError,
        r"steps: expected a slice without gaps, such as slice\(-50, None\); got 5",
    ),
    (_Tree, {"steps": slice("a", None)}, ArgumentError, r"steps: expected a slice without gaps"),
    (_Tree, {"gradients": "yes"}, ArgumentTypeError, r"gradients: expected True, False or None, got 'yes'"),
]


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize(("make", "options", "error", "message"), REFUSED)
def test_refused_before_anything_starts(make: Any, options: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        gl.watch(make(), **options)


def test_a_compiled_part_without_an_lstm_is_no_matter() -> None:
    model = nn.Sequential(torch.compile(nn.Linear(3, 3), backend="eager"), gl.LSTM(3, 4))
    with gl.watch(model) as watcher:
        model(torch.randn(T, B, 3))
    assert list(watcher) == ["1"]


@every_kind
def test_gradients_that_cannot_come(kind: Any) -> None:
    model, x = nn.ModuleDict({"lstm": kind(3, 4), "cell": nn.LSTMCell(3, 4)}), torch.randn(T, B, 3)
    calls = {"lstm": lambda: model["lstm"](x), "cell": lambda: model["cell"](x[0])}
    for name, mode in product(calls, ("no_grad", "inference_mode")):
        message = (
            rf"watch\(gradients=True\): '{name}' was called under torch\.{mode}, where there are no gradients"
        )
        with (
            pytest.raises(ArgumentError, match=message),
            gl.watch(model, gradients=True),
            getattr(torch, mode)(),
        ):
            calls[name]()
    model.requires_grad_(False)
    for name, call in calls.items():
        message = (
            rf"watch\(gradients=True\): no gradient reaches '{name}': neither its input nor its parameters"
        )
        with pytest.raises(ArgumentError, match=message), gl.watch(model, gradients=True):
            call()
        assert type(model[name]) in (kind, nn.LSTMCell)
    with gl.watch(model) as watcher:
        calls["lstm"]()
    assert watcher["lstm"][0, 0].cell_grad is None


def test_names_that_are_not_there_and_modules_that_were_not_called() -> None:
    model = _Tree()
    with gl.watch(model, modules="encoder.*") as watcher:
        model.encoder[0](torch.randn(T, B, 3))
    for name in ("decoder.rnn", "again", "", 0):
        with pytest.raises(ArgumentError, match=r"expected one of 'encoder\.0', 'encoder\.1'"):
            watcher[name]
    for ask in (watcher.__getitem__, watcher.calls):
        with pytest.raises(
            ArgumentError, match=r"watcher\['encoder\.1'\]: it was not called inside the context"
        ):
            ask("encoder.1")
    assert "encoder.1" not in watcher


def test_dropout_on_a_device_whose_generator_cannot_be_read_again() -> None:
    lstm = nn.LSTM(3, 4, 2, dropout=0.5, device="meta")
    message = r"dropped between the layers of this LSTM on meta cannot be drawn once more; .*gl\.convert.*use_kernel"
    with pytest.raises(KernelError, match=message), gl.watch(lstm):
        lstm(torch.empty(T, B, 3, device="meta"))
    with gl.watch(lstm.eval()) as watcher:
        lstm(torch.empty(T, B, 3, device="meta"))
    assert watcher[""][1, 0].cell.shape == (T, B, 4)


@every_kind
def test_of_chosen_steps_no_more_gradients_are_kept(kind: Any) -> None:
    lstm = kind(4, 32)
    with gl.watch(lstm, steps=slice(-10, None)) as watcher:
        lstm(torch.randn(500, 4, 4))[0].sum().backward()
    gates = watcher[""][0, 0]
    for grad in (gates.cell_grad, gates.hidden_grad):
        assert grad is not None
        assert grad.shape == (10, 4, 32)
        assert grad.untyped_storage().nbytes() == 4 * 10 * 4 * 32
