"""Spectra and the log-spectral distance equal hand-worked ones."""

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import gaussian_filter

from squall.pipeline.scores.skill import scores_from_sums
from squall.pipeline.scores.spectra import (
    FLOOR_DBR,
    WAVELENGTHS_KM,
    by_wavelength,
    dbr,
    log_spectral_distance,
    radial_power,
)
from squall.pipeline.scores.sums import ScoreSums, score_sums_by_method
from tests.pipeline.scores import rain_examples

SETTINGS = rain_examples.settings_for(1, scales_km=[1])


def one_pixel(rate: float) -> np.ndarray:
    """Rain in one pixel of 16 x 16. Every mode has the power (dBR + 15)² / 256."""
    rain = np.zeros((1, 16, 16), np.float32)
    rain[0, 7, 3] = rate
    return rain


def sums_of(forecast: np.ndarray, observed: np.ndarray) -> ScoreSums:
    return rain_examples.sums_of(forecast, observed, scales_km=[1])


def scores_of(forecast: np.ndarray, observed: np.ndarray) -> xr.Dataset:
    return scores_from_sums(sums_of(forecast, observed)).squeeze("lead_time")


def test_dry_is_the_floor() -> None:
    field = dbr(np.array([[0.0, 0.05, 0.1, 1.0, 10.0]], np.float32))
    np.testing.assert_allclose(field, [[FLOOR_DBR, FLOOR_DBR, -10, 0, 10]], atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_wave_has_its_power_at_its_wavelength_along_either_side(axis: int) -> None:
    position = np.indices((40, 80))[axis]
    power = radial_power(np.cos(2 * np.pi * position / 10))  # 8 waves along 80 pixels
    assert power.size == 39
    assert np.argmax(power) == 7
    np.testing.assert_allclose(np.delete(power, 7), 0, atol=1e-12)


def test_power_of_all_modes_is_the_variance() -> None:
    field = np.random.default_rng(0).normal(size=(200, 200))
    assert radial_power(field).mean() == pytest.approx(field.var(), rel=0.05)  # white noise


def test_wavelength_bins_take_the_mean_of_their_wavenumbers() -> None:
    # 32 pixels of 2 km have wavelengths 64, 32, 21.3, 16, 12.8, 10.7, 9.1, ... km. The bin of 22.6
    # has 21.3; the bin of 11.3 has 12.8 and 10.7. On the logarithmic axis 9.1 is nearer to 8.
    power = np.arange(1.0, 16)
    binned = dict(zip(WAVELENGTHS_KM.tolist(), by_wavelength(power, 32, 2.0), strict=True))
    assert binned[64.0] == 1
    assert binned[32.0] == 2
    assert binned[22.627] == 3
    assert binned[11.314] == (5 + 6) / 2
    assert np.isnan(binned[45.255])
    assert np.isnan(binned[128.0])
    assert np.isnan(binned[2.0])


def test_wavelengths_outside_all_bins_are_left_out() -> None:
    # 8 pixels of 0.25 km: 2, 1 and 0.67 km; 0.67 km is nearest to 0.707 km
    assert WAVELENGTHS_KM[[0, 1, -1]].tolist() == [0.5, 0.707, 2048]
    binned = by_wavelength(np.arange(1.0, 4), 8, 0.25)
    assert binned[[0, 1, 2]].tolist() == pytest.approx([np.nan, 3, 2], nan_ok=True)
    # 10 pixels of 0.1 km: 1, 0.5, 0.33 and 0.25 km; the last two are shorter than all bins
    binned = by_wavelength(np.arange(1.0, 5), 10, 0.1)
    assert binned[[0, 2]].tolist() == [2, 1]
    assert np.nansum(binned) == 3
    # 8 pixels of 512 km: 4096 km is longer than all bins; 2048 and 1365 km are in the last two
    binned = by_wavelength(np.arange(1.0, 4), 8, 512.0)
    assert binned[[-1, -2]].tolist() == [2, 3]
    assert np.nansum(binned) == 5


def test_hand_worked_distance() -> None:
    result = scores_of(one_pixel(10), one_pixel(1))  # 25 and 15 dB above the floor
    assert float(result["log_spectral_distance"]) == pytest.approx(20 * np.log10(25 / 15))
    np.testing.assert_allclose(result["power"], 25**2 / 256)
    np.testing.assert_allclose(result["power_observed"], 15**2 / 256)


def test_pixels_that_do_not_count_are_at_the_floor_in_both_fields() -> None:
    forecast, observed = one_pixel(10), one_pixel(1)
    forecast[0, 12:] = 40.0  # not observed there
    observed[0, 12:] = np.nan
    expected = scores_of(one_pixel(10), one_pixel(1))
    for name in ("log_spectral_distance", "power", "power_observed"):
        xr.testing.assert_allclose(scores_of(forecast, observed)[name], expected[name])


def test_means_are_over_cases_with_rain() -> None:
    dry = np.zeros((1, 16, 16), np.float32)
    cases = [(one_pixel(10), one_pixel(1)), (dry, one_pixel(1)), (one_pixel(1), dry), (dry, dry)]
    sums = [sums_of(*case) for case in cases]
    result = scores_from_sums(sums[0] + sums[1] + sums[2] + sums[3]).squeeze("lead_time")
    assert float(result["log_spectral_distance"]) == pytest.approx(20 * np.log10(25 / 15))
    np.testing.assert_allclose(result["power_observed"], 15**2 / 256)
    np.testing.assert_allclose(
        result["power"], (25**2 + 0) / 2 / 256
    )  # two cases have observed rain


def test_a_blurred_forecast_has_lost_its_small_scales() -> None:
    rng = np.random.default_rng(0)
    observed = np.exp(2 * gaussian_filter(rng.normal(size=(1, 128, 128)), (0, 2, 2)) * 7)
    observed = observed.astype(np.float32)
    blurred = gaussian_filter(observed, (0, 3, 3))
    shifted = np.roll(observed, 5, axis=2)
    result = scores_from_sums(
        score_sums_by_method({"blurred": blurred, "shifted": shifted}, observed, **SETTINGS)
    ).squeeze("lead_time")
    distance = result["log_spectral_distance"]
    assert float(distance.sel({"method": "shifted"})) == pytest.approx(0, abs=1e-6)
    assert float(distance.sel({"method": "blurred"})) > 3
    ratio = result["power"].sel({"method": "blurred"}) / result["power_observed"]
    assert float(ratio.sel(wavelength=8)) < 0.2
    assert float(ratio.sel(wavelength=64)) > 0.3


def test_power_of_rounding_errors_is_ignored() -> None:
    assert log_spectral_distance(np.array([1e-30, 1.0]), np.array([1e-20, 1.0])) == 0


def test_fields_too_small_for_a_wave_have_no_spectrum() -> None:
    rain = np.ones((1, 2, 9), np.float32)
    assert np.isnan(scores_of(rain, rain)["log_spectral_distance"])
    one_wave = np.ones((1, 3, 3), np.float32)
    one_wave[0, 1, 1] = 10
    assert scores_of(one_wave, one_wave)["log_spectral_distance"] == 0
