"""How long a report takes to be made and to be opened: 1,000 sequences of 200 steps, 256 units.

python benchmarks/report.py
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor, nn

import glasslstm as gl


class Classifier(nn.Module):
    """An LSTM, and a linear layer on its last hidden state."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.lstm, self.head = kind(8, 256, batch_first=True), nn.Linear(256, 5)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, 8) -> (B, 5)."""
        return self.head(self.lstm(x)[1][0][-1])  # type: ignore[no-any-return]


def main() -> None:
    """Print seconds and megabytes for each kind of LSTM."""
    torch.manual_seed(0)
    x, y = torch.randn(1000, 200, 8), torch.randint(5, (1000,))
    gl.report(Classifier(gl.LSTM), x[:20], y[:20], path=_page("warm"))  # loads the libraries
    for kind in (gl.LSTM, nn.LSTM):
        start = perf_counter()
        page = gl.report(Classifier(kind), x, y, path=_page(kind.__module__))
        made = perf_counter() - start
        opened = _open(page)
        words = "no Chromium to open it in" if opened is None else f"opened in {opened:.1f} s"
        size = page.stat().st_size / 1e6
        print(f"{kind.__module__}.{kind.__name__}: made in {made:.1f} s, {size:.2f} MB, {words}")


def _page(name: str) -> Path:
    return Path(tempfile.mkdtemp()) / f"{name}.html"


def _open(page: Path) -> float | None:
    """Return the seconds until a browser has drawn what is seen first."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - it needs the extra "dev"

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1440, "height": 900})
        start = perf_counter()
        tab.goto(page.as_uri())
        tab.wait_for_function("document.querySelector('figure[data-drawn]')")
        seconds = perf_counter() - start
        browser.close()
    return seconds


if __name__ == "__main__":
    main()
