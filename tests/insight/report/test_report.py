"""Whole pages: their numbers are those that the library computes, and what cannot be shown is said."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import glasslstm as gl
from glasslstm.errors import ArgumentError, GlassLSTMError
from glasslstm.insight import figures
from glasslstm.insight.answers import answers_of
from glasslstm.insight.baselines import baselines
from glasslstm.insight.reach import falls_below, score_by_lag
from glasslstm.insight.report import look, render, report
from glasslstm.insight.report.page import number
from glasslstm.insight.slices import slices
from glasslstm.insight.subject import subject_of

SECTIONS = ["findings", "memory", "gates", "why", "failures", "worth", "training"]
NAMES = {
    "channel_names": ["east", "north", "up"],
    "class_names": ["left", "right"],
    "sequence_names": [f"walk {k}" for k in range(20)],
}
SITES = {"site": ["harbour", "tower"] * 5 + ["tower"] * 10, "height": np.arange(20.0)}


def shut(model):
    """Plant two faults: the forget gate is shut, whatever comes, and so is the output gate of a unit."""
    with torch.no_grad():
        model.lstm.bias_ih_l0[4:8] = -20
        model.lstm.bias_ih_l0[12] = -20
    return model


def shown(values):
    return ["n/a" if np.isnan(value) else f"{value:.4g}" for value in map(float, values)]


def real_numbers(trace):
    """Yield the numbers that a trace stands for."""
    if trace.get("hoverinfo") == "skip":
        return
    held = trace.get("customdata")
    if trace["type"] == "heatmap":
        numbers = [value for row in held or trace["z"] for value in row]
    elif (trace.get("meta") or {}).get("numbers"):
        numbers = held
    else:
        numbers = trace["x" if trace.get("orientation") == "h" else "y"]
    yield from (value for value in numbers if isinstance(value, (int, float)))


@pytest.fixture(scope="module")
def trained():
    """An estimator after two epochs, with its training recorded, and the data."""
    rng = np.random.default_rng(0)
    y = np.array(["falls", "rises"] * 12)
    X = [np.linspace(0, -1 if label == "falls" else 1, 5 + k % 6)[:, None] for k, label in enumerate(y)]
    X = [np.hstack([one + rng.normal(scale=0.1, size=one.shape), rng.normal(size=one.shape)]) for one in X]
    clf = gl.LSTMClassifier(hidden_size=3, max_epochs=2, random_state=0, verbose=False, refit=False)
    return clf.fit(X, y, record=True, channel_names=["trend", "noise"]), X, y


@pytest.fixture(scope="module")
def one(written, classifier, sample):
    """The page of a model with a fault, and the model."""
    model = shut(classifier())
    return written(model, *sample, groups=SITES, **NAMES), model


@pytest.fixture(scope="module")
def of_estimator(written, trained):
    return written(*trained)


@pytest.fixture(scope="module")
def of_two(written, classifier, sample):
    models = [shut(classifier()), classifier(gl.LSTM, hidden_size=5)]
    return written(models, *sample, names=["shut", "open"]), models


class TestNumbers:
    def test_the_findings(self, one, sample):
        page, model = one
        expected = gl.diagnose(model, *sample, functional.cross_entropy)
        articles = [*page.root.iter("article")]
        assert len(articles) == len(expected) > 1
        for article, finding in zip(articles, expected, strict=True):
            assert article.get("class") == f"finding {finding.severity}"
            words = page.text(article)
            assert [page.text(found) for found in article.iter("code")] == [finding.code] + [
                finding.snippet
            ] * bool(finding.snippet)
            assert all(
                part in words
                for part in (str(finding.place), finding.advice, finding.evidence, finding.meaning)
            )
        header = page.text(page.header)
        assert header.count(expected[0].snippet) == 1
        assert f"{expected[0].title} ({expected[0].place})" in header
        assert expected[0].advice in header
        section = page.text(page.sections["findings"])
        looked = (*expected.looked_for, *expected.skipped, *expected.skipped.values())
        assert all(words in section for words in looked)

    def test_the_evidence_of_each_finding(self, one, sample):
        page, model = one
        expected = gl.diagnose(model, *sample, functional.cross_entropy)
        drawn = page.figures("findings")
        assert len(drawn) == len(expected)
        for found, finding in zip(drawn, expected, strict=True):
            if finding.measured is None:
                continue
            numbers = [
                value
                for trace in found.data
                for value in (trace["x"] if trace.get("orientation") == "h" else trace["y"])
            ]
            expected_numbers = [value for value in finding.measured.values if np.isfinite(value)]
            for value in expected_numbers:
                assert np.isclose([n for n in numbers if isinstance(n, float | int)], value, rtol=1e-4).any()

    def test_the_memory(self, one, sample):
        page, model = one
        (summary,) = look.Look(subject_of(model, *sample)).summaries.values()
        rows = next(
            rows
            for caption, rows in page.tables(page.sections["memory"])
            if caption.startswith("From which lag")
        )
        lags = [lag for falls in summary.falls.values() for lag in falls]
        assert rows[0] == [
            "",
            *(
                f"{kind}: {share}"
                for kind in ("memory kept", "gradient", "score")
                for share in ("a half", "a hundredth")
            ),
        ]
        assert rows[1][1:] == ["more than 8" if lag is None else str(lag) for lag in lags]
        assert page.leads("memory")[0].endswith(summary.verdict())
        drawn = page.figure("memory", "How far back")
        for trace, kind in zip(drawn.data, ("score", "retention", "gradient"), strict=True):
            np.testing.assert_allclose(trace["y"], summary.curves[kind].values, rtol=1e-4, atol=1e-30)
        lives = page.figure("memory", "Half-lives").data[0]
        assert sum(lives["customdata"]) == 4
        np.testing.assert_allclose(lives["y"], np.array(lives["customdata"]) / 4)

    def test_the_occlusion_is_that_of_explain(self, one, sample):
        page, model = one
        rows = look.Look(subject_of(model, *sample)).explained
        found = gl.explain(model, sample[0][rows])
        curve = score_by_lag(found.scores["occlusion"], found.valid)
        rows = next(
            rows
            for caption, rows in page.tables(page.sections["memory"])
            if caption.startswith("From which lag")
        )
        lags = [falls_below(*curve, share) for share in (0.5, 0.01)]
        assert rows[1][-2:] == ["more than 8" if lag is None else str(lag) for lag in lags]
        assert page.leads("why") == [figures.trust(found)]

    def test_the_saturation(self, one, sample):
        page, model = one
        twin = gl.LSTM(3, 4, batch_first=True)
        twin.load_state_dict(model.lstm.state_dict())
        trace = twin(sample[0], return_trace=True)[2]
        shares = gl.saturation(trace[0, 0])
        for gate, heading in (("forget_gate", "Forget"), ("input_gate", "Input"), ("output_gate", "Output")):
            (marks,) = page.figure("gates", heading).data
            np.testing.assert_allclose(marks["x"], shares[gate].left, rtol=1e-5, atol=1e-7)
            np.testing.assert_allclose(marks["y"], shares[gate].right, rtol=1e-5, atol=1e-7)

    def test_the_scores_and_slices(self, one, sample):
        page, model = one
        answers = answers_of(model(sample[0]).detach(), sample[1], class_names=NAMES["class_names"])
        score = answers.score
        interval = f"95 % interval {score.low:.1%} to {score.high:.1%}"
        assert page.cards()["accuracy"] == (f"{score.value:.1%}", interval)
        assert page.cards()["parameters"][0] == str(sum(p.numel() for p in model.parameters()))
        assert (page.cards()["sequences"][0], page.cards()["steps"][0]) == ("20", "9")
        assert page.leads("failures")[0].startswith(
            f"Accuracy {score.value:.1%} ({interval}), on 20 sequences."
        )
        expected = slices(answers, {"class": np.array(NAMES["class_names"])[sample[1]], **SITES})
        (_, rows), *_ = page.figure("failures", figures.slices(expected, answers).layout.title.text).tables
        by_name = {row[0]: row[1:] for row in rows[1:]}
        assert len(by_name) == len(expected)
        for part in expected:
            cells = next(cells for name, cells in by_name.items() if part.value in name)
            assert {*shown([part.score.value, part.score.low, part.score.high])} <= {*cells}

    def test_the_confusions_and_the_calibration(self, one, sample):
        page, model = one
        said = model(sample[0]).argmax(1).tolist()
        counts = [
            [
                sum((t, s) == (row, column) for t, s in zip(sample[1].tolist(), said, strict=True))
                for column in (0, 1)
            ]
            for row in (0, 1)
        ]
        (_, rows), *_ = page.figures("failures")[0].tables
        assert [row[0] for row in rows[1:]] == ["left", "right"]
        assert [[int(float(cell)) for cell in row[1:3]] for row in rows[1:]] == counts
        answers = answers_of(model(sample[0]).detach(), sample[1])
        drawn = page.figure("failures", figures.calibration(answers).layout.title.text)
        _, rows = drawn.tables[0]
        assert [row[0] for row in rows[1:]] == shown(
            one_bin.confidence for one_bin in answers.calibration.bins
        )

    def test_the_baselines(self, one, sample):
        page, model = one
        answers = answers_of(model(sample[0]).detach(), sample[1], class_names=NAMES["class_names"])
        expected = baselines(answers, [*sample[0].numpy()])
        rows = next(rows for caption, rows in page.tables(page.sections["worth"]) if "paired test" in caption)
        assert [(row[-5], row[-3].split(" ")[1], *row[-2:]) for row in rows[1:]] == [
            (base.name, f"{base.score.value:.1%}", base.verdict, f"{base.p:.2g}") for base in expected
        ]
        assert [row[-4] for row in rows[1:]] == [base.fitted for base in expected]
        assert "by 5-fold cross-validation on the sample itself" in expected[-1].fitted

    def test_every_table_has_the_numbers_of_its_figure(self, one, of_estimator):
        tabled = [
            drawn
            for page in (one[0], of_estimator)
            for section in SECTIONS
            for drawn in page.figures(section)
            if drawn.tables
        ]
        assert len(tabled) > 20
        for drawn in tabled:
            cells = {cell for _, rows in drawn.tables for row in rows for cell in row}
            assert {number(value) for trace in drawn.data for value in real_numbers(trace)} <= cells, (
                drawn.heading
            )

    def test_names(self, one):
        page, _ = one
        assert [*page.options("sequence")[0].values()] == page.data["models"][0]["sequences"]
        for label in page.data["models"][0]["sequences"]:
            assert re.fullmatch(r"walk \d+: true (left|right), predicted (left|right) \(\d+%\)", label)
        curves = [trace["name"] for trace in page.figures("gates")[-1].data[6:]]
        assert curves == ["east", "north", "up"]
        assert page.text(page.root.find("body/header/h1")) == "What Classifier does, and how well"


class TestKinds:
    @pytest.mark.parametrize("kind", [nn.LSTM, gl.LSTM])
    def test_time_first_is_as_batch_first(self, written, classifier, sample, kind):
        x, y = sample
        pages = [
            written(classifier(kind), x, y),
            written(classifier(kind, batch_first=False), x.transpose(0, 1), y),
        ]
        first, second = ([page.text(page.sections[name]) for name in SECTIONS[1:]] for page in pages)
        assert first == second
        assert pages[0].data["models"][0]["sequences"] == pages[1].data["models"][0]["sequences"]

    @pytest.mark.parametrize("batch_first", [True, False])
    def test_a_tagger(self, written, classifier, sample, batch_first):
        x, y = sample[0], torch.arange(180).reshape(20, 9) % 2
        model = classifier(each_step=True, batch_first=batch_first)
        given = (x, y) if batch_first else (x.transpose(0, 1), y.T)
        page = written(model, *given)
        with torch.no_grad():
            right = (model(given[0]).argmax(-1) == given[1]).double().mean()
        assert page.cards()["accuracy"][0] == f"{right:.1%}"
        assert "on 180 steps of 20 sequences" in page.leads("failures")[0]
        assert "the true answer of the step before" in page.text(page.sections["worth"])
        assert page.notices("gates") == page.notices("why") == page.notices("worth") == []
        assert [len(one) for one in page.options("sequence")] == [12, 12]

    def test_a_regressor(self, written, classifier, sample):
        x, y = sample[0], torch.arange(20) / 7
        model = classifier(K=1)
        page = written(model, x, y)
        with torch.no_grad():
            error = float((model(x)[:, 0] - y).abs().mean())
        assert page.cards()["mean absolute error"][0] == f"{error:.4g}"
        (_, rows), *_ = page.figures("failures")[0].tables
        assert [name.split(" ")[0] for name in rows[0][1:]] == ["true", "predicted"]
        with torch.no_grad():
            assert [row[1:] for row in rows[1:]] == [*map(shown, zip(y, model(x)[:, 0], strict=True))]
        assert all("true" in label for label in page.options("sequence")[0].values())

    def test_an_estimator(self, of_estimator, trained):
        page, (clf, X, y) = of_estimator, trained
        assert page.cards()["accuracy"][0] == f"{clf.score(X, y):.1%}"
        assert (page.cards()["sequences"][0], page.cards()["steps"][0]) == ("24", "5 to 10")
        assert [trace["name"] for trace in page.figures("gates")[-1].data[6:]] == ["trend", "noise"]
        expected = clf.diagnose(X, y)
        assert [article.get("class") for article in page.root.iter("article")] == [
            f"finding {finding.severity}" for finding in expected
        ]
        learned = page.figure("training", figures.learning_curves(clf.history_).layout.title.text)
        (_, rows), *_ = learned.tables
        column = rows[0].index(next(name for name in rows[0] if "train" in name))
        assert [row[column] for row in rows[1:]] == shown(epoch["train_loss"] for epoch in clf.history_)
        assert len(page.figures("training")) >= 4
        assert page.notices("training") == []

    def test_the_series_are_shown_as_they_came(self, of_estimator, trained, unpack):
        page, (_, X, _) = of_estimator, trained
        labels = [int(label.split(":")[0]) for label in page.data["models"][0]["sequences"]]
        for row, curves in zip(labels, page.data["models"][0]["curves"], strict=True):
            for channel, curve in enumerate(curves):
                np.testing.assert_allclose(unpack(curve["customdata"]), X[row][:, channel], atol=1e-3)

    def test_two_models_stand_side_by_side(self, of_two, sample):
        page, models = of_two
        for name in ("findings", "memory", "gates", "why", "failures", "training"):
            assert [page.text(one.find("h3")) for one in page.of_class("models", page.sections[name])[0]] == [
                "shut",
                "open",
            ]
        assert [page.cards()[f"accuracy, {name}"][0] for name in ("shut", "open")] == [
            f"{(model(sample[0]).argmax(1) == sample[1]).double().mean():.1%}" for model in models
        ]
        rows = next(rows for caption, rows in page.tables(page.sections["worth"]) if "paired test" in caption)
        assert [row[0] for row in rows[1:]] == ["shut", "shut", "open", "open"]
        first, second = page.data["models"]
        assert [label.split(":")[0] for label in first["sequences"]] == [
            label.split(":")[0] for label in second["sequences"]
        ]
        assert [one["whole"] for one in first["places"] + second["places"]] == [4, 5]
        assert page.text(page.root.find("body/header/h1")).startswith("What shut and open do")

    def test_three_models_have_a_spread(self, written, classifier, sample):
        models = [classifier(hidden_size=size) for size in (2, 4, 6)]
        page = written(tuple(models), *sample)
        values = [float((model(sample[0]).argmax(1) == sample[1]).double().mean()) for model in models]
        spread = (
            f"The 3 models score {np.mean(values):.4g} on average, with a standard deviation of "
            f"{np.std(values, ddof=1):.2g} ({min(values):.4g} to {max(values):.4g})."
        )
        assert spread in page.text(page.sections["worth"])
        assert [page.cards()[f"accuracy, {k + 1}: Classifier"][0] for k in range(3)] == [
            f"{v:.1%}" for v in values
        ]
        assert len(page.data["models"]) == 2
        assert "The first 2 of 3 models are shown side by side, and the scores of all." in page.text(
            page.header
        )

    def test_a_module_beside_an_estimator(self, written, trained):
        clf, X, y = trained
        kept = [k for k, one in enumerate(X) if len(one) == 5 and np.isfinite(one).all()]
        series, labels = np.stack([X[k] for k in kept]), y[kept]
        page = written([clf, clf], series, labels, names=["before", "after"])
        assert page.cards()["accuracy, before"] == page.cards()["accuracy, after"]

    def test_models_of_one_name_stay_apart(self, written, classifier, sample):
        models = [classifier(), classifier(hidden_size=6)]
        page = written(models, *sample, names=["same", "same"])
        assert len([fact for fact in page.cards() if fact.startswith("accuracy")]) == 2
        rows = next(rows for caption, rows in page.tables(page.sections["worth"]) if "paired test" in caption)
        assert len(rows) == 1 + 2 * 2

    def test_a_record(self, written, classifier, sample):
        model = classifier()
        record = gl.Record(model, *sample, functional.cross_entropy)
        for epoch in range(3):
            record.epoch(epoch)
        page = written(model, *sample, record=record)
        drawn = page.figures("training")
        assert [one.heading for one in drawn] == [
            draw(record.table()).layout.title.text
            for draw in (figures.record_saturation, figures.record_half_life, figures.record_gradient_reach)
        ]
        assert page.notices("training") == ["Losses and scores over the epochs are not known."]
        same = written(model, *sample, record=[record.table()])
        assert same.text(same.sections["training"]) == page.text(page.sections["training"])

    def test_inputs_by_name(self, written, sample):
        class Named(nn.Module):
            def __init__(self):
                super().__init__()
                self.lstm, self.head = gl.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

            def forward(self, x, lengths):
                return self.head(self.lstm(x, lengths=lengths)[1][0][-1])

        lengths = torch.arange(20) % 8 + 2
        page = written(Named(), {"x": sample[0], "lengths": lengths}, sample[1])
        assert page.cards()["steps"][0] == "2 to 9"
        assert page.notices("gates") == page.notices("why") == []

    def test_a_model_whose_lstm_reads_one_sequence_at_a_time(self, written, classifier, sample):
        class Single(type(classifier())):
            def forward(self, x):
                return torch.cat([super(Single, self).forward(one[None]) for one in x])

        page = written(Single(), *sample)
        assert len(page.notices("gates")) == len(page.notices("why")) == 1
        assert len(page.figures("memory")) == 2
        assert page.cards()["sequences"][0] != "1"  # it got 20


class TestModelIsLeft:
    def test_as_it_was(self, classifier, sample, tmp_path):
        model = classifier(gl.LSTM, dropout=0.5, num_layers=2).train()
        model.head.eval()
        functional.cross_entropy(model(sample[0]), sample[1]).backward()
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        grads = [parameter.grad.clone() for parameter in model.parameters()]
        x = sample[0].clone()
        states = torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002
        report(model, x, sample[1], path=tmp_path / "report.html", train=sample)
        for name, value in model.state_dict().items():
            assert torch.equal(value, weights[name])
        assert all(torch.equal(p.grad, grad) for p, grad in zip(model.parameters(), grads, strict=True))
        assert (model.training, model.lstm.training, model.head.training) == (True, True, False)
        assert torch.equal(torch.get_rng_state(), states[0])
        np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
        assert random.getstate() == states[2]
        assert torch.equal(x, sample[0])

    def test_two_runs_make_the_same_page(self, classifier, sample, tmp_path):
        pages = [report(classifier(), *sample, path=tmp_path / f"{k}.html").read_bytes() for k in "ab"]
        assert pages[0] == pages[1]


class TestCannotBeShown:
    """What cannot be shown the page says, and shows the rest."""

    def test_a_model_that_never_trained(self, one):
        (notice,) = one[0].notices("training")
        assert notice.startswith(
            "Gates, memory and gradient were not recorded over the training: gl.Record(model, ...)"
        )
        assert len(one[0].figures("failures")) == 3

    def test_a_sample_of_one_sequence(self, written, classifier, sample):
        page = written(classifier(), sample[0][:1], sample[1][:1])
        few = (
            "The sample has too few sequences to fit a model on some and score it on others; give at least two of a "
            "class, or the training data."
        )
        assert page.notices("worth") == [few]
        assert re.search("none of (at least )?five sequences", page.text(page.sections["failures"]))
        assert page.notices("memory") == page.notices("gates") == page.notices("why") == []
        assert [len(one) for one in page.options("sequence")] == [1, 1]

    def test_one_class(self, written, classifier, sample):
        page = written(classifier(), sample[0], torch.zeros(20, dtype=torch.long))
        assert page.notices("worth") == [
            "All answers to fit on are of the class '0'; with one class there is nothing to learn."
        ]
        assert page.figures("failures")[0].data[0]["type"] == "heatmap"
        assert page.notices("why") == page.notices("gates") == []

    def test_targets_missing(self, written, classifier, sample):
        page = written(classifier(), sample[0])
        words = "No targets were given, and without them nobody knows which answers are right."
        assert page.notices("failures") == page.notices("worth") == [words]
        assert "accuracy" not in page.cards()
        assert len(page.figures("memory")) == 2
        assert [*page.options("sequence")[0].values()] == [
            str(k) for k in np.linspace(0, 19, 12).round().astype(int)
        ]
        assert "answered worst" not in page.text(page.sections["gates"])
        assert "not looked for" in page.text(page.sections["findings"]).lower()

    @pytest.mark.parametrize("value", [0.0, 1.0])
    def test_a_constant_input(self, written, classifier, sample, value):
        page = written(classifier(), torch.full_like(sample[0], value), sample[1])
        assert (
            "No sequence has two steps or more with scores that differ, so there are no ranks to compare."
            in page.notices("why")
        )
        assert len(page.figures("memory")) == 2
        assert page.notices("gates") == page.notices("worth") == []

    def test_one_step(self, written, classifier, sample):
        page = written(classifier(), sample[0][:, :1], sample[1])
        assert "No sequence has two steps, so there is no lag to look back over." in page.notices("memory")
        assert page.leads("memory") == [
            "No sequence has more than one step, so there is nothing to remember."
        ]
        assert page.notices("gates") == page.notices("failures") == []
        assert page.cards()["steps"][0] == "1"

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_an_input_that_is_no_number(self, written, classifier, sample, value):
        x = sample[0].clone()
        x[3, 2, 1] = value
        page = written(classifier(), x, sample[1])
        words = "The model's output holds NaN or infinite numbers; they cannot be scored."
        if np.isnan(value):
            assert page.notices("failures") == page.notices("worth") == [words]
            assert page.notices("memory")[0] == "No LSTM of the model has gates with finite numbers."
        assert "NaN" not in re.findall(r">([^<]*)</script>", page.source)[-2]
        assert len(page.options("sequence")) >= 1  # the gates of all sequences, this one included
        assert [article for article in page.root.iter("article") if article.get("class") == "finding error"]

    def test_all_of_the_input_is_no_number(self, written, classifier, sample):
        page = written(classifier(), torch.full_like(sample[0], np.nan), sample[1])
        assert page.notices("memory")[0] == "No LSTM of the model has gates with finite numbers."
        assert len(page.sections) == 7

    def test_targets_that_fit_no_answer(self, written, classifier, sample):
        page = written(classifier(), sample[0], sample[1] + 5)
        words = "the classes 5 to 6 where the model scores 2, from 0 to 1; number the classes from 0"
        assert words in page.notices("failures")[0]
        assert words in page.notices("worth")[0]

    @pytest.mark.parametrize(
        ("train", "words"),
        [
            (lambda x, y: (x, y * 0), "All answers to fit on are of the class '0'"),
            (lambda x, y: (x, y[:5]), "shape (5,) beside an output (20, 2) cannot be scored"),
        ],
    )
    def test_training_data_that_are_of_no_use(self, written, classifier, sample, train, words):
        page = written(classifier(), *sample, train=train(*sample))
        assert words in page.notices("worth")[0]
        assert len(page.figures("failures")) == 3

    def test_a_record_without_its_columns(self, written, classifier, sample):
        page = written(classifier(), *sample, record={"epoch": [1, 2]})
        assert (
            "There is no column 'module'; expected the columns of gl.Record.table()"
            in page.notices("training")[-1]
        )

    def test_numpy_targets_of_more_than_are_diagnosed(self, written, classifier):
        x, y = torch.randn(100, 5, 3), np.arange(100) % 2
        model = classifier()
        page = written(model, x, y)
        assert page.cards()["accuracy"][0] == f"{(model(x).argmax(1).numpy() == y).mean():.1%}"


class TestLeftOut:
    def test_nothing_is_left_out(self, one):
        words = one[0].text(one[0].sections["gates"])
        assert "Here are 12 of 20 sequences. They are the four that are answered worst" in words
        assert "More would make" not in words

    @pytest.mark.parametrize(
        ("room", "words"),
        [
            (
                20_000,
                r"Here are 2 of 20 sequences, 32 of up to 40 units of each layer, evenly spread over the half-lives\. ",
            ),
            (
                3_000,
                "1 of 20 sequences, 16 of up to 40 units .*, and of longer ones the last [1-8] of up to 9 steps",
            ),
        ],
    )
    def test_what_is_left_out_is_said(self, written, classifier, sample, monkeypatch, room, words):
        monkeypatch.setattr(render, "LIMIT", render.SIZE_OF_PLOTLY + render._ROOM + room)
        page = written(classifier(hidden_size=40), *sample)
        found = page.text(page.sections["gates"])
        assert re.search(words, found)
        assert "More would make the page larger than 8 MB." in found
        (place,) = page.data["models"][0]["places"]
        sequences = int(re.search(r"Here are (\d+)", found)[1])
        assert [len(one) for one in page.options("sequence")] == [sequences] * 2
        assert f"{len(place['units'])} of up to 40 units" in found
        steps = place["values"]["cell"][0]["shape"][1]
        assert ("the last" not in found and steps == 9) or f"the last {steps} of" in found

    def test_a_large_page_stays_under_its_limit(self, written, monkeypatch):
        """64 sequences of 1,000 steps, two layers of 256 units in two directions; without what takes minutes."""

        class Large(nn.Module):
            def __init__(self):
                super().__init__()
                self.lstm = gl.LSTM(3, 256, 2, batch_first=True, bidirectional=True)

            def forward(self, x):
                return self.lstm(x)[1][0][-1][:, :2]

        _cheap(monkeypatch)
        torch.manual_seed(0)
        with torch.no_grad():
            page = written(Large(), torch.randn(64, 1000, 3), torch.arange(64) % 2)
        assert page.size <= 8_000_000
        found = page.text(page.sections["gates"])
        assert re.search(r"Here are \d+ of 64 sequences, \d+ of up to 256 units of each layer", found)
        assert "More would make the page larger than 8 MB." in found

    def test_a_long_explanation_stays_under_the_limit(self, written):
        class Small(nn.Module):
            def __init__(self):
                super().__init__()
                self.lstm = gl.LSTM(20, 2, batch_first=True)

            def forward(self, x):
                return self.lstm(x)[1][0][-1]

        page = written(Small(), torch.randn(2, 5_000, 20))
        assert page.size <= 8_000_000


def _cheap(monkeypatch):
    """Diagnose two sequences alone, show five, and explain none."""
    monkeypatch.setattr(look, "_DIAGNOSED", 2)
    monkeypatch.setattr(look, "_SHOWN", 5)
    monkeypatch.setattr(look, "_EXPLAINED", 2)

    def refuse(*_):
        raise ArgumentError("left out in this test")

    monkeypatch.setattr(look, "explain", refuse)


@pytest.fixture
def unused(monkeypatch):
    """Fail where the work has begun although it cannot be done."""

    def begun(*_):
        raise AssertionError("the work has begun")

    monkeypatch.setattr("glasslstm.insight.report.rendered", begun)


@pytest.mark.usefixtures("unused")
class TestRefused:
    """Errors before the work starts; nothing is written, and nothing left."""

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"model": []}, "model: got an empty list; expected one model or more"),
            ({"names": []}, r"names: expected one for each of the 1 models, got \[\]"),
            ({"names": ["a", "b"]}, "names: expected one for each of the 1 models"),
            ({"names": "a"}, "names: expected one for each of the 1 models, got 'a'"),
            ({"channel_names": ["a"]}, "channel_names: expected 3 names, got 1"),
            ({"sequence_names": ["a"] * 21}, "sequence_names: expected 20 names, got 21"),
            ({"class_names": ["a"]}, "class_names: "),
            (
                {"groups": {"site": ["a"] * 19}},
                "groups: 'site' has 19 values; expected one for each of the 20",
            ),
            ({"groups": {"site": 3}}, "groups: "),
            ({"groups": ["a"] * 20}, "groups: "),
            ({"record": [{}, {}]}, "record: expected one for each of the 1 models, got 2"),
            ({"record": 5}, "record: "),
            ({"train": torch.zeros(4, 9, 3)}, "train: "),
            ({"train": (torch.zeros(4, 9, 5), torch.zeros(4))}, "the model refused them"),
            ({"loss": functional.cross_entropy, "y": None}, "targets: needed, because loss was given"),
            ({"loss": "mse"}, "loss: expected a function"),
            ({"model": nn.Linear(3, 2)}, "model: expected an LSTM or LSTMCell"),
            ({"model": "a"}, "model: expected a torch.nn.Module, got str"),
            ({"x": torch.zeros(20, 9, 5)}, "inputs: the model refused them"),
            ({"x": torch.zeros(0, 9, 3)}, "inputs: "),
            ({"x": torch.zeros(20, 0, 3)}, "at least one time step"),
        ],
    )
    def test_what_does_not_fit(self, classifier, sample, tmp_path, changes, words):
        given = {"model": classifier(), "x": sample[0], "y": sample[1], **changes}
        with pytest.raises(GlassLSTMError, match=words):
            report(given.pop("model"), given.pop("x"), given.pop("y"), path=tmp_path / "report.html", **given)
        assert [*tmp_path.iterdir()] == []

    def test_an_estimator_that_is_not_fitted(self, trained, tmp_path):
        _, X, y = trained
        with pytest.raises(ValueError, match="This LSTMClassifier instance is not fitted yet"):
            report(gl.LSTMClassifier(), X, y, path=tmp_path / "report.html")
        assert [*tmp_path.iterdir()] == []

    def test_a_loss_beside_an_estimator(self, trained, tmp_path):
        with pytest.raises(ArgumentError, match="loss: an estimator has its own; leave it out"):
            report(*trained, functional.cross_entropy, path=tmp_path / "report.html")

    def test_labels_that_an_estimator_does_not_know(self, trained, tmp_path):
        clf, X, y = trained
        with pytest.raises(ValueError, match="turns"):
            report(clf, X, ["turns", *y[1:]], path=tmp_path / "report.html")

    def test_a_folder(self, classifier, sample, tmp_path):
        with pytest.raises(ArgumentError, match=rf"path: got the folder {tmp_path}; expected a file"):
            report(classifier(), *sample, path=tmp_path)
        assert [*tmp_path.iterdir()] == []

    def test_a_path_that_cannot_be_written(self, classifier, sample, tmp_path):
        (tmp_path / "file").write_text("old")
        with pytest.raises(ArgumentError, match=r"cannot be written: .*file is a file; expected a folder"):
            report(classifier(), *sample, path=tmp_path / "file" / "report.html")
        assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("file", "old")]


class TestWritten:
    def test_folders_are_made_and_the_path_comes_back(self, classifier, sample, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert report(classifier(), *sample, path="new/runs/page.html") == Path("new/runs/page.html")
        assert [one.name for one in (tmp_path / "new" / "runs").iterdir()] == ["page.html"]

    def test_the_page_is_report_html_where_no_name_is_given(self, classifier, sample, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "report.html").write_text("old")
        report(classifier(), *sample)
        assert (tmp_path / "report.html").read_text("utf-8").startswith("<!doctype html>")

    @pytest.mark.parametrize("place", ["glasslstm.insight.report.render.explored", "pathlib.Path.replace"])
    def test_a_failure_in_the_middle_leaves_what_was_there(
        self, classifier, sample, tmp_path, monkeypatch, place
    ):
        (tmp_path / "report.html").write_text("old")

        def fail(*_):
            raise OSError("the disk is full")

        monkeypatch.setattr(place, fail)
        with pytest.raises(OSError, match="the disk is full"):
            report(classifier(), *sample, path=tmp_path / "report.html")
        assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("report.html", "old")]
