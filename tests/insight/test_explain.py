from __future__ import annotations

import pytest
import torch
from torch import nn

import glasslstm as gl
from glasslstm.errors import ArgumentError, ShapeError
from glasslstm.insight.attribution import deletion, integrated_gradients, occlusion, rank_agreement
from glasslstm.insight.explain import METHODS, explain, memory_scores
from glasslstm.insight.logits import logit_contributions
from glasslstm.insight.probe import Probe

RAGGED = [7, 0, 1, 4]


class Model(nn.Module):
    """An LSTM, and a head that reads it in one of several ways."""

    def __init__(self, kind=nn.LSTM, reads="last", classes=2, hidden=4, dtype=torch.float64, **options):
        super().__init__()
        self.lstm, self.reads = kind(3, hidden, dtype=dtype, **options), reads
        self.D = 2 if self.lstm.bidirectional else 1
        self.head = nn.Linear(self.D * (self.lstm.proj_size or hidden), classes, dtype=dtype)

    def forward(self, x, **options):
        output, (h_n, _) = self.lstm(x, **options)
        last = torch.cat([*h_n[-self.D :]], dim=-1)
        if self.reads == "mean":
            lengths = options.get("lengths", [len(x)] * x.size(1))
            last = output.sum(0) / torch.tensor(lengths).clamp(min=1)[:, None]
        if self.reads == "step 2":
            last = output[2]
        logits = self.head(last)
        return logits.tanh() if self.reads == "tanh" else logits


def marked(count, generator):
    """Sequences whose class is the sign of channel 0 at the one step that channel 1 marks, and this step."""
    x = torch.randn(10, count, 3, generator=generator)
    step = torch.randint(10, (count,), generator=generator)
    x[:, :, 1] = torch.arange(10)[:, None] == step
    return x, (x[step, range(count), 0] > 0).long(), step


