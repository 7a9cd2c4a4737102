"""The forecast of a place is that of the published codes, and says what it is worth."""

import json

import numpy as np
import pytest
from PIL import Image
from pyproj import Transformer

from squall.datasets.coding import RAIN_CODE
from squall.pipeline.live.states import FALLBACK, STALE
from tests.pipeline.serve.site import (
    COLUMNS,
    CRS,
    LEADS,
    REFERENCE,
    ROWS,
    folder_of,
    grid,
    publish,
    say,
)


def place_of(row: int, column: int) -> dict[str, float]:
    """Latitude and longitude of a pixel's centre, without the code under test."""
    to_lonlat = Transformer.from_crs(CRS, "+proj=longlat +a=6378140 +b=6356752", always_xy=True)
    lon, lat = to_lonlat.transform(grid().x[column], grid().y[row])
    return {"lat": lat, "lon": lon}


def frames_of(folder, layer: str) -> np.ndarray:
    """(time, y, x) codes of the published pictures."""
    manifest = json.loads((folder / "manifest.json").read_text())
    (entry,) = [entry for entry in manifest["layers"] if entry["name"] == layer]
    return np.stack([np.asarray(Image.open(folder / frame["file"])) for frame in entry["frames"]])


@pytest.mark.parametrize(("row", "column"), [(0, 6), (0, 49), (39, 6), (39, 49), (17, 23)])
def test_a_point_has_the_values_of_its_pixel(tmp_path, serving, row, column):
    run = publish(tmp_path / "site")
    folder = folder_of(tmp_path / "site", run)
    answer = serving(tmp_path / "site").get("/forecast", params=place_of(row, column)).json()
    for key, layer in (("forecast", "rain_rate"), ("observed", "observed")):
        rates = RAIN_CODE.table[frames_of(folder, layer)[:, row, column]]
        assert [entry["rain_mm_h"] for entry in answer[key]] == pytest.approx(rates, abs=6e-4)
    times = [entry["time"] for entry in answer["forecast"]]
    assert times == [f"2024-06-01T12:{5 * k:02d}:00Z" for k in range(1, LEADS + 1)]
    assert answer["observed"][-1]["time"] == "2024-06-01T12:00:00Z"
    assert (answer["state"], answer["is_stale"], answer["run"]) == ("fresh", False, run.id)
    for threshold, chances in zip((0.5, 2), answer["chances"], strict=True):
        codes = frames_of(folder, f"chance_at_pixel_{threshold:g}")[:, row, column]
        assert (chances["threshold_mm_h"], chances["where"]) == (threshold, "at_pixel")
        assert chances["chance"] == pytest.approx(codes / 200)


def test_what_is_not_observed_is_null_and_not_dry(client):
    answer = client.get("/forecast", params=place_of(5, 2)).json()
    rates = {entry["rain_mm_h"] for entry in answer["observed"] + answer["forecast"]}
    assert rates == {None}
    assert answer["chances"][0]["chance"] == [None] * LEADS


def test_a_place_outside_the_grid_is_a_plain_error(client):
    for row, column in ((-2, 10), (ROWS + 1, 10), (10, -2), (10, COLUMNS + 1)):
        x = grid().x[0] + 2000 * column
        y = grid().y[0] - 2000 * row
        lon, lat = Transformer.from_crs(CRS, 4326, always_xy=True).transform(x, y)
        answer = client.get("/forecast", params={"lat": lat, "lon": lon})
        assert answer.status_code == 404
        assert "is outside the radar's grid, which lies between 53.06" in answer.text


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("lat=52", "lon: Field required"),
        ("lat=91&lon=0", "lat: Input should be less than or equal to 90"),
        ("lat=nan&lon=0", "lat: Input should be"),
        ("lat=52&lon=east", "lon: Input should be a valid number"),
    ],
)
def test_a_wrong_place_is_refused(client, query, words):
    answer = client.get(f"/forecast?{query}")
    assert answer.status_code == 400
    assert words in answer.json()["description"]


def test_the_forecast_says_that_it_is_stale_or_a_fallback(site, client):
    place = place_of(20, 20)
    run = publish(site, fallback="the model failed")
    say(site, FALLBACK, run=run)
    assert client.get("/forecast", params=place).json()["is_fallback"]
    say(site, STALE, run=run)
    answer = client.get("/forecast", params=place).json()
    assert (answer["state"], answer["is_stale"], answer["reason"]) == (STALE, True, "it is stale")


def test_a_new_run_is_taken_up(site, client):
    first = client.get("/forecast", params=place_of(20, 20)).json()
    run = publish(site, REFERENCE, seed=7)
    second = client.get("/forecast", params=place_of(20, 20)).json()
    assert second["run"] == run.id != first["run"]
    assert second["forecast"] != first["forecast"]
    assert second["observed"] == first["observed"]
