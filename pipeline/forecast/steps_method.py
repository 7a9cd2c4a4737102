"""STEPS, the ensemble of pysteps: members, and their mean.

Public: `StepsMethod`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from squall.pipeline.forecast.field_file import FieldFile
from squall.pipeline.forecast.names import STEPS_MEMBERS
from squall.pipeline.forecast.pysteps_methods import (
    CASCADE_LEVELS,
    UNUSABLE,
    WET_DBR,
    Doubles,
    Prepared,
    PystepsMethod,
    Rates,
    problem_of,
    quiet,
    rate_from_dbr,
    submodule,
)

# How fast the errors of the motion grow: a t**b + c [km/h], t in minutes, along and across the
# motion. pysteps documents these numbers for its optical flow of Lucas and Kanade, fitted to radar
# data of Finland and Switzerland ("lucaskanade/fmi+mch" in the docstring of
# `pysteps.nowcasts.steps.forecast`). Its defaults are those of Bowler et al. (2006) for another
# optical flow: 20 km/h after an hour instead of 6.6 km/h.
ALONG_MOTION = (2.31970635, 0.33734287, -2.64972861)
ACROSS_MOTION = (1.90769947, 0.33446594, -2.06603662)


@dataclass(frozen=True)
class StepsMethod(PystepsMethod):
    """STEPS (Bowler et al. 2006, https://doi.org/10.1256/qj.04.100); an `EnsembleMethod`.

    The noise is adjusted to the dry areas of the scan (``noise_stddev_adj="auto"`` of pysteps). The
    random numbers follow from the scans, so that two cases have different ones, and a repeated
    forecast has the same. Member k does not depend on the number of members.

    pysteps makes all members of a lead time together and cannot pause. The members are therefore
    written to a temporary file, and `ensemble` reads one lead time after the other. The last
    forecast is kept: `nowcast` and `ensemble` of the same scans compute it once.

    Parameters
    ----------
    members : `nowcast` is the mean of so many members, in mm/h.
    """

    members: int = field(default=STEPS_MEMBERS, kw_only=True)
    _last: dict[tuple[int, int, int], _Members] = field(
        default_factory=dict, compare=False, repr=False, kw_only=True
    )

    @property
    def digest(self) -> str:
        """Version of pysteps, the settings, and the number of members of the mean."""
        settings = f"Lucas-Kanade perturbations, noise adjusted, {self.members} members"
        return f"{super().digest}, {settings}"

    def nowcast(self, context: Rates, lead_times: int) -> Rates:
        """The mean of the members known at a pixel; see `PystepsMethod.nowcast`."""
        return self._made(context, lead_times, self.members).mean

    def ensemble(
        self, context: Rates, lead_times: int, members: int, reference_time: np.datetime64
    ) -> Iterator[Rates]:
        """Forecast the members; see `EnsembleMethod.ensemble`.

        A pixel of a member is NaN where the trajectory along the motion, or along the perturbed
        motion of the member, starts outside the observed area or the grid. The reference time is
        not used.

        Raises
        ------
        DataError
            If a scan of the context is missing.
        """
        yield from self._made(context, lead_times, members)

    def _made(self, context: Rates, lead_times: int, members: int) -> _Members:
        """All members, from the last call if it was the same."""
        seed = zlib.crc32(np.ascontiguousarray(context).tobytes())
        key = (seed, lead_times, members)
        if key not in self._last:
            self._last.clear()
            with quiet():
                prepared = self.prepared(context, lead_times)
                self._last[key] = self._members(prepared, members, seed)
        return self._last[key]

    def _members(self, prepared: Prepared, members: int, seed: int) -> _Members:
        """Members of pysteps; where it cannot make them, all are the extrapolation."""
        if not prepared.is_dry:
            made = _Members(members, prepared)
            try:
                self._run(prepared, members, seed, made)
                problem = problem_of(made.finished(), prepared.extrapolated)
            except UNUSABLE as error:
                problem = str(error) or type(error).__name__
            if not problem:
                return made
            self.replace(problem)
        made = _Members(members, prepared)
        for extrapolated in prepared.extrapolated:
            made.append(np.broadcast_to(extrapolated, (members, *extrapolated.shape)))
        made.finished()
        return made

    def _run(self, prepared: Prepared, members: int, seed: int, made: _Members) -> None:
        submodule("nowcasts.steps").forecast(
            prepared.dbr,
            prepared.motion,
            len(prepared.extrapolated),
            n_ens_members=members,
            n_cascade_levels=CASCADE_LEVELS,
            precip_thr=WET_DBR,
            kmperpixel=self.pixel_km,
            timestep=self.step_minutes,
            noise_method="nonparametric",
            noise_stddev_adj="auto",
            vel_pert_kwargs={"p_par": ALONG_MOTION, "p_perp": ACROSS_MOTION},
            seed=seed,
            callback=lambda members_dbr: made.append(rate_from_dbr(members_dbr)),
            return_output=False,
        )


class _Members:
    """Members of one forecast in a temporary file, and their mean in memory.

    Iterating yields (member, y, x) float32, mm/h, of each lead time.

    Parameters
    ----------
    members : their number.
    """

    def __init__(self, members: int, prepared: Prepared) -> None:
        self._shape = (members, *prepared.motion.shape[1:])
        self._is_known = prepared.is_known
        self._file = FieldFile()
        self._means: list[Doubles] = []
        self.mean: Rates = np.empty(0, np.float32)

    def append(self, rain_rate: Doubles) -> None:
        """Add the members of the next lead time; pysteps leaves out dimensions of size 1."""
        rain_rate = rain_rate.reshape(self._shape)
        self._means.append(np.nanmean(rain_rate, axis=0))
        is_known = self._is_known[len(self._means) - 1]
        self._file.append(np.where(is_known, rain_rate, np.nan).astype(np.float32))

    def finished(self) -> Doubles:
        """The mean of the members, (lead_time, y, x), also where it is not known."""
        mean = np.stack(self._means)
        if mean.shape != self._is_known.shape:
            raise RuntimeError(f"{len(mean)} of {len(self._is_known)} lead times")
        self.mean = np.where(self._is_known, mean, np.nan).astype(np.float32)
        return mean

    def __iter__(self) -> Iterator[Rates]:
        return iter(self._file)
