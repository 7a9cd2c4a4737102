"""Scores against hand-worked numbers, a plain loop, and the library `scores`."""

import operator
import re
from typing import Any

import numpy as np
import pytest
import scores.categorical
import scores.continuous
import scores.spatial
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.skill import (
    SCORES,
    ScoreSums,
    fss_windows_px,
    score_sums,
    score_sums_by_method,
    scores_from_sums,
)

NAN = np.nan


def settings_for(n_leads: int, **changes: Any) -> dict[str, Any]:
    return {
        "lead_times": np.arange(1, n_leads + 1) * np.timedelta64(5, "m"),
        "thresholds_mm_h": [1.0],
        "scales_km": [1.0, 3.0],
        "pixel_km": 1.0,
        **changes,
    }


def sums_of(forecast: Any, observed: Any, **changes: Any) -> ScoreSums:
    forecast, observed = (np.asarray(a, dtype=np.float32) for a in (forecast, observed))
    return score_sums(forecast, observed, **settings_for(len(observed), **changes))


def scores_of(forecast: Any, observed: Any, **changes: Any) -> xr.Dataset:
    return scores_from_sums(sums_of(forecast, observed, **changes))


def random_rain(seed: int, shape: tuple[int, ...] = (3, 20, 17)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rain = rng.gamma(0.5, 4.0, shape).astype(np.float32)
    return np.where(rng.random(shape) < 0.4, np.float32(0), rain)


rain_fields = arrays(
    np.float32,
    (2, 5, 6),
    elements=st.sampled_from([NAN, 0.0, 0.5, 1.0, 1.5, 7.0]).map(np.float32),
)


# Observed and forecast, threshold 1 mm/h; the middle is not observed and so counts nowhere:
#
#   5 0 0     5 5 0     hit        (0, 0)
#   0 - 0     0 5 0     false alarm (0, 1), error +5
#   0 0 5     0 0 0     miss       (2, 2), error -5;  5 correct negatives
#
# Shares of events in the 3 x 3 neighbourhoods, among 3 known pixels at a corner, 5 at a side:
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
    assert int(sums["correct_negatives"]) == 5  # not 6: a missing pixel is no correct negative
    assert sums["fss_observed2"].values == pytest.approx([2, 2 / 9 + 4 / 25])
    assert sums["fss_forecast2"].values == pytest.approx([2, 5 / 9 + 9 / 25])
    assert sums["fss_difference2"].values == pytest.approx([2, 3 / 9 + 3 / 25])

    result = scores_of(HAND_FORECAST, HAND_OBSERVED).squeeze()
    expected = {
        "csi": 1 / 3,
        "pod": 1 / 2,
        "far": 1 / 2,
        "frequency_bias": 1.0,
        "base_rate": 2 / 8,
        "mae": 10 / 8,
        "rmse": np.sqrt(50 / 8),
        "mean_error": 0.0,
        "n_pixels": 8,
        "n_cases": 1,
    }
    assert {name: float(result[name]) for name in expected} == pytest.approx(expected)
    fss = [1 - 2 / 4, 1 - (3 / 9 + 3 / 25) / (7 / 9 + 13 / 25)]
    assert result["fss"].values == pytest.approx(fss)


def test_missing_in_the_forecast_and_not_valid_count_as_not_observed() -> None:
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
    assert set(result.data_vars) == set(SCORES)
    for name, (long_name, units) in SCORES.items():
        assert result[name].attrs == {"long_name": long_name, "units": units}
    assert result["csi"].dims == ("threshold", "lead_time")
    assert result["fss"].dims == ("threshold", "scale", "lead_time")
    assert result["mae"].dims == ("lead_time",)
    assert result["scale"].values.tolist() == [2.0, 22.0]  # 10 pixels have no middle: 11
    assert result["lead_time"].values[0] == np.timedelta64(5, "m")


def test_all_dry_has_errors_but_no_event_scores() -> None:
    result = scores_of(np.zeros((2, 4, 5)), np.zeros((2, 4, 5)))
    for name in ("csi", "pod", "far", "frequency_bias", "fss"):
        assert np.isnan(result[name]).all(), name
    for name in ("base_rate", "mae", "rmse", "mean_error"):
        assert (result[name] == 0).all(), name
    assert (result["n_pixels"] == 20).all()


def test_false_alarms_without_any_observed_event() -> None:
    result = scores_of(np.full((1, 4, 5), 2.0), np.zeros((1, 4, 5)))
    assert np.isnan(result["frequency_bias"]).all()  # not infinite
    assert np.isnan(result["pod"]).all()
    assert (result["csi"] == 0).all()
    assert (result["far"] == 1).all()
    assert (result["fss"] == 0).all()


def test_all_missing_is_undefined_and_adds_nothing() -> None:
    missing = sums_of(random_rain(0), np.full((3, 20, 17), NAN))
    result = scores_from_sums(missing)
    for name in set(SCORES) - {"n_pixels", "n_cases"}:
        assert np.isnan(result[name]).all(), name
    assert (result["n_pixels"] == 0).all()
    assert (result["n_cases"] == 0).all()
    case = sums_of(random_rain(0), random_rain(1))
    xr.testing.assert_identical((case + missing).data, case.data)


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.7, 1.1])
def test_a_rate_at_the_threshold_is_an_event(rate: float) -> None:
    rates = np.full((1, 2, 2), rate)  # 0.7 in float32 is a little less than 0.7
    assert (scores_of(rates, rates, thresholds_mm_h=np.array([rate]))["base_rate"] == 1).all()


