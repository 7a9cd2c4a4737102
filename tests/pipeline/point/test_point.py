"""`squall point`: the place, the numbers and the plot, of ensembles and of one forecast."""

import json

import netCDF4
import numpy as np
import pyproj
import pytest
import xarray as xr
from PIL import Image

from squall.pipeline.cli.main import main
from squall.pipeline.forecast.config import ForecastConfig
from squall.pipeline.forecast.run import forecast
from squall.pipeline.point.config import PointConfig, parse_place
from squall.pipeline.point.run import point
from tests.pipeline.forecast.fake_ensemble import REFERENCE, FakeEnsemble, use

ROW, COLUMN = 20, 30
MEMBERS, LEADS = 10, 12


def made_up():
    """Rain from +25 to +40 min in 7 of 10 members at a pixel; no rain elsewhere."""
    rates = np.zeros((MEMBERS, LEADS, 64, 64), np.float32)
    rates[:7, 4:7, ROW, COLUMN] = np.arange(1, 8)[:, None]
    rates[:, 3:, 40, 40] = np.nan  # known to +15 min
    rates[:, :, 50, 50] = np.nan
    rates[0, 6, 60, 60] = 3.0  # dry in the last scan
    rates[:, :, 30, 10] = 5.0
    rates[:9, 9:, 6, 48] = 2.0
    return rates


@pytest.fixture
def make(chain, tmp_path, monkeypatch):
    use(monkeypatch, FakeEnsemble(made_up(), lead_times=LEADS))

    def written(name="f.nc", **changes):
        values = {"archive": chain.archive, "model": "fake", "members": MEMBERS}
        values |= {"at": str(REFERENCE), "out": tmp_path / name, "thresholds_mm_h": (0.5, 2.0)}
        if changes.get("members", MEMBERS) is None:
            del values["thresholds_mm_h"]
        forecast(ForecastConfig(**values | changes))
        return tmp_path / name

    return written


def place(path, row=ROW, column=COLUMN):
    """LAT,LON of a pixel."""
    with xr.open_dataset(path, engine="zarr" if path.is_dir() else None) as dataset:
        crs = pyproj.CRS(dataset["spatial_ref"].attrs["crs_wkt"])
        lon, lat = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True).transform(
            float(dataset["x"][column]), float(dataset["y"][row])
        )
    return f"{lat},{lon}"


def outlook(path, row=ROW, column=COLUMN, **changes):
    return point(PointConfig(forecast=path, at=place(path, row, column), **changes))


@pytest.mark.parametrize("name", ["f.nc", "f.zarr"])
def test_the_sentence_and_the_numbers(make, name):
    result = outlook(make(name))
    assert result.sentence == "rain from 04:25, 70 %, until about 04:40"
    assert result.chance.tolist() == pytest.approx([0] * 4 + [0.7] * 3 + [0] * 5)
    assert result.chance_around.tolist() == result.chance.tolist()
    assert result.rain_mm_h[5] == pytest.approx(2.5)  # median of 0, 0, 0, 1 to 7
    assert (result.low_mm_h[5], result.high_mm_h[5]) == pytest.approx((0, 6.1))
    assert result.threshold_mm_h == 0.5


@pytest.mark.parametrize(
    ("pixel", "start"),
    [
        ((40, 40), "dry until 04:15, in all members; not known after 04:15"),
        ((50, 50), "not known: "),
        ((60, 60), "probably dry until 05:00, rain 10 %"),
        ((6, 48), "rain from 04:50, 90 %, until after 05:00"),
    ],
)
def test_other_places(make, pixel, start):
    assert outlook(make(), *pixel).sentence.startswith(start)


@pytest.mark.parametrize(
    "changes",
    [
        {"products": ("members",)},
        {"products": ("members",), "codes": True},
        {"percentiles": (25.0, 75.0)},
    ],
)
def test_what_the_file_lacks_is_computed_from_its_members(make, changes):
    whole, less = outlook(make()), outlook(make("g.nc", **changes))
    assert less.sentence == whole.sentence
    for name in ("rain_mm_h", "low_mm_h", "high_mm_h", "chance"):
        np.testing.assert_allclose(getattr(less, name), getattr(whole, name), rtol=0.02)


def test_any_threshold_can_be_asked_for_if_the_file_has_members(make, capsys):
    assert outlook(make(), threshold_mm_h=5.0).sentence.startswith("probably dry; if not, rain")
    path = make("g.nc", products=("chances", "times"))
    assert outlook(path, threshold_mm_h=2.0).sentence.startswith("rain from 04:25, 60 %")
    command = ["point", str(path), "--at", place(path), "--threshold", "5"]
    assert main(command) == 2
    assert "--threshold 5: is none of the file's (0.5, 2)" in capsys.readouterr().err


