"""Sums of several archives on common axes, so that they can be added.

Radar networks differ in time step and grid spacing. FSS scales get the requested width as their
label; the width on a grid differs from it by less than a pixel. If the steps differ, lead times are
put in bins as long as `BIN` or the longest step. A network with a shorter step then has more lead
times in a bin.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from squall.pipeline.scores.fss import fss_windows_px
from squall.pipeline.scores.sums import ScoreSums

BIN = pd.Timedelta(minutes=10)


def scales_of_grid(scales_km: Sequence[float], pixel_km: float) -> tuple[float, ...]:
    """The scales whose neighbourhoods differ on a grid.

    Of scales with the same neighbourhood, only the one nearest to its width is kept.
    """
    scale_of_window: dict[int, float] = {}
    for scale in scales_km:
        window = fss_windows_px([scale], pixel_km)[0]
        width_km = window * pixel_km
        other = scale_of_window.get(window)
        if other is None or abs(scale - width_km) < abs(other - width_km):
            scale_of_window[window] = scale
    return tuple(scale_of_window.values())


def on_common_axes(
    sums: Sequence[ScoreSums], scales_km: Sequence[Sequence[float]]
) -> list[ScoreSums]:
    """The same sums on common scales and, where lead times differ, in bins of lead times.

    Parameters
    ----------
    sums : of archives, or of their blocks, with the same methods and thresholds.
    scales_km : for each of the sums, the requested scales, in the order of its coordinate
        ``scale``.

    Returns
    -------
    One for each of the sums. `n_cases` of a bin is the largest of its lead times.

    Raises
    ------
    ValueError
        If the lead times of one end before those of another begin.
    """
    shared = [s for s in scales_km[0] if all(s in scales for scales in scales_km)]
    on_shared_scales = []
    for archive_sums, requested in zip(sums, scales_km, strict=True):
        data = archive_sums.data
        labels = ("scale", list(map(float, requested)), data["scale"].attrs)
        on_shared_scales.append(data.assign_coords(scale=labels).sel(scale=shared))
    leads = [data["lead_time"].values for data in on_shared_scales]
    if all(np.array_equal(lead, leads[0]) for lead in leads):
        return [ScoreSums(data) for data in on_shared_scales]
    bin_ends = _bin_ends(leads)
    return [ScoreSums(_binned(data, bin_ends)) for data in on_shared_scales]


def _bin_ends(leads: Sequence[npt.NDArray[np.timedelta64]]) -> pd.TimedeltaIndex:
    """Ends (inclusive) of the bins in which every archive has lead times."""
    longest_step = max(pd.Timedelta(lead[0]) for lead in leads)
    width = max(BIN, longest_step)
    horizon = min(pd.Timedelta(lead[-1]) for lead in leads)
    if horizon < longest_step:
        raise ValueError(
            f"no common lead time: one ends at {horizon}, one begins at {longest_step}"
        )
    count = max(1, int(horizon // width))
    return pd.TimedeltaIndex([min(horizon, width * (k + 1)) for k in range(count)])


def _binned(data: xr.Dataset, bin_ends: pd.TimedeltaIndex) -> xr.Dataset:
    """Sums added up in bins of lead times."""
    number = bin_ends.searchsorted(pd.TimedeltaIndex(data["lead_time"].values), side="left")
    bins = []
    for k in range(len(bin_ends)):
        in_bin = data.isel(lead_time=number == k)
        bins.append(in_bin.sum("lead_time").assign(n_cases=in_bin["n_cases"].max("lead_time")))
    width = f"{bin_ends[0] / pd.Timedelta(minutes=1):g} min"
    comment = f"ends of bins of {width}, because the archives have different time steps"
    attrs = data["lead_time"].attrs | {"comment": comment}
    lead_time = xr.Variable("lead_time", bin_ends.values, attrs)
    joined = xr.concat(bins, dim="lead_time", coords="minimal").assign_coords(lead_time=lead_time)
    return joined.map(lambda array: array.transpose(*data[array.name].dims))
