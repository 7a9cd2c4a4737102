"""The nowcasting methods of pysteps (https://pysteps.github.io), to compare networks with.

Public: `PystepsMethod`, `check_pysteps`.

pysteps is the extra ``squall[baselines]``. It is imported when one of its methods is used, and its
settings are those of its own examples. What pysteps prints is not shown. STEPS, which makes
members, is in `squall.pipeline.forecast.steps_method`.
"""

from __future__ import annotations

import importlib
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from squall.datasets.errors import ConfigError, DataError

Rates = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

CONTEXT = 4  # scans that the motion is computed from; the nowcasts use the newest three
WET_MM_H, WET_DBR, DRY_DBR = 0.1, -10.0, -15.0
CASCADE_LEVELS = 6
LINDA_FEATURES = 15
MOST_GROWTH = 2.0  # of all rain, compared with the last scan's; no method makes so much rain
# What pysteps raises where it cannot estimate correlations: in dry, constant and equal scans.
UNUSABLE = (ValueError, IndexError, ArithmeticError, RuntimeError, np.linalg.LinAlgError)

log = logging.getLogger("squall.forecast")


@dataclass(frozen=True)
class Prepared:
    """What the methods of pysteps start from.

    Parameters
    ----------
    rate, dbr : (T, y, x), mm/h and dB, dry where nothing was observed.
    motion : (2, y, x), pixels a time step.
    is_known : (lead_time, y, x) whether the trajectory starts where the last scan observed.
    extrapolated : (lead_time, y, x), mm/h, the last scan moved along.
    """

    rate: Doubles
    dbr: Doubles
    motion: Doubles
    is_known: npt.NDArray[np.bool_]
    extrapolated: Doubles

    @property
    def is_dry(self) -> bool:
        """Whether there is no rain to forecast."""
        return not np.nan_to_num(self.extrapolated).any()


@dataclass(frozen=True)
class PystepsMethod:
    """One method of pysteps, for one grid spacing and time step.

    Where the scans are dry, constant or equal, pysteps cannot estimate how long rain lasts; then a
    warning says so, the reason is added to ``replaced``, and the forecast is that of
    ``pysteps-extrapolation``.

    All methods compute the motion with the optical flow of Lucas and Kanade from rain rate in dB,
    and advect rain with a semi-Lagrangian scheme.

    - ``pysteps-extrapolation`` advects the last scan.
    - ``s-prog`` is S-PROG (Seed 2003,
      https://doi.org/10.1175/1520-0450(2003)042<0381:ADASSA>2.0.CO;2).
    - ``linda`` is the deterministic LINDA (Pulkkinen et al. 2021,
      https://doi.org/10.1109/TGRS.2021.3110180).

    Parameters
    ----------
    name : one of `squall.pipeline.forecast.names.PYSTEPS_METHODS`.
    lead_times : default number of time steps to forecast.
    replaced : why a forecast is that of ``pysteps-extrapolation``, one reason for each such
        forecast that this object made.
    """

    name: str
    pixel_km: float
    step_minutes: float
    lead_times: int
    context: int = CONTEXT
    stride: int = 1
    replaced: list[str] = field(default_factory=list, compare=False, repr=False)

    @property
    def digest(self) -> str:
        """Version of pysteps."""
        return f"pysteps {version('pysteps')}"

    def nowcast(self, context: Rates, lead_times: int) -> Rates:
        """Forecast rain rate.

        pysteps needs fields without gaps. Pixels that are not observed are set to dry, for the
        motion and the forecast; a pixel of the forecast that is advected from there is set to NaN.

        Parameters
        ----------
        context : (T, y, x), mm/h, NaN = not observed.

        Returns
        -------
        (lead_time, y, x), mm/h, NaN where the trajectory starts outside the observed area of the
        last scan.

        Raises
        ------
        DataError
            If a scan of the context is missing. The scans around the gap would give a wrong motion.
        """
        with quiet():
            prepared = self.prepared(context, lead_times)
            rain_rate = self._forecast(prepared)
        return np.where(prepared.is_known, rain_rate, np.nan).astype(np.float32)

    def prepared(self, context: Rates, lead_times: int) -> Prepared:
        """The scans as pysteps needs them, their motion, and the extrapolation of the last one.

        Raises
        ------
        DataError
            See `nowcast`.
        """
        missing = int(np.isnan(context).all(axis=(1, 2)).sum())
        if missing:
            raise DataError(
                f"{missing} of {len(context)} scans to start from are missing; {self.name} needs "
                "all of them"
            )
        rate = np.nan_to_num(context.astype(np.float64), nan=0.0)
        dbr = np.where(rate >= WET_MM_H, 10 * np.log10(np.maximum(rate, WET_MM_H)), DRY_DBR)
        motion = submodule("motion.lucaskanade").dense_lucaskanade(dbr)
        transport = submodule("extrapolation.semilagrangian").extrapolate
        observed = (~np.isnan(context[-1])).astype(np.float64)
        # Outside the grid the transport gives NaN, and NaN > 0.5 is False.
        is_known = transport(observed, motion, lead_times) > 0.5
        extrapolate = submodule("nowcasts.extrapolation").forecast
        extrapolated = rate_from_dbr(extrapolate(dbr[-1], motion, lead_times))
        return Prepared(rate, dbr, motion, is_known, extrapolated)

    def replace(self, problem: str) -> None:
        """Say and remember why the forecast is that of ``pysteps-extrapolation``."""
        log.warning(
            "%s: dry or constant scans, or too small a grid, do not tell how long rain lasts "
            "(pysteps: %s); the forecast is that of pysteps-extrapolation",
            *(self.name, problem),
        )
        self.replaced.append(problem)

    def _forecast(self, prepared: Prepared) -> Doubles:
        """Forecast (lead_time, y, x), mm/h, from fields without gaps."""
        if self.name == "pysteps-extrapolation" or prepared.is_dry:
            return prepared.extrapolated
        try:
            forecast = self._from_processes(prepared)
            problem = problem_of(forecast, prepared.extrapolated)
        except UNUSABLE as error:
            problem = str(error) or type(error).__name__
        if problem:
            self.replace(problem)
            return prepared.extrapolated
        return forecast

    def _from_processes(self, prepared: Prepared) -> Doubles:
        """Forecast of a method that estimates how rain grows and decays; see `_forecast`."""
        lead_times = len(prepared.extrapolated)
        if self.name == "s-prog":
            s_prog = submodule("nowcasts.sprog").forecast
            forecast_dbr = s_prog(
                prepared.dbr,
                prepared.motion,
                lead_times,
                n_cascade_levels=CASCADE_LEVELS,
                precip_thr=WET_DBR,
            )
            return rate_from_dbr(forecast_dbr)
        linda = submodule("nowcasts.linda").forecast
        forecast = linda(
            prepared.rate,
            prepared.motion,
            lead_times,
            max_num_features=LINDA_FEATURES,
            add_perturbations=False,
        )
        return np.maximum(forecast, 0.0)


