"""What torch is doing around a call: transforms and forward-mode differentiation."""

from __future__ import annotations

import torch
from torch.autograd import forward_ad

__all__ = ["differentiable_code_needed", "transforms_active"]


def differentiable_code_needed() -> bool:
    """Tell whether a ``torch.func`` transform or forward-mode differentiation is going on."""
    return transforms_active() or forward_ad._current_level >= 0


def transforms_active() -> bool:
    """Tell whether a ``torch.func`` transform is going on."""
    # Private to torch; torch.autograd.Function.apply reads it for the same purpose.
    return torch._C._are_functorch_transforms_active()
