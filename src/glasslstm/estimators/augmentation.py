"""What is done to a batch in training, so that the network depends less on what should not matter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from glasslstm.estimators.examples import Batch

__all__ = ["Augmentation"]


@dataclass(frozen=True)
class Augmentation:
    """Noise on every value, and a shift and a factor for every channel of every series.

    Attributes
    ----------
    inputs
        Which of the network's inputs are touched, (inputs,).
    noise, shift
        Standard deviations, in those of the channel.
    scale
        Standard deviation of the factor, around 1, by which a channel's distance from its mean is multiplied first.
    """

    inputs: NDArray[np.bool_]
    noise: float = 0.0
    shift: float = 0.0
    scale: float = 0.0

    def __call__(self, batch: Batch, draw: torch.Generator) -> Batch:
        """Return the batch with another `x`; padding stays zero."""
        x, valid = batch.x, torch.arange(len(batch.x))[:, None] < batch.lengths
        touched = torch.from_numpy(self.inputs.astype(np.float32)) * valid[..., None]
        if self.scale:
            x = x * (1 + self.scale * touched * torch.randn(1, *x.shape[1:], generator=draw))
        if self.shift:
            x = x + self.shift * touched * torch.randn(1, *x.shape[1:], generator=draw)
        if self.noise:
            x = x + self.noise * touched * torch.randn(x.shape, generator=draw)
        return batch._replace(x=x)
