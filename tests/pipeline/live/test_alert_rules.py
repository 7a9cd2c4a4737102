"""Rules of alerts: which are refused, and what a forecast says of them."""

import json

import numpy as np
import pandas as pd
import pyproj
import pytest
import xarray as xr

from squall.datasets.errors import ConfigError
from squall.datasets.grid import Grid
from squall.pipeline.config import validated
from squall.pipeline.live.alerts.evaluate import evaluate
from squall.pipeline.live.config import LiveConfig
from squall.pipeline.live.states import Run

REFERENCE = pd.Timestamp("2024-06-01T12:00")
STEP = pd.Timedelta("5min")
LEADS, SIZE = 6, 20
LON, LAT = 5.0, 52.0
# pixels of 0.01 degrees; the place is row 10, column 10
GEOGRAPHIC = Grid(LON + 0.01 * (np.arange(SIZE) - 10), LAT + 0.01 * (10 - np.arange(SIZE)),
                  pyproj.CRS(4326).to_wkt())  # fmt: skip
_X, _Y = pyproj.Transformer.from_crs(4326, 3035, always_xy=True).transform(LON, LAT)
PROJECTED = Grid(_X + 1000 * (np.arange(SIZE) - 10.0), _Y + 1000 * (10 - np.arange(SIZE)),
                 pyproj.CRS(3035).to_wkt())  # fmt: skip
SQUARE = [[4.955, 51.955], [5.045, 51.955], [5.045, 52.045], [4.955, 52.045]]


def config_of(rule=None, **changes):
    values = {
        "publish_to": "site",
        "members": 20,
        "thresholds_mm_h": (2.0, 10.0),
        "places": {"Town": {"latitude": LAT, "longitude": LON}},
        "alerts": [RULE if rule is None else rule],
    }
    return validated(LiveConfig, values | changes, "live.yaml")


RULE = {"name": "heavy", "rain_mm_h": 10, "within": "30min", "chance": 0.6, "at": "Town"}
PLAIN = {key: value for key, value in RULE.items() if key != "chance"}
AREA = {key: value for key, value in RULE.items() if key != "at"} | {"area": SQUARE}


def ensemble(chances=0.0, rain=0.0, at=(10, 10), name="probability_of_exceedance"):
    """A forecast whose chances of 10 mm/h at a pixel are given (lead_time,); 0 elsewhere."""
    field = np.zeros((2, LEADS, SIZE, SIZE), np.float32)
    field[1, :, at[0], at[1]] = chances
    median = np.zeros((LEADS, SIZE, SIZE), np.float32)
    median[:, at[0], at[1]] = rain
    leads = STEP * np.arange(1, LEADS + 1)
    return xr.Dataset(
        {
            name: (("threshold", "lead_time", "y", "x"), field),
            "rain_rate_median": (("lead_time", "y", "x"), median),
        },
        coords={"time": ("lead_time", REFERENCE + pd.TimedeltaIndex(leads)),
                "threshold": [2.0, 10.0]},
    )  # fmt: skip


def deterministic(rain, at=(10, 10)):
    forecast = ensemble(rain=rain, at=at)
    return forecast[["rain_rate_median"]].rename(rain_rate_median="rain_rate")


def asked(forecast, config, grid=GEOGRAPHIC, minutes=1.0, fallback=""):
    run = Run("20240601T1200Z-00000000", REFERENCE, LEADS, "model", fallback=fallback)
    now = REFERENCE + pd.Timedelta(minutes=minutes)
    return evaluate(forecast, grid, run, config, now=now, step=STEP)


def outcome(*arguments, **options):
    return asked(*arguments, **options).outcomes["heavy"]


