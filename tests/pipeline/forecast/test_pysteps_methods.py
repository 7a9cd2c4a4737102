"""The methods of pysteps on blobs of rain that move by 2 pixels to the right and 1 down a step."""

import numpy as np
import pytest

from squall.datasets.errors import DataError
from squall.pipeline.forecast.lagrangian_method import LagrangianMethod
from squall.pipeline.forecast.names import PYSTEPS_METHODS
from squall.pipeline.forecast.pysteps_methods import PystepsMethod, check_pysteps
from squall.pipeline.forecast.steps_method import StepsMethod

pytest.importorskip("pysteps")
pytest.importorskip("skimage")


def method(name, members=3):
    if name == "steps":
        return StepsMethod(name, 1.0, 5.0, 12, members=members)
    of_pysteps = LagrangianMethod if name == "lagrangian-probability" else PystepsMethod
    return of_pysteps(name, pixel_km=1.0, step_minutes=5.0, lead_times=12)


def scans(count, first=0):
    rows, columns = np.mgrid[:96, :96]
    rng = np.random.default_rng(4)
    blobs = rng.uniform((-20, -40, 3, 4), (100, 100, 12, 9), (14, 4))
    fields = np.zeros((count, 96, 96))
    for step in range(count):
        for y, x, peak, width in blobs:
            moved = step + first
            square = (rows - y - moved) ** 2 + (columns - x - 2 * moved) ** 2
            fields[step] += peak * np.exp(-square / (2 * width**2))
    return np.where(fields < 0.1, 0, fields).astype(np.float32)


@pytest.mark.parametrize("name", PYSTEPS_METHODS)
def test_moving_rain_is_forecast_better_than_by_persistence(name, capsys):
    check_pysteps(name)
    context, observed = scans(4), scans(4, first=4)
    forecast = method(name).nowcast(context, 4)
    assert forecast.dtype == np.float32
    is_known = ~np.isnan(forecast)
    assert 0.8 < is_known[-1].mean() < 1  # unknown rain enters at the edge
    error = np.abs(forecast - observed)[is_known].mean()
    assert error < 0.75 * np.abs(context[-1] - observed)[is_known].mean()
    assert capsys.readouterr().out == ""


def test_extrapolation_is_that_of_pysteps():
    from pysteps import motion, nowcasts
    from pysteps.utils.transformation import dB_transform

    context = scans(4)
    dbr, _ = dB_transform(context.astype(float), threshold=0.1, zerovalue=-15.0)
    velocity = motion.get_method("LK")(dbr)
    moved = nowcasts.get_method("extrapolation")(dbr[-1], velocity, 3)
    expected, _ = dB_transform(np.nan_to_num(moved, nan=-15), threshold=-10.0, inverse=True)
    forecast = method("pysteps-extrapolation").nowcast(context, 3)
    np.testing.assert_array_equal(np.isnan(forecast), np.isnan(moved))
    np.testing.assert_allclose(
        np.nan_to_num(forecast), np.where(np.isnan(moved), 0, expected), 1e-6
    )


@pytest.mark.parametrize("name", PYSTEPS_METHODS)
def test_pixels_advected_from_an_unobserved_area_are_not_known(name):
    context = scans(4)
    context[:, 40:56, 40:56] = np.nan
    forecast = method(name).nowcast(context, 3)
    assert np.isnan(forecast[2, 46:54, 50:58]).all()  # the hole has moved 6 to the right, 3 down
    assert not np.isnan(forecast[2, 46:54, 40:43]).any()  # rain has moved in there


@pytest.mark.parametrize("name", PYSTEPS_METHODS)
def test_without_rain_the_forecast_is_dry(name):
    assert (method(name).nowcast(np.zeros((4, 64, 64), np.float32), 2) == 0).all()


def test_a_missing_scan_is_refused():
    context = scans(4)
    context[1] = np.nan
    with pytest.raises(DataError, match="1 of 4 scans to start from are missing; s-prog needs all"):
        method("s-prog").nowcast(context, 2)


def test_the_ensemble_mean_is_reproducible_and_smoother_with_more_members():
    context = scans(4)
    few, repeated, many = (method("steps", n).nowcast(context, 3) for n in (2, 2, 8))
    np.testing.assert_array_equal(few, repeated)

    def roughness(forecast):
        return np.nanmean(np.abs(np.diff(forecast[-1], axis=0)))

    assert roughness(many) < roughness(few)
    assert "2 members" in method("steps", 2).digest


def hostile_contexts():
    """Contexts whose correlations pysteps cannot compute, or computes as 0 / 0."""
    rain, dry = scans(4)[:, 24:72, 24:72], np.zeros((4, 48, 48), np.float32)
    pixel, newest_pixel, one_pixel_observed = dry.copy(), dry.copy(), np.full_like(dry, np.nan)
    pixel[:, 24, 24] = newest_pixel[3, 24, 24] = one_pixel_observed[:, 24, 24] = 5
    nearly_dry = rain.copy()
    nearly_dry[:3] = 0
    nearly_dry[:3, 0, 0] = 0.2
    last_constant = rain.copy()
    last_constant[3] = 2
    contexts = {
        "one wet pixel": pixel,
        "one wet pixel in the last scan": newest_pixel,
        "one observed pixel": one_pixel_observed,
        "constant rain": dry + 2,
        "the heaviest rain everywhere": dry + 205,
        "the same scan": rain[[3, 3, 3, 3]],
        "the last scan is constant": last_constant,
        "nearly dry, then rain": nearly_dry,
    }
    for steps in ([0, 1], [0, 1, 2], [1], [2], [1, 2]):
        contexts[f"dry scans {steps}"] = rain.copy()
        contexts[f"dry scans {steps}"][steps] = 0
    return contexts


@pytest.mark.parametrize("name", ["s-prog", "linda", "steps"])
@pytest.mark.parametrize("label", hostile_contexts())
def test_rain_that_pysteps_cannot_correlate_is_extrapolated(name, label):
    context = hostile_contexts()[label]
    extrapolated = method("pysteps-extrapolation").nowcast(context, 2)
    forecast = method(name).nowcast(context, 2)
    assert not np.isinf(forecast).any()
    is_known = ~np.isnan(extrapolated) & ~np.isnan(forecast)
    assert is_known.sum() >= 0.8 * (~np.isnan(extrapolated)).sum()
    rain, expected = forecast[is_known].mean(), extrapolated[is_known].mean()
    assert 0.4 * expected <= rain <= 2 * expected


def test_the_log_says_that_the_forecast_is_an_extrapolation(caplog):
    context = hostile_contexts()["dry scans [0, 1]"]
    forecast = method("s-prog").nowcast(context, 2)
    np.testing.assert_array_equal(forecast, method("pysteps-extrapolation").nowcast(context, 2))
    assert "s-prog: dry or constant scans" in caplog.text
    assert "the forecast is that of pysteps-extrapolation" in caplog.text


@pytest.mark.parametrize("name", PYSTEPS_METHODS)
def test_after_a_dry_last_scan_the_forecast_is_dry(name):
    context = scans(4)
    context[3] = 0
    forecast = method(name).nowcast(context, 2)
    assert not np.nan_to_num(forecast).any()


@pytest.mark.parametrize("name", PYSTEPS_METHODS)
@pytest.mark.parametrize("side", [1, 7])
def test_a_tiny_grid_has_a_forecast(name, side):
    context = scans(4)[:, 40 : 40 + side, 40 : 40 + side]
    forecast = method(name).nowcast(context, 2)
    assert forecast.shape == (2, side, side)
    assert np.isfinite(forecast).any()
