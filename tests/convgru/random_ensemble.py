"""Random members, target and mask for tests of losses."""

import torch
from torch import Tensor


def random_ensemble(
    seed: int, members: int, levels: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Members (2, M, 3, 1, 4, 5), target and mask; rounding to ``levels`` gives tied members."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, members, 3, 1, 4, 5, generator=generator, dtype=torch.float64)
    y = torch.randn(2, 3, 1, 4, 5, generator=generator, dtype=torch.float64)
    if levels:
        x, y = ((v * levels).round() / levels for v in (x, y))
    return x, y, torch.rand(y.shape, generator=generator) < 0.7