def test_cases_split_in_two_and_added_give_the_same() -> None:
    cases = [(random_rain(2 * i), random_rain(2 * i + 1)) for i in range(6)]
    for forecast, observed in cases:
        observed[:, :4], forecast[1, 5:9] = NAN, NAN
    parts = [sums_of(*case) for case in cases]
    one_by_one = parts[0] + parts[1] + parts[2] + parts[3] + parts[4] + parts[5]
    in_halves = (parts[4] + parts[1] + parts[0]) + (parts[5] + parts[3] + parts[2])
    left, right = (scores_from_sums(sums) for sums in (one_by_one, in_halves))
    xr.testing.assert_allclose(left, right, rtol=1e-12, atol=0)
    assert (left["n_cases"] == 6).all()
    for name in ("hits", "misses", "false_alarms", "correct_negatives", "n_pixels"):
        np.testing.assert_array_equal(one_by_one.data[name], in_halves.data[name])


def test_pixels_split_in_two_and_added_give_the_same() -> None:
    forecast, observed = random_rain(0), random_rain(1)
    east = np.broadcast_to(np.arange(17) < 7, (20, 17))
    whole = scores_of(forecast, observed)
    parts = sums_of(forecast, observed, valid=east) + sums_of(forecast, observed, valid=~east)
    # FSS is left out: its neighbourhoods reach across the border of the parts. n_cases likewise.
    names = sorted(set(SCORES) - {"fss", "n_cases"})
    xr.testing.assert_allclose(scores_from_sums(parts)[names], whole[names], rtol=1e-12)


def test_methods_share_their_pixels() -> None:
    first, second, observed = random_rain(0), random_rain(1), random_rain(2)
    second[:, :, :5] = NAN
    both = score_sums_by_method({"a": first, "b": second}, observed, **settings_for(3)).data
    assert both["method"].values.tolist() == ["a", "b"]
    known = ~np.isnan(second)
    for method, forecast in {"a": first, "b": second}.items():
        alone = sums_of(forecast, observed, valid=known).data
        xr.testing.assert_identical(both.sel({"method": method}, drop=True), alone)


