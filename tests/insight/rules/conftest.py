"""What the tests of the rules share: models made of parts and a function."""

from __future__ import annotations

import pytest
from torch import nn


class Made(nn.Module):
    def __init__(self, call, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.call = call

    def forward(self, *arguments, **options):
        return self.call(self, *arguments, **options)


@pytest.fixture
def made():
    """Make a model of parts by name, and of a function that gets the model and its arguments."""
    return Made
