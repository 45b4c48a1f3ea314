"""Channels brought to mean 0 and standard deviation 1, by the training data alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from glasslstm.data.sequences import Sequences
from glasslstm.errors import DataError

__all__ = ["Scaling"]


class Scaling(NamedTuple):
    """Mean and standard deviation of each channel over all steps of all series; padding never counts.

    Examples
    --------
    >>> import numpy as np
    >>> series = Sequences.from_arrays([np.array([[1.0], [3.0]])])
    >>> scaling = Scaling.of(series)
    >>> scaling.mean, scaling.scale
    (array([2.]), array([1.]))
    >>> scaling.apply(series)[0].tolist()
    [[-1.0], [1.0]]
    """

    mean: NDArray[np.float64]
    """(F,)."""
    scale: NDArray[np.float64]
    """(F,); 1 for a channel that never changes."""

    @classmethod
    def of(cls, series: Sequences) -> Scaling:
        """Measure `series`.

        Raises
        ------
        DataError
            For values so large that their squares overflow.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            scaler = StandardScaler().fit(series.values.astype(np.float64, copy=False))
        overflown = np.flatnonzero(~np.isfinite(scaler.scale_))
        if len(overflown):
            channel = int(overflown[0])
            largest = np.abs(series.values[:, channel]).max()
            raise DataError(
                f"X: channel {channel} has values up to {largest:.3g}, too large to standardise; "
                "give it in a larger unit"
            )
        return cls(scaler.mean_, scaler.scale_)

    def apply(self, series: Sequences) -> Sequences:
        """Return `series` standardised, in float32.

        Raises
        ------
        DataError
            For a value that is too far from the training data for float32; with its series, step and channel.
        """
        with np.errstate(over="ignore"):
            scaled = Sequences(((series.values - self.mean) / self.scale).astype(np.float32), series.offsets)
        place = scaled.first_not_finite()
        if place is not None:
            k, step, channel = place
            raise DataError(
                f"X: series {k} has {series[k][step, channel]:.3g} at step {step}, channel {channel}, which is out of "
                f"all proportion to the training data (mean {self.mean[channel]:.3g}, standard deviation "
                f"{self.scale[channel]:.3g}); check its unit"
            )
        return scaled
