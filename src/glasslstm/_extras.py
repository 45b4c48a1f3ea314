"""What an extra brings, and the one line a user reads where it is missing."""

from __future__ import annotations

import re
from importlib import import_module, metadata

from glasslstm.errors import MissingExtraError

__all__ = ["installed_extras", "installed_version", "require"]


def require(module: str, extra: str) -> None:
    """Raise ``MissingExtraError`` where `module` is not installed; `extra` is the extra that brings it.

    A module that is there but fails on import says so itself: its own error goes on to the caller.

    Examples
    --------
    >>> require("json", extra="train")
    >>> require("no_such_module", extra="train")
    Traceback (most recent call last):
    glasslstm.errors.MissingExtraError: no_such_module is not installed; it comes with the extra \
"train": pip install 'glasslstm[train]'
    """
    root = module.partition(".")[0]
    try:
        import_module(root)
    except ModuleNotFoundError as error:
        if error.name != root:
            raise
        raise MissingExtraError(
            f"{root} is not installed; it comes with the extra \"{extra}\": pip install 'glasslstm[{extra}]'",
            name=root,
        ) from None


def installed_extras() -> dict[str, dict[str, str | None]]:
    """Return the packages of each extra with their versions, ``None`` for one that is not installed.

    Examples
    --------
    >>> sorted(installed_extras()["report"])
    ['plotly', 'scikit-learn', 'scipy']
    """
    extras: dict[str, dict[str, str | None]] = {}
    for requirement in metadata.requires("glasslstm") or ():
        found = re.match(r"([\w.-]+).*;.*extra == ['\"]([\w-]+)", requirement)
        if found and found[2] != "all":
            extras.setdefault(found[2], {})[found[1]] = installed_version(found[1])
    return extras


def installed_version(package: str) -> str | None:
    """Return the version of an installed package, ``None`` where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
