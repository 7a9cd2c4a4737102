"""When it rains, in fields for programs: one test for each rule."""

import numpy as np
import pandas as pd
import pytest

from squall.pipeline.forecast.config import ForecastConfig
from squall.pipeline.forecast.run import forecast
from squall.pipeline.point.outlook import outlook_of
from squall.pipeline.point.when import when
from tests.pipeline.forecast.fake_ensemble import REFERENCE, FakeEnsemble, use

MEMBERS, LEADS = 10, 12
DRY, WET = 0.0, 3.0
AT = (20, 30)


class OneForecast(FakeEnsemble):
    """A method without members."""

    def nowcast(self, context, lead_times):
        return self.rates[0]


@pytest.fixture
def fields(chain, tmp_path, monkeypatch):
    """The fields at a pixel, of rates (member, lead_time) or (lead_time,) there."""

    def made(rates, scan=DRY, products=("chances", "times", "median", "percentiles")):
        rates = np.asarray(rates, np.float32)
        is_ensemble = rates.ndim == 2
        everywhere = np.zeros((*np.atleast_2d(rates).shape, 64, 64), np.float32)
        everywhere[:, :, *AT] = rates
        kind = FakeEnsemble if is_ensemble else OneForecast
        use(monkeypatch, kind(everywhere, lead_times=LEADS))
        values = {"archive": chain.archive, "model": "fake", "out": tmp_path / "f.nc"}
        values |= {"at": str(REFERENCE)}
        if is_ensemble:
            values |= {"members": len(rates), "thresholds_mm_h": (0.5, 2.0), "products": products}
            values |= {"percentiles": (10, 90)}
        dataset = forecast(ForecastConfig(**values)).copy(deep=True)
        dataset["observed_rain_rate"][-1, *AT] = scan
        return outlook_of(dataset, *AT, 0.5).as_dict()

    return made


def rain(*spells, leads=LEADS):
    """(lead_time,) rates that are wet at the given lead times [min]."""
    return [WET if 5 * (lead + 1) in spells else DRY for lead in range(leads)]


def test_begin_and_end_are_times_in_utc(fields):
    result = fields(rain(25, 30, 35))
    assert (result["rain"], result["rain_now"]) == ("later", False)
    assert (result["begins"], result["ends"]) == ("2024-06-01T04:25:00Z", "2024-06-01T04:40:00Z")
    assert result["ends_not_before"] is None
    assert (result["is_known"], result["known_until"]) == (True, "2024-06-01T05:00:00Z")


def test_a_dry_gap_of_less_than_two_steps_does_not_end_a_shower(fields):
    assert fields(rain(10, 20))["ends"] == "2024-06-01T04:25:00Z"
    assert fields(rain(10, 40))["ends"] == "2024-06-01T04:15:00Z"


def test_an_end_beyond_the_horizon_is_not_before_it(fields):
    result = fields(rain(50, 55, 60))
    assert (result["begins"], result["ends"]) == ("2024-06-01T04:50:00Z", None)
    assert result["ends_not_before"] == "2024-06-01T05:00:00Z"


def test_an_end_beyond_what_is_known_is_not_before_it(fields):
    result = fields([DRY, WET, WET, *[np.nan] * 9])
    assert (result["rain"], result["begins"]) == ("later", "2024-06-01T04:10:00Z")
    assert (result["ends"], result["ends_not_before"]) == (None, "2024-06-01T04:15:00Z")
    assert result["is_known"] is False


@pytest.mark.parametrize(
    ("rates", "known_until"),
    [
        ([np.nan] * LEADS, "2024-06-01T04:00:00Z"),
        ([DRY, DRY, *[np.nan] * 10], "2024-06-01T04:10:00Z"),
        ([[DRY, DRY, *[np.nan] * 10]] * MEMBERS, "2024-06-01T04:10:00Z"),
        ([rain(25)] + [[DRY] * 8 + [np.nan] * 4] * 9, "2024-06-01T04:40:00Z"),
    ],
)
def test_a_begin_that_the_radar_does_not_let_us_know_is_unknown_and_not_no_rain(
    fields, rates, known_until
):
    result = fields(rates)
    assert (result["rain"], result["begins"], result["is_known"]) == ("unknown", None, False)
    assert result["known_until"] == known_until
    assert "dry until 05:00" not in result["sentence"]


def test_a_shower_that_is_there_at_the_first_lead_time_after_a_blind_scan(fields):
    """Nobody knows when it began."""
    result = fields(rain(5, 10), scan=np.nan)
    assert (result["rain"], result["rain_now"], result["begins"]) == ("later", None, None)
    assert result["begins_not_after"] == "2024-06-01T04:05:00Z"
    assert result["sentence"] == "rain from 04:05 or earlier, until about 04:15"
    later = fields(rain(10), scan=np.nan)
    assert (later["begins"], later["begins_not_after"]) == ("2024-06-01T04:10:00Z", None)


