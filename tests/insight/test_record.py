from __future__ import annotations

import copy
import csv
import gc
import json
import math
import sys
import weakref

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import glasslstm as gl
from glasslstm.errors import ArgumentError, ArgumentTypeError, MissingExtraError
from glasslstm.insight.case import Case
from glasslstm.insight.record import Record, table

LENGTHS = [7, 0, 1, 4]
MEASURED = [
    *(f"{gate}_gate_{side}" for gate in ("input", "forget", "output") for side in ("left", "right")),
    *("half_life_10", "half_life_median", "half_life_90", "gradient_reach", "gradient_reach_share"),
]


class Ends(nn.Module):
    """Both final hidden states of a ragged batch, through a linear layer that is called head."""

    def __init__(self, kind=gl.LSTM, **options):
        super().__init__()
        self.lstm = kind(3, 4, bidirectional=True, **options)
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(8, 2, dtype=options.get("dtype"))

    def forward(self, x, lengths=None):
        more = {} if lengths is None else {"lengths": lengths}
        h_n = self.lstm(x, **more)[1][0]
        return self.head(self.drop(torch.cat([h_n[-2], h_n[-1]], dim=-1)))


class Loop(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, x):
        state = None
        for x_t in x:
            state = self.cell(x_t, state)
        return state[0]


