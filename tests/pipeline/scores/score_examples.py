"""Invented scores, in the form of `scores_from_sums`, for tests of tables and figures."""

import numpy as np
import xarray as xr

METHODS = ("squall-base", "s-prog", "persistence")
THRESHOLDS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
SCALES_KM = (1.0, 4.0, 16.0, 64.0)
LEADS = np.array([5, 15, 30, 60], "m8[m]").astype("m8[ns]")

_BY_LEAD = ("method", "lead_time")
_BY_THRESHOLD = ("method", "threshold", "lead_time")
_BY_SCALE = ("method", "threshold", "scale", "lead_time")
_SCORES = {
    **dict.fromkeys(("csi", "pod", "far", "frequency_bias", "hss"), _BY_THRESHOLD),
    "fss": _BY_SCALE,
    **dict.fromkeys(("mae", "rmse", "mean_error", "b_mae", "b_mse", "correlation"), _BY_LEAD),
    "log_spectral_distance": _BY_LEAD,
}


def example_scores(
    methods: tuple[str, ...] = METHODS,
    thresholds: tuple[float, ...] = THRESHOLDS,
    *,
    intervals: bool = True,
) -> xr.Dataset:
    """Random values from 0.2 to 0.9; the base rate is 20 % at every threshold."""
    wavelengths = np.array([4.0, 8.0, 16.0, 32.0])
    coords = {
        "method": list(methods),
        "threshold": list(thresholds),
        "scale": list(SCALES_KM),
        "lead_time": LEADS,
        "wavelength": wavelengths,
    }
    scores = xr.Dataset(coords=coords)
    random = np.random.default_rng(0)
    for name, dims in _SCORES.items():
        values = random.uniform(0.2, 0.9, [scores.sizes[dim] for dim in dims])
        scores[name] = (dims, values)
        if intervals:
            scores[f"{name}_low"] = (dims, values - 0.05)
            scores[f"{name}_high"] = (dims, values + 0.05)
            mean = scores[name].mean("lead_time")
            scores[f"{name}_mean_low"], scores[f"{name}_mean_high"] = mean - 0.03, mean + 0.02
    scores["base_rate"] = xr.full_like(scores["csi"], 0.2)
    scores["n_pixels"] = (_BY_LEAD, np.full((len(methods), 4), 12_345))
    scores["n_cases"] = (_BY_LEAD, np.full((len(methods), 4), 7))
    scores["power_observed"] = (("lead_time", "wavelength"), np.tile(wavelengths**2, (4, 1)))
    scores["power"] = scores["power_observed"] * xr.DataArray(
        np.linspace(0.5, 1.0, len(methods)), dims="method"
    )
    scores["seconds"] = ("method", np.linspace(0.5, 8.0, len(methods)))
    return scores
