"""Scores against hand-worked numbers and a plain loop; sums that add up in any split."""

import re
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from squall.pipeline.scores.skill import (
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


SPECTRA = ("log_spectral_distance", "power", "power_observed")

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
        "hss": 2 * (1 * 5 - 1 * 1) / (2 * 6 + 2 * 6),
        "base_rate": 2 / 8,
        "mae": 10 / 8,
        "rmse": np.sqrt(50 / 8),
        "mean_error": 0.0,
        "b_mae": (1 * 5 + 5 * 5) / 8,  # the miss is of 5 mm/h, which weighs 5
        "b_mse": (1 * 25 + 5 * 25) / 8,
        "correlation": (25 / 8 - 1.25**2) / (50 / 8 - 1.25**2),
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
    assert result["power"].dims == result["power_observed"].dims == ("lead_time", "wavelength")
    assert result["scale"].values.tolist() == [2.0, 22.0]  # 10 pixels have no middle: 11
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
    even = np.full((3, 20, 17), 0.7)  # whose variance, from sums, is not exactly 0
    assert np.isnan(scores_of(even, random_rain(0))["correlation"]).all()
    assert np.isnan(scores_of(random_rain(0), even)["correlation"]).all()


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


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_any_split_of_cases_gives_the_same_scores(data: st.DataObject) -> None:
    cases = data.draw(st.lists(st.tuples(rain_fields, rain_fields), min_size=2, max_size=5))
    parts = [sums_of(*case) for case in cases]
    together = scores_from_sums(reduce(add, parts))
    shuffled = data.draw(st.permutations(parts))
    cut = data.draw(st.integers(1, len(parts) - 1))
    split = reduce(add, shuffled[:cut]) + reduce(add, shuffled[cut:])
    xr.testing.assert_allclose(scores_from_sums(split), together, rtol=1e-9, atol=1e-12)


@settings(deadline=None, max_examples=25)
@given(rain_fields, rain_fields, st.integers(1, 4), st.integers(1, 5))
def test_tiles_add_up_to_the_field(
    forecast: np.ndarray, observed: np.ndarray, row: int, column: int
) -> None:
    whole = sums_of(forecast, observed, scales_km=[1, 3, 7])
    tiles = [
        sums_of(forecast, observed, scales_km=[1, 3, 7], tile=(rows, columns))
        for rows in (slice(0, row), slice(row, 5))
        for columns in (slice(0, column), slice(column, 6))
    ]
    left, right = scores_from_sums(reduce(add, tiles)), scores_from_sums(whole)
    names = sorted(set(SCORES) - {"n_cases", *SPECTRA})
    xr.testing.assert_allclose(left[names], right[names], rtol=1e-9, atol=1e-12)
    assert np.isnan(left["log_spectral_distance"]).all()
    assert left["wavelength"].size == 0


def test_sums_come_back_from_a_file_as_they_were(tmp_path: Path) -> None:
    sums = score_sums_by_method(
        {"a": random_rain(0), "models/b.ckpt": random_rain(1)}, random_rain(2), **settings_for(3)
    )
    sums.data.to_netcdf(tmp_path / "sums.nc")
    loaded = ScoreSums(xr.load_dataset(tmp_path / "sums.nc", decode_timedelta=True))
    xr.testing.assert_identical(loaded.data, sums.data)
    for name in sums.data.data_vars:
        assert loaded.data[name].dtype == sums.data[name].dtype
    xr.testing.assert_identical((loaded + sums).data, (sums + sums).data)


def test_methods_share_their_pixels() -> None:
    first, second, observed = random_rain(0), random_rain(1), random_rain(2)
    second[:, :, :5] = NAN
    both = score_sums_by_method({"a": first, "b": second}, observed, **settings_for(3)).data
    assert both["method"].values.tolist() == ["a", "b"]
    known = ~np.isnan(second)
    for method, forecast in {"a": first, "b": second}.items():
        alone = sums_of(forecast, observed, valid=known).data
        xr.testing.assert_identical(both.sel({"method": method}, drop=True), alone)


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
            # Shares are float32, so a small difference of two is exact to their size only.
            tolerance = 1e-7 * (expected[1] + expected[2])
            sums = [float(here[name]) for name in names]
            assert sums == pytest.approx(expected, rel=1e-7, abs=tolerance)


def test_fss_of_few_events_in_a_large_field_equals_that_of_a_plain_loop() -> None:
    forecast, observed = np.zeros((2, 1, 40, 50), np.float32)
    forecast[0, 2:5, 45:49], observed[0, 4:8, 41:46] = 5.0, 5.0
    observed[0, 3:30, 43] = NAN
    data = sums_of(forecast, observed, scales_km=[1, 9, 21]).data.squeeze()
    for scale in (1, 9, 21):
        names = ("fss_difference2", "fss_forecast2", "fss_observed2")
        sums = [float(data.sel(scale=scale)[name]) for name in names]
        assert sums == pytest.approx(
            fss_sums_by_loop(forecast[0], observed[0], scale // 2), rel=1e-6
        )


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
