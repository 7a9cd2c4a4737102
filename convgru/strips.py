"""Functions of single pixels, applied to a large field in strips that fit into the cache.

Public: `in_strips`, `strips`, `interpolated_rows`, `interpolated_at`.

A chain of operations on a whole field reads and writes it from memory each time. On the CPU that
costs more than the arithmetic, and each step needs memory for another field.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

FEW_ROWS = 64  # see `interpolated_rows`
STRIP_PX = 2**16  # 256 kB of float32: some ten fields of a strip fit into a core's cache


def strips(height: int, width: int, device: torch.device, multiple: int = 1) -> Iterator[slice]:
    """The rows of each strip of a field; one strip where the device is no CPU.

    Parameters
    ----------
    multiple : the strips begin at multiples of this row.
    """
    rows = height
    if device.type == "cpu":
        rows = max(1, STRIP_PX // (width * multiple)) * multiple
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def interpolated_rows(
    field_BChw: Tensor, rows: slice, factor: int, width: int | None = None
) -> Tensor:
    """The rows of a strip of a field that is interpolated to finer pixels, (B, C, rows, W).

    It is bilinear, as `torch.nn.functional.interpolate` is without aligned corners.

    Parameters
    ----------
    rows : of the finer pixels.
    factor : finer pixels to one pixel of the field, on each side.
    width : columns of the result (default: all).
    """
    height = field_BChw.shape[-2]
    few = _rows_between(rows, factor, height)
    if few.stop - few.start > FEW_ROWS:
        fine = interpolate(field_BChw[..., few, :], scale_factor=float(factor), mode="bilinear")
        first = rows.start - few.start * factor
        return fine[..., first : first + rows.stop - rows.start, :width]
    # As a product of matrices it takes a third of the time. The field is made wider before, while
    # it has few rows.
    wide = interpolate(field_BChw[..., few, :], scale_factor=(1.0, float(factor)), mode="bilinear")
    weights = torch.from_numpy(_row_weights(rows.start, rows.stop, factor, height))
    return torch.matmul(weights.to(field_BChw), wide[..., :width])


def _rows_between(rows: slice, factor: int, height: int) -> slice:
    """The rows of a field that finer rows are interpolated from."""
    above, below = (
        (2 * number + 1 - factor) // (2 * factor) + more
        for number, more in ((rows.start, 0), (rows.stop - 1, 1))
    )
    return slice(max(above, 0), min(below, height - 1) + 1)


@lru_cache(2**12)
def _row_weights(start: int, stop: int, factor: int, height: int) -> npt.NDArray[np.float32]:
    """(fine rows, rows): the weights of `_rows_between` in each fine row."""
    few = _rows_between(slice(start, stop), factor, height)
    place = ((np.arange(start, stop) + 0.5) / factor - 0.5).clip(0, height - 1)
    distance = np.abs(place[:, None] - np.arange(few.start, few.stop))
    return (1 - distance).clip(min=0).astype(np.float32)


def interpolated_at(field_BChw: Tensor, factor: int, pixels: tuple[slice, slice]) -> Tensor:
    """Some pixels of a field that is interpolated to finer pixels; differentiable.

    The interpolation is that of `interpolated_rows`, as products with matrices of weights. A few
    pixels cost less than all of them, and so does their gradient.

    Parameters
    ----------
    factor : finer pixels to one pixel of the field, on each side.
    pixels : rows and columns of the finer pixels.

    Returns
    -------
    (B, C, rows, columns)
    """
    rows, columns = (
        torch.from_numpy(_row_weights(0, side * factor, factor, side)[part]).to(field_BChw)
        for side, part in zip(field_BChw.shape[-2:], pixels, strict=True)
    )
    return rows @ field_BChw @ columns.T


@torch.no_grad()
def in_strips(function: Callable[..., Tensor], *fields: Tensor) -> Tensor:
    """What a function of pixels gives for whole fields.

    Parameters
    ----------
    function : of fields (B, C, rows, W), to one field (B, C', rows, W); it treats each pixel by
        itself.
    fields : (B, C, H, W).

    Returns
    -------
    (B, C', H, W)
    """
    height, width = fields[0].shape[-2:]
    result: Tensor | None = None
    for rows in strips(height, width, fields[0].device):
        strip = function(*(field[..., rows, :] for field in fields))
        if result is None:
            result = strip.new_empty((*strip.shape[:-2], height, width))
        result[..., rows, :] = strip
    assert result is not None
    return result
