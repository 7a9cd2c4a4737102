"""The key ``grid`` of the network configuration: the grid of files that do not tell theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from squall.datasets.errors import DataError
from squall.datasets.radar.network_keys import CrsText

if TYPE_CHECKING:
    from squall.datasets.grid import Grid

_BY_STEPS = ("x0", "y0", "dx", "dy")
_BY_EDGES = ("west", "south", "east", "north")


class GridKey(BaseModel):
    """A grid by its first pixel and its steps, or by its edges.

    All numbers are in metres, in degrees where ``crs`` is longitude and latitude. Edges and corners
    are the outer ones, half a pixel from the centres of the pixels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    crs: CrsText = Field(description="EPSG code, PROJ string or WKT")
    nx: int = Field(ge=2, description="columns")
    ny: int = Field(ge=2, description="rows")
    x0: FiniteFloat | None = Field(
        default=None, description="outer corner of the first stored pixel"
    )
    y0: FiniteFloat | None = Field(
        default=None, description="outer corner of the first stored pixel"
    )
    dx: FiniteFloat | None = Field(default=None, description="step to the next column")
    dy: FiniteFloat | None = Field(
        default=None,
        description="step to the next row; negative where the first row is in the north",
    )
    west: FiniteFloat | None = Field(default=None, description="outer edge")
    south: FiniteFloat | None = Field(default=None, description="outer edge")
    east: FiniteFloat | None = Field(default=None, description="outer edge")
    north: FiniteFloat | None = Field(default=None, description="outer edge")
    first_row: Literal["north", "south"] = Field(
        default="north", description="where the first stored row is, for a grid by its edges"
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        given = {name for name in (*_BY_STEPS, *_BY_EDGES) if getattr(self, name) is not None}
        if given not in (set(_BY_STEPS), set(_BY_EDGES)):
            raise ValueError(
                "needs x0, y0, dx and dy, or west, south, east and north, and not both"
            )
        if given == set(_BY_STEPS) and self.first_row != "north":
            raise ValueError("first_row is for a grid by its edges; here the sign of dy says it")
        if 0 in (self.dx, self.dy):
            raise ValueError("dx and dy must not be 0")
        if given == set(_BY_EDGES) and not (
            self._of("west", "east") and self._of("south", "north")
        ):
            raise ValueError("west must be less than east, and south less than north")
        return self

    def _of(self, low: str, high: str) -> bool:
        return bool(getattr(self, low) < getattr(self, high))

    def harmonised(self, shape: tuple[int, int]) -> tuple[Grid, bool, bool]:
        """Make the grid for scans of a shape (rows, columns).

        Returns
        -------
        The grid, north up, whether the rows must be reversed to lie on it, and the columns.

        Raises
        ------
        DataError
            If the scans have another shape.
        """
        import pyproj  # slow to import, as xarray, and most commands need neither

        from squall.datasets.grid import Grid
        from squall.datasets.radar.coordinates import in_metres

        if shape != (self.ny, self.nx):
            raise DataError(
                f"has {shape[0]} rows and {shape[1]} columns, but 'grid' of the network "
                f"configuration says ny: {self.ny}, nx: {self.nx}"
            )
        if self.x0 is not None and self.y0 is not None and self.dx and self.dy:
            x0, y0, dx, dy = self.x0, self.y0, self.dx, self.dy
        else:
            west, south, east, north = (float(getattr(self, name)) for name in _BY_EDGES)
            x0, dx = west, (east - west) / self.nx
            y0, dy = north, (south - north) / self.ny
            if self.first_row == "south":
                y0, dy = south, -dy
        x, y = x0 + (np.arange(self.nx) + 0.5) * dx, y0 + (np.arange(self.ny) + 0.5) * dy
        flip_rows, flip_columns = dy > 0, dx < 0
        grid = Grid(
            x=np.ascontiguousarray(x[::-1] if flip_columns else x),
            y=np.ascontiguousarray(y[::-1] if flip_rows else y),
            crs_wkt=in_metres(pyproj.CRS.from_user_input(self.crs)).to_wkt(),
        )
        return grid, flip_rows, flip_columns