def test_agrees_with_the_scores_library() -> None:
    # scores.spatial takes only windows that lie in the field and divides by their whole area; with
    # a dry border as wide as the window no other window holds an event, so both say the same.
    window = 7
    border = ((0, 0), (window, window), (window, window))
    forecast, observed = (np.pad(random_rain(seed), border) for seed in (0, 1))
    ours = scores_of(forecast, observed, thresholds_mm_h=[0.5, 2.0], scales_km=[1, 3, window])
    leads = {"lead_time": ours["lead_time"]}
    fcst, obs = (
        xr.DataArray(a, dims=("lead_time", "y", "x"), coords=leads).astype(float)
        for a in (forecast, observed)
    )
    for name in ("mae", "rmse", "mean_error"):
        theirs = getattr(scores.continuous, name)(fcst, obs, preserve_dims="lead_time")
        np.testing.assert_allclose(ours[name], theirs, rtol=1e-6)
    for threshold in ours["threshold"].values:
        event = scores.categorical.ThresholdEventOperator(
            default_event_threshold=threshold, default_op_fn=operator.ge
        )
        table = event.make_contingency_manager(fcst, obs).transform(preserve_dims="lead_time")
        for name, theirs in {
            "csi": table.critical_success_index(),
            "pod": table.probability_of_detection(),
            "far": table.false_alarm_ratio(),
            "frequency_bias": table.frequency_bias(),
            "base_rate": table.base_rate(),
        }.items():
            np.testing.assert_allclose(ours[name].sel(threshold=threshold), theirs, rtol=1e-6)
        for scale in ours["scale"].values:
            theirs = scores.spatial.fss_2d(
                fcst,
                obs,
                event_threshold=threshold,
                window_size=(int(scale), int(scale)),
                spatial_dims=("y", "x"),
                preserve_dims="lead_time",
                threshold_operator=np.greater_equal,
            )
            mine = ours["fss"].sel(threshold=threshold, scale=scale)
            np.testing.assert_allclose(mine, theirs, rtol=1e-6)


def fss_sums_by_loop(forecast: np.ndarray, observed: np.ndarray, radius: int) -> list[float]:
    known = ~np.isnan(forecast) & ~np.isnan(observed)
    total = [0.0, 0.0, 0.0]
    for y, x in np.argwhere(known):
        box = (slice(max(y - radius, 0), y + radius + 1), slice(max(x - radius, 0), x + radius + 1))
        pf, po = (np.mean(a[box][known[box]] >= 1.0) for a in (forecast, observed))
        total = [a + b for a, b in zip(total, [(pf - po) ** 2, pf**2, po**2], strict=True)]
    return total


