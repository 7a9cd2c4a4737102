"""Sums of several archives brought to common axes, so that they can be added.

Networks differ in step and grid spacing. FSS scales are labelled by the width asked for, which a
grid meets within a pixel. Where steps differ, lead times fall into bins of `BIN` or the longest
step: a network with a shorter step counts more of its lead times in each.
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
    """The scales that make different neighbourhoods: of equal ones that nearest to its width."""
    kept: dict[int, float] = {}
    for scale in scales_km:
        window = fss_windows_px([scale], pixel_km)[0]
        width_km = window * pixel_km
        if window not in kept or abs(scale - width_km) < abs(kept[window] - width_km):
            kept[window] = scale
    return tuple(kept.values())


def on_common_axes(
    sums: Sequence[ScoreSums], scales_km: Sequence[Sequence[float]]
) -> list[ScoreSums]:
    """The same sums with equal axes: common scales and, where they differ, bins of lead times.

    Parameters
    ----------
    sums : of archives or parts of them, with equal methods and thresholds.
    scales_km : for each, the scales asked for, in the order of its coordinate ``scale``.

    Returns
    -------
    As many, where `n_cases` of a bin is that of its lead time with the most.
    """
    shared = [s for s in scales_km[0] if all(s in scales for scales in scales_km)]
    found = [
        one.data.assign_coords(
            scale=("scale", list(map(float, asked)), one.data["scale"].attrs)
        ).sel(scale=shared)
        for one, asked in zip(sums, scales_km, strict=True)
    ]
    leads = [data["lead_time"].values for data in found]
    if all(np.array_equal(lead, leads[0]) for lead in leads):
        return [ScoreSums(data) for data in found]
    edges = _bin_ends(leads)
    return [ScoreSums(_binned(data, edges)) for data in found]


def _bin_ends(leads: Sequence[npt.NDArray[np.timedelta64]]) -> pd.TimedeltaIndex:
    """Ends (inclusive) of the bins that every archive's lead times fill."""
    longest_step = max(pd.Timedelta(lead[0]) for lead in leads)
    width = max(BIN, longest_step)
    horizon = min(pd.Timedelta(lead[-1]) for lead in leads)
    count = max(1, int(horizon // width))
    return pd.TimedeltaIndex([min(horizon, width * (k + 1)) for k in range(count)])


def _binned(data: xr.Dataset, ends: pd.TimedeltaIndex) -> xr.Dataset:
    number = ends.searchsorted(pd.TimedeltaIndex(data["lead_time"].values), side="left")
    parts = []
    for k in range(len(ends)):
        part = data.isel(lead_time=number == k)
        parts.append(part.sum("lead_time").assign(n_cases=part["n_cases"].max("lead_time")))
    width = f"{ends[0] / pd.Timedelta(minutes=1):g} min"
    described = {"comment": f"ends of bins of {width}, for the archives' steps differ"}
    lead_time = xr.Variable("lead_time", ends.values, data["lead_time"].attrs | described)
    joined = xr.concat(parts, dim="lead_time", coords="minimal").assign_coords(lead_time=lead_time)
    return joined.map(lambda array: array.transpose(*data[array.name].dims))