@pytest.fixture(scope="module")
def planted():
    """A model that learned which step decides, new sequences, and the step that decides in each."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Model(hidden=8, dtype=torch.float32)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(200):
        x, classes, _ = marked(64, generator)
        loss = nn.functional.cross_entropy(model(x), classes)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    x, classes, step = marked(60, generator)
    assert (model(x).argmax(1) == classes).float().mean() > 0.9
    return model, x, step


class TestThePlantedStep:
    def test_every_method_names_it_and_its_deletion_costs_more_than_a_random_one(self, planted):
        model, x, step = planted
        found = explain(model, x, k=1)
        assert (found.module, found.memory.way) == ("lstm", "last")
        assert tuple(found.scores) == METHODS
        chance, spread = found.deletion.mean("random")
        for method, scores in found.scores.items():
            named = (scores.argmax(0) == step).double().mean().item()
            assert named > 0.8, method
            drop, error = found.deletion.mean(method)
            assert drop - chance > 5 * (error**2 + spread**2) ** 0.5, method
        for pair, agreement in found.agreement.items():
            assert agreement.nanmean() > 0.2, pair

    def test_the_summary_has_its_numbers(self, planted):
        model, x, _ = planted
        found = explain(model, x, k=1)
        text = str(found)
        assert "lstm: 60 sequences of up to 10 steps" in text
        for method in (*METHODS, "random"):
            assert f"{method}  the score drops by {found.deletion.mean(method)[0]:.3g}" in text
        agreement = found.agreement["memory", "occlusion"].nanmean()
        assert f"rank agreement of memory and occlusion: {agreement:.2f}" in text
        assert "contributions to the logit through the final hidden states" in text
        assert f"the largest completeness delta is {found.delta.abs().max():.1e}" in text


def test_an_explanation_is_what_its_parts_are():
    model, x = Model(gl.LSTM, bidirectional=True), torch.randn(7, 4, 3, dtype=torch.float64)
    options = {"x": x, "lengths": RAGGED}
    found = explain(model, options, 1, baseline="zero", windows=3, points=8, k=2, draws=4, seed=5)
    probe = Probe(model, options, 1, baseline="zero")
    gradients = integrated_gradients(probe, 8)
    expected = {
        "memory": memory_scores(probe).steps,
        "occlusion": occlusion(probe, 3),
        "integrated_gradients": gradients.steps,
    }
    assert list(found.scores) == list(expected)
    for method, scores in expected.items():
        assert torch.equal(found.scores[method], scores)
    assert torch.equal(found.delta, gradients.delta)
    assert torch.equal(found.channels, gradients.values)
    assert torch.equal(found.score, probe.scores)
    assert torch.equal(found.valid, probe.valid)
    for pair, agreement in rank_agreement(expected, probe.valid).items():
        torch.testing.assert_close(found.agreement[pair], agreement, equal_nan=True)
    for method, drop in deletion(probe, expected, 2, draws=4, seed=5).drops.items():
        assert torch.equal(found.deletion.drops[method], drop)


def test_methods_that_are_not_asked_for_are_left_out():
    model, x = Model(), torch.randn(7, 4, 3, dtype=torch.float64)
    found = explain(model, x, methods="occlusion")
    assert (list(found.scores), found.memory, found.delta, found.agreement) == (["occlusion"], None, None, {})
    assert found.channels is None
    assert "memory" not in str(found)
    assert list(explain(model, x, methods=("integrated_gradients", "memory")).agreement) == [
        ("memory", "integrated_gradients")
    ]


class TestMemoryScores:
    @pytest.mark.parametrize("kind", [gl.LSTM, nn.LSTM])
    @pytest.mark.parametrize(
        "options",
        [{}, {"bidirectional": True, "num_layers": 2}, {"bidirectional": True, "proj_size": 2}],
        ids=["plain", "deep", "projected"],
    )
    @pytest.mark.parametrize("reads", ["last", "mean"])
    def test_through_a_linear_head_add_up_to_the_logit(self, kind, options, reads):
        model, x = Model(kind, reads, **options), 2 * torch.randn(7, 4, 3, dtype=torch.float64)
        target = torch.tensor([0, 1, 1, 0])
        lengths = {"lengths": RAGGED} if kind is gl.LSTM else {}
        found = memory_scores(Probe(model, {"x": x} | lengths, target))
        assert found.way == reads
        assert found.residual.abs().max() < 1e-12
        total = found.steps.sum(0) + model.head.bias[target]  # the initial states are zero
        torch.testing.assert_close(total, model(x, **lengths)[range(4), target], atol=1e-12, rtol=0)
        if lengths:
            assert not found.steps[torch.arange(7)[:, None] >= torch.tensor(RAGGED)].any()

    def test_are_the_logit_contributions_of_the_class(self):
        model, x = Model(gl.LSTM, classes=3), torch.randn(7, 4, 3, dtype=torch.float64)
        target = torch.tensor([2, 0, 1, 2])
        parts = logit_contributions(model.lstm(x, return_trace=True)[2], model.head.weight)
        found = memory_scores(Probe(model, x, target))
        torch.testing.assert_close(found.steps, parts.steps[:, range(4), target], atol=1e-13, rtol=0)

    def test_of_a_single_output(self):
        model, x = nn.Sequential(Model(classes=1), nn.Flatten(0)), torch.randn(7, 4, 3, dtype=torch.float64)
        found = memory_scores(Probe(model, x))
        assert found.way == "last"
        torch.testing.assert_close(found.steps.sum(0) + model[0].head.bias, model(x), atol=1e-12, rtol=0)

    def test_of_an_unbatched_input(self):
        class Unbatched(Model):
            def forward(self, x):
                return self.head(self.lstm(x)[1][0][-1])

        for reads, classes in (("last", 2), ("last", 1)):
            model, x = Unbatched(reads=reads, classes=classes), torch.randn(7, 3, dtype=torch.float64)
            found = memory_scores(Probe(model, x))
            assert found.way == "last"
            assert found.steps.shape == (7, 1)
            best = model(x).argmax()
            torch.testing.assert_close(
                found.steps.sum() + model.head.bias[best], model(x)[best], atol=1e-12, rtol=0
            )
        found = memory_scores(Probe(model, x, lambda output: output.sum().tanh()))
        assert (found.way, found.steps.shape) == ("gradient", (7, 1))

    @pytest.mark.parametrize("kind", [gl.LSTM, nn.LSTM])
    @pytest.mark.parametrize("reads", ["tanh", "step 2"])
    def test_else_are_what_was_written_times_the_score_s_gradient(self, kind, reads):
        model, x = Model(kind, reads, bidirectional=True), torch.randn(7, 4, 3, dtype=torch.float64)
        found = memory_scores(Probe(model, x, 1))
        assert (found.way, found.residual) == ("gradient", None)
        twin = gl.LSTM(3, 4, bidirectional=True, dtype=torch.float64)
        twin.load_state_dict(model.lstm.state_dict())
        expected = torch.zeros(7, 4, dtype=torch.float64)
        for direction in (0, 1):
            for t in range(7):
                expected[t] += slope_of_write(model, twin, x, direction, t)
        torch.testing.assert_close(found.steps, expected, atol=1e-6, rtol=0)
        assert expected.abs().max() > 1e-2

    def test_are_those_of_the_last_layer(self):
        model, x = Model(gl.LSTM, "tanh", num_layers=2), torch.randn(7, 4, 3, dtype=torch.float64)
        _, (h_n, _), trace = model.lstm(x, return_trace=True)
        model.head(h_n[-1]).tanh()[:, 1].sum().backward()
        last = trace[1, 0]
        expected = (last.cell_grad * last.input_gate * last.candidate).sum(-1).detach()
        torch.testing.assert_close(memory_scores(Probe(model, x, 1)).steps, expected, atol=1e-12, rtol=0)

    def test_of_a_cell_in_a_loop(self):
        class Loop(nn.Module):
            def __init__(self):
                super().__init__()
                self.cell, self.head = (
                    nn.LSTMCell(3, 4, dtype=torch.float64),
                    nn.Linear(4, 2, dtype=torch.float64),
                )

            def forward(self, x):
                states = None
                for x_t in x:
                    states = self.cell(x_t, states)
                return self.head(states[0])

        model, x = Loop(), torch.randn(7, 4, 3, dtype=torch.float64)
        found = memory_scores(Probe(model, x, 1))
        assert found.way == "last"
        torch.testing.assert_close(
            found.steps.sum(0) + model.head.bias[1], model(x)[:, 1], atol=1e-12, rtol=0
        )
        other = memory_scores(Probe(model, x, lambda output: output[:, 1]))
        assert (other.way, other.steps.shape) == ("gradient", (7, 4))
        assert (
            rank_agreement({"a": found.steps, "b": other.steps}, torch.ones(7, 4).bool())["a", "b"].mean()
            > 0.5
        )

    def test_of_an_lstm_that_is_called_in_parts(self):
        class Parts(Model):
            def forward(self, x):
                _, states = self.lstm(x[:3])
                return self.head(self.lstm(x[3:], states)[1][0][-1]).tanh()

        model, x = Parts(), torch.randn(7, 4, 3, dtype=torch.float64)
        whole = Model(reads="tanh")
        whole.load_state_dict(model.state_dict())
        parts, expected = (memory_scores(Probe(one, x, 1)) for one in (model, whole))
        assert parts.way == "gradient"
        torch.testing.assert_close(parts.steps, expected.steps, atol=1e-12, rtol=0)

    def test_have_every_step_where_a_linear_head_reads_one_of_several_calls(self):
        class First(Model):
            def forward(self, x):
                h_n, _ = self.lstm(x[:3])[1]
                self.lstm(x[3:])
                return self.head(h_n[-1])

        found = memory_scores(Probe(First(), torch.randn(7, 4, 3, dtype=torch.float64), 1))
        assert (found.way, found.steps.shape) == ("gradient", (7, 4))
        assert found.steps[:3].all()
        assert not found.steps[3:].any()


def slope_of_write(model, twin, x, direction, t, step=1e-6):
    """By how much the score grows as what was written at step t grows, (B,): by hand and central differences."""
    scores = []
    for factor in (1 + step, 1 - step):
        hidden = [by_hand(twin, x, d, t if d == direction else None, factor) for d in (0, 1)]
        if model.reads == "step 2":
            last = torch.cat([hidden[0][2], hidden[1][2]], dim=-1)
        else:
            last = torch.cat([hidden[0][-1], hidden[1][0]], dim=-1)
        logits = model.head(last)
        scores.append((logits.tanh() if model.reads == "tanh" else logits)[:, 1])
    return ((scores[0] - scores[1]) / (2 * step)).detach()


def by_hand(lstm, x, direction, changed, factor):
    """The hidden states of one direction, with what is written at step `changed` times `factor`."""
    weight_ih, weight_hh, bias_ih, bias_hh = lstm.all_weights[direction]
    h = c = x.new_zeros(x.size(1), lstm.hidden_size)
    hidden = [h] * len(x)
    for t in reversed(range(len(x))) if direction else range(len(x)):
        i, f, g, o = (x[t] @ weight_ih.T + h @ weight_hh.T + bias_ih + bias_hh).chunk(4, dim=1)
        wrote = i.sigmoid() * g.tanh()
        c = f.sigmoid() * c + (factor * wrote if t == changed else wrote)
        h = o.sigmoid() * c.tanh()
        hidden[t] = h
    return hidden


def test_the_model_is_as_it_was():
    model, x = Model(dtype=torch.float32), torch.randn(7, 4, 3)
    model.train()
    classes, random = [type(part) for part in model.modules()], torch.get_rng_state()
    explain(model, x)
    assert model.training
    assert [type(part) for part in model.modules()] == classes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(part._forward_pre_hooks or part._forward_hooks for part in model.modules())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("reads", ["last", "tanh"])
def test_under_no_grad_and_inference_mode(mode, reads):
    model, x = Model(reads=reads), torch.randn(7, 4, 3, dtype=torch.float64)
    expected = explain(model, x)
    with mode():
        found = explain(model, x)
    for method in METHODS:
        torch.testing.assert_close(found.scores[method], expected.scores[method], atol=1e-12, rtol=0)


class TestBadInput:
    def test_methods(self):
        for methods, shown in (
            (("memory", "lime"), r"\['memory', 'lime'\]"),
            ((), r"\[\]"),
            ("lime", r"\['lime'\]"),
        ):
            with pytest.raises(
                ArgumentError, match=f"methods: expected one or more of memory, .* got {shown}"
            ):
                explain(Model(), torch.zeros(7, 4, 3), methods=methods)

    def test_models_and_scores(self):
        x = torch.randn(7, 4, 3, dtype=torch.float64)
        with pytest.raises(ArgumentError, match="expected an LSTM or LSTMCell"):
            explain(nn.Linear(3, 2), x)
        with pytest.raises(ArgumentError, match="module: expected one of 'lstm', got 'encoder'"):
            explain(Model(), x, module="encoder")
        with pytest.raises(ShapeError, match="the model returns tuple of 2"):
            explain(nn.LSTM(3, 4, dtype=torch.float64), x)
        with pytest.raises(ArgumentError, match="no gradient leads from the score to 'lstm'"):
            explain(Model(), x, lambda output: output[:, 0].detach(), methods="memory")
        with pytest.raises(ArgumentError, match="inputs: the model refused"):
            explain(Model(), x[..., :2])
