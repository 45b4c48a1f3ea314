from __future__ import annotations

import numpy as np
import pytest

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