def test_a_file_without_times_and_members_says_so(make):
    assert "does not hold when it rains" in outlook(make(products=("chances",))).sentence
    cut = outlook(make(products=("chances", "times")), 40, 40).sentence
    assert cut.startswith("known until 04:15 only")


def test_the_chance_of_rain_is_at_least_the_highest_chance_that_a_network_says(make):
    """Its chances are no shares of the members, which are all dry here."""
    path = make()
    with netCDF4.Dataset(path, "a") as file:
        file["probability_of_exceedance"][:, :3, 40, 40] = 0.05
    sentence = outlook(path, 40, 40).sentence
    assert sentence == "probably dry until 04:15, rain 5 %; not known after 04:15"


def test_one_forecast_has_a_sentence_without_chances(chain, tmp_path, make):
    path = make(members=None)
    result = outlook(path)
    assert result.sentence == "rain from 04:05, until after 05:00"  # 7 mm/h everywhere
    assert result.chance is None
    assert result.low_mm_h is None
    assert outlook(path, threshold_mm_h=8.0).sentence == "dry until 05:00"


def test_rain_at_the_last_scan(make):
    with xr.open_dataset(make()) as dataset:
        scan = dataset["observed_rain_rate"].values[-1]
    row, column = np.argwhere(scan >= 2)[0]
    assert outlook(make(), row, column).sentence == "raining already, until about 04:05"


def test_the_plot_is_written_and_the_table_printed(make, tmp_path, capsys):
    path, picture = make(), tmp_path / "new" / "rain.png"
    command = ["point", str(path), "--at", place(path), "--plot", str(picture)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("rain from 04:25, 70 %, until about 04:40\n")
    assert "≥ 0.5 within 10 km" in printed
    assert "04:30     2.5  0.0 to 6.1        70 %" in printed
    with Image.open(picture) as image:
        assert image.size[0] > 800
    for pixel in ((50, 50), (40, 40)):
        assert main(["point", str(path), "--at", place(path, *pixel), "--plot", str(picture)]) == 0
        assert "–" in capsys.readouterr().out


def test_json_for_scripts(make, capsys):
    path = make()
    assert main(["point", str(path), "--at", place(path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["begin"] == "2024-06-01T04:25:00Z"
    assert result["chance_at_any_time"] == pytest.approx(0.7)
    assert main(["point", str(path), "--at", place(path, 50, 50), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["begin"] is None
    assert result["rain_mm_h"] == [None] * LEADS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("52.1,5.18", (52.1, 5.18)),
        (" -37.8 , 145 ", (-37.8, 145.0)),
        ("-.5,+.5", (-0.5, 0.5)),
        ("52 5", (52.0, 5.0)),
        ("10,359.5", (10.0, 359.5)),
    ],
)
def test_places_that_are_understood(text, expected):
    assert parse_place(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no place"),
        ("Utrecht", "write it LAT,LON in degrees, like 52.1,5.18"),
        ("52", "is no place"),
        ("52,5,3", "is no place"),
        ("nan,5", "is no place"),
        ("52,1,5,18", "is no place"),
        ("145.0,-37.8", "latitude 145 is not between -90 and 90; the latitude comes first"),
        ("52,400", "longitude 400 is not between"),
    ],
)
def test_places_that_are_refused(make, capsys, text, message):
    assert main(["point", str(make()), "--at", text]) == 2
    error = capsys.readouterr().err
    assert error.startswith("squall: --at")
    assert message in error


@pytest.mark.parametrize("form", ["two words", "one word"])
def test_a_place_on_the_southern_half_is_no_flag_and_outside_the_grid(make, capsys, form):
    words = ["--at", "-37.8,145"] if form == "two words" else ["--at=-37.8,145"]
    assert main(["point", str(make()), *words]) == 2
    assert "--at -37.8,145: lies outside the grid" in capsys.readouterr().err


def test_a_file_that_is_no_forecast_is_refused(tmp_path, capsys):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "f.nc").write_text("hello")
    for name in ("a.zarr", "f.nc"):
        assert main(["point", str(tmp_path / name), "--at", "52,5"]) == 1
        assert "expected a forecast file" in capsys.readouterr().err


def test_a_grid_without_a_place_on_the_earth_is_refused(make, capsys):
    path = make()
    with netCDF4.Dataset(path, "a") as file:
        file["spatial_ref"].crs_wkt = pyproj.CRS.from_epsg(4978).to_wkt()
    assert main(["point", str(path), "--at", "52,5"]) == 1
    assert "no grid to find a place on: the CRS 'WGS 84' is no map" in capsys.readouterr().err