@pytest.mark.parametrize(
    ("rule", "changes", "message"),
    [
        (RULE | {"chance": 60}, {}, "write 0.6 for 60 %"),
        (RULE | {"chance": 0}, {}, "greater than 0"),
        (RULE | {"rain_mm_h": 7}, {}, "rain_mm_h 7 is none of thresholds_mm_h (2, 10)"),
        (RULE | {"within": "2h"}, {}, "within 2 h is longer than minutes (60)"),
        (RULE | {"within": "0min"}, {}, "within must be longer than nothing"),
        (RULE | {"within": 30}, {}, "has no unit"),
        (RULE | {"at": "Village"}, {}, "'at: Village' is none of the places (Town)"),
        (RULE | {"at": "town"}, {}, "none of the places (Town); did you mean 'Town'?"),
        (RULE | {"area": SQUARE}, {}, "either 'at', the name of a place, or 'area'"),
        (PLAIN | {"at": None}, {}, "either 'at', the name of a place, or 'area'"),
        (PLAIN, {}, "the service has members; give 'chance'"),
        (RULE, {"members": None, "model": "extrapolation"}, "extrapolation gives no chances"),
        (RULE | {"where": "within_10km"}, {"members": None}, "within_10km needs 'members'"),
        (PLAIN | {"where": "within_10km"}, {"members": None}, "give 'chance' too"),
        (RULE | {"severity": "Bad"}, {}, "severity"),
        (RULE | {"colour": "red"}, {}, "unknown key 'alerts.0.colour'"),
        (AREA | {"area": SQUARE[:2]}, {}, "at least three corners"),
        (AREA | {"area": [[5, 52], [6, 53], [6, 52], [5, 53]]}, {}, "edges of the area cross"),
        (AREA | {"area": [[5, 152], [6, 53], [6, 52]]}, {}, "[5, 152] is no longitude and lat"),
        (AREA | {"area": ["a", "b"]}, {}, "a corner is a longitude and a latitude"),
        (AREA | {"area": "nowhere.geojson"}, {}, "nowhere.geojson cannot be read as GeoJSON"),
        (RULE | {"webhook": "ftp://secret.example"}, {}, "webhook is no web address"),
        (RULE | {"webhook": "https://me:secret@example.org"}, {}, "must not hold a user"),
        (RULE | {"webhook": "https://example.org/ secret"}, {}, "webhook is no web address"),
    ],
)  # fmt: skip
def test_a_wrong_rule_is_refused(rule, changes, message):
    with pytest.raises(ConfigError) as error:
        config_of(rule, **changes)
    assert message in str(error.value)
    assert "secret" not in str(error.value)


def test_two_rules_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="rule 'heavy': there are two of this name"):
        config_of(alerts=[RULE, RULE])


def test_an_address_is_not_shown_by_the_configuration():
    config = config_of(RULE | {"webhook": "https://example.org/secret"})
    assert "secret" not in f"{config!r}{config}{config.model_dump_json()}"


@pytest.mark.parametrize("kind", ["Polygon", "Feature", "FeatureCollection", "MultiPolygon"])
def test_an_area_of_a_geojson_file(tmp_path, kind):
    polygon = {"type": "Polygon", "coordinates": [[*SQUARE, SQUARE[0]]]}
    feature = {"type": "Feature", "properties": {}, "geometry": polygon}
    contents = {
        "Polygon": polygon,
        "Feature": feature,
        "FeatureCollection": {"type": "FeatureCollection", "features": [feature]},
        "MultiPolygon": {"type": "MultiPolygon", "coordinates": [polygon["coordinates"]]},
    }
    path = tmp_path / "area.geojson"
    path.write_text(json.dumps(contents[kind]))
    corners = tuple(map(tuple, SQUARE))
    assert config_of(AREA | {"area": str(path)}).alerts[0].area == (corners,)
    assert config_of(AREA).alerts[0].area == (corners,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"type": "Point", "coordinates": [5, 52]}, "holds a Point; a Polygon"),
        ({"type": "FeatureCollection", "features": []}, "holds no polygon"),
        ({"type": "Polygon", "coordinates": [SQUARE, SQUARE]}, "a polygon with a hole"),
        ([1, 2], "holds no polygon"),
    ],
)
def test_a_geojson_file_without_an_area_is_refused(tmp_path, content, message):
    path = tmp_path / "area.geojson"
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=message):
        config_of(AREA | {"area": str(path)})


def test_a_chance_that_is_high_enough_in_time_meets_the_rule():
    said = outcome(ensemble([0, 0.3, 0.6, 0.9, 0, 0], rain=4), config_of())
    assert (said.state, said.chance, said.rain_mm_h) == ("met", pytest.approx(0.9), None)
    assert said.first == pd.Timestamp("2024-06-01T12:15")
    assert outcome(ensemble([0, 0.3, 0.55, 0, 0, 0]), config_of()).state == "not_met"


def test_the_window_begins_now_and_ends_after_its_length():
    config = config_of(RULE | {"within": "10min"})
    for lead, minutes, state in (
        (0, 1, "met"),
        (0, 5, "not_met"),
        (2, 1, "not_met"),
        (2, 5, "met"),
    ):
        chances = np.eye(LEADS)[lead]
        assert outcome(ensemble(chances), config, minutes=minutes).state == state
    late = outcome(ensemble(), config, minutes=40)
    assert (late.state, late.is_permanent) == ("unknown", False)


def test_a_window_shorter_than_a_step_can_never_be_answered():
    said = outcome(ensemble(1.0), config_of(RULE | {"within": "4min"}))
    assert (said.state, said.is_permanent) == ("unknown", True)
    assert said.reason == "within is shorter than the step of the radar, 5 min"