def by_hand(lstm, head, x, lengths, targets):
    """Gates, (steps, H) each, and dL/dc_t of each sequence and direction, by the equations and autograd."""
    found, ends = [], []
    for b, length in enumerate(lengths):
        final = []
        for suffix, order in (("", range(length)), ("_reverse", reversed(range(length)))):
            w_ih, w_hh, b_ih, b_hh = (
                getattr(lstm, f"{name}_l0{suffix}")
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            h = c = torch.zeros(4, dtype=torch.float64)
            steps = []
            for t in order:
                i, f, g, o = (w_ih @ x[t, b] + b_ih + w_hh @ h + b_hh).chunk(4)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                if c.requires_grad:
                    c.retain_grad()
                h = o.sigmoid() * c.tanh()
                steps.append((i.sigmoid(), f.sigmoid(), o.sigmoid(), c))
            final.append(h)
            found.append((bool(suffix), steps))
        ends.append(head(torch.cat(final)))
    nn.functional.mse_loss(torch.stack(ends), targets).backward()
    return found


def expected_row(found, reverse):
    """What a record has of one direction, in plain numpy; steps in the order read."""
    parts = [steps for backward, steps in found if backward == reverse]
    row = {}
    everything = [step for steps in parts for step in steps]
    gates = [np.array([step[k].detach().numpy() for step in everything]) for k in range(3)]
    for name, gate in zip(("input", "forget", "output"), gates, strict=True):
        row |= {f"{name}_gate_left": (gate < 0.1).mean(), f"{name}_gate_right": (gate > 0.9).mean()}
    lives = np.sort(-math.log(2) / np.log(gates[1]).mean(0))
    row |= {"half_life_10": lives[0], "half_life_median": lives[1], "half_life_90": lives[3]}
    reach = []
    for steps in filter(len, parts):
        norms = [float(s[3].grad.norm()) for s in steps]
        lag = next(k for k, norm in enumerate(norms) if norm >= 0.01 * max(norms))
        reach.append((len(steps) - lag, (len(steps) - lag) / len(steps)))
    row["gradient_reach"], row["gradient_reach_share"] = np.mean(reach, axis=0)
    return row


@pytest.mark.parametrize(("gain", "bias"), [(1, -4), (9, 0), (1, 4)], ids=["forgets", "saturates", "keeps"])
def test_every_number_is_that_of_a_loop_by_hand(gain, bias):
    torch.manual_seed(0)
    model = Ends(dtype=torch.float64)
    with torch.no_grad():
        for parameter in model.lstm.parameters():
            parameter.mul_(gain)
        model.lstm.bias_hh_l0[4:8] += bias  # of the forget gate
    x, targets = torch.randn(7, 4, 3, dtype=torch.float64), torch.randn(4, 2, dtype=torch.float64)
    record = Record(model, (x, torch.tensor(LENGTHS)), targets, nn.functional.mse_loss)
    record.epoch()
    found = by_hand(model.lstm, model.head, x, LENGTHS, targets)
    for direction, row in enumerate(record.last):
        assert list(row) == ["epoch", "module", "layer", "direction", *MEASURED]
        assert (row["epoch"], row["module"], row["layer"], row["direction"]) == (1, "lstm", 0, direction)
        expected = expected_row(found, bool(direction))
        for name in MEASURED:
            assert row[name] == pytest.approx(expected[name], rel=1e-11), name
    faded = record.last[0]["gradient_reach"] < 4  # the mean of the lengths that there are, 7, 1 and 4
    assert faded == (bias < 0)


def test_half_lives_are_those_of_units_also_where_some_forget_nothing():
    lstm = gl.LSTM(1, 4, dtype=torch.float64)
    for parameter in lstm.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        lstm.bias_ih_l0[4:8] = torch.tensor([0.0, math.log(3), 1e3, 1e3])  # f = 1/2, 3/4, 1, 1
    record = Record(lstm, torch.zeros(5, 2, 1, dtype=torch.float64))
    record.epoch()
    (row,) = record.last
    assert row["half_life_10"] == pytest.approx(1)
    assert row["half_life_median"] == pytest.approx(math.log(2) / math.log(4 / 3))
    assert row["half_life_90"] == math.inf
    assert row["forget_gate_right"] == 0.5
    assert row["forget_gate_left"] == row["input_gate_left"] == 0


class Noisy(Ends):
    def __init__(self, kind):
        super().__init__(kind, num_layers=2, dropout=0.3)
        self.norm = nn.BatchNorm1d(2)

    def forward(self, x):
        return self.norm(super().forward(x))


@pytest.mark.parametrize("kind", [gl.LSTM, nn.LSTM])
def test_a_training_is_the_same_to_the_bit_with_a_record(kind):
    def trained(recorded):
        torch.manual_seed(3)
        model = Noisy(kind)
        model.drop.eval()  # a mode of its own
        x, probe, y = torch.randn(6, 8, 3), torch.randn(6, 5, 3), torch.randn(8, 2)
        record = Record(model, probe, torch.randn(5, 2), nn.functional.mse_loss)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        seen = []
        for step in range(6):
            nn.functional.mse_loss(model(x), y).backward()
            if recorded:
                before = {name: parameter.grad for name, parameter in model.named_parameters()}
                copies = copy.deepcopy(before)
                record.epoch(step)
                for name, parameter in model.named_parameters():
                    assert parameter.grad is before[name]
                    assert torch.equal(parameter.grad, copies[name])
                assert model.training
                assert not model.drop.training
            if step % 2:  # gradients add up over two steps
                optimizer.step()
                optimizer.zero_grad()
            seen.append(torch.rand(1))
        return [*model.state_dict().values(), torch.get_rng_state(), *seen]

    assert all(map(torch.equal, trained(recorded=True), trained(recorded=False)))


def test_a_failure_leaves_the_model_as_it_was():
    model = Ends()
    record = Record(model, torch.zeros(5, 2, 99))
    with pytest.raises(ArgumentError, match=r"inputs: the model refused them .*\(5, 2, 99\)"):
        record.epoch()
    assert model.training
    assert len(record) == 0
    record = Record(model, torch.zeros(5, 2, 3))
    with gl.watch(model), pytest.raises(ArgumentError, match="watch"):
        record.epoch()
    record.epoch()
    assert len(record) == 1


def shown(model, inputs, **options):
    record = Record(model, inputs, **options)
    record.epoch()
    return record.last


def numbers(row):
    return {name: row[name] for name in MEASURED}


def test_what_is_frozen_has_no_gradient_and_all_else():
    model = Ends().requires_grad_(False)
    for row in shown(model, torch.randn(5, 2, 3)):
        assert math.isnan(row["gradient_reach"])
        assert math.isnan(row["gradient_reach_share"])
        assert row["half_life_median"] > 0
    model.head.requires_grad_(True)
    assert math.isnan(shown(model, torch.randn(5, 2, 3))[0]["gradient_reach"])
    model.requires_grad_(True)
    assert shown(model, torch.randn(5, 2, 3))[0]["gradient_reach"] > 0


@pytest.mark.parametrize("kind", [nn.LSTM, gl.LSTM])
def test_packed_and_ragged_inputs_are_the_same(kind):
    torch.manual_seed(0)
    lstm, x, lengths = gl.LSTM(3, 4), torch.randn(7, 3, 3), torch.tensor([2, 7, 4])
    other = kind(3, 4)
    other.load_state_dict(lstm.state_dict())
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    loss = {"targets": 0, "loss": lambda output, _: output[1][0].square().sum()}
    (ragged,) = shown(lstm, {"input": x, "lengths": lengths}, **loss)
    assert numbers(shown(other, packed, **loss)[0]) == pytest.approx(numbers(ragged), rel=1e-5)
    assert 0 < ragged["gradient_reach_share"] <= 1


@pytest.mark.parametrize("kind", [nn.LSTM, gl.LSTM])
def test_an_unbatched_input_is_a_batch_of_one(kind):
    lstm, x = kind(3, 4, num_layers=2, bidirectional=True), torch.randn(6, 3)
    alone, batch = shown(lstm, x), shown(lstm, x.unsqueeze(1))
    assert [(row["layer"], row["direction"]) for row in alone] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for one, other in zip(alone, batch, strict=True):
        assert numbers(one) == pytest.approx(numbers(other), rel=1e-5)


@pytest.mark.parametrize("kind", [nn.LSTMCell, gl.LSTMCell])
@pytest.mark.parametrize("shape", [(6, 2, 3), (6, 3)], ids=["batch", "unbatched"])
def test_a_cell_in_a_loop_is_an_lstm_of_one_layer(kind, shape):
    lstm, cell = gl.LSTM(3, 4), kind(3, 4)
    cell.load_state_dict({name.removesuffix("_l0"): weight for name, weight in lstm.state_dict().items()})
    x = torch.randn(shape)
    (row,) = shown(Loop(cell), x)
    (expected,) = shown(lstm, x, targets=0, loss=lambda output, _: output[0][-1].square().sum())
    assert row["module"] == "cell"
    assert numbers(row) == pytest.approx(numbers(expected), rel=1e-5)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder, self.idle = gl.LSTM(3, 4), nn.LSTM(4, 5, num_layers=2), gl.LSTM(3, 4)

    def forward(self, x):
        return self.decoder(self.encoder(x)[0])[0]


def test_several_lstms_and_some_of_them():
    model, x = Two(), torch.randn(5, 2, 3)
    places = [(row["module"], row["layer"]) for row in shown(model, x)]
    assert places == [("encoder", 0), ("decoder", 0), ("decoder", 1)]
    assert [row["module"] for row in shown(model, x, modules="enc*")] == ["encoder"]
    with pytest.raises(ArgumentError, match="modules: 'head' fits none of the model's LSTMs"):
        Record(model, x, modules="head")
    record = Record(model, x, modules=["idle"])
    with pytest.raises(ArgumentError, match="inputs: with these the model calls none of 'idle'"):
        record.epoch()


@pytest.fixture
def record():
    """Two epochs of two LSTMs, the second with a loss."""
    torch.manual_seed(0)
    record = Record(Two(), torch.randn(5, 2, 3), modules=["encoder", "decoder"])
    record.epoch(0)
    record.epoch(train_loss=torch.tensor(0.5, requires_grad=True), score=np.float32(0.25))
    return record


def test_the_table_is_long_and_goes_where_tables_go(record):
    columns = record.table()
    assert list(columns) == ["epoch", "module", "layer", "direction", *MEASURED, "train_loss", "score"]
    assert columns["epoch"].tolist() == [0, 0, 0, 1, 1, 1]
    assert columns["module"].tolist() == ["encoder", "decoder", "decoder"] * 2
    assert columns["layer"].tolist() == [0, 0, 1] * 2
    np.testing.assert_array_equal(columns["train_loss"], [math.nan] * 3 + [0.5] * 3)
    np.testing.assert_array_equal(columns["score"], [math.nan] * 3 + [0.25] * 3)
    assert all(columns[name].dtype == np.float64 for name in MEASURED)
    expected = columns["half_life_median"].tolist()
    assert pd.DataFrame(columns)["half_life_median"].tolist() == expected
    assert pl.DataFrame(columns)["half_life_median"].to_list() == expected
    assert pa.table(columns)["half_life_median"].to_pylist() == expected
    for frame in (pd.DataFrame(columns), pl.DataFrame(columns)):
        assert list(frame["module"]) == ["encoder", "decoder", "decoder"] * 2
    assert table([]) == {}


def test_the_csv_file_has_the_table(record, tmp_path):
    record.rows[0] |= {"half_life_90": math.inf, "gradient_reach": math.nan}
    record.to_csv(tmp_path / "new" / "record.csv")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["record.csv"]
    with (tmp_path / "new" / "record.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = record.table()
    assert list(rows[0]) == list(columns)
    assert [row["module"] for row in rows] == columns["module"].tolist()
    assert [row["gradient_reach"] == "" for row in rows] == [True] + [False] * 5
    for name in ("epoch", "half_life_median", "half_life_90", "train_loss"):
        np.testing.assert_array_equal([float(row[name] or "nan") for row in rows], columns[name])
    for read in (pd.read_csv, pl.read_csv):
        again = read(tmp_path / "new" / "record.csv")
        assert again["half_life_90"][0] == math.inf
        assert list(again["train_loss"])[3:] == [0.5] * 3


def test_epochs_are_numbered_on_and_counted(record):
    assert len(record) == 2
    assert repr(record) == "Record(2 epochs of 'encoder', 'decoder')"
    record.epoch(10)
    record.epoch()
    assert sorted(set(record.table()["epoch"].tolist())) == [0, 1, 10, 11]
    assert len(record) == 4
    assert [row["epoch"] for row in record.last] == [11] * 3
    with pytest.raises(ArgumentError, match="number: expected an epoch after the last one, 11; got 11"):
        record.epoch(11)
    with pytest.raises(
        ArgumentTypeError, match=r"number: expected an int, got 0.5; give scalars by their names"
    ):
        record.epoch(0.5)


def test_a_record_goes_on_from_the_rows_of_a_checkpoint(record):
    again = Record(Two(), torch.randn(5, 2, 3), modules=["encoder", "decoder"])
    again.rows = json.loads(json.dumps(record.rows))
    again.epoch()
    assert again.table()["epoch"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert len(record) == 2


def test_only_numbers_are_kept(monkeypatch):
    seen = []

    def case(*arguments):
        found = Case(*arguments)
        seen.extend(map(weakref.ref, (found, found.watcher, found.entries[0].gates.cell, found.output)))
        return found

    monkeypatch.setattr("glasslstm.insight.record.Case", case)
    record = Record(Ends(), torch.randn(5, 2, 3))
    record.epoch(loss=torch.tensor(1.0))
    gc.collect()
    assert [reference() for reference in seen] == [None] * 4
    assert {type(value) for row in record.rows for value in row.values()} == {int, float, str}


@pytest.mark.parametrize(
    ("scalars", "error", "message"),
    [
        ({"loss": "low"}, ArgumentTypeError, "loss: expected one number, got str"),
        ({"loss": None}, ArgumentTypeError, "loss: expected one number, got NoneType"),
        ({"loss": torch.zeros(2)}, ArgumentTypeError, "loss: expected one number, got Tensor"),
        ({"layer": 1}, ArgumentError, "layer: is a column of the record itself; choose another name"),
    ],
)
def test_what_is_no_number_or_has_a_name_taken_is_refused_and_nothing_kept(record, scalars, error, message):
    with pytest.raises(error, match=message):
        record.epoch(**scalars)
    assert len(record) == 2


def test_bad_arguments_are_refused_before_the_first_epoch(tmp_path):
    x = torch.zeros(5, 2, 3)
    with pytest.raises(ArgumentError, match="model: expected an LSTM or LSTMCell"):
        Record(nn.Linear(3, 3), x)
    with pytest.raises(ArgumentError, match="loss: needed, because targets was given"):
        Record(Ends(), x, x)
    with pytest.raises(ArgumentError, match="targets: needed, because loss was given"):
        Record(Ends(), x, loss=nn.functional.mse_loss)
    with pytest.raises(
        ArgumentTypeError, match=r"writer: expected a torch\.utils\.tensorboard\.SummaryWriter, or .*got int"
    ):
        Record(Ends(), x, writer=3)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ArgumentError, match=r"notes\.txt is a file; expected a folder"):
        Record(Ends(), x, writer=tmp_path / "notes.txt")


class FakeWriter:
    def __init__(self):
        self.sent, self.flushed = {}, 0

    def add_scalar(self, tag, value, step):
        self.sent[tag, step] = value

    def flush(self):
        self.flushed += 1


def test_every_number_goes_to_the_writer():
    writer = FakeWriter()
    model = Ends(num_layers=2)
    record = Record(model, torch.randn(5, 2, 3), writer=writer)
    record.epoch(0, train_loss=math.nan)
    record.epoch(train_loss=0.5, score=1)
    expected = {("train_loss", 1): 0.5, ("score", 1): 1.0}
    for row in record.rows:
        place = f"lstm/l{row['layer']}{'_reverse' if row['direction'] else ''}"
        expected |= {(f"{place}/{name}", row["epoch"]): row[name] for name in MEASURED}
    assert writer.sent == expected
    assert writer.flushed == 2


def test_the_model_itself_goes_by_its_class_and_what_is_missing_is_left_out():
    writer = FakeWriter()
    Record(gl.LSTM(3, 4).requires_grad_(False), torch.randn(5, 2, 3), writer=writer).epoch()
    assert {tag for tag, _ in writer.sent} == {f"LSTM/l0/{name}" for name in MEASURED if "reach" not in name}


def test_a_missing_tensorboard_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(
        MissingExtraError, match=r"^tensorboard is not installed; .*'glasslstm\[tensorboard\]'$"
    ):
        Record(Ends(), torch.zeros(5, 2, 3), writer=tmp_path)


def test_tensorboard_reads_what_was_written(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record = Record(Ends(), torch.randn(5, 2, 3), writer=tmp_path / "events")
    record.epoch(train_loss=0.5)
    record.epoch(train_loss=0.25)
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train_loss")] == [(1, 0.5), (2, 0.25)]
    found = events.Scalars("lstm/l0_reverse/half_life_90")[1].value
    assert found == pytest.approx(record.last[1]["half_life_90"], rel=1e-6)
