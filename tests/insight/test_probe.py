from __future__ import annotations

from itertools import count

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import glasslstm as gl
from glasslstm.errors import ArgumentError, ArgumentTypeError, ShapeError
from glasslstm.insight.probe import Probe


class Two(nn.Module):
    """Two LSTMs, called in the other order than they are made, and a head."""

    def __init__(self, classes=3):
        super().__init__()
        self.second, self.first = gl.LSTM(4, 5), nn.LSTM(3, 4, batch_first=True)
        self.unused, self.head = nn.LSTM(3, 4), nn.Linear(5, classes)

    def forward(self, x, scale=1.0):
        read, _ = self.first(x * scale)
        return self.head(self.second(read.transpose(0, 1))[0][-1])


class TestTheScore:
    def test_is_the_largest_logit_by_default_and_stays_with_its_class(self):
        model, x = Two(), torch.randn(6, 5, 3)
        logits = model(x)
        probe = Probe(model, x)
        assert torch.equal(probe.target, logits.argmax(1))
        torch.testing.assert_close(probe.scores, logits.max(1).values.detach())
        assert torch.equal(probe.logits, logits)
        lowest = Probe(model, x, -logits.argmax(1) + 2)
        assert torch.equal(lowest.target, 2 - logits.argmax(1))
        without = probe.score_without(torch.ones(5, 6, dtype=torch.bool))
        replaced = model(x.mean((0, 1)).expand(6, 5, 3))
        torch.testing.assert_close(without, replaced.gather(1, logits.argmax(1)[:, None])[:, 0].detach())

    def test_is_that_of_a_class_or_of_one_for_each_sequence(self):
        model, x = Two(), torch.randn(4, 5, 3)
        logits = model(x).detach()
        assert torch.equal(Probe(model, x, 2).scores, logits[:, 2])
        assert torch.equal(Probe(model, x, torch.tensor([0, 2, 1, 1])).scores, logits[range(4), [0, 2, 1, 1]])

    def test_is_a_single_output(self):
        model, x = Two(1), torch.randn(4, 5, 3)
        probe = Probe(model, x)
        assert probe.target is None
        assert torch.equal(probe.scores, model(x)[:, 0])
        squeezed = nn.Sequential(model, nn.Flatten(0))
        assert torch.equal(Probe(squeezed, x).scores, model(x)[:, 0])

    def test_is_what_a_function_makes_of_the_output(self):
        model, x = Two(), torch.randn(4, 5, 3)
        probe = Probe(model, x, lambda output: output[:, 0] - output[:, 1])
        assert torch.equal(probe.scores, model(x)[:, 0] - model(x)[:, 1])

    def test_of_an_unbatched_input(self):
        lstm, x = nn.LSTM(3, 4), torch.randn(5, 3)

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.lstm = lstm

            def forward(self, x):
                return self.lstm(x)[0][-1]

        probe = Probe(Model(), x, 1)
        assert probe.x.shape == (5, 1, 3)
        torch.testing.assert_close(probe.scores, lstm(x)[0][-1, 1:2].detach())
        assert Probe(lstm, x, lambda output: output[0].sum()).scores.shape == (1,)


