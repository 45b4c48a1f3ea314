"""``info`` and ``doctor``: what a model is, and what runs here."""

from __future__ import annotations

from glasslstm import modelfile
from glasslstm._console import print_table
from glasslstm.cli.shared import AsJson, Model, print_json
from glasslstm.doctor import facts

__all__ = ["doctor", "info"]


def info(model: Model, as_json: AsJson = False) -> None:
    """Say what a model is: parameters, classes, channels, columns."""
    about = modelfile.inspect(model).model_dump(mode="json")
    if as_json:
        print_json(about)
        return
    about["best epoch"] = about.pop("history")[about["best_epoch"] - 1]
    if "record" in about:
        about["record"] = list(about["record"])  # its columns; the rest is for a program to read
    groups = {name: fact for name, fact in about.items() if isinstance(fact, dict)}
    print_table("model", [(name, _joined(fact)) for name, fact in about.items() if name not in groups])
    for name, facts_of_it in groups.items():
        print_table(name, facts_of_it.items())


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
