"""The key ``grid``: centres of pixels, the directions of rows and columns, and what is refused."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from squall.datasets.errors import DataError
from squall.datasets.radar.grid_key import GridKey

STEPS: dict[str, Any] = {"crs": "EPSG:3035", "nx": 3, "ny": 2, "x0": 10.0, "dx": 2.0}
EDGES: dict[str, Any] = {
    "crs": "EPSG:4326", "nx": 4, "ny": 2, "west": -1.0, "east": 1.0, "south": 50.0, "north": 52.0,
}  # fmt: skip


@pytest.mark.parametrize(("dy", "y0", "flipped"), [(-1.0, 5.0, False), (1.0, 3.0, True)])
def test_a_grid_by_its_first_pixel_and_steps(dy: float, y0: float, flipped: bool) -> None:
    grid, flip_rows, flip_columns = GridKey(**STEPS, y0=y0, dy=dy).harmonised((2, 3))
    assert (flip_rows, flip_columns) == (flipped, False)
    np.testing.assert_allclose(grid.x, [11, 13, 15])
    np.testing.assert_allclose(grid.y, [4.5, 3.5])
    assert grid.crs.to_epsg() == 3035


def test_columns_from_east_to_west() -> None:
    key = GridKey(**STEPS | {"x0": 16.0, "dx": -2.0}, y0=5.0, dy=-1.0)
    grid, _, flip_columns = key.harmonised((2, 3))
    assert flip_columns
    np.testing.assert_allclose(grid.x, [11, 13, 15])


@pytest.mark.parametrize("first_row", ["north", "south"])
def test_a_grid_by_its_edges(first_row: str) -> None:
    grid, flip_rows, _ = GridKey(**EDGES, first_row=first_row).harmonised((2, 4))
    assert flip_rows == (first_row == "south")
    np.testing.assert_allclose(grid.x, [-0.75, -0.25, 0.25, 0.75])
    np.testing.assert_allclose(grid.y, [51.5, 50.5])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (STEPS, "needs x0, y0, dx and dy, or west"),
        (EDGES | {"x0": 1.0}, "and not both"),
        (EDGES | {"east": -2.0}, "west must be less than east"),
        (STEPS | {"y0": 1.0, "dy": 0.0}, "must not be 0"),
        (STEPS | {"y0": 1.0, "dy": 1.0, "first_row": "south"}, "the sign of dy"),
        (EDGES | {"crs": "nowhere"}, "PROJ does not know"),
        (STEPS | {"y0": float("inf"), "dy": -1.0}, "finite number"),
    ],
)
def test_impossible_grids_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        GridKey(**keys)


def test_scans_of_another_shape_are_refused() -> None:
    with pytest.raises(DataError, match=r"has 5 rows and 4 columns, but 'grid' .* ny: 2, nx: 4"):
        GridKey(**EDGES).harmonised((5, 4))
