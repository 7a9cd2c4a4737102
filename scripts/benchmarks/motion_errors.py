"""Errors of the forecast motion of rain, by lead time and distance.

The displacement that is forecast from the scans up to a reference time is compared with the
displacement along the motion that the later scans show. The later motion has errors of its own, so
the errors printed here are a little too large.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy.optimize import curve_fit
from tables import keep, parser, show
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample

from squall.convgru.motion import COARSE, FLOW_SCANS, coarse_motion, pad_to, trajectories
from squall.datasets.archive import Archive

Floats = npt.NDArray[np.float64]

LEADS_MIN = range(5, 65, 5)
WET_MM_H = 0.2
LEAST_WET_SHARE = 0.1  # of a cell, at the start and at the end of its trajectory
SLOWEST_KM = 1.0  # shorter displacements have no direction
DISTANCES_KM = (0, 25, 50, 75, 100, 150, 200, 300, 400)
MOST_CELLS = 800  # of a case, for the correlation over distance


class Errors(NamedTuple):
    """What the forecast displacement lacks of the one found later, at one lead time of one case."""

    along_km: Floats
    across_km: Floats
    """to the right of the forecast displacement"""
    places_km: Floats
    """(cells, 2)"""


class Scans:
    """The scans of an archive and the motion at their times."""

    def __init__(self, address: str) -> None:
        self.archive = Archive.open(address)
        self.step_min = self.archive.step.total_seconds() / 60
        self.spacing_km = self.archive.grid.pixel_size_m / 1000
        self.motion = lru_cache(64)(self._motion)
        self.wet = lru_cache(64)(self._wet)

    def _motion(self, index: int) -> Tensor:
        """(1, 2, h, w): pixels per step, from the scans up to this one."""
        rates = self.archive.read(index - FLOW_SCANS + 1, FLOW_SCANS).to_numpy()
        return coarse_motion(torch.from_numpy(rates)[None, :, None])

    def _wet(self, index: int) -> Tensor:
        """(1, 1, h, w): share of wet pixels of each cell."""
        rates = torch.from_numpy(self.archive.read(index, 1).to_numpy())[None]
        return avg_pool2d(pad_to((rates >= WET_MM_H).float(), COARSE), COARSE)


def at_places(field_1Chw: Tensor, places_N2: Tensor) -> Tensor:
    """(N, C): a field on the coarse grid at places (column, row) [px]; as at the edge outside."""
    sides = field_1Chw.new_tensor([field_1Chw.shape[-1], field_1Chw.shape[-2]]) * COARSE
    grid = (2 * places_N2 + 1) / sides - 1
    sampled = grid_sample(field_1Chw, grid[None, None], padding_mode="border", align_corners=False)
    return sampled[0, :, 0].T


def errors_of_case(scans: Scans, first: int) -> Iterator[tuple[float, Errors]]:
    """Lead time [min] and errors at the wet cells of a reference scan, as long as scans follow."""
    start_wet = scans.wet(first)[0, 0]
    row, column = (start_wet > LEAST_WET_SHARE).nonzero(as_tuple=True)
    starts = (torch.stack([column, row], dim=1) + 0.5) * COARSE - 0.5
    status = scans.archive.status
    steps = int(LEADS_MIN[-1] / scans.step_min)
    paths = -trajectories(-scans.motion(first), steps)
    places = starts.clone()
    for step in range(1, steps + 1):
        if first + step >= len(status) or (status[first : first + step + 1] != 1).any():
            return
        motion = scans.motion(first + step)
        middle = places + 0.5 * at_places(motion, places)
        places = places + at_places(motion, middle)
        minutes = step * scans.step_min
        if minutes not in LEADS_MIN:
            continue
        forecast = at_places(paths[step - 1], starts)
        is_wet = at_places(scans.wet(first + step), places)[:, 0] > LEAST_WET_SHARE
        length = forecast.norm(dim=1)
        used = is_wet & (length * scans.spacing_km > SLOWEST_KM)
        direction = forecast[used] / length[used, None]
        error = (places - starts - forecast)[used] * scans.spacing_km
        along = (error * direction).sum(dim=1)
        across = error[:, 1] * direction[:, 0] - error[:, 0] * direction[:, 1]
        where = starts[used] * scans.spacing_km
        yield minutes, Errors(*(x.double().numpy() for x in (along, across, where)))


def correlations(cases: list[Errors], deviation_km: float) -> Floats:
    """Correlation of the components along the motion, by `DISTANCES_KM`.

    Errors are limited to three robust standard deviations.
    """
    products, counts = (np.zeros(len(DISTANCES_KM) - 1) for _ in range(2))
    random = np.random.default_rng(0)
    for errors in cases:
        chosen = random.permutation(len(errors.along_km))[:MOST_CELLS]
        values = np.clip(errors.along_km[chosen] / deviation_km, -3, 3)
        places = errors.places_km[chosen]
        distance = np.hypot(*(places[:, None] - places).transpose(2, 0, 1))
        upper = np.triu_indices(len(chosen), 1)
        bins = np.digitize(distance[upper], DISTANCES_KM) - 1
        inside = bins < len(products)
        product = np.outer(values, values)[upper][inside]
        products += np.bincount(bins[inside], product, len(products))
        counts += np.bincount(bins[inside], minlength=len(products))
    variance = np.mean(
        np.concatenate([np.clip(e.along_km / deviation_km, -3, 3) ** 2 for e in cases])
    )
    return np.asarray(products / np.maximum(counts, 1) / variance)


def fitted(rows: list[dict[str, Any]], component: str) -> tuple[float, float, float]:
    """a, b, c of ``a t**b + c`` [km], all archives with the same weight."""
    minutes = np.array([row["lead [min]"] for row in rows], float)
    deviation = np.array([row[f"{component} [km]"] for row in rows])
    names = [row["archive"] for row in rows]
    sigma = np.sqrt([names.count(name) for name in names]) * minutes  # relative errors
    (a, b, c), _ = curve_fit(
        lambda t, a, b, c: a * t**b + c,
        *(minutes, deviation),
        p0=(0.05, 1.0, 0.0),
        sigma=sigma,
        bounds=([0, 0.3, -2], [5, 2, 2]),
    )
    return float(a), float(b), float(c)


def reference_indices(scans: Scans, period: str, every_min: float) -> list[int]:
    """Scans of a period that a context is complete at."""
    times = scans.archive.times
    if period:
        first, last = (pd.Timestamp(text) for text in period.split("/"))
    else:
        first, last = times[0], times[-1]
    every = max(1, round(every_min / scans.step_min))
    status = np.asarray(scans.archive.status)
    inside = [
        i
        for i in range(FLOW_SCANS - 1, len(times))
        if first <= times[i] <= last and (status[i - FLOW_SCANS + 1 : i + 1] == 1).all()
    ]
    return inside[::every]


def measure(arguments: Namespace) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A row for each archive and lead time; and the correlations at the longest lead time."""
    found: dict[str, dict[float, list[Errors]]] = {}
    for entry in arguments.archives:
        address, _, period = entry.partition("@")
        scans = Scans(address)
        of_lead = found.setdefault(scans.archive.name, {})
        for index in reference_indices(scans, period, arguments.every):
            for minutes, errors in errors_of_case(scans, index):
                of_lead.setdefault(minutes, []).append(errors)
    rows, by_distance = [], []
    for name, of_lead in found.items():
        for minutes, cases in sorted(of_lead.items()):
            along, across = (
                np.concatenate([getattr(errors, part) for errors in cases])
                for part in ("along_km", "across_km")
            )
            if not len(along):
                continue
            row = {"archive": name, "lead [min]": minutes, "cases": len(cases), "cells": len(along)}
            for component, values in (("along", along), ("across", across)):
                row[f"{component} [km]"] = float(1.4826 * np.median(np.abs(values)))
                row[f"mean {component} [km]"] = float(values.mean())
            rows.append(row)
        correlation = correlations(cases, row["along [km]"])
        ranges = [f"{a}-{b} km" for a, b in pairwise(DISTANCES_KM)]
        by_distance.append(
            {"archive": name, **dict(zip(ranges, correlation.tolist(), strict=True))}
        )
    return rows, by_distance


def main() -> None:
    options = parser((__doc__ or "").split("\n")[0])
    options.add_argument(
        "archives", nargs="+", help="ARCHIVE or ARCHIVE@FROM/TO, the same one any number of times"
    )
    options.add_argument("--every", type=float, default=60.0, help="minutes between cases")
    arguments = options.parse_args()
    rows, by_distance = measure(arguments)
    show(rows)
    show(by_distance)
    fits = []
    for component in ("along", "across"):
        a, b, c = fitted(rows, component)
        fits.append({"component": component, "a": a, "b": b, "c": c, "60 min": a * 60**b + c})
    show(fits)
    keep(arguments, {"rows": rows, "correlations": by_distance, "fits": fits})


if __name__ == "__main__":
    main()
