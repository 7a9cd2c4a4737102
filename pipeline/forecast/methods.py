"""What a forecast method is, the methods of Squall that need no training, and `find_method`.

Public: `ForecastMethod`, `EnsembleMethod`, `is_ensemble`, `ChanceMethod`, `gives_chances`,
`rain_of_leads`, `Persistence`, `Extrapolation`, `find_method`, `used_steps`.

The forecast and verify stages know a method only as a `ForecastMethod`, an `EnsembleMethod` or a
`ChanceMethod`. Trained networks are in `squall.pipeline.forecast.network_method`, beside it the
stochastic ensemble in `stochastic_method`, and the methods of pysteps in `pysteps_methods`,
`steps_method` and `lagrangian_method`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeGuard, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from squall import __version__
from squall.convgru.motion import FLOW_SCANS, extrapolated_leads
from squall.convgru.pretrained import UnknownModelError, packaged_models
from squall.convgru.products import PRODUCTS
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import ConfigError
from squall.datasets.spelling import did_you_mean
from squall.pipeline.forecast.lagrangian_method import LagrangianMethod
from squall.pipeline.forecast.names import (
    ENGINES,
    EXTRAPOLATION,
    LAGRANGIAN,
    METHODS,
    PERSISTENCE,
    STEPS,
    STEPS_MEMBERS,
    STOCHASTIC,
)
from squall.pipeline.forecast.network_method import NetworkMethod
from squall.pipeline.forecast.pysteps_methods import PystepsMethod, check_pysteps
from squall.pipeline.forecast.steps_method import StepsMethod
from squall.pipeline.forecast.stochastic_method import StochasticMethod

Rates = npt.NDArray[np.float32]
Choice = TypeVar("Choice", bound=str)

DEFAULT_MINUTES = 60  # forecast of methods that have no number of lead times of their own


class ForecastMethod(Protocol):
    """A forecast method, ready for one archive."""

    @property
    def name(self) -> str:
        """Name that users see."""
        ...

    @property
    def context(self) -> int:
        """Number of scans that the method needs as input."""
        ...

    @property
    def stride(self) -> int:
        """The method uses every ``stride``-th of these scans, counted back from the last."""
        ...

    @property
    def lead_times(self) -> int:
        """Default number of time steps to forecast."""
        ...

    @property
    def digest(self) -> str:
        """Version of what computes the forecasts: SHA-256 of the weights, or a library version."""
        ...

    def nowcast(self, context: Rates, lead_times: int) -> Rates:
        """Forecast rain rate.

        Parameters
        ----------
        context : (`context`, y, x), mm/h, NaN = not observed. The last scan is the newest.
        lead_times : number of time steps to forecast.

        Returns
        -------
        (lead_time, y, x), mm/h, NaN = not known.
        """
        ...


class EnsembleMethod(ForecastMethod, Protocol):
    """A forecast method that also makes members: equally likely forecasts of the same rain.

    `nowcast` stays one forecast. `is_ensemble` asks whether a method is an `EnsembleMethod`.
    """

    def ensemble(
        self, context: Rates, lead_times: int, members: int, reference_time: np.datetime64
    ) -> Iterator[Rates]:
        """Forecast the members, one lead time after the other.

        Parameters
        ----------
        context : (`context`, y, x), mm/h, NaN = not observed. The last scan is the newest.
        lead_times : number of time steps to forecast.
        members : number of members. Member k is the same whatever their number.
        reference_time : time of the last scan, UTC.

        Yields
        ------
        (member, y, x), mm/h, NaN = not known; the array is not used again. The members of all lead
        times of a large grid would fill the memory, so keep none that you do not need.
        """
        ...


def is_ensemble(method: object) -> TypeGuard[EnsembleMethod]:
    """Whether a method makes members."""
    return callable(getattr(method, "ensemble", None))


class ChanceMethod(ForecastMethod, Protocol):
    """A forecast method that also says how likely it is that rain reaches a threshold.

    `gives_chances` asks whether a method is a `ChanceMethod`.
    """

    def chance_thresholds(self, thresholds_mm_h: Sequence[float]) -> tuple[float, ...]:
        """Those of the thresholds that the method has chances of; maybe none."""
        ...

    def leads_with_chances(
        self, context: Rates, lead_times: int, thresholds_mm_h: Sequence[float]
    ) -> Iterator[Rates]:
        """Forecast rain rate as `nowcast`, and chances, one lead time after the other.

        Parameters
        ----------
        context : (`context`, y, x), mm/h, NaN = not observed. The last scan is the newest.
        lead_times : number of time steps to forecast.
        thresholds_mm_h : of `chance_thresholds`.

        Yields
        ------
        (1 + threshold, y, x): rain rate [mm/h], then the chances of each threshold, 0 to 1; NaN =
        not known. The chances of all lead times of a large grid would need much memory.
        """
        ...


def gives_chances(method: object, thresholds_mm_h: Sequence[float]) -> TypeGuard[ChanceMethod]:
    """Whether a method has chances of any of the thresholds."""
    thresholds_of = getattr(method, "chance_thresholds", None)
    return thresholds_of is not None and bool(thresholds_of(thresholds_mm_h))


def rain_of_leads(method: ForecastMethod, context: Rates, lead_times: int) -> Iterator[Rates]:
    """The forecast (y, x) of `ForecastMethod.nowcast`, one lead time after the other.

    A method that has `leads`, with the arguments of `nowcast`, makes no more than one at a time.
    """
    leads = getattr(method, "leads", None)
    return (
        iter(method.nowcast(context, lead_times)) if leads is None else leads(context, lead_times)
    )


@dataclass(frozen=True)
class Persistence:
    """The last scan, unchanged, for all lead times. Every useful forecast is better than this."""

    lead_times: int
    name: str = PERSISTENCE
    context: int = 1
    stride: int = 1

    @property
    def digest(self) -> str:
        return f"squall {__version__}"

    def nowcast(self, context: Rates, lead_times: int) -> Rates:
        """Repeat the last scan; see `ForecastMethod.nowcast`."""
        return np.broadcast_to(context[-1], (lead_times, *context.shape[1:]))


@dataclass(frozen=True)
class Extrapolation:
    """The last scan, advected along the optical-flow motion of `squall.convgru.motion`."""

    lead_times: int
    name: str = EXTRAPOLATION
    context: int = FLOW_SCANS
    stride: int = 1

    @property
    def digest(self) -> str:
        return f"squall {__version__}"

    def nowcast(self, context: Rates, lead_times: int) -> Rates:
        """Advect the last scan; see `ForecastMethod.nowcast`.

        Pixels are NaN where the trajectory starts outside the observed area.
        """
        of_lead = np.dtype((np.float32, context.shape[1:]))
        return np.fromiter(self.leads(context, lead_times), of_lead, lead_times)

    def leads(self, context: Rates, lead_times: int) -> Iterator[Rates]:
        """The forecast (y, x) of `nowcast`, one lead time after the other."""
        scans = torch.from_numpy(np.ascontiguousarray(context))[None, :, None]
        return (lead[0, 0].numpy() for lead in extrapolated_leads(scans, lead_times))


class UsesScans(Protocol):
    """Anything that starts from scans up to a reference time; see `ForecastMethod`."""

    @property
    def context(self) -> int: ...

    @property
    def stride(self) -> int: ...


def used_steps(method: UsesScans) -> range:
    """The scans that a method uses, in steps before the reference time: 0 is the last scan."""
    return range(0, method.context, method.stride)


def find_method(
    name: str | Path,
    archive: ScanStore,
    *,
    members: int | None = None,
) -> ForecastMethod:
    """Return the method with a name, ready for an archive.

    Parameters
    ----------
    name : one of `METHODS`, the path of a checkpoint, or the name of packaged weights. If a file
        has this name, the file is used. A model that forecasts chances may have a product after a
        colon, like ``runs/own/best.ckpt:best-csi`` (`squall.convgru.products`), and after that
        one of `ENGINES`, how its members are made, like ``squall-base:marginal``.
    members : number of members that the forecast of STEPS is the mean of; by default 20.

    Raises
    ------
    ConfigError
        If there is no such method or product, or pysteps is needed and not installed.
    DataError
        If a network cannot be loaded, or cannot be used at the archive's time step or grid spacing.
    """
    if str(name) not in METHODS or Path(name).is_file():
        model, engine = _split(str(name), ENGINES)
        model, product = _split(model, PRODUCTS)
        try:
            return NetworkMethod.load(model, archive, product, engine)
        except ConfigError as error:
            if not isinstance(error.__cause__, UnknownModelError):
                raise
            packaged = packaged_models()
            words = (f"{of}:{word}" for of in packaged for word in (*PRODUCTS, *ENGINES))
            meant = did_you_mean(model, (*METHODS, *packaged, *words))
            raise ConfigError(
                f"{error}; methods without training: {', '.join(METHODS)}{meant}"
            ) from error
    step_minutes = archive.step.total_seconds() / 60
    lead_times = max(1, int(DEFAULT_MINUTES // step_minutes))
    if name == PERSISTENCE:
        return Persistence(lead_times)
    if name == EXTRAPOLATION:
        return Extrapolation(lead_times)
    if name == STOCHASTIC:
        return StochasticMethod.for_archive(archive, lead_times)
    check_pysteps(str(name))
    pixel_km = archive.grid.pixel_size_m / 1000
    if name == STEPS:
        return StepsMethod(
            STEPS, pixel_km, step_minutes, lead_times, members=members or STEPS_MEMBERS
        )
    of_pysteps = LagrangianMethod if name == LAGRANGIAN else PystepsMethod
    return of_pysteps(str(name), pixel_km, step_minutes, lead_times)


def _split(name: str, choices: Sequence[Choice]) -> tuple[str, Choice | None]:
    """Split ``MODEL:CHOICE``."""
    model, _, last = name.rpartition(":")
    for choice in choices:
        if model and last == choice and not Path(name).is_file():
            return model, choice
    return name, None
