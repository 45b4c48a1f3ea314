"""What is wrong with how the LSTM is called or read, and not with what it learnt."""

from __future__ import annotations

from collections.abc import Iterator

from glasslstm.insight.case import Case
from glasslstm.insight.findings import Code, Place
from glasslstm.insight.rules.registry import Hit, rule

DROPOUT = Code(
    name="dropout-without-effect",
    severity="warning",
    title="dropout has no effect",
    threshold=1,
    meaning="An LSTM drops between its layers and not behind the last one; with one layer its dropout does nothing.",
    change="Put torch.nn.Dropout({dropout}) behind the LSTM, or give it num_layers=2.",
)


@rule(DROPOUT)
def dropout_without_effect(case: Case) -> Iterator[Hit]:
    """Find LSTMs of one layer with a dropout above zero."""
    for name, module in case.watcher.modules.items():
        dropout, layers = getattr(module, "dropout", 0), getattr(module, "num_layers", 0)
        if dropout and layers == 1:
            evidence = f"dropout={dropout} with num_layers=1"
            yield Hit(Place(name), 1.0, evidence, words={"dropout": dropout})
