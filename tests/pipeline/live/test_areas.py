"""Areas above thresholds as GeoJSON: where they are, their holes, what is not observed."""

import json

import numpy as np
import pandas as pd
import pyproj
import pytest
import shapely
import xarray as xr

from squall.datasets.grid import Grid
from squall.pipeline.live.areas import write_areas
from squall.pipeline.live.lonlat import LonLat, NoLonLatError, bounds

STEREOGRAPHIC = pyproj.CRS.from_proj4("+proj=stere +lat_0=90 +lat_ts=60 +lon_0=0 +R=6371000")
DEGREES = pyproj.CRS.from_epsg(4326)
REFERENCE = pd.Timestamp("2024-06-01T12:00")


def km_grid(rows=60, columns=80):
    """Pixels of 1 km near 52° N, 5° E."""
    x = 330_000.0 + 1000 * np.arange(columns)
    return Grid(x, -3_900_000.0 - 1000 * np.arange(rows), STEREOGRAPHIC.to_wkt())


def degree_grid(west, north, rows=40, columns=60):
    """Pixels of a hundredth of a degree."""
    x, y = west + 0.01 * np.arange(columns), north - 0.01 * np.arange(rows)
    return Grid(x, y, DEGREES.to_wkt())


def rain_of(*fields):
    """Rain rate of lead times of 5 min."""
    leads = pd.Timedelta("5min") * np.arange(1, len(fields) + 1)
    coords = {
        "lead_time": leads,
        "time": ("lead_time", REFERENCE + pd.TimedeltaIndex(leads)),
        "forecast_reference_time": REFERENCE,
    }
    return xr.DataArray(np.stack(fields), dims=("lead_time", "y", "x"), coords=coords)


def written(tmp_path, rain, grid, thresholds=(1.0, 5.0)):
    path = tmp_path / "areas.geojson"
    write_areas(path, rain, thresholds, LonLat(grid))
    return json.loads(path.read_text())


def shapes_of(collection, **properties):
    return [
        shapely.geometry.shape(feature["geometry"])
        for feature in collection["features"]
        if properties.items() <= feature["properties"].items()
    ]


def wrong_pixels(shape, grid, mask):
    """Pixels on the wrong side of the border of a shape, more than half a pixel from it."""
    y, x = np.meshgrid(grid.y, grid.x, indexing="ij")
    to_map = pyproj.Transformer.from_crs(DEGREES, grid.crs, always_xy=True)
    on_map = shapely.transform(shape, lambda points: np.stack(to_map.transform(*points.T), 1))
    pixels = shapely.points(x, y)
    is_wrong = shapely.contains(on_map, pixels) != mask
    return (is_wrong & (shapely.distance(on_map.boundary, pixels) > 550)).sum()


@pytest.fixture
def blob():
    """A large area with a hole, a cross of 5 pixels, and 3 pixels alone."""
    field = np.zeros((60, 80), np.float32)
    field[10:40, 10:50] = 2
    field[15:30, 20:40] = 0
    field[18:27, 24:36] = 6  # within the hole
    field[50, 9:12] = field[49:52, 10] = 3
    field[50, 60:63] = 9
    return field


def test_the_areas_cover_the_pixels_that_reach_the_threshold(blob, tmp_path):
    grid = km_grid()
    collection = written(tmp_path, rain_of(blob, 0 * blob), grid)
    (rain,) = shapes_of(collection, threshold_mm_h=1.0)
    (heavy,) = shapes_of(collection, threshold_mm_h=5.0)
    kept = blob.copy()
    kept[50, 60:63] = 0  # fewer than 4 pixels
    assert not wrong_pixels(rain, grid, kept >= 1)
    assert not wrong_pixels(heavy, grid, kept >= 5)
    assert heavy.within(rain)
    assert [len(part.interiors) for part in shapely.get_parts(rain)] == [1, 0, 0]
    areas = [f["properties"]["area_km2"] for f in collection["features"]]
    # the map's scale at 52° N: (1 + sin 60°) / (1 + sin 52°)
    scale = (1 + np.sin(np.radians(60))) / (1 + np.sin(np.radians(52)))
    expected = [(kept >= limit).sum() / scale**2 for limit in (1, 5)]
    assert areas[0] == pytest.approx(expected[0], rel=0.01)
    assert areas[1] == pytest.approx(expected[1], rel=0.1)  # its corners are cut


def test_features_say_for_when_they_hold(blob, tmp_path):
    collection = written(tmp_path, rain_of(0 * blob, blob), km_grid())
    assert collection["reference_time"] == "2024-06-01T12:00:00Z"
    assert collection["valid_times"] == ["2024-06-01T12:05:00Z", "2024-06-01T12:10:00Z"]
    assert collection["thresholds_mm_h"] == [1, 5]
    for feature in collection["features"]:
        assert feature["properties"]["valid_time"] == "2024-06-01T12:10:00Z"
        assert feature["properties"]["lead_min"] == 10


def test_missing_radar_is_an_area_of_its_own(blob, tmp_path):
    grid = km_grid()
    blob[:, 45:] = np.nan
    collection = written(tmp_path, rain_of(blob), grid)
    (unknown,) = shapes_of(collection, kind="not observed")
    assert not wrong_pixels(unknown, grid, np.isnan(blob))
    everything = written(tmp_path, rain_of(np.full_like(blob, np.nan)), grid)
    (feature,) = everything["features"]
    assert feature["properties"]["kind"] == "not observed"
    assert bounds(LonLat(grid).footprint) == everything["bbox"]


def test_the_rings_follow_rfc_7946(blob, tmp_path):
    collection = written(tmp_path, rain_of(blob), km_grid())
    for shape in shapes_of(collection):
        assert shape.is_valid
        for part in shapely.get_parts(shape):
            assert part.exterior.is_ccw
            assert not any(hole.is_ccw for hole in part.interiors)


def test_long_straight_lines_follow_the_grid():
    """A line of 700 km along a row of the map is curved in longitude and latitude."""
    grid = km_grid(20, 700)
    footprint = LonLat(grid).footprint
    to_lonlat = pyproj.Transformer.from_crs(grid.crs, DEGREES, always_xy=True)
    row = grid.y[0] + 500
    lon, lat = to_lonlat.transform(grid.x, np.full_like(grid.x, row))
    distance_degrees = shapely.distance(footprint.boundary, shapely.points(lon, lat))
    assert distance_degrees.max() * 111 < 0.3


@pytest.mark.parametrize("west", [179.8, -180.2])
def test_areas_end_at_180_degrees(west, tmp_path):
    grid = degree_grid(west, -35.0)
    field = np.zeros(grid.shape, np.float32)
    field[10:20, 10:40] = 2  # from 179.895 to -179.805
    collection = written(tmp_path, rain_of(field), grid)
    (shape,) = shapes_of(collection, kind="rain")
    assert len(shapely.get_parts(shape)) == 2
    assert np.abs(shapely.get_coordinates(shape)[:, 0]).max() == 180
    boxes = sorted(part.bounds for part in shapely.get_parts(shape))
    assert boxes[0] == pytest.approx((-180, -35.195, -179.805, -35.095), abs=0.006)
    assert boxes[1] == pytest.approx((179.895, -35.195, 180, -35.095), abs=0.006)
    assert collection["bbox"] == pytest.approx([179.795, -35.395, -179.605, -34.995], abs=0.001)


def test_a_grid_with_a_pole_has_no_areas():
    x = 1000.0 * np.arange(-30, 31)
    grid = Grid(x, x[::-1], STEREOGRAPHIC.to_wkt())
    with pytest.raises(NoLonLatError, match="pole"):
        LonLat(grid)
