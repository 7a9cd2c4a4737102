"""Scores against hand-worked numbers, and where they are undefined."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings

from squall.pipeline.scores.skill import scores_from_sums
from squall.pipeline.scores.sums import ScoreSums
from squall.pipeline.scores.table import SCORES
from tests.pipeline.scores.rain_examples import (
    NAN,
    rain_fields,
    random_rain,
    scores_of,
    sums_of,
)

# All scores of one forecast except the time that it takes.
SCORES_OF_SUMS = {
    name for name, score in SCORES.items() if score.of_sums is not None and not score.needs
}


# Observed and forecast, threshold 1 mm/h. The middle is not observed, so it does not count:
#
#   5 0 0     5 5 0     hit        (0, 0)
#   0 - 0     0 5 0     false alarm (0, 1), error +5
#   0 0 5     0 0 0     miss       (2, 2), error -5;  5 correct negatives
#
# Shares of events in the 3 x 3 neighbourhoods; a corner has 3 known pixels, a side has 5:
#
#   Po  1/3 1/5  0      Pf  2/3 2/5 1/3     |Pf-Po|  1/3 1/5 1/3
#       1/5  -  1/5         2/5  -  1/5              1/5  -   0
#        0  1/5 1/3          0   0   0                0  1/5 1/3
HAND_OBSERVED = [[[5, 0, 0], [0, NAN, 0], [0, 0, 5]]]
HAND_FORECAST = [[[5, 5, 0], [0, 5, 0], [0, 0, 0]]]


def test_hand_worked_grid_with_a_missing_pixel() -> None:
    sums = sums_of(HAND_FORECAST, HAND_OBSERVED).data.squeeze()
    counts = {name: int(sums[name]) for name in ("hits", "misses", "false_alarms", "n_pixels")}
    assert counts == {"hits": 1, "misses": 1, "false_alarms": 1, "n_pixels": 8}
    assert int(sums["correct_negatives"]) == 5  # not 6: a missing pixel is not a correct negative
    assert sums["fss_observed2"].values == pytest.approx([2, 2 / 9 + 4 / 25])
    assert sums["fss_forecast2"].values == pytest.approx([2, 5 / 9 + 9 / 25])
    assert sums["fss_difference2"].values == pytest.approx([2, 3 / 9 + 3 / 25])

    result = scores_of(HAND_FORECAST, HAND_OBSERVED).squeeze()
    expected = {
        "csi": 1 / 3,
        "pod": 1 / 2,
        "far": 1 / 2,
        "frequency_bias": 1.0,
        "hss": 2 * (1 * 5 - 1 * 1) / (2 * 6 + 2 * 6),
        "base_rate": 2 / 8,
        "mae": 10 / 8,
        "rmse": np.sqrt(50 / 8),
        "mean_error": 0.0,
        "b_mae": (1 * 5 + 5 * 5) / 8,  # the miss has 5 mm/h observed, so it weighs 5
        "b_mse": (1 * 25 + 5 * 25) / 8,
        "correlation": (25 / 8 - 1.25**2) / (50 / 8 - 1.25**2),
        "n_pixels": 8,
        "n_cases": 1,
    }
    assert {name: float(result[name]) for name in expected} == pytest.approx(expected)
    fss = [1 - 2 / 4, 1 - (3 / 9 + 3 / 25) / (7 / 9 + 13 / 25)]
    assert result["fss"].values == pytest.approx(fss)


def test_pixels_missing_in_the_forecast_or_not_valid_do_not_count() -> None:
    expected = sums_of(HAND_FORECAST, HAND_OBSERVED).data
    forecast, observed = np.array(HAND_FORECAST, float), np.array(HAND_OBSERVED, float)
    observed[0, 1, 1] = 0
    middle_out = ~np.eye(9, dtype=bool)[4].reshape(3, 3)
    xr.testing.assert_identical(sums_of(forecast, observed, valid=middle_out).data, expected)
    xr.testing.assert_identical(sums_of(forecast, observed, valid=middle_out[None]).data, expected)
    forecast[0, 1, 1] = NAN
    xr.testing.assert_identical(sums_of(forecast, observed).data, expected)


def test_result_names_units_and_axes() -> None:
    result = scores_of(random_rain(0), random_rain(1), scales_km=[2, 20], pixel_km=2.0)
    assert set(result.data_vars) == SCORES_OF_SUMS
    for name, values in result.items():
        score = SCORES[str(name)]
        assert values.attrs == {"long_name": score.long_name, "units": score.unit}
        assert ("method", *values.dims) == score.dims or values.dims == score.dims
    assert result["csi"].dims == ("threshold", "lead_time")
    assert result["fss"].dims == ("threshold", "scale", "lead_time")
    assert result["mae"].dims == ("lead_time",)
    assert result["power"].dims == result["power_observed"].dims == ("lead_time", "wavelength")
    assert result["scale"].values.tolist() == [2.0, 22.0]  # an even width of 10 pixels becomes 11
    assert result["lead_time"].values[0] == np.timedelta64(5, "m")


def test_all_dry_has_errors_but_no_event_scores() -> None:
    result = scores_of(np.zeros((2, 4, 5)), np.zeros((2, 4, 5)))
    undefined = ("csi", "pod", "far", "frequency_bias", "hss", "fss", "correlation")
    for name in (*undefined, "log_spectral_distance"):
        assert np.isnan(result[name]).all(), name
    for name in ("base_rate", "mae", "rmse", "mean_error", "b_mae", "b_mse"):
        assert (result[name] == 0).all(), name
    assert (result["n_pixels"] == 20).all()


def test_false_alarms_without_any_observed_event() -> None:
    result = scores_of(np.full((1, 4, 5), 2.0), np.zeros((1, 4, 5)))
    assert np.isnan(result["frequency_bias"]).all()  # not infinite
    assert np.isnan(result["pod"]).all()
    assert (result["csi"] == 0).all()
    assert (result["far"] == 1).all()
    assert (result["fss"] == 0).all()
    assert (result["hss"] == 0).all()


@pytest.mark.parametrize(
    ("observed", "weight"), [(0, 1), (1.99, 1), (2, 2), (4.99, 2), (5, 5), (10, 10), (30, 30)]
)
def test_errors_are_balanced_by_the_observed_rate(observed: float, weight: float) -> None:
    rain = np.full((1, 3, 4), observed)
    result = scores_of(rain + 2, rain).squeeze()
    assert float(result["b_mae"]) == pytest.approx(2 * weight, rel=1e-6)
    assert float(result["b_mse"]) == pytest.approx(4 * weight, rel=1e-6)


def test_heidke_of_more_pixels_than_int64_can_multiply() -> None:
    sums = sums_of(HAND_FORECAST, HAND_OBSERVED)
    many = ScoreSums(sums.data * 2_000_000_000)
    assert float(scores_from_sums(many)["hss"].squeeze()) == pytest.approx(1 / 3)


def test_correlation_of_an_even_field_is_undefined() -> None:
    even = np.full((3, 20, 17), 0.7)  # rounding makes its variance differ from 0
    assert np.isnan(scores_of(even, random_rain(0))["correlation"]).all()
    assert np.isnan(scores_of(random_rain(0), even)["correlation"]).all()


def test_all_missing_is_undefined_and_adds_nothing() -> None:
    missing = sums_of(random_rain(0), np.full((3, 20, 17), NAN))
    result = scores_from_sums(missing)
    for name in SCORES_OF_SUMS - {"n_pixels", "n_cases"}:
        assert np.isnan(result[name]).all(), name
    assert (result["n_pixels"] == 0).all()
    assert (result["n_cases"] == 0).all()
    case = sums_of(random_rain(0), random_rain(1))
    xr.testing.assert_identical((case + missing).data, case.data)


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.7, 1.1])
def test_a_rate_at_the_threshold_is_an_event(rate: float) -> None:
    rates = np.full((1, 2, 2), rate)  # 0.7 in float32 is a little less than 0.7
    assert (scores_of(rates, rates, thresholds_mm_h=np.array([rate]))["base_rate"] == 1).all()


@settings(deadline=None, max_examples=40)
@given(rain_fields, rain_fields)
def test_scores_stay_within_their_bounds(forecast: np.ndarray, observed: np.ndarray) -> None:
    sums = sums_of(forecast, observed)
    data, result = sums.data, scores_from_sums(sums)
    table = data["hits"] + data["misses"] + data["false_alarms"] + data["correct_negatives"]
    known = (~np.isnan(forecast) & ~np.isnan(observed)).sum(axis=(1, 2))
    np.testing.assert_array_equal(table.isel(threshold=0), known)
    np.testing.assert_array_equal(data["n_pixels"], known)
    for name in ("csi", "pod", "far", "base_rate", "fss"):
        values = result[name].values[~np.isnan(result[name].values)]
        assert ((values >= -1e-12) & (values <= 1)).all(), name
    assert not (abs(result["correlation"]) > 1 + 1e-9).any()
    assert not (abs(result["hss"]) > 1 + 1e-12).any()
    assert not (result["mae"] > result["rmse"] * (1 + 1e-12)).any()
    flipped = scores_of(forecast[:, ::-1, ::-1], observed[:, ::-1, ::-1])
    xr.testing.assert_allclose(result, flipped, rtol=1e-6)


@settings(deadline=None, max_examples=20)
@given(rain_fields)
def test_a_perfect_forecast_has_perfect_scores(rain: np.ndarray) -> None:
    result = scores_of(rain, rain)
    perfect = {"csi": 1, "pod": 1, "far": 0, "frequency_bias": 1, "fss": 1, "mae": 0, "rmse": 0}
    perfect |= {"hss": 1, "b_mae": 0, "b_mse": 0, "log_spectral_distance": 0}
    for name, value in perfect.items():
        assert ((result[name] == value) | np.isnan(result[name])).all(), name