def test_a_second_shower_of_one_forecast(fields):
    result = fields(rain(10, 40, 50, 60))
    assert (result["begins_again"], result["chance_again"]) == ("2024-06-01T04:40:00Z", 1.0)
    assert result["sentence"] == "rain from 04:10, until about 04:15, again from about 04:40"
    already = fields(rain(5, 30), scan=WET)["sentence"]
    assert already == "raining already, until about 04:10, again from about 04:30"


@pytest.mark.parametrize("wet", [(10,), (10, 20), (50, 55, 60)])
def test_one_shower_does_not_come_again(fields, wet):
    """Also across a short gap, and if its end is not known."""
    result = fields(rain(*wet))
    assert (result["begins_again"], result["chance_again"]) == (None, None)
    assert "again" not in result["sentence"]


def test_a_second_shower_after_what_is_known_is_not_told(fields):
    rates = rain(10, 40)
    assert fields([*rates[:7], np.nan, *rates[8:]])["begins_again"] is None


def test_members_tell_a_second_shower_with_its_chance(fields):
    twice, once = rain(10, 15, 45, 50), rain(10, 15)
    result = fields([[*twice[:9], WET, WET, DRY]] + [twice] * 5 + [once] * 4)
    assert (result["begins_again"], result["ends"]) == (
        "2024-06-01T04:45:00Z",
        "2024-06-01T04:20:00Z",
    )
    assert result["chance_again"] == pytest.approx(0.6)
    assert result["sentence"] == (
        "rain from 04:10, 100 %, until about 04:20, again from about 04:45, 60 %"
    )


@pytest.mark.parametrize(
    ("second", "between", "is_told"),
    [(3, 0, True), (2, 0, False), (5, 1, True), (5, 2, False)],
)
def test_how_likely_a_second_shower_and_how_sure_the_gap_must_be(fields, second, between, is_told):
    """30 % again, after less than 15 %; the numbers are members of ten."""
    members = [rain(10) for _ in range(MEMBERS)]
    for number in range(second):
        members[number][8] = WET  # 45 min
    for number in range(between):
        members[-1 - number][2:8] = [WET] * 6  # 15 to 40 min
    assert (fields(members)["begins_again"] is not None) is is_told


def test_rain_that_falls_already(fields):
    result = fields(rain(5, 10), scan=WET)
    assert (result["rain"], result["rain_now"], result["begins"]) == ("now", True, None)
    assert result["ends"] == "2024-06-01T04:15:00Z"
    blind = fields([np.nan] * LEADS, scan=WET)
    assert (blind["rain"], blind["ends"]) == ("now", None)
    assert blind["ends_not_before"] == "2024-06-01T04:00:00Z"


def test_dry_to_the_end(fields):
    result = fields([DRY] * LEADS)
    assert (result["rain"], result["is_known"], result["begins"]) == ("none", True, None)
    assert result["ends_not_before"] is None
    assert fields([[DRY] * LEADS] * MEMBERS)["rain"] == "none"


def test_members_give_the_chance_and_the_range_of_the_begin(fields):
    starts = (10, 20, 20, 20, 30, 40)
    result = fields([rain(start, start + 5) for start in starts] + [[DRY] * LEADS] * 4)
    assert (result["rain"], result["begins"]) == ("later", "2024-06-01T04:20:00Z")
    assert result["chance_at_any_time"] == pytest.approx(0.6)
    assert result["highest_chance"] == pytest.approx(0.3)
    assert result["begins_earliest"] == "2024-06-01T04:15:00Z"
    assert result["begins_latest"] == "2024-06-01T04:35:00Z"


def test_few_members_with_rain_make_it_unlikely(fields):
    one = fields([rain(25)] + [[DRY] * LEADS] * 9)
    assert (one["rain"], one["begins"]) == ("unlikely", None)
    two = fields([rain(25)] * 2 + [[DRY] * LEADS] * 8)
    assert (two["rain"], two["begins"]) == ("unlikely", "2024-06-01T04:25:00Z")


def test_a_place_outside_the_grid_is_unknown():
    result = when(None)
    assert (result["rain"], result["rain_now"], result["is_known"]) == ("unknown", None, False)
    assert all(result[name] is None for name in ("begins", "ends", "known_until"))


def test_the_times_are_after_the_scan_that_the_forecast_is_made_from(fields):
    result = fields(rain(5))
    assert pd.Timestamp(result["begins"]) > pd.Timestamp(result["reference_time"], tz="UTC")
