"""Dropout that drops nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from glasslstm.insight.case import Case
from glasslstm.insight.findings import Code, Measured, Place
from glasslstm.insight.rules.evidence import measured
from glasslstm.insight.rules.registry import Hit, rule
from glasslstm.nn.lstm import LSTM

DROPOUT = Code(
    name="dropout-without-effect",
    severity="warning",
    title="dropout has no effect",
    threshold=0,
    meaning="It was asked for and drops nothing in training: the model is trained as if it were not there.",
    change="{change}",
)


@rule(DROPOUT)
def dropout_without_effect(case: Case) -> Iterator[Hit]:
    """Find LSTMs of one layer with a dropout above zero, and dropout that is switched off in a model that trains."""
    for name in case.watcher:
        module: Any = case.watcher.modules[name]
        dropout = getattr(module, "dropout", 0)
        if dropout and module.num_layers == 1:
            evidence = f"dropout={dropout} with num_layers=1: an LSTM drops between its layers, never behind the last"
            change = f"Give the LSTM num_layers=2, or drop out behind it: `torch.nn.Dropout({dropout})`"
            yield Hit(Place(name), dropout, evidence, words={"change": change}, measured=_nothing_of(dropout))
    if case.training.get(case.model):
        yield from _switched_off(case)


def _switched_off(case: Case) -> Iterator[Hit]:
    for name, module in case.model.named_modules():
        share = _share(module)
        parent = case.model.get_submodule(name.rpartition(".")[0])
        if share and not case.training[module] and case.training[parent]:
            evidence = f"p={share}, but the module is in eval() while the model around it is in training mode"
            change = "Switch it on before every epoch, for instance after each validation in eval(): `model.train()`"
            yield Hit(Place(name), share, evidence, words={"change": change}, measured=_nothing_of(share))


def _nothing_of(share: float) -> Measured | None:
    return measured("share dropped", (share, 0.0), along="dropout", at=("asked for", "in effect"), beyond=[1])


def _share(module: nn.Module) -> float:
    """Return what share a module drops in training; 0 for an LSTM that is frozen."""
    if isinstance(module, _DROPOUTS):
        return module.p
    if isinstance(module, (LSTM, nn.LSTM)) and module.num_layers > 1:
        return module.dropout if any(weight.requires_grad for weight in module.parameters()) else 0.0
    return 0.0


_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