class TestWhatIsRead:
    def test_the_first_lstm_that_is_called(self):
        model, x = Two(), torch.randn(4, 5, 3)
        probe = Probe(model, x)
        assert (probe.name, probe.module, probe.calls) == ("first", model.first, 1)
        assert torch.equal(probe.x, x.transpose(0, 1))
        assert probe.valid.all()
        other = Probe(model, x, module="second")
        torch.testing.assert_close(other.x, model.first(x)[0].transpose(0, 1).detach())

    def test_arguments_as_a_tuple_and_by_name(self):
        model, x = Two(), torch.randn(4, 5, 3)
        for inputs in ((x, 2.0), {"x": x, "scale": 2.0}):
            assert torch.equal(Probe(model, inputs).x, 2 * x.transpose(0, 1))

    def test_a_packed_sequence_and_its_lengths(self):
        lstm, x = nn.LSTM(3, 4), torch.randn(5, 2, 3)
        packed = pack_padded_sequence(x, [2, 5], enforce_sorted=False)
        for inputs in (packed, (packed,), {"input": packed}):
            probe = Probe(lstm, inputs, lambda output: output[1][0][-1].sum(-1))
            assert probe.valid.sum(0).tolist() == [2, 5]
            assert torch.equal(probe.x[:, 1], x[:, 1])

    def test_an_lstm_that_is_called_in_parts(self):
        class Parts(nn.Module):
            def __init__(self):
                super().__init__()
                self.lstm = gl.LSTM(3, 4)

            def forward(self, x):
                _, states = self.lstm(x[:2], lengths=[2, 1])
                return self.lstm(x[2:], states, lengths=[3, 0])[1][0][-1]

        model, x = Parts(), torch.randn(5, 2, 3)
        probe = Probe(model, x, 0)
        assert probe.calls == 2
        assert torch.equal(probe.x, x)
        assert probe.valid.T.tolist() == [[True] * 5, [True, False, False, False, False]]
        only = torch.zeros(5, 2, dtype=torch.bool)
        only[3, 0] = True
        replaced = x.clone()
        replaced[3, 0] = probe.baseline[0, 0]
        torch.testing.assert_close(probe.score_without(only), model(replaced)[:, 0].detach())

    def test_the_baseline(self):
        lstm, x = gl.LSTM(3, 4), torch.randn(5, 2, 3)
        inputs, target = {"input": x, "lengths": [5, 2]}, lambda output: output[1][0][-1].sum(-1)
        mean = torch.cat([x[:, 0], x[:2, 1]]).mean(0)
        torch.testing.assert_close(Probe(lstm, inputs, target).baseline, mean.expand(5, 2, 3))
        assert not Probe(lstm, inputs, target, baseline="zero").baseline.any()
        own = torch.randn(5, 1, 3)
        assert torch.equal(Probe(lstm, inputs, target, baseline=own).baseline, own.expand(5, 2, 3))
        nothing = {"input": x, "lengths": [0, 0]}
        assert not Probe(lstm, nothing, target).baseline.any()


MODES = []


class Noisy(nn.Module):
    """Everything that a run could leave behind: modes, buffers, random numbers, gradients."""

    def __init__(self):
        super().__init__()
        self.lstm, self.norm, self.drop = nn.LSTM(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("nothing", None)
        self.lstm.eval()
        self.drop.register_forward_hook(lambda drop, *_: MODES.append(drop.training))

    def forward(self, x):
        self.calls += 1
        self.calls = self.calls * 2
        output = self.norm(self.lstm(self.drop(x))[0][-1])
        return output + torch.rand(4) + self.calls


class TestAfterwards:
    def test_the_model_is_as_it_was(self):
        MODES.clear()
        model, x = Noisy(), torch.randn(5, 6, 3)
        model.norm.weight.grad = torch.ones(4)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        buffer, random = model.calls, torch.get_rng_state()
        probe = Probe(model, x, 0)
        scores, leaf = probe.score_at(probe.x)
        assert torch.equal(scores, probe.scores)
        probe.gradient(scores, leaf)
        assert MODES == [False] * 3
        assert (model.training, model.norm.training, model.lstm.training) == (True, True, False)
        assert model.calls is buffer
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name]), name
        assert torch.equal(torch.get_rng_state(), random)
        assert torch.equal(model.norm.weight.grad, torch.ones(4))
        assert [parameter.grad is None for parameter in model.parameters()].count(False) == 1
        assert not any(part._forward_pre_hooks for part in model.modules())

    def test_a_state_that_is_carried_on_is_that_of_the_first_run_in_every_run(self):
        class Stateful(nn.Module):
            def __init__(self):
                super().__init__()
                self.lstm, self.state = nn.LSTM(3, 4), None

            def forward(self, x):
                output, self.state = self.lstm(x, self.state)
                return output[-1]

        model, x = Stateful(), torch.randn(5, 2, 3)
        model(x)
        h, c = model.state
        probe = Probe(model, x, 0)
        probe.gradient(*probe.score_at(probe.x))
        assert model.state[0] is h
        torch.testing.assert_close(probe.scores, model.lstm(x, (h, c))[0][-1, :, 0].detach())

    def test_batch_normalisation_keeps_its_graph(self):
        """Its running statistics are saved for the backward pass; to write to them would spoil it."""
        model, x = Noisy(), torch.randn(5, 6, 3)
        model.norm.running_mean += 3
        model.eval()
        probe = Probe(model, x, 0)
        found = probe.gradient(*probe.score_at(probe.x))
        leaf = x.clone().requires_grad_()
        model.norm(model.lstm(leaf)[0][-1])[:, 0].sum().backward()
        torch.testing.assert_close(found, leaf.grad)

    @pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
    def test_gradients_come_whatever_the_mode_outside(self, mode):
        lstm, x = nn.LSTM(3, 4), torch.randn(5, 2, 3)
        with mode():
            probe = Probe(lstm, x, lambda output: output[0][-1].sum(-1))
            found = probe.gradient(*probe.score_at(probe.x))
        leaf = x.clone().requires_grad_()
        lstm(leaf)[0][-1].sum().backward()
        torch.testing.assert_close(found, leaf.grad)


