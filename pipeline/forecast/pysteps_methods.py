"""The nowcasting methods of pysteps (https://pysteps.github.io), to compare with.

pysteps is the extra ``squall[baselines]`` and imported only when one of them is asked for. The
settings are those of pysteps' own examples. What pysteps prints never reaches our output.
"""

from __future__ import annotations

import importlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from squall.datasets.errors import ConfigError, DataError

Rates = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

CONTEXT = 4  # scans that the motion is found from; the nowcasts use the newest three of them
WET_MM_H, WET_DBR, DRY_DBR = 0.1, -10.0, -15.0
CASCADE_LEVELS = 6
LINDA_FEATURES = 15
SEED = 42


@dataclass(frozen=True)
class PystepsMethod:
    """One of `PYSTEPS_METHODS`, for archives of one grid spacing and step.

    Motion is Lucas–Kanade's optical flow of rain rate in dB, transport semi-Lagrangian.
    ``pysteps-extrapolation`` moves the last scan; ``s-prog`` is S-PROG (Seed 2003,
    https://doi.org/10.1175/1520-0450(2003)042<0381:ADASSA>2.0.CO;2), ``linda`` the deterministic
    LINDA (Pulkkinen et al. 2021, https://doi.org/10.1109/TGRS.2021.3110180), ``steps`` the mean
    in mm/h of the members of STEPS (Bowler et al. 2006, https://doi.org/10.1256/qj.04.100).

    Parameters
    ----------
    lead_times : steps to forecast where nobody says.
    members : of the STEPS ensemble.
    """

    name: str
    pixel_km: float
    step_minutes: float
    lead_times: int
    members: int
    context: int = CONTEXT

    @property
    def digest(self) -> str:
        """What decides its forecasts, beside this module."""
        members = f", {self.members} members" if self.name == "steps" else ""
        return f"pysteps {version('pysteps')}{members}"

    def nowcast(self, context: Rates, lead_times: int) -> Rates:
        """Forecast rain rate.

        pysteps wants fields without gaps: pixels not observed count as dry in motion and nowcast,
        and what the motion brings from them is not known.

        Parameters
        ----------
        context : (T, y, x), mm/h, NaN = not observed.

        Returns
        -------
        (lead_time, y, x), mm/h, NaN where no trajectory comes from what the last scan observed.

        Raises
        ------
        DataError
            If a scan of the context is missing: its neighbours would give a wrong motion.
        """
        missing = int(np.isnan(context).all(axis=(1, 2)).sum())
        if missing:
            raise DataError(
                f"{missing} of {len(context)} scans to start from are missing; {self.name} needs "
                "all of them"
            )
        rate = np.nan_to_num(context.astype(np.float64), nan=0.0)
        dbr = np.where(rate >= WET_MM_H, 10 * np.log10(np.maximum(rate, WET_MM_H)), DRY_DBR)
        with _quiet():
            motion = _submodule("motion.lucaskanade").dense_lucaskanade(dbr)
            transport = _submodule("extrapolation.semilagrangian").extrapolate
            observed = (~np.isnan(context[-1])).astype(np.float64)
            known = transport(observed, motion, lead_times) > 0.5  # False for NaN: from outside
            found = self._forecast(rate, dbr, motion, lead_times)
        return np.where(known, found, np.nan).astype(np.float32)

    def _forecast(self, rate: Doubles, dbr: Doubles, motion: Doubles, lead_times: int) -> Doubles:
        """(lead_time, y, x) mm/h from fields without gaps."""
        if self.name == "pysteps-extrapolation":
            run = _submodule("nowcasts.extrapolation").forecast
            return _rate_from_dbr(run(dbr[-1], motion, lead_times))
        if self.name == "s-prog":
            run = _submodule("nowcasts.sprog").forecast
            made = run(dbr, motion, lead_times, n_cascade_levels=CASCADE_LEVELS, precip_thr=WET_DBR)
            return _rate_from_dbr(made)
        if self.name == "linda":
            run = _submodule("nowcasts.linda").forecast
            made = run(
                rate, motion, lead_times, max_num_features=LINDA_FEATURES, add_perturbations=False
            )
            return np.maximum(made, 0.0)
        return self._mean_of_members(dbr, motion, lead_times)

    def _mean_of_members(self, dbr: Doubles, motion: Doubles, lead_times: int) -> Doubles:
        means: list[Doubles] = []

        def keep_mean(members_dbr: Doubles) -> None:  # 20 members of 12 lead times would be 1 GB
            means.append(np.nanmean(_rate_from_dbr(members_dbr), axis=0))

        run = partial(
            _submodule("nowcasts.steps").forecast,
            n_ens_members=self.members,
            n_cascade_levels=CASCADE_LEVELS,
            precip_thr=WET_DBR,
            kmperpixel=self.pixel_km,
            timestep=self.step_minutes,
            noise_method="nonparametric",
            seed=SEED,
            callback=keep_mean,
            return_output=False,
        )
        run(dbr, motion, lead_times)
        return np.stack(means)


def check_pysteps(name: str) -> None:
    """Refuse a method of pysteps where what it needs is not installed.

    Raises
    ------
    ConfigError
        Saying how to install it.
    """
    needed = ("pysteps", "skimage") if name == "linda" else ("pysteps",)
    with _quiet():
        try:
            for package in needed:
                importlib.import_module(package)
        except ImportError as error:
            raise ConfigError(
                f"{name} is a method of pysteps, which is not installed with all it needs "
                f"({error}); pip install 'squall[baselines]'"
            ) from error


def _rate_from_dbr(dbr: Doubles) -> Doubles:
    """Rain rate in mm/h, 0 below the threshold; NaN stays NaN."""
    return np.where(dbr < WET_DBR, 0.0, 10 ** (dbr / 10))


def _submodule(name: str) -> Any:
    return importlib.import_module(f"pysteps.{name}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep away what pysteps prints and warns of (empty slices, divisions of dry fields)."""
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
