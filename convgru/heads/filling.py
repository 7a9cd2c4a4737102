"""What is put in the place of pixels that a scan did not observe.

Dims: B batch, T context steps, C channels, H rows, W columns.
"""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from squall.convgru.heads.interface import Frame


def latest_known(frame: Frame) -> tuple[Tensor, Tensor]:
    """(B, 1, H, W) twice: the last known rain of each pixel, and 1 where a scan has it, else 0.

    The last scan may lack pixels that earlier scans have.
    """
    rain, known = frame.rain_BT1HW.unbind(1), frame.known_BT1HW.unbind(1)
    latest_rain, latest_known = rain[0], known[0]
    for scan_rain, scan_known in zip(rain[1:], known[1:], strict=True):
        latest_rain = torch.where(scan_known > 0, scan_rain, latest_rain)
        latest_known = torch.where(scan_known > 0, scan_known, latest_known)
    return latest_rain, latest_known


@torch.no_grad()
def filled(field_BCHW: Tensor, known_B1HW: Tensor) -> Tensor:
    """A field whose unknown pixels continue the known ones beside them; 0 if none is known.

    An unknown pixel gets the mean of the known pixels in the smallest block of 2 × 2, 4 × 4, …
    pixels that has any, interpolated between blocks.

    Returns
    -------
    (B, C, H, W)
    """
    levels = [(field_BCHW * known_B1HW, known_B1HW)]
    while max(levels[-1][0].shape[-2:]) > 1:
        pooled = (avg_pool2d(x, 2, ceil_mode=True) for x in levels[-1])
        total, share = pooled
        is_known = (share > 0).to(share.dtype)
        levels.append((torch.where(share > 0, total / share.clamp(min=0.25), 0.0), is_known))
    result = levels[-1][0]
    for field, known in reversed(levels[:-1]):
        height, width = field.shape[-2:]
        finer = interpolate(result, scale_factor=2, mode="bilinear", align_corners=False)
        result = torch.where(known > 0, field, finer[..., :height, :width])
    return result
