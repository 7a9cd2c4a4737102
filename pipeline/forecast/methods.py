"""Forecast methods by name: trained networks, persistence, extrapolation, those of pysteps.

`find_method` gives the method for a name or a path; whoever forecasts or verifies knows no more
of it than `Method` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from squall.convgru.motion import FLOW_SCANS, extrapolate
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import ConfigError
from squall.pipeline.forecast.model import Model
from squall.pipeline.forecast.pysteps_methods import PYSTEPS_METHODS, PystepsMethod, check_pysteps
from squall.pipeline.provenance import squall_version

Rates = npt.NDArray[np.float32]

PERSISTENCE, EXTRAPOLATION = "persistence", "extrapolation"
METHODS = (PERSISTENCE, EXTRAPOLATION, *PYSTEPS_METHODS)  # beside trained networks
STEPS_MEMBERS = 20
HORIZON_MINUTES = 60  # of methods that can forecast for any time


class Method(Protocol):
    """A way to forecast on one archive."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def context(self) -> int:
        """Number of scans that it starts from."""
        ...

    @property
    def lead_times(self) -> int:
        """Number of steps that it forecasts where nobody says."""
        ...

    @property
    def digest(self) -> str:
        """What its forecasts depend on, beside this release: file digest or library version."""
        ...

    def nowcast(self, context: Rates, lead_times: int) -> Rates:
        """(lead_time, y, x) rain rate from (T, y, x), both mm/h; NaN = not observed, not known."""
        ...


@dataclass(frozen=True)
class Persistence:
    """The last scan for all lead times: what any forecast has to beat."""

    lead_times: int
    name: str = PERSISTENCE
    context: int = 1

    @property
    def digest(self) -> str:
        return f"squall {squall_version()}"

    def nowcast(self, context: Rates, lead_times: int) -> Rates:
        """The last of (T, y, x) as (lead_time, y, x), mm/h, NaN where it has not observed."""
        return np.broadcast_to(context[-1], (lead_times, *context.shape[1:]))


@dataclass(frozen=True)
class Extrapolation:
    """The last scan moved on along the motion of rain (`squall.convgru.motion`)."""

    lead_times: int
    name: str = EXTRAPOLATION
    context: int = FLOW_SCANS

    @property
    def digest(self) -> str:
        return f"squall {squall_version()}"

    def nowcast(self, context: Rates, lead_times: int) -> Rates:
        """(lead_time, y, x) mm/h, NaN where no trajectory starts in what was observed."""
        scans = torch.from_numpy(np.ascontiguousarray(context))[None, :, None]
        with torch.inference_mode():
            return extrapolate(scans, lead_times)[0, :, 0].numpy()


def find_method(name: str | Path, archive: ScanStore, *, members: int = STEPS_MEMBERS) -> Method:
    """The method of a name, ready for an archive.

    Parameters
    ----------
    name : one of `METHODS`, a checkpoint's path, or the name of weights in the package. A file
        that exists wins over a name.
    members : of the STEPS ensemble.

    Raises
    ------
    ConfigError
        If there is no such method, or pysteps is needed and not installed.
    DataError
        If a model cannot be loaded, or the archive's step or spacing is too far from its own.
    """
    if str(name) not in METHODS or Path(name).is_file():
        try:
            return Model.load(name, archive)
        except ConfigError as error:
            raise ConfigError(f"{error}; methods without training: {', '.join(METHODS)}") from error
    step_minutes = archive.step.total_seconds() / 60
    lead_times = max(1, int(HORIZON_MINUTES // step_minutes))
    if name == PERSISTENCE:
        return Persistence(lead_times)
    if name == EXTRAPOLATION:
        return Extrapolation(lead_times)
    check_pysteps(str(name))
    pixel_km = archive.grid.pixel_size_m / 1000
    return PystepsMethod(str(name), pixel_km, step_minutes, lead_times, members)
