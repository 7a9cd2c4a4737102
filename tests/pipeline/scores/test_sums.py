"""Sums that add up in any split, and input that they refuse."""

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

from squall.pipeline.forecast import pixels
from squall.pipeline.scores.skill import scores_from_sums
from squall.pipeline.scores.sums import ScoreSums, score_sums_by_method
from tests.pipeline.scores.rain_examples import (
    NAN,
    rain_fields,
    random_rain,
    settings_for,
    sums_of,
)


def test_sums_of_cases_in_two_halves_add_up() -> None:
    cases = [(random_rain(2 * i), random_rain(2 * i + 1)) for i in range(6)]
    for forecast, observed in cases:
        observed[:, :4], forecast[1, 5:9] = NAN, NAN
    case_sums = [sums_of(*case) for case in cases]
    in_order = (
        case_sums[0] + case_sums[1] + case_sums[2] + case_sums[3] + case_sums[4] + case_sums[5]
    )
    in_halves = (case_sums[4] + case_sums[1] + case_sums[0]) + (
        case_sums[5] + case_sums[3] + case_sums[2]
    )
    left, right = (scores_from_sums(sums) for sums in (in_order, in_halves))
    xr.testing.assert_allclose(left, right, rtol=1e-12, atol=0)
    assert (left["n_cases"] == 6).all()
    for name in ("hits", "misses", "false_alarms", "correct_negatives", "n_pixels"):
        np.testing.assert_array_equal(in_order.data[name], in_halves.data[name])


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_any_split_of_cases_gives_the_same_scores(data: st.DataObject) -> None:
    cases = data.draw(st.lists(st.tuples(rain_fields, rain_fields), min_size=2, max_size=5))
    case_sums = [sums_of(*case) for case in cases]
    all_scores = scores_from_sums(reduce(add, case_sums))
    shuffled = data.draw(st.permutations(case_sums))
    cut = data.draw(st.integers(1, len(case_sums) - 1))
    split = reduce(add, shuffled[:cut]) + reduce(add, shuffled[cut:])
    xr.testing.assert_allclose(scores_from_sums(split), all_scores, rtol=1e-9, atol=1e-12)


def test_a_file_stores_sums_without_loss(tmp_path: Path) -> None:
    sums = score_sums_by_method(
        {"a": random_rain(0), "models/b.ckpt": random_rain(1)}, random_rain(2), **settings_for(3)
    )
    sums.data.to_netcdf(tmp_path / "sums.nc")
    loaded = ScoreSums(xr.load_dataset(tmp_path / "sums.nc", decode_timedelta=True))
    xr.testing.assert_identical(loaded.data, sums.data)
    for name in sums.data.data_vars:
        assert loaded.data[name].dtype == sums.data[name].dtype
    xr.testing.assert_identical((loaded + sums).data, (sums + sums).data)


def test_all_methods_are_summed_over_the_same_pixels() -> None:
    first, second, observed = random_rain(0), random_rain(1), random_rain(2)
    second[:, :, :5] = NAN
    both = score_sums_by_method({"a": first, "b": second}, observed, **settings_for(3)).data
    assert both["method"].values.tolist() == ["a", "b"]
    known = ~np.isnan(second)
    for method, forecast in {"a": first, "b": second}.items():
        alone = sums_of(forecast, observed, valid=known).data
        xr.testing.assert_identical(both.sel({"method": method}, drop=True), alone)


@pytest.mark.parametrize("values", [1, 30, 10**6])
def test_errors_of_strips_add_up(monkeypatch: pytest.MonkeyPatch, values: int) -> None:
    forecast, observed = random_rain(0), random_rain(1)
    whole = sums_of(forecast, observed).data
    monkeypatch.setattr(pixels, "STRIP_VALUES", values)
    xr.testing.assert_allclose(sums_of(forecast, observed).data, whole, rtol=1e-12)


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
    forecasts = {"forecast": arguments.pop("forecast")}
    with pytest.raises(ValueError, match=re.escape(message)):
        score_sums_by_method(forecasts, **arguments)


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
def test_sums_with_different_axes_are_not_added(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        sums_of(FIELD, FIELD) + sums_of(FIELD, FIELD, **changes)


def test_sums_with_and_without_methods_are_not_added() -> None:
    by_method = score_sums_by_method({"a": FIELD}, FIELD, **settings_for(2))
    with pytest.raises(ValueError, match=re.escape("different method cannot be added: none and")):
        sums_of(FIELD, FIELD) + by_method
