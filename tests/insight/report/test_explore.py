from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

import glasslstm as gl
from glasslstm.insight import figures
from glasslstm.insight.figures.gates import ORDERS, SHOWN, unit_order
from glasslstm.insight.report.explore import Extent, explored, extent_of, packed
from glasslstm.insight.report.look import Look
from glasslstm.insight.subject import subject_of

LENGTHS = torch.tensor([9, 4, 9, 7, 1, 9, 8, 2, 9, 9, 5, 6, 9, 9, 3, 9, 9, 9, 6, 9])


class Ragged(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.lstm, self.head = gl.LSTM(3, 5, batch_first=True, **options), nn.Linear(5, 2)

    def forward(self, x, lengths):
        return self.head(self.lstm(x, lengths=lengths)[1][0][-1])


@pytest.fixture(scope="module")
def ragged(sample):
    torch.manual_seed(2)
    return Look(subject_of(Ragged(num_layers=2, bidirectional=True), (sample[0], LENGTHS), sample[1]))


@pytest.mark.parametrize("shape", [(5,), (3, 4)])
def test_numbers_survive_being_packed(unpack, shape):
    values = np.random.default_rng(0).normal(size=shape) * 1e3
    found = unpack(json.loads(json.dumps(packed(values))))
    assert found.shape == shape
    assert np.abs(found - values).max() <= np.ptp(values) / (2 * 65534) * 1.0001
    assert found.min() == values.min()
    assert found.max() == pytest.approx(values.max(), rel=1e-15)


@pytest.mark.parametrize(
    "values",
    [[2.5, 2.5], [0.0], [np.nan, 1.0, np.inf, 3.0, -np.inf], [np.nan], [], [1e-300, 2e-300], [-1e30, 1e30]],
)
def test_what_is_constant_or_no_number_survives_it(unpack, values):
    expected = np.where(np.isfinite(values), values, np.nan)
    found = unpack(packed(np.array(values)))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def unpacked_places(look, extent, unpack):
    found = explored(look, extent)
    for place in found["places"]:
        place["values"] = {name: [unpack(one) for one in ones] for name, ones in place["values"].items()}
    return found


def test_what_is_explored_is_the_trace(ragged, unpack):
    found = unpacked_places(ragged, Extent(12, 256, 9), unpack)
    with torch.no_grad():
        lstm, (x, lengths) = ragged.subject.model.lstm, ragged.subject.take(ragged.shown)[0]
        trace = lstm(x, lengths=lengths, return_trace=True)[2]
    assert [(p["module"], p["layer"], p["direction"]) for p in found["places"]] == [
        ("lstm", layer, direction) for layer in (0, 1) for direction in (0, 1)
    ]
    assert found["firsts"] == [0] * 12
    assert found["sequences"] == [ragged.label(row) for row in ragged.shown]
    for place in found["places"]:
        gates = trace[place["layer"], place["direction"]]
        assert (place["whole"], place["units"]) == (5, [0, 1, 2, 3, 4])
        for order in ORDERS:
            assert place["orders"][order] == unit_order(gates, order).tolist()
        for name, ones in place["values"].items():
            for b, (one, length) in enumerate(zip(ones, lengths, strict=True)):
                expected = getattr(gates, name)[:length, b].T.numpy()
                assert one.shape == (5, length)
                assert np.abs(one - expected).max() <= 1e-4 * max(np.ptp(expected), 1e-12)


def test_the_curves_are_the_input_as_the_figures_draw_it(ragged, unpack, sample):
    found = explored(ragged, Extent(12, 256, 9))
    trace = ragged.shown_traces["lstm"]
    batch = sample[0][ragged.shown].transpose(0, 1)
    for k, curves in enumerate(found["curves"]):
        drawn = figures.unit(trace, 0, sequence=k, inputs=batch).data[6:]
        length = LENGTHS[ragged.shown[k]]
        for channel, (curve, expected) in enumerate(zip(curves, drawn, strict=True)):
            np.testing.assert_allclose(unpack(curve["y"]), expected.y, atol=1e-3)
            came = sample[0][ragged.shown[k], :length, channel]
            np.testing.assert_allclose(unpack(curve["customdata"]), came, atol=1e-3)


def test_why_is_the_figure_of_the_explanation(ragged, unpack):
    for k, one in enumerate(explored(ragged, Extent(3, 256, 9))["why"]):
        assert len(one["data"]) == 3 + 1 + 3
        row = ragged.shown[k]
        at = ragged.explained.tolist().index(row)
        scores = ragged.explanation.scores
        for drawn, method in zip(one["data"], scores, strict=False):
            expected = scores[method][: LENGTHS[row], at].numpy()
            np.testing.assert_allclose(
                unpack(drawn["y"]), expected, atol=1e-4 * float(np.ptp(expected)) + 1e-9
            )
        channels = ragged.explanation.channels[: LENGTHS[row], at].T
        np.testing.assert_allclose(unpack(one["data"][3]["z"]), channels, atol=1e-4)
        assert "template" not in one["layout"]


def test_fewer_units_are_spread_over_the_half_lives(ragged, unpack):
    found = unpacked_places(ragged, Extent(2, 3, 9), unpack)
    whole = unpacked_places(ragged, Extent(2, 5, 9), unpack)
    for place, all_ in zip(found["places"], whole["places"], strict=True):
        by_life = all_["orders"]["half-life"]
        assert sorted(place["units"]) == place["units"] == sorted(by_life[k] for k in (0, 2, 4))
        assert place["whole"] == 5
        for order, rows in place["orders"].items():
            kept = [unit for unit in all_["orders"][order] if unit in place["units"]]
            assert [place["units"][row] for row in rows] == kept
        for name, ones in place["values"].items():
            np.testing.assert_allclose(ones[1], all_["values"][name][1][place["units"]], atol=1e-4)


def test_of_longer_sequences_the_last_steps_are_kept(ragged, unpack):
    found = unpacked_places(ragged, Extent(12, 5, 4), unpack)
    whole = unpacked_places(ragged, Extent(12, 5, 9), unpack)
    lengths = LENGTHS[ragged.shown].tolist()
    assert found["firsts"] == [max(0, length - 4) for length in lengths]
    for name in SHOWN:
        for one, all_ in zip(
            found["places"][3]["values"][name], whole["places"][3]["values"][name], strict=True
        ):
            np.testing.assert_allclose(one, all_[:, -4:], atol=1e-4)
    for k in range(12):
        np.testing.assert_allclose(
            unpack(found["curves"][k][0]["customdata"]),
            unpack(whole["curves"][k][0]["customdata"])[-4:],
            atol=1e-3,
        )


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_a_projected_hidden_state_has_its_own_rows(sample, unpack, classifier):
    look = Look(subject_of(classifier(gl.LSTM, hidden_size=6, proj_size=4), *sample))
    (place,) = unpacked_places(look, Extent(2, 256, 9), unpack)["places"]
    hidden = look.shown_entries[0].gates.hidden
    np.testing.assert_allclose(place["values"]["hidden"][1], hidden[:, 1].T, atol=1e-4)
    assert place["values"]["cell"][1].shape == (6, 9)


def test_the_extent_is_what_fits(ragged):
    limits = [10**9, 100_000, 50_000, 25_000, 12_000, 6_000, 3_000, 1]
    extents = [extent_of([ragged], limit) for limit in limits]
    assert (extents[0], extents[-1]) == (Extent(12, 256, 9), Extent(1, 16, 1))
    assert sorted(extents, reverse=True) == extents
    assert len({*extents}) > 4
    for extent, limit in zip(extents, limits, strict=True):
        places = explored(ragged, extent)["places"]
        packs = [one["packed"] for place in places for ones in place["values"].values() for one in ones]
        assert sum(map(len, packs)) <= limit or extent.steps == 1


def test_two_models_share_the_room(ragged):
    alone, both = extent_of([ragged], 60_000), extent_of([ragged, ragged], 60_000)
    assert both == extent_of([ragged], 30_000)
    assert alone > both