class TestBadInput:
    def test_models(self):
        with pytest.raises(ArgumentError, match="expected an LSTM or LSTMCell"):
            Probe(nn.Linear(3, 4), torch.zeros(2, 3))
        with pytest.raises(ArgumentTypeError, match=r"expected a torch.nn.Module"):
            Probe("model", torch.zeros(2, 3))

    def test_modules(self):
        x = torch.randn(4, 5, 3)
        with pytest.raises(
            ArgumentError, match=r"module: expected one of 'second', 'first', 'unused', got 'lstm'"
        ):
            Probe(Two(), x, module="lstm")
        with pytest.raises(
            ArgumentError, match=r"'unused' was called with these inputs; called: 'first', 'second'"
        ):
            Probe(Two(), x, module="unused")
        model = Two()
        model.forward = lambda x: x
        with pytest.raises(ArgumentError, match=r"none of the model's LSTMs was called .*; called: none"):
            Probe(model, x)

    def test_inputs_that_the_model_refuses(self):
        model = Two()
        with pytest.raises(
            ArgumentError, match=r"inputs: the model refused them .*input_size=3.*got x: a tensor \(4, 5, 2\)"
        ):
            Probe(model, {"x": torch.zeros(4, 5, 2)})
        with pytest.raises(
            ArgumentError, match=r"inputs: the model refused them \(TypeError: .*got \(a tensor \(2,\)"
        ):
            Probe(model, (torch.zeros(2), 1.0, None))
        assert not any(part._forward_pre_hooks for part in model.modules())

    def test_targets(self):
        model, x = Two(), torch.randn(4, 5, 3)
        with pytest.raises(ArgumentError, match=r"target: expected classes 0 to 2, got 3"):
            Probe(model, x, 3)
        with pytest.raises(ArgumentError, match=r"target: expected classes 0 to 2, got \[0, 1, -1, 0\]"):
            Probe(model, x, torch.tensor([0, 1, -1, 0]))
        for target in (torch.zeros(3).long(), torch.zeros(4), True, 0.5):
            with pytest.raises(
                ArgumentError, match="target: expected a class index, or one for each of the 4"
            ):
                Probe(model, x, target)
        for target in (torch.sum, lambda output: output, lambda output: None):
            with pytest.raises(ShapeError, match=r"target: expected it to return \(4,\) scores"):
                Probe(model, x, target)
        with pytest.raises(
            ShapeError, match=r"the model returns tuple of 2, and not .* 4 sequences; give a function"
        ):
            Probe(nn.LSTM(3, 4), torch.zeros(5, 4, 3))
        for wrong in ((5, 3), (4, 5, 3), ()):
            model.forward = lambda x, wrong=wrong: (model.first(x), torch.zeros(wrong))[1]
            with pytest.raises(
                ShapeError, match=r"the model returns Tensor .*, and not a tensor of one or more logits"
            ):
                Probe(model, x)

    def test_baselines(self):
        with pytest.raises(
            ArgumentError, match="baseline: expected 'mean', 'zero' or a tensor, got 'median'"
        ):
            Probe(Two(), torch.zeros(4, 5, 3), baseline="median")
        with pytest.raises(
            ShapeError, match=r"baseline: expected a shape that broadcasts to \(5, 4, 3\), got \(2,\)"
        ):
            Probe(Two(), torch.zeros(4, 5, 3), baseline=torch.zeros(2))

    def test_a_model_whose_scores_do_not_repeat(self):
        class Restless(nn.Module):
            def __init__(self):
                super().__init__()
                self.lstm, self.count = nn.LSTM(3, 4), count()

            def forward(self, x):
                return self.lstm(x)[0][-1] + next(self.count)

        with pytest.raises(
            ArgumentError, match="model: a second run on the same inputs changed the score of sequence 0"
        ):
            Probe(Restless(), torch.randn(5, 2, 3))

    def test_batches_of_several_sizes(self):
        class Sizes(nn.Module):
            def __init__(self):
                super().__init__()
                self.lstm = nn.LSTM(3, 4)

            def forward(self, x):
                self.lstm(x[:, :1])
                return self.lstm(x)[0][-1]

        with pytest.raises(ArgumentError, match=r"'lstm' is called with batches of \[1, 2\] sequences"):
            Probe(Sizes(), torch.randn(5, 2, 3))