@settings(deadline=None, max_examples=40)
@given(rain_fields, rain_fields)
def test_fss_sums_equal_those_of_a_plain_loop(forecast: np.ndarray, observed: np.ndarray) -> None:
    data = sums_of(forecast, observed, scales_km=[1, 3, 7, 15]).data.isel(threshold=0)
    for lead in range(2):
        for scale in (1, 3, 7, 15):
            here = data.isel(lead_time=lead).sel(scale=scale)
            names = ("fss_difference2", "fss_forecast2", "fss_observed2")
            expected = fss_sums_by_loop(forecast[lead], observed[lead], scale // 2)
            assert [float(here[name]) for name in names] == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(rain_fields, rain_fields)
def test_scores_keep_their_bounds(forecast: np.ndarray, observed: np.ndarray) -> None:
    sums = sums_of(forecast, observed)
    data, result = sums.data, scores_from_sums(sums)
    table = data["hits"] + data["misses"] + data["false_alarms"] + data["correct_negatives"]
    known = (~np.isnan(forecast) & ~np.isnan(observed)).sum(axis=(1, 2))
    np.testing.assert_array_equal(table.isel(threshold=0), known)
    np.testing.assert_array_equal(data["n_pixels"], known)
    for name in ("csi", "pod", "far", "base_rate", "fss"):
        values = result[name].values[~np.isnan(result[name].values)]
        assert ((values >= -1e-12) & (values <= 1)).all(), name
    assert not (result["mae"] > result["rmse"] * (1 + 1e-12)).any()
    flipped = scores_of(forecast[:, ::-1, ::-1], observed[:, ::-1, ::-1])
    xr.testing.assert_allclose(result, flipped, rtol=1e-12)


@settings(deadline=None, max_examples=20)
@given(rain_fields)
def test_a_perfect_forecast_has_perfect_scores(rain: np.ndarray) -> None:
    result = scores_of(rain, rain)
    perfect = {"csi": 1, "pod": 1, "far": 0, "frequency_bias": 1, "fss": 1, "mae": 0, "rmse": 0}
    for name, value in perfect.items():
        assert ((result[name] == value) | np.isnan(result[name])).all(), name


@pytest.mark.parametrize(
    ("scales_km", "pixel_km", "windows"),
    [
        ([1, 5, 10, 20], 1.0, (1, 5, 11, 21)),
        ([1, 5, 10, 20], 2.0, (1, 3, 5, 11)),
        ([0.3, 0.6], 0.1, (3, 7)),
        ([], 1.0, ()),
    ],
)
def test_fss_windows(scales_km: list[float], pixel_km: float, windows: tuple[int, ...]) -> None:
    assert fss_windows_px(scales_km, pixel_km) == windows


def test_without_scales_there_is_no_fss() -> None:
    assert scores_of(random_rain(0), random_rain(1), scales_km=[])["fss"].size == 0


FIELD = np.zeros((2, 4, 5), np.float32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"forecast": FIELD[:, 1:]}, "forecast 'forecast' has shape (2, 3, 5), expected that of"),
        ({"observed": FIELD[0]}, "observed has shape (4, 5), expected (lead_time, y, x)"),
        ({"valid": FIELD}, "valid is float32 with shape (2, 4, 5), expected bool"),
        ({"valid": FIELD[0, 0] == 0}, "valid is bool with shape (5,), expected bool with shape"),
        ({"thresholds_mm_h": [0.0, 1.0]}, "thresholds are [0.0, 1.0] mm/h, expected positive"),
        ({"thresholds_mm_h": [1.0, 1.0]}, "thresholds are [1.0, 1.0] mm/h, expected positive"),
        ({"lead_times": np.array([5, 10])}, "lead_times is int64 with shape (2,), expected timed"),
        ({"lead_times": np.array([5], "m8[m]")}, "with shape (1,), expected timedelta64 with shap"),
        ({"scales_km": [1, 0]}, "FSS scale is 0 km, expected a positive number"),
        ({"scales_km": [3, 3.5]}, "FSS scales 3 km and 3.5 km are both windows of 3 pixels"),
        ({"pixel_km": 0.0}, "pixel size is 0.0 km, expected a positive number"),
    ],
)
def test_wrong_input_is_refused(changes: dict[str, Any], message: str) -> None:
    arguments = {"forecast": FIELD, "observed": FIELD, **settings_for(2), **changes}
    with pytest.raises(ValueError, match=re.escape(message)):
        score_sums(**arguments)


def test_no_forecast_is_refused() -> None:
    with pytest.raises(ValueError, match="no forecast to score"):
        score_sums_by_method({}, FIELD, **settings_for(2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"thresholds_mm_h": [2.0]}, "different threshold cannot be added: [1.0] and [2.0]"),
        ({"scales_km": [1]}, "different scale cannot be added: [1.0, 3.0] and [1.0]"),
    ],
)
def test_sums_with_other_axes_are_not_added(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        sums_of(FIELD, FIELD) + sums_of(FIELD, FIELD, **changes)


def test_sums_with_and_without_methods_are_not_added() -> None:
    by_method = score_sums_by_method({"a": FIELD}, FIELD, **settings_for(2))
    with pytest.raises(ValueError, match=re.escape("different method cannot be added: none and")):
        sums_of(FIELD, FIELD) + by_method