def problem_of(forecast: Doubles, extrapolated: Doubles) -> str:
    """Why a forecast of pysteps is no forecast; empty if it is one.

    Where their correlations are undefined, STEPS loses all rain and LINDA multiplies it.
    """
    is_known = ~np.isnan(extrapolated)
    if np.isinf(forecast).any() or np.isnan(forecast[is_known]).mean() > 0.5:
        return "the forecast has no numbers"
    both = is_known & ~np.isnan(forecast)
    rain, expected = (np.where(both, r, 0).sum(axis=(1, 2)) for r in (forecast, extrapolated))
    if ((rain == 0) & (expected > 0)).any():
        return "the forecast has no rain"
    return "the forecast has too much rain" if (rain > MOST_GROWTH * expected).any() else ""


def check_pysteps(name: str) -> None:
    """Check that pysteps and all that a method needs are installed.

    Raises
    ------
    ConfigError
        If a package is missing. The message says how to install it.
    """
    needed = ("pysteps", "skimage") if name == "linda" else ("pysteps",)
    with quiet():
        try:
            for package in needed:
                importlib.import_module(package)
        except ImportError as error:
            raise ConfigError(
                f"{name} is a method of pysteps, which is not installed with all it needs "
                f"({error}); pip install 'squall[baselines]'"
            ) from error


def rate_from_dbr(dbr: Doubles) -> Doubles:
    """Convert dBR to rain rate [mm/h]; values below `WET_DBR` become 0, NaN stays NaN."""
    return np.where(dbr < WET_DBR, 0.0, 10 ** (dbr / 10))


def submodule(name: str) -> Any:
    """A module of pysteps."""
    return importlib.import_module(f"pysteps.{name}")


@contextmanager
def quiet() -> Iterator[None]:
    """Hide what pysteps prints, and its warnings about empty slices and divisions in dry fields."""
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
