"""Diagnose every model of the zoo, and count what was found and what should not have been.

    python -m benchmarks.faults [--json] [WORD ...]

Each healthy model is diagnosed twice, with its targets and without. Exit status 1 where a planted fault is missed, or
a healthy model, with its targets, has an error or more than one warning.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from functools import partial

import torch

from .healthy import FRESH, HEALTHY, healthy
from .planted import PLANTED
from .rounds import Result, examine, look_for

_RIGHT = {
    "planted": "faults found, with the right place",
    "healthy": "healthy models without an error and with at most one warning",
    "blind": "the same without targets",
    "fresh": "untrained models without an error and with at most one warning",
}


def main() -> int:
    """Run what is asked for, and print it."""
    arguments = _arguments()
    torch.set_num_threads(1)
    results = []
    for result in _results(arguments.words):
        results.append(result)
        if not arguments.json:
            print(result, flush=True)
    if arguments.json:
        print(json.dumps({"rates": _rates(results), "results": [result.to_dict() for result in results]}))
    else:
        print("", *(f"{name}: {rate}" for name, rate in _rates(results).items()), sep="\n")
    return int(any(not result.right for result in results if result.kind in ("planted", "healthy")))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", help=f"parts of names, or {', '.join(_RIGHT)}; default: all")
    parser.add_argument("--json", action="store_true", help="everything as JSON")
    return parser.parse_args()


def _results(words: list[str]) -> Iterator[Result]:
    def wanted(kind: str, name: str) -> bool:
        return not words or any(word == kind or word in name for word in words)

    for name, case in PLANTED.items():
        if wanted("planted", name):
            yield look_for(name, case)
    for name in HEALTHY:
        if wanted("healthy", name):
            yield examine("healthy", name, partial(healthy, name))
    for name in HEALTHY:
        if wanted("blind", name):
            yield examine("blind", name, healthy(name).blind)
    for name, build in FRESH.items():
        if wanted("fresh", name):
            yield examine("fresh", name, build)


def _rates(results: list[Result]) -> dict[str, str]:
    rates = {}
    for kind, words in _RIGHT.items():
        own = [result for result in results if result.kind == kind]
        if own:
            rates[words] = f"{sum(result.right for result in own)} of {len(own)}"
        if own and kind != "planted":
            warnings = sum(result.count("warning") for result in own)
            rates[f"warnings in a model, {kind}"] = f"{warnings / len(own):.2f}"
    return rates


if __name__ == "__main__":
    sys.exit(main())
