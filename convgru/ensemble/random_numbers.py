"""Random numbers that follow from what they are for, and from nothing else.

Each array of random numbers has a generator of its own, begun with a hash of the seed, the
reference time, the number of the member and the purpose. So a member does not depend on how many
other members there are, nor on the order in which they are made. The numbers are drawn by NumPy on
the CPU and moved to the device, since the generators of PyTorch give other numbers on each device.

Dims: M members, H rows, W columns, h and w of the motion's coarse grid.
"""

import hashlib
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class RandomSource(NamedTuple):
    """Where the random numbers of one ensemble come from."""

    seed: int
    reference_time: np.datetime64

    def normal(self, member: int, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Independent numbers of a normal distribution, mean 0 and variance 1, on the CPU."""
        time = int(self.reference_time.astype("datetime64[s]").astype(np.int64))
        text = f"{self.seed} {time} {member} {purpose}"
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        generator = np.random.Generator(np.random.PCG64DXSM(int.from_bytes(digest)))
        return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))

    def smooth(
        self, member: int, purpose: str, shape_hw: tuple[int, int], length_cells: float
    ) -> Tensor:
        """(h, w): a smooth random field with mean 0 and variance 1, on the CPU.

        Its correlation at the distance d is ``exp(-d**2 / (2 length**2))``: white noise under a
        Gaussian filter. The field is made on a larger grid, so that opposite edges are independent.

        Parameters
        ----------
        length_cells : the correlation length, in cells of the field.
        """
        margin = int(4 * length_cells) + 1
        rows, columns = (side + margin for side in shape_hw)
        white = self.normal(member, purpose, (rows, columns))
        squared = (
            torch.fft.fftfreq(rows)[:, None].square() + torch.fft.fftfreq(columns).square()
        ) * (torch.pi * length_cells) ** 2
        gain = torch.exp(-squared)
        gain = gain / gain.square().mean().sqrt()
        smooth = torch.fft.ifft2(torch.fft.fft2(white) * gain).real
        return smooth[: shape_hw[0], : shape_hw[1]]
