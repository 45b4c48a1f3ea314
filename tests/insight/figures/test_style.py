from __future__ import annotations

import shutil
import struct

import numpy as np
import pytest
import torch

import glasslstm as gl
from glasslstm.insight.figures import DARK, LIGHT


class TestTemplates:
    @pytest.mark.parametrize(("template", "outwards"), [(LIGHT, -1), (DARK, 1)])
    def test_lightness_alone_orders_the_colours(self, template, outwards):
        sequential, diverging = (
            [luminance(colour) for _, colour in getattr(template.layout.colorscale, name)]
            for name in ("sequential", "diverging")
        )
        half = len(diverging) // 2
        for scale in (sequential, diverging[half:], diverging[half::-1]):
            assert (np.diff(scale) * outwards > 0).all()


def luminance(colour):
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2


@pytest.mark.skipif(
    shutil.which("chromium") is None and shutil.which("google-chrome") is None,
    reason="needs Chromium or Chrome to draw with; there is none here",
)
def test_a_figure_becomes_a_png():
    pytest.importorskip("kaleido", reason="needs kaleido")
    trace = gl.LSTM(3, 4)(torch.randn(20, 2, 3), return_trace=True)[2]
    image = gl.figures.half_lives(trace).to_image("png", width=400, height=300)
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", image[16:24]) == (400, 300)
