"""The pictures of an ensemble: which there are, what they show, and their colours."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgba_array

from squall.datasets.errors import ConfigError
from squall.pipeline.maps.config import MapsConfig
from squall.pipeline.maps.ensemble_maps import ensemble_pictures
from squall.pipeline.maps.frames import frames_of
from squall.pipeline.maps.run import maps
from squall.pipeline.pictures import CHANCE_SCALE
from tests.pipeline.maps.map_examples import START, forecast_dataset

pytestmark = pytest.mark.usefixtures("gshhg_only")
MEMBERS = 23
NAMES = [
    *("chance_at_pixel_0.5mmh", "chance_at_pixel_5mmh"),
    *("chance_within10km_0.5mmh", "chance_within10km_5mmh", "chance_at_any_time"),
    *("rain_times_0.5mmh", "rain_times_5mmh", "percentiles"),
    *("members_plus010min", "members_plus025min"),
]


def ensemble() -> xr.Dataset:
    """A forecast of 5 lead times; a block has 30 % at the pixel and 60 % within 10 km."""
    base = forecast_dataset(5)
    shape = base["rain_rate"].shape
    chances = np.zeros((2, *shape))
    chances[:, :, 20:30, 20:30] = 0.3
    chances[:, :, :, -5:] = np.nan
    times = np.full((2, *shape[1:]), np.datetime64("NaT"), "datetime64[ns]")
    begin, end = times.copy(), times.copy()
    begin[:, 20:30, 20:30] = START.to_datetime64() + np.timedelta64(10, "m")
    end[:, 20:30, 20:25] = START.to_datetime64() + np.timedelta64(20, "m")
    members = np.stack([base["rain_rate"].values * number for number in range(MEMBERS)])
    lead, place = ("lead_time", "y", "x"), ("y", "x")
    return base.assign(
        probability_of_exceedance=(("threshold", *lead), chances),
        probability_of_exceedance_within_10km=(("threshold", *lead), 2 * chances),
        probability_of_exceedance_at_any_time=(("threshold", *place), chances[:, 0]),
        time_of_first_rain=(("threshold", *place), begin),
        time_of_rain_end=(("threshold", *place), end),
        rain_rate_median=base["rain_rate"],
        rain_rate_percentile=(("percentile", *lead), np.stack([base["rain_rate"].values] * 2)),
        rain_rate_member=(("realization", *lead), members),
    ).assign_coords(threshold=[0.5, 5.0], percentile=[10.0, 90.0], realization=range(1, 24))


def pictures(forecast, thresholds=()):
    _, leads = frames_of(forecast, ())
    return {picture.name: picture for picture in ensemble_pictures(forecast, leads, thresholds)}


def test_every_product_has_a_picture():
    assert list(pictures(ensemble())) == NAMES
    assert list(pictures(forecast_dataset())) == []
    few = ["rain_rate", "observed_rain_rate", "rain_rate_median"]
    assert list(pictures(ensemble()[few])) == ["percentiles"]


def test_chances_at_the_pixel_and_around_it_are_told_apart():
    made = pictures(ensemble())
    for name, where, percent in (
        ("chance_at_pixel_5mmh", "at the pixel", 30),
        ("chance_within10km_5mmh", "within 10 km", 60),
    ):
        panel = made[name].panels[-1]
        assert panel.rain_rate_mm_h[25, 25] == percent
        assert panel.caption.origin == f"Chance of 5 mm/h or more {where}, test-model"
        assert panel.caption.lead == "+25 min"


def test_steps_are_ten_percent_and_none_is_clear():
    colours = CHANCE_SCALE.rgba(np.array([0, 0.5, 9.5, 10, 30, 89.5, 90, 100, np.nan]))
    expected = np.round(to_rgba_array(CHANCE_SCALE.colours) * 255)
    assert colours[0, 3] == 0
    assert [int(np.flatnonzero((expected == colour).all(1))[0]) for colour in colours[1:-1]] == [
        0,
        0,
        1,
        3,
        8,
        9,
        9,
    ]


def test_times_of_rain_have_a_colour_and_none_is_clear():
    picture = pictures(ensemble())["rain_times_0.5mmh"]
    begins, ends = (panel.rain_rate_mm_h for panel in picture.panels)
    assert (begins[25, 22], ends[25, 22]) == (10, 20)
    assert ends[25, 27] == 26  # after the last lead time
    assert begins[0, 0] == -1
    assert np.isnan(begins[0, -1])
    scale = picture.look["scale"]
    assert scale.labels == ("now", "06:00", "06:05", "06:10", "06:15", "06:20", "later")
    assert scale.rgba(np.array([-1.0]))[0, 3] == 0
    now, first, later, last = scale.rgba(np.array([0, 1, 26, 25]))
    assert len({tuple(colour) for colour in (now, first, later, last)}) == 4


def test_stamps_say_how_many_members_they_leave_out():
    picture = pictures(ensemble())["members_plus025min"]
    assert len(picture.panels) == 20
    assert picture.panels[0].caption.origin.startswith("The first 20 of 23 members, 06:25 UTC")
    assert [panel.label for panel in picture.panels[:2]] == ["member 1", "member 2"]
    np.testing.assert_array_equal(
        picture.panels[4].rain_rate_mm_h, 4 * ensemble()["rain_rate"].values[-1]
    )


def test_thresholds_choose_and_an_unknown_one_is_refused():
    names = [name for name in pictures(ensemble(), (5.0,)) if "mmh" in name]
    assert names == [name for name in NAMES if "5mmh" in name and "0.5" not in name]
    for forecast in (ensemble(), forecast_dataset()):
        with pytest.raises(ConfigError, match="--thresholds 1: is none of the file's"):
            pictures(forecast, (1.0,))


def test_the_pictures_are_written_beside_the_maps(tmp_path):
    path = tmp_path / "f.nc"
    ensemble().to_netcdf(path)
    result = maps(MapsConfig(forecast=path, out=tmp_path / "out", dpi=40, thresholds=("0.5",)))
    assert len(result.maps) == 5
    expected = [name for name in NAMES if not name.endswith("_5mmh")]
    assert [file.name.split("Z_")[1] for file in result.ensemble] == [f"{n}.png" for n in expected]
    assert all(file.stat().st_size > 5000 for file in result.ensemble)