def test_a_rule_that_fails_does_not_fail_the_forecast(caplog):
    broken = ensemble(1.0).drop_vars("time")
    said = outcome(broken, config_of())
    assert (said.state, said.is_permanent) == ("unknown", True)
    assert said.reason.startswith("KeyError")
    assert "alert rule 'heavy'" in caplog.text


def test_missing_radar_is_unknown_unless_what_is_known_is_enough():
    nan = np.nan
    said = outcome(ensemble([0, 0, nan, 0, 0, 0]), config_of())
    assert (said.state, said.chance) == ("unknown", 0)
    assert "radar" in said.reason
    assert outcome(ensemble([0, 0, nan, 0, 0.7, 0]), config_of()).state == "met"
    assert outcome(ensemble([nan] * LEADS), config_of()).chance is None
    # beyond the window nothing is asked
    short = config_of(RULE | {"within": "10min"})
    assert outcome(ensemble([0, 0, nan, 0, 0, 0]), short).state == "not_met"


@pytest.mark.parametrize("grid", [GEOGRAPHIC, PROJECTED])
def test_an_area_has_the_highest_chance_of_its_pixels(grid):
    config = config_of(AREA)
    # the square reaches 4.5 pixels to each side on the geographic grid, 3 and 5 km on the other
    for at, state in (
        ((10, 12), "met"),
        ((13, 9), "met"),
        ((10, 16), "not_met"),
        ((2, 10), "not_met"),
    ):
        assert outcome(ensemble(0.7, at=at), config, grid).state == state, at
        blind = outcome(ensemble(np.nan, at=at), config, grid).state
        assert blind == ("unknown" if state == "met" else "not_met"), at


def test_an_area_smaller_than_a_pixel_is_the_pixel_that_it_lies_in():
    area = [[5.001, 52.001], [5.002, 52.001], [5.002, 52.002]]
    assert outcome(ensemble(0.7), config_of(AREA | {"area": area})).state == "met"
    assert outcome(ensemble(0.7, at=(10, 11)), config_of(AREA | {"area": area})).state == "not_met"


@pytest.mark.parametrize("grid", [GEOGRAPHIC, PROJECTED])
def test_what_is_outside_the_grid_can_never_be_answered(grid):
    far = {"Town": {"latitude": -30, "longitude": 150}}
    said = outcome(ensemble(1.0), config_of(places=far), grid)
    assert (said.state, said.is_permanent) == ("unknown", True)
    assert said.reason == "the place lies outside the radar's grid"
    area = [[4.9, 51.95], [9.0, 51.95], [9.0, 52.05]]
    said = outcome(ensemble(1.0), config_of(AREA | {"area": area}), grid)
    assert (said.state, said.is_permanent) == ("unknown", True)


def test_a_rule_about_what_is_near_takes_the_chance_within_10_km():
    near = config_of(RULE | {"where": "within_10km"})
    forecast = ensemble(0.7, name="probability_of_exceedance_within_10km")
    assert outcome(forecast, near).state == "met"
    assert outcome(forecast, near).radius_km == 10
    said = outcome(forecast, config_of())
    assert (said.state, said.is_permanent) == ("unknown", True)
    assert "gives no chances of 10 mm/h (at_pixel)" in said.reason


def test_one_forecast_is_asked_for_its_rain():
    config = config_of(PLAIN, members=None, model="extrapolation")
    said = outcome(deterministic([0, 9.9, 10, 12, 0, 0]), config)
    assert (said.state, said.chance, said.rain_mm_h) == ("met", None, 12)
    assert said.first == pd.Timestamp("2024-06-01T12:15")
    assert outcome(deterministic([0, 9.9, 0, 0, 0, 0]), config).state == "not_met"
    assert outcome(deterministic([0, np.nan, 0, 0, 0, 0]), config).state == "unknown"


def test_only_a_run_of_the_model_in_time_and_from_all_scans_is_good():
    config = config_of()
    assert asked(ensemble(), config, minutes=10).is_good
    assert not asked(ensemble(), config, minutes=10.1).is_good
    assert asked(ensemble(), config).is_good
    assert not asked(ensemble(), config, fallback="no weights").is_good
    gap = ensemble().assign_attrs(missing_context="2024-06-01T11:55:00")
    assert not asked(gap, config).is_good


def test_a_message_expires_when_the_next_run_is_overdue():
    """The next scan is usual at 12:10; a forecast may take two deadlines of 120 s."""
    config = config_of()
    for minutes, due in ((1, 10), (9, 10), (11, 15), (40, 40), (41, 45)):
        expires = asked(ensemble(), config, minutes=minutes).expires
        assert expires == REFERENCE + pd.Timedelta(minutes=due, seconds=250)
