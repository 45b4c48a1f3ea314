"""``info`` and ``doctor``: what a model is, and what runs here."""

from __future__ import annotations

import json
from typing import Any

from glasslstm import modelfile
from glasslstm._console import print_table
from glasslstm.cli.job import read_config
from glasslstm.cli.runs import Run, model_folder
from glasslstm.cli.settings import SETTINGS
from glasslstm.cli.shared import AsJson, Model, print_json
from glasslstm.doctor import facts
from glasslstm.errors import ArgumentError

__all__ = ["doctor", "info"]


def info(model: Model, as_json: AsJson = False) -> None:
    """Say what a model is: parameters, classes, channels, columns; of a run also how it went."""
    folder = model_folder(model)
    about = modelfile.inspect(folder).model_dump(mode="json")
    run = {} if folder == model else _about_run(Run(model))
    if as_json:
        print_json(about | run)
        return
    about["best epoch"] = about.pop("history")[about["best_epoch"] - 1]
    if about.get("record"):
        about["record"] = list(about["record"])  # its columns; the rest is for a program to read
    if about.get("forecast"):
        for names in ("series", "trained"):
            del about["forecast"][names]  # one for each series; the JSON has them
    about = {name: fact for name, fact in (about | run).items() if fact is not None}
    groups = {name: fact for name, fact in about.items() if isinstance(fact, dict)}
    print_table("model", [(name, _joined(fact)) for name, fact in about.items() if name not in groups])
    for name, facts_of_it in groups.items():
        print_table(name, [(each, _joined(fact)) for each, fact in facts_of_it.items()])


def _about_run(run: Run) -> dict[str, Any]:
    """Return what was asked for and how it went; the settings are the model's parameters."""
    asked = (
        {name: it for name, it in read_config(run.config).items() if name not in SETTINGS}
        if run.config.exists()
        else {}
    )
    try:
        went = json.loads(run.metrics.read_text(encoding="utf-8")) if run.metrics.exists() else {}
    except ValueError:
        raise ArgumentError(f"{run.metrics}: damaged, it is no JSON; remove it to see the rest") from None
    return {"run": asked | {name: it for name, it in went.items() if not isinstance(it, dict)}}


def doctor(as_json: AsJson = False) -> None:
    """Say what is installed, and which kernel runs here and why."""
    found = facts()
    if as_json:
        print_json(found)
        return
    for title in ("versions", "machine"):
        print_table(title, found[title].items())
    kernels = found["kernels"]
    print_table("kernels", [row.values() for row in kernels], header=list(kernels[0]))
    extras = [
        (extra, package, version or f"missing: pip install 'glasslstm[{extra}]'")
        for extra, packages in found["extras"].items()
        for package, version in packages.items()
    ]
    print_table("extras", extras, header=["extra", "package", "version"])


def _joined(fact: object) -> object:
    return ", ".join(map(str, fact)) if isinstance(fact, list) else fact
