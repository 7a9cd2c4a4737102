"""Synthetic rain that moves at a known speed."""

import numpy as np
import scipy.ndimage
import torch


def texture(side: int, seed: int = 0) -> torch.Tensor:
    """Smooth random rain, mm/h, (side, side), periodic."""
    noise = np.random.default_rng(seed).standard_normal((side, side))
    smooth = scipy.ndimage.gaussian_filter(noise, 4, mode="wrap")
    return torch.from_numpy(np.exp(2 * smooth / smooth.std())).float()


def moving_texture(rows: int, columns: int, scans: int, side: int = 160) -> torch.Tensor:
    """(1, T, 1, H, W) mm/h: a texture that moves by ``rows`` and ``columns`` pixels a step."""
    field = texture(side)
    return torch.stack([field.roll((rows * t, columns * t), (0, 1)) for t in range(scans)])[
        None, :, None
    ]
