"""Models that others wrote, out of their packages: converted, reverted and watched, they compute what they computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

import glasslstm as gl
from glasslstm.errors import ArgumentError
from glasslstm.insight.watch import lstms
from glasslstm.nn.convert import convert, revert

pytestmark = [
    pytest.mark.others,
    pytest.mark.filterwarnings("ignore"),  # the packages give many, which are not ours to mend
]
Call = Callable[[nn.Module], list[Tensor]]
"""Runs a model on inputs of its own and returns all that comes out."""


def encodec() -> tuple[nn.Module, Call]:
    """An audio codec: two LSTMs of two layers between convolutions."""
    transformers = pytest.importorskip("transformers")
    sizes = {"num_filters": 4, "hidden_size": 16, "codebook_size": 16, "codebook_dim": 16}
    model = transformers.EncodecModel(transformers.EncodecConfig(**sizes, upsampling_ratios=[4, 2]))
    sound = torch.randn(2, 1, 160)

    def call(model: Any) -> list[Tensor]:
        codes = model.encoder(sound)
        return [codes, model.decoder(codes)]  # without the choice of codes between them, which jumps

    return model, call


def deep_ar() -> tuple[nn.Module, Call]:
    """A forecaster: one call over the past, then one for each step that it draws."""
    module = pytest.importorskip("gluonts.torch.model.deepar.module")
    distributions = pytest.importorskip("gluonts.torch.distributions")
    model = module.DeepARModel("D", 20, 3, distr_output=distributions.NormalOutput(), lags_seq=[1, 7])
    inputs = {name: torch.rand(field.shape) for name, field in model.describe_inputs(4).data.items()}
    inputs["feat_static_cat"] = torch.zeros(4, 1, dtype=torch.long)

    def call(model: Any) -> list[Tensor]:
        torch.manual_seed(1)
        drawn = model(**inputs, num_parallel_samples=5)
        next_step = inputs | {"future_time_feat": inputs["future_time_feat"][:, :1]}
        return [drawn, *model.unroll_lagged_rnn(**next_step)[0]]

    return model, call


def temporal_fusion() -> tuple[nn.Module, Call]:
    """A forecaster: an encoder whose states a decoder takes over."""
    module = pytest.importorskip("pytorch_forecasting.models.temporal_fusion_transformer._tft_v2")
    counts = {"encoder_cont": 3, "encoder_cat": 1, "decoder_cont": 2, "decoder_cat": 1}
    metadata = {"max_encoder_length": 12, "max_prediction_length": 4, **counts}
    model = module.TFT(nn.MSELoss(), hidden_size=16, metadata=metadata)
    steps = {"encoder": 12, "decoder": 4}
    inputs = {name: torch.randn(5, steps[name.partition("_")[0]], n) for name, n in counts.items()}
    return model, lambda model: [model(inputs)["prediction"]]


def policy() -> tuple[nn.Module, Call]:
    """Actor and critic for reinforcement learning, in one call and, where episodes end, step by step."""
    policies = pytest.importorskip("sb3_contrib.common.recurrent.policies")
    aliases = pytest.importorskip("sb3_contrib.common.recurrent.type_aliases")
    spaces = pytest.importorskip("gymnasium.spaces")
    model = policies.RecurrentActorCriticPolicy(
        spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (2,)), lambda _: 1e-3, lstm_hidden_size=8, n_lstm_layers=2
    )
    seen, actions, (h, c) = torch.rand(24, 3), torch.rand(24, 2), torch.randn(2, 2, 4, 8).unbind()
    states, ends = aliases.RNNStates((h, c), (h, c)), (torch.arange(24) % 5 == 3).float()

    def call(model: Any) -> list[Tensor]:
        return [
            value
            for starts in (ends, torch.zeros(24))
            for value in model.evaluate_actions(seen, actions, states, starts)
        ]

    return model, call


def lemmatizer() -> tuple[nn.Module, Call]:
    """Words to lemmas: a packed encoder in both directions, and an LSTMCell in a loop with attention."""
    module = pytest.importorskip("stanza.models.common.seq2seq_model")
    sizes = {
        "vocab_size": 20,
        "emb_dim": 6,
        "hidden_dim": 8,
        "num_layers": 2,
        "dropout": 0.2,
        "max_dec_len": 9,
    }
    model = module.Seq2SeqModel(sizes | {"attn_type": "soft"})
    lengths = torch.tensor([9, 7, 7, 2])
    padding = torch.arange(9) >= lengths[:, None]
    words = torch.randint(4, 20, (4, 9)).masked_fill(padding, 0)
    lemmas = torch.randint(4, 20, (4, 6))
    return model, lambda model: [model(words, padding, lemmas)[0]]


def characters() -> tuple[nn.Module, Call]:
    """Words from their characters: packed, from learned initial states, three layers in both directions."""
    module = pytest.importorskip("stanza.models.common.char_model")
    sizes = {
        "char_emb_dim": 5,
        "char_hidden_dim": 6,
        "char_num_layers": 3,
        "char_rec_dropout": 0,
        "dropout": 0.1,
    }
    model = module.CharacterModel(sizes, {"char": list("abcdefgh")}, bidirectional=True)
    lengths = [7, 5, 4, 2]
    text = torch.randint(1, 8, (4, 7))
    return model, lambda model: [model(text, None, [2, 0, 3, 1], [3, 1], lengths).data]


def recurrent_dropout() -> tuple[nn.Module, Call]:
    """An LSTM written as loops over LSTMCells, whose batch shrinks as the sequences end."""
    module = pytest.importorskip("stanza.models.common.packed_lstm")
    model = module.PackedLSTM(3, 4, 2, bidirectional=True, rec_dropout=0.5, pad=True)
    x = torch.randn(6, 4, 3)
    return model, lambda model: [model(x, [6, 4, 4, 1])[0]]


def graph() -> tuple[nn.Module, Call]:
    """A graph network that gathers neighbours, and its own layers, with LSTMs."""
    pytest.importorskip("torch_geometric")
    from torch_geometric.nn import GraphSAGE

    model = GraphSAGE(4, 6, num_layers=2, out_channels=3, aggr="lstm", jk="lstm")
    x = torch.randn(10, 4)
    edges = torch.stack([torch.randint(0, 10, (30,)), torch.randint(0, 10, (30,)).sort().values])
    return model, lambda model: [model(x, edges)]


def set_to_set() -> tuple[nn.Module, Call]:
    """A set to a vector: an LSTM that is called for a single step at a time."""
    aggregations = pytest.importorskip("torch_geometric.nn.aggr")
    x, index = torch.randn(12, 4), torch.arange(3).repeat_interleave(4)
    return aggregations.Set2Set(4, 3), lambda model: [model(x, index, dim_size=3)]


MODELS = (
    encodec,
    deep_ar,
    temporal_fusion,
    policy,
    lemmatizer,
    characters,
    recurrent_dropout,
    graph,
    set_to_set,
)
every_model = pytest.mark.parametrize("make", MODELS, ids=[make.__name__ for make in MODELS])


@every_model
def test_converted_it_computes_the_same_and_reverted_the_very_same(make: Callable[[], Any]) -> None:
    model, call = make()
    model.eval()
    before = _outputs_and_gradients(model, call)
    kinds = {name: type(module) for name, module in lstms(model).items()}
    weights = {name: id(weight) for name, weight in model.named_parameters()}
    assert kinds
    assert set(kinds.values()) <= {nn.LSTM, nn.LSTMCell}
    assert convert(model) is model
    ours = {nn.LSTM: gl.LSTM, nn.LSTMCell: gl.LSTMCell}
    assert {name: type(module) for name, module in lstms(model).items()} == {
        name: ours[kind] for name, kind in kinds.items()
    }
    for name, value in _outputs_and_gradients(model, call).items():
        scale = max(1.0, before[name].abs().max().item())
        torch.testing.assert_close(
            value, before[name], atol=1e-5 * scale, rtol=0, msg=lambda t, n=name: f"{n}: {t}"
        )
    revert(model)
    assert {name: type(module) for name, module in lstms(model).items()} == kinds
    assert {name: id(weight) for name, weight in model.named_parameters()} == weights
    after = _outputs_and_gradients(model, call)
    assert all(torch.equal(after[name], before[name]) for name in before)


@every_model
def test_training_goes_on_after_the_change(make: Callable[[], Any]) -> None:
    """With the optimiser from before, to losses that the model would have reached without it."""
    losses = []
    for change in (None, convert):
        torch.manual_seed(0)
        model, call = make()
        model.eval()  # no dropout: its numbers are drawn otherwise
        optimiser = torch.optim.SGD(model.parameters(), 1e-3)
        if change:
            change(model)
        losses.append([])
        for _ in range(5):
            optimiser.zero_grad()
            loss = _loss(call(model))
            loss.backward()
            optimiser.step()
            losses[-1].append(loss.item())
    assert losses[0][-1] < losses[0][0]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@every_model
@pytest.mark.parametrize("converted", [False, True], ids=["theirs", "converted"])
def test_watched_it_computes_the_very_same(make: Callable[[], Any], converted: bool) -> None:
    model, call = make()
    model.eval()
    if converted:
        convert(model)
    before = _outputs_and_gradients(model, call)
    returned: dict[str, list[Any]] = {name: [] for name in lstms(model)}
    handles = [
        module.register_forward_hook(lambda module, args, output, name=name: returned[name].append(output))
        for name, module in lstms(model).items()
    ]
    with gl.watch(model) as watcher:
        after = _outputs_and_gradients(model, call)
    for handle in handles:
        handle.remove()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert set(watcher) == {name for name in returned if returned[name]} == set(watcher.names)
    for name, module in watcher.modules.items():
        trace = watcher[name]
        found = torch.cat([trace[trace.num_layers - 1, d].hidden for d in range(trace.num_directions)], -1)
        expected = _hidden(module, returned[name], found)
        torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)
        for key in trace:
            assert trace[key].cell_grad is not None
            assert trace[key].cell_grad.isfinite().all()


class _Called(nn.Module):
    """A model that is called as `call` does, whatever the input."""

    def __init__(self, model: nn.Module, call: Call) -> None:
        super().__init__()
        self.model, self.call = model, call

    def forward(self, _: Tensor) -> list[Tensor]:
        return self.call(self.model)


@every_model
@pytest.mark.parametrize("converted", [False, True], ids=["theirs", "converted"])
def test_diagnosed_it_has_no_fault_that_untrained_models_do_not_have(
    make: Callable[[], Any], converted: bool
) -> None:
    """Every rule runs, no error comes up, and the model is left as it was."""
    model, call = make()
    model.eval()
    if converted:
        convert(model)
    before = _outputs_and_gradients(model, call)
    diagnosis = gl.diagnose(_Called(model, call), torch.zeros(1))
    assert len(diagnosis.looked_for) + len(diagnosis.skipped) == 17
    assert diagnosis.worst != "error", str(diagnosis)
    after = _outputs_and_gradients(model, call)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_subclass_of_nn_lstm_is_left() -> None:
    """pytorch-forecasting has an LSTM with methods of its own, which ours could not have."""
    module = pytest.importorskip("pytorch_forecasting.models.nn.rnn")
    model = nn.ModuleList([module.LSTM(3, 4, batch_first=True)])
    x, lengths = torch.randn(2, 5, 3), torch.tensor([5, 0])
    before = model[0](x, lengths=lengths, enforce_sorted=False)[0]
    with pytest.raises(
        ArgumentError, match=r"0 is of the subclass pytorch_forecasting.models.nn.rnn.LSTM, which"
    ):
        convert(model)
    assert torch.equal(model[0](x, lengths=lengths, enforce_sorted=False)[0], before)


def _loss(outputs: list[Tensor]) -> Tensor:
    return sum(output.square().mean() for output in outputs if output.requires_grad)


def _outputs_and_gradients(model: nn.Module, call: Call) -> dict[str, Tensor]:
    model.zero_grad()
    outputs = call(model)
    _loss(outputs).backward()
    found = {f"output {k}": output.detach() for k, output in enumerate(outputs)}
    gradients = {f"d {n}": w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}
    assert gradients
    return found | gradients


def _hidden(module: nn.Module, returned: list[Any], like: Tensor) -> Tensor:
    """Return what the last call gave its caller, (T, B, D * P); of a cell, what its last steps gave."""
    if isinstance(module, nn.LSTMCell | gl.LSTMCell):
        return torch.stack([h for h, _ in returned[-len(like) :]])
    output = returned[-1][0]
    if isinstance(output, PackedSequence):
        return pad_packed_sequence(output)[0]
    return output.transpose(0, 1) if module.batch_first and output.dim() == 3 else output
