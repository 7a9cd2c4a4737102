"""Random rain for tests of scores, and the sums and scores of a single forecast."""

from typing import Any

import numpy as np
import xarray as xr
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from squall.pipeline.scores.skill import scores_from_sums
from squall.pipeline.scores.sums import ScoreSums, score_sums_by_method

NAN = np.nan

rain_fields = arrays(
    np.float32,
    (2, 5, 6),
    elements=st.sampled_from([NAN, 0.0, 0.5, 1.0, 1.5, 7.0]).map(np.float32),
)


def settings_for(n_leads: int, **changes: Any) -> dict[str, Any]:
    return {
        "lead_times": np.arange(1, n_leads + 1) * np.timedelta64(5, "m"),
        "thresholds_mm_h": [1.0],
        "scales_km": [1.0, 3.0],
        "pixel_km": 1.0,
        **changes,
    }


def sums_of(forecast: Any, observed: Any, **changes: Any) -> ScoreSums:
    """Sums of one forecast, without the dimension `method`."""
    forecast, observed = (np.asarray(a, dtype=np.float32) for a in (forecast, observed))
    sums = score_sums_by_method(
        {"forecast": forecast}, observed, **settings_for(len(observed), **changes)
    )
    return ScoreSums(sums.data.isel(method=0, drop=True))


def scores_of(forecast: Any, observed: Any, **changes: Any) -> xr.Dataset:
    return scores_from_sums(sums_of(forecast, observed, **changes))


def random_rain(seed: int, shape: tuple[int, ...] = (3, 20, 17)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rain = rng.gamma(0.5, 4.0, shape).astype(np.float32)
    return np.where(rng.random(shape) < 0.4, np.float32(0), rain)
