"""Measures of a scan that are stored beside its pixels: checksum and rain statistics of blocks.

A check compares the checksum; samplers weigh windows by the statistics without reading scans.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from squall.datasets.coding import RAIN_CODE

BLOCK = 32  # side of a block, pixels
BLOCKS_AT_ONCE = 64  # their rates fit into the processor's cache
BLOCK_STATISTICS = ("rain_rate", "wet_share", "observed_share")

_RATES = np.nan_to_num(RAIN_CODE.table)


def codes_checksum(codes: npt.NDArray[np.uint8]) -> int:
    """Checksum of one scan's codes (y, x), 8 bytes: CRC-32 and Adler-32."""
    content = np.ascontiguousarray(codes)
    return isal_zlib.crc32(content) << 32 | isal_zlib.adler32(content)


@dataclass(frozen=True, eq=False)
class ScanMeasures:
    """Measures of one scan.

    Parameters
    ----------
    checksum : `codes_checksum`.
    blocks : (name, block_y, block_x) float32, in the order of `BLOCK_STATISTICS`: mean rain rate
        of the observed pixels (mm/h), share of the observed pixels that are wet, share of all
        pixels that are observed.
    """

    checksum: int
    blocks: npt.NDArray[np.float32]


def _rain_of(blocks: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Sum of the rain rates of each block, mm/h; ``blocks`` are (block, y, x)."""
    sums = np.empty(len(blocks), dtype=np.float32)
    for first in range(0, len(blocks), BLOCKS_AT_ONCE):
        rates = _RATES.take(blocks[first : first + BLOCKS_AT_ONCE])
        sums[first : first + BLOCKS_AT_ONCE] = rates.sum(axis=(1, 2), dtype=np.float32)
    return sums


def measure(codes: npt.NDArray[np.uint8]) -> ScanMeasures:
    """Checksum and block statistics of one scan's codes (y, x)."""
    height, width = codes.shape
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    padded = np.full((rows * BLOCK, columns * BLOCK), RAIN_CODE.NOT_OBSERVED, dtype=np.uint8)
    padded[:height, :width] = codes

    def sums(field: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        # Rows first: the sum of 32 flags fits into a byte, and it runs along contiguous memory.
        strips = field.reshape(rows, BLOCK, -1).sum(axis=1, dtype=field.dtype)
        return np.asarray(strips.reshape(rows, columns, BLOCK).sum(axis=2, dtype=np.float32))

    observed = sums((padded != RAIN_CODE.NOT_OBSERVED).view(np.uint8))
    wet = observed - sums((padded == RAIN_CODE.DRY).view(np.uint8))
    rain = np.zeros_like(wet)
    in_blocks = padded.reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2)
    rain[wet > 0] = _rain_of(in_blocks[wet > 0])
    divisors = np.maximum(observed, 1)
    pixels = np.minimum(BLOCK, height - np.arange(rows) * BLOCK)[:, None] * np.minimum(
        BLOCK, width - np.arange(columns) * BLOCK
    )
    blocks = np.stack([rain / divisors, wet / divisors, observed / pixels])
    return ScanMeasures(codes_checksum(codes), blocks.astype(np.float32))
