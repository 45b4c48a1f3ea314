"""The network of the forecaster: an LSTM over the past and on into the future, beside a linear model of the past."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from glasslstm.estimators.network import SequenceNetwork

__all__ = ["ForecastNetwork"]


class ForecastNetwork(SequenceNetwork):
    """An answer for each step after the context: what a linear model of the target's past says, and what is to change.

    The linear model, of all steps of the context for each step of the horizon, starts as the seasonal naive forecast.
    It is the autoregressive part of Lai, Chang, Yang and Liu 2018, "Modeling long- and short-term temporal patterns
    with deep neural networks" (SIGIR), section 3.6, with weights of its own for each step ahead, as in Zeng, Chen,
    Zhang and Xu 2023, "Are transformers effective for time series forecasting?" (AAAI). The LSTM reads the context and
    goes on through the horizon, where it reads what is known ahead.

    Parameters
    ----------
    inputs
        Input channels F.
    numbers
        K, how many numbers are said of a step: 1, or one for each quantile.
    context, horizon
        Steps L that are known, and steps H that are forecast.
    season_length
        Of the seasonal naive forecast, at most L.
    target_input
        Which of the inputs is the target.
    middle
        Which of the numbers is the median.
    layout
        As in :class:`SequenceNetwork`.

    Examples
    --------
    >>> network = ForecastNetwork(2, 1, context=8, horizon=3, season_length=4, target_input=0, hidden_size=4)
    >>> network(torch.zeros(11, 5, 2), torch.full((5,), 11)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        inputs: int,
        numbers: int,
        *,
        context: int,
        horizon: int,
        season_length: int,
        target_input: int,
        middle: int = 0,
        **layout: Any,
    ) -> None:
        super().__init__(inputs, numbers, **{**layout, "per_step": True})
        self.context, self.target_input = context, target_input
        self.autoregression = nn.Linear(context, horizon)
        with torch.no_grad():
            step = torch.arange(horizon)
            self.autoregression.weight.zero_()
            self.autoregression.weight[step, context - season_length + step % season_length] = 1.0
            self.autoregression.bias.zero_()
            # Quantiles are the lowest number and how much each has more: so the middle one begins where the linear is.
            self.head.weight.mul_(0.1)
            self.head.bias.zero_()
            self.head.bias[0] = -math.log(2.0) * middle

    def numbers(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(L + H, B, F) -> (B, H * K)."""
        linear = self.autoregression(x[: self.context, :, self.target_input].T)
        found = super().numbers(x, lengths).transpose(0, 1)
        found = torch.cat([found[..., :1] + linear[..., None], found[..., 1:]], dim=-1)
        return found.flatten(1)

    def _read_from(self, output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002
        return output[self.context :]
