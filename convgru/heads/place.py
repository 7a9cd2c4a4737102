"""A learnt map of the place: what a network knows of each place of the one grid it is trained on.

Dims: B batch, C channels, r and c rows and columns of the head's features, h and w of the motion's
coarse grid. Vectors are (columns to the right, rows down) in pixels.
"""

from __future__ import annotations

import math

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from squall.convgru.motion import COARSE

CELL_KM = 4.0  # side of a cell of the map


class MapGrid(BaseModel):
    """The cells of a map over a grid of pixels. The first cell begins where the first pixel does.

    The last row and column of cells may reach over the grid's edge.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: int = Field(gt=0, description="cells from north to south")
    columns: int = Field(gt=0, description="cells from west to east")
    cell_px: float = Field(ge=1, allow_inf_nan=False, description="side of a cell [px]")

    @classmethod
    def over(cls, shape: tuple[int, int], spacing_km: float) -> MapGrid:
        """Cells of `CELL_KM` over a grid of (rows, columns) pixels, at least a pixel wide."""
        cell_px = max(1.0, CELL_KM / spacing_km)
        rows, columns = (math.ceil(side / cell_px) for side in shape)
        return cls(rows=rows, columns=columns, cell_px=cell_px)


class PlaceMap(nn.Module):
    """The map, and the convolution that takes it and the coordinates to the head.

    The map and the weights of the coordinates begin as 0. So a network begins as the same network
    without a map, and a place where it never rains adds nothing. The weights of the map begin as
    random numbers, so the map has a gradient from the first step on.

    Parameters
    ----------
    channels : of the map.
    outputs : channels of the result.
    """

    def __init__(self, channels: int, grid: MapGrid, outputs: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(channels, grid.rows, grid.columns))
        self.mix = nn.Conv2d(channels + 2, outputs, kernel_size=3, padding=1, bias=False)
        with torch.no_grad():
            self.mix.weight[:, channels:] = 0
        self._extent = grid.columns * grid.cell_px, grid.rows * grid.cell_px

    def forward(self, places_B2rc: Tensor) -> Tensor:
        """(B, outputs, r, c) from places on the grid, see `places_of`.

        Outside the map a place counts as the nearest one inside.
        """
        batch, _, rows, columns = places_B2rc.shape
        with torch.autocast(places_B2rc.device.type, enabled=False):
            extent = places_B2rc.new_tensor(self._extent)[:, None, None]
            coordinates = ((2 * places_B2rc + 1) / extent - 1).clamp(-1, 1)
            # one long image: the gradient of the map is then not one for each sample
            grid = coordinates.permute(0, 2, 3, 1).reshape(1, batch * rows, columns, 2)
            sampled = grid_sample(
                *(self.values[None], grid), padding_mode="border", align_corners=False
            )
            sampled = sampled[0].unflatten(1, (batch, rows)).transpose(0, 1)
        mixed: Tensor = self.mix(torch.cat([sampled, coordinates], dim=1))
        return mixed


def places_of(paths_B2hw: Tensor, corner_B2: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """Where the rain of each pixel of the features will be, on the grid.

    Training and forecast both use it, so they see the same cell of the map for the same rain.

    Parameters
    ----------
    paths_B2hw : pixels, from the place at the last scan's time to the place at the lead time, of
        the whole grid, on the motion's coarse grid.
    corner_B2 : (column, row) of the upper left pixel of the features on the grid.
    size : rows and columns of the features.
    stride : pixels of the grid to one pixel of the features.

    Returns
    -------
    (B, 2, r, c) column and row of the grid; the centre of the first pixel is 0.
    """
    rows, columns = (
        torch.arange(side, device=paths_B2hw.device) * stride + 0.5 * (stride - 1) for side in size
    )
    start = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))
    start = start + corner_B2[:, :, None, None]
    sides = paths_B2hw.new_tensor([paths_B2hw.shape[-1], paths_B2hw.shape[-2]]) * COARSE
    grid = ((2 * start + 1) / sides[:, None, None] - 1).permute(0, 2, 3, 1)
    return start + grid_sample(paths_B2hw, grid, padding_mode="border", align_corners=False)
