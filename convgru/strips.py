"""Functions of single pixels, applied to a large field in strips that fit into the cache.

Public: `in_strips`, `strips`, `interpolated_rows`.

A chain of operations on a whole field reads and writes it from memory each time. On the CPU that
costs more than the arithmetic, and each step needs memory for another field.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import interpolate

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
    numbers = torch.arange(rows.start, rows.stop, device=field_BChw.device, dtype=torch.float64)
    place = ((numbers + 0.5) / factor - 0.5).clamp(0, field_BChw.shape[-2] - 1)
    above = place.long()
    below = (above + 1).clamp(max=field_BChw.shape[-2] - 1)
    share = (place - above).to(field_BChw.dtype)[:, None]
    part = torch.lerp(field_BChw[..., above, :], field_BChw[..., below, :], share)
    fine = interpolate(part, scale_factor=(1.0, float(factor)), mode="bilinear")
    return fine[..., :width]


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
