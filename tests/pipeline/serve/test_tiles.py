"""Tiles beside an independent reprojection, and what their colours say."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from pyproj import Transformer

from squall.datasets.coding import RAIN_CODE
from squall.pipeline.pictures import RAIN_SCALE
from squall.pipeline.serve.tiles import LARGEST_ZOOM
from tests.pipeline.serve.site import COLUMNS, CRS, ROWS, grid, publish, say
from tests.pipeline.serve.test_points import frames_of, place_of

HALF_WORLD = 20037508.342789244  # m, of EPSG:3857
GREY = (*bytes.fromhex(RAIN_SCALE.no_radar[1:]), 110)


def picture(client, address: str) -> np.ndarray:
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGBA"))


def reprojected(codes: np.ndarray, zoom: int, x: float, y: float, size: int) -> np.ndarray:
    """(size, size) codes of a tile by PROJ from EPSG:3857, pixel by pixel; 255 outside."""
    pixel_m = 2 * HALF_WORLD / 2**zoom / size
    left, top = -HALF_WORLD + x * size * pixel_m, HALF_WORLD - y * size * pixel_m
    centres = (np.arange(size) + 0.5) * pixel_m
    to_lonlat = Transformer.from_crs(3857, 4326, always_xy=True)
    lon, lat = to_lonlat.transform(*np.meshgrid(left + centres, top - centres))
    # on the grid's own Earth, without a shift of the datum, as everywhere in Squall
    crs_lonlat = "+proj=longlat +a=6378140 +b=6356752"
    e, n = Transformer.from_crs(crs_lonlat, CRS, always_xy=True).transform(lon, lat)
    column = np.floor((e - grid().x[0]) / 2000 + 0.5).astype(int)
    row = np.floor((grid().y[0] - n) / 2000 + 0.5).astype(int)
    is_in = (row >= 0) & (row < ROWS) & (column >= 0) & (column < COLUMNS)
    result = np.full(is_in.shape, RAIN_CODE.NOT_OBSERVED, np.uint8)
    result[is_in] = codes[row[is_in], column[is_in]]
    return result


def tile_of(zoom: int) -> tuple[int, int]:
    """The tile in which the middle of the grid lies."""
    place = place_of(ROWS // 2, COLUMNS // 2)
    x = (place["lon"] + 180) / 360 * 2**zoom
    y = (1 - np.arcsinh(np.tan(np.radians(place["lat"]))) / np.pi) / 2 * 2**zoom
    return int(x), int(y)


def expected_colours(codes: np.ndarray) -> np.ndarray:
    colours = RAIN_SCALE.rgba(RAIN_CODE.table[codes])
    colours[codes == RAIN_CODE.NOT_OBSERVED] = GREY
    return colours


@pytest.mark.parametrize(("size", "zoom"), [(256, 5), (256, 8), (512, 8), (256, 12)])
def test_a_tile_is_the_nearest_pixels(site, client, size, zoom):
    run = json.loads((site / "latest.json").read_text())["id"]
    codes = frames_of(site / "runs" / run, "observed")[-1]
    x, y = tile_of(zoom)
    tile = picture(client, f"/v2/radar/latest/{size}/{zoom}/{x}/{y}/2/1_1.png")
    expected = reprojected(codes, zoom, x, y, size)
    assert len(np.unique(expected)) > 3, "the tile must show something"
    np.testing.assert_array_equal(tile, expected_colours(expected))


def test_a_picture_around_a_place_has_it_in_its_middle(site, client):
    run = json.loads((site / "latest.json").read_text())["id"]
    codes = frames_of(site / "runs" / run, "observed")[-1]
    for row, column in ((10, 20), (30, 40)):
        place = place_of(row, column)
        address = f"/v2/radar/latest/256/9/{place['lat']}/{place['lon']}/2/0_0.png"
        middle = picture(client, address)[128, 128]
        np.testing.assert_array_equal(middle, expected_colours(codes[row, column][None])[0])


def test_dry_is_transparent_and_not_observed_is_grey(client):
    dry, unknown = expected_colours(np.array([RAIN_CODE.DRY, RAIN_CODE.NOT_OBSERVED]))
    assert dry[3] == 0
    assert unknown[3] > 0
    assert (picture(client, "/v2/radar/latest/256/5/0/0/2/1_1.png") == GREY).all()
    place = place_of(20, 2)
    address = f"/v2/radar/latest/256/12/{place['lat']}/{place['lon']}/2/0_0.png"
    assert (picture(client, address) == GREY).all()


def test_coverage_is_black_where_nothing_is_observed(site, client):
    x, y = tile_of(8)
    for size in (256, 512):
        tile = picture(client, f"/v2/coverage/0/{size}/8/{x}/{y}/0/0_0.png")
        rain = picture(client, f"/v2/radar/latest/{size}/8/{x}/{y}/0/0_0.png")
        is_grey = (rain == GREY).all(axis=-1)
        assert 0 < is_grey.mean() < 1
        np.testing.assert_array_equal(tile[..., 3], np.where(is_grey, 255, 0))
        assert not tile[is_grey][:, :3].any()


def test_latest_is_grey_when_the_last_scan_is_old(site, client):
    x, y = tile_of(8)
    address = f"/v2/radar/latest/256/8/{x}/{y}/2/1_1.png"
    assert not (picture(client, address) == GREY).all()
    say(site, "stale")
    assert (picture(client, address) == GREY).all()
    assert client.get(address).headers["squall-state"] == "stale"
    say(site, "fresh", age="1h")
    assert (picture(client, address) == GREY).all()


@pytest.mark.parametrize(
    "address",
    [
        "latest/128/3/0/0/2/1_1.png",
        f"latest/256/{LARGEST_ZOOM + 1}/0/0/2/1_1.png",
        "latest/256/3/0/0/256/1_1.png",
        "latest/256/3/0/0/2/2_1.png",
        "latest/256/3/89.9/0.5/2/1_1.png",
        "latest/256/3/52.5/181.5/2/1_1.png",
        "latest/256/3/nan/0.5/2/1_1.png",
        "newest/256/3/0/0/2/1_1.png",
    ],
)
def test_a_tile_out_of_bounds_is_refused(client, address):
    answer = client.get(f"/v2/radar/{address}")
    assert answer.status_code == 400
    assert answer.json()["description"]


@pytest.mark.parametrize("tile", ["8/0", "0/8"])
def test_a_tile_outside_the_world_is_404(client, tile):
    answer = client.get(f"/v2/radar/latest/256/3/{tile}/2/1_1.png")
    assert answer.status_code == 404
    assert "at zoom 3, x and y are 0 to 7" in answer.json()["description"]


@pytest.mark.parametrize("frame", ["1717200000", "nowcast_1717243500_00000000"])
def test_a_frame_that_is_not_there_is_404(client, frame):
    answer = client.get(f"/v2/radar/{frame}/256/3/0/0/2/1_1.png")
    assert answer.status_code == 404
    assert "/public/weather-maps.json lists the frames" in answer.text


def test_tiles_of_a_new_run_are_those_of_the_new_run(site, client):
    x, y = tile_of(8)
    address = f"/v2/radar/1717243500/256/8/{x}/{y}/2/1_1.png"
    first = picture(client, address)
    publish(site, seed=5)
    assert (picture(client, address) != first).any()
