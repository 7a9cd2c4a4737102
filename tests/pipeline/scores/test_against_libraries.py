"""Scores equal those of pysteps and of the library `scores` on the same fields."""

import operator

import numpy as np
import pytest
import scores.categorical
import scores.continuous
import scores.spatial
import xarray as xr

from squall.pipeline.scores.spectra import dbr, radial_power
from tests.pipeline.scores import rain_examples
from tests.pipeline.scores.rain_examples import random_rain

WINDOWS = [1, 3, 7]
THRESHOLDS = [0.5, 2.0]
PYSTEPS_NAMES = {"mae": "MAE", "rmse": "RMSE", "mean_error": "ME", "correlation": "corr_p"}


def scores_of(forecast: np.ndarray, observed: np.ndarray) -> xr.Dataset:
    return rain_examples.scores_of(
        forecast, observed, thresholds_mm_h=THRESHOLDS, scales_km=WINDOWS
    )


@pytest.fixture
def fields() -> tuple[np.ndarray, np.ndarray]:
    """Forecast and observation, dry along the border.

    At an edge, one library leaves out windows that reach outside, and the other fills them up with
    zeros. The border is as wide as the widest window, so no window with an event reaches outside
    and all three agree.
    """
    border = ((0, 0), (max(WINDOWS),) * 2, (max(WINDOWS),) * 2)
    return np.pad(random_rain(0), border), np.pad(random_rain(1), border)


def test_agrees_with_the_scores_library(fields: tuple[np.ndarray, np.ndarray]) -> None:
    forecast, observed = fields
    squall_scores = scores_of(forecast, observed)
    leads = {"lead_time": squall_scores["lead_time"]}
    fcst, obs = (
        xr.DataArray(a, dims=("lead_time", "y", "x"), coords=leads).astype(float)
        for a in (forecast, observed)
    )
    for name in ("mae", "rmse", "mean_error"):
        expected = getattr(scores.continuous, name)(fcst, obs, preserve_dims="lead_time")
        np.testing.assert_allclose(squall_scores[name], expected, rtol=1e-6)
    expected = scores.continuous.correlation.pearsonr(fcst, obs, preserve_dims="lead_time")
    np.testing.assert_allclose(squall_scores["correlation"], expected, rtol=1e-6)
    for threshold in squall_scores["threshold"].values:
        event = scores.categorical.ThresholdEventOperator(
            default_event_threshold=threshold, default_op_fn=operator.ge
        )
        table = event.make_contingency_manager(fcst, obs).transform(preserve_dims="lead_time")
        for name, expected in {
            "csi": table.critical_success_index(),
            "pod": table.probability_of_detection(),
            "far": table.false_alarm_ratio(),
            "frequency_bias": table.frequency_bias(),
            "hss": table.heidke_skill_score(),
            "base_rate": table.base_rate(),
        }.items():
            np.testing.assert_allclose(
                squall_scores[name].sel(threshold=threshold), expected, rtol=1e-6
            )
        for scale in squall_scores["scale"].values:
            expected = scores.spatial.fss_2d(
                fcst,
                obs,
                event_threshold=threshold,
                window_size=(int(scale), int(scale)),
                spatial_dims=("y", "x"),
                preserve_dims="lead_time",
                threshold_operator=np.greater_equal,
            )
            fss = squall_scores["fss"].sel(threshold=threshold, scale=scale)
            np.testing.assert_allclose(fss, expected, rtol=1e-6)


def test_agrees_with_pysteps(fields: tuple[np.ndarray, np.ndarray]) -> None:
    verification = pytest.importorskip("pysteps.verification")
    forecast, observed = fields
    squall_scores = scores_of(forecast, observed)
    for lead, (fcst, obs) in enumerate(zip(forecast, observed, strict=True)):
        at_lead = squall_scores.isel(lead_time=lead)
        expected = verification.det_cont_fct(
            fcst.astype(float), obs.astype(float), list(PYSTEPS_NAMES.values())
        )
        for name, pysteps_name in PYSTEPS_NAMES.items():
            assert float(at_lead[name]) == pytest.approx(expected[pysteps_name], rel=1e-6), name
        for threshold in THRESHOLDS:
            table = verification.det_cat_fct(fcst, obs, threshold)
            at_threshold = at_lead.sel(threshold=threshold)
            for name, pysteps_name in {
                "csi": "CSI",
                "pod": "POD",
                "far": "FAR",
                "frequency_bias": "BIAS",
                "hss": "HSS",
            }.items():
                assert float(at_threshold[name]) == pytest.approx(table[pysteps_name], rel=1e-6), (
                    name
                )
            for window in WINDOWS:
                fss = verification.fss(fcst, obs, threshold, window)
                assert float(at_threshold["fss"].sel(scale=window)) == pytest.approx(fss, rel=1e-6)


def test_missing_pixels_are_left_out_of_the_continuous_scores_as_in_pysteps() -> None:
    verification = pytest.importorskip("pysteps.verification")
    forecast, observed = random_rain(0, (1, 20, 17)), random_rain(1, (1, 20, 17))
    forecast[0, :3], observed[0, :, 5] = np.nan, np.nan
    squall_scores = scores_of(forecast, observed).squeeze()
    # pysteps computes the variance of a field also from pixels that the other field misses.
    missing = np.isnan(forecast) | np.isnan(observed)
    forecast[missing], observed[missing] = np.nan, np.nan
    expected = verification.det_cont_fct(
        forecast[0].astype(float), observed[0].astype(float), list(PYSTEPS_NAMES.values())
    )
    for name, pysteps_name in PYSTEPS_NAMES.items():
        assert float(squall_scores[name]) == pytest.approx(expected[pysteps_name], rel=1e-6), name


@pytest.mark.parametrize("side", [48, 49])
def test_spectra_are_those_of_pysteps(side: int) -> None:
    spectral = pytest.importorskip("pysteps.utils.spectral")
    transformation = pytest.importorskip("pysteps.utils.transformation")
    rain = random_rain(3, (side, side))
    pysteps_dbr, _ = transformation.dB_transform(rain.astype(float), threshold=0.1, zerovalue=-15)
    np.testing.assert_allclose(dbr(rain), pysteps_dbr, rtol=1e-6)
    np.testing.assert_allclose(
        radial_power(dbr(rain)), spectral.rapsd(pysteps_dbr, fft_method=np.fft)[1:], rtol=1e-6
    )
