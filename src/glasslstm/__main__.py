"""The console script, and ``python -m glasslstm``."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import NoReturn

from glasslstm._extras import require
from glasslstm.errors import MissingExtraError

__all__ = ["main"]


def main() -> None:
    """Run the command line, or say in one line which extra it needs."""
    try:
        require("typer", extra="train")
        import_module("glasslstm.estimators")  # asks for the rest
        from glasslstm.cli import app  # noqa: PLC0415 - only now is it known that it can be imported
    except MissingExtraError as error:
        _end(f"the command line needs more than the bare install: {error}", status=1)
    except KeyboardInterrupt:  # loading torch and what stands on it takes seconds
        _end("interrupted", status=130)
    app(prog_name="glasslstm")


def _end(message: str, status: int) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(status)


if __name__ == "__main__":
    main()
