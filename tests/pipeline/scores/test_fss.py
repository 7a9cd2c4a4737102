"""FSS neighbourhoods: their widths, and sums that equal those of a plain loop."""

import numpy as np
import pytest
from hypothesis import given, settings

from squall.pipeline.scores.fss import fss_windows_px
from tests.pipeline.scores.rain_examples import (
    NAN,
    rain_fields,
    random_rain,
    scores_of,
    sums_of,
)


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
            at_scale = data.isel(lead_time=lead).sel(scale=scale)
            names = ("fss_difference2", "fss_forecast2", "fss_observed2")
            expected = fss_sums_by_loop(forecast[lead], observed[lead], scale // 2)
            # Shares are float32: the error of a difference is relative to the shares.
            tolerance = 1e-7 * (expected[1] + expected[2])
            sums = [float(at_scale[name]) for name in names]
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
