"""The stochastic ensemble of `squall.convgru.ensemble` as a forecast method.

Public: `StochasticMethod`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from squall import __version__
from squall.convgru.ensemble import (
    EnsembleRun,
    EnsembleSettings,
    marginal_members,
    mixed_members,
    stochastic_forecast,
    stochastic_members,
)
from squall.convgru.ensemble.mixed import is_marginal
from squall.convgru.motion import FLOW_SCANS
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import DataError
from squall.pipeline.forecast.names import STOCHASTIC

Rates = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
DEFAULT_SETTINGS = EnsembleSettings()


@dataclass(frozen=True)
class StochasticMethod:
    """Members that differ in noise, motion and amount; nothing is trained. An `EnsembleMethod`.

    It uses the GPU if there is one. Trained networks that forecast chances have other
    members too, unless `MODEL:stochastic` is asked for.

    Parameters
    ----------
    step_min, spacing_km : of the archive.
    lead_times : default number of time steps to forecast.
    seed : another seed gives other members of the same ensemble.
    """

    step_min: float
    spacing_km: float
    lead_times: int
    seed: int = 0
    settings: EnsembleSettings = DEFAULT_SETTINGS
    name: str = STOCHASTIC
    context: int = FLOW_SCANS
    stride: int = 1

    @classmethod
    def for_archive(
        cls, archive: ScanStore, lead_times: int, settings: EnsembleSettings = DEFAULT_SETTINGS
    ) -> StochasticMethod:
        """The method for the time step and grid spacing of an archive."""
        step_min, spacing_km = archive.step.total_seconds() / 60, archive.grid.pixel_size_m / 1000
        return cls(step_min, spacing_km, lead_times, settings=settings)

    @property
    def digest(self) -> str:
        return f"squall {__version__}, seed {self.seed}, {self.settings.digest}"

    def nowcast(self, context: Rates, lead_times: int) -> Rates:
        """The forecast without perturbations: what lasts of the scale bands, moved.

        See `squall.pipeline.forecast.methods.ForecastMethod.nowcast`.

        Raises
        ------
        DataError
            If only the last scan was observed, and has rain.
        """
        run = self._run(np.datetime64(0, "s"))  # no random number is drawn
        leads = stochastic_forecast(_tensor(context), lead_times, run)
        with torch.inference_mode():
            return np.stack(list(_arrays(leads)))

    def ensemble(
        self, context: Rates, lead_times: int, members: int, reference_time: np.datetime64
    ) -> Iterator[Rates]:
        """Forecast the members; see `squall.pipeline.forecast.methods.EnsembleMethod.ensemble`.

        All members are known at the same pixels: where `nowcast` is.

        Raises
        ------
        DataError
            If only the last scan was observed, and has rain.
        """
        run = self._run(reference_time)
        return _arrays(stochastic_members(_tensor(context), lead_times, members, run))

    def drawn(
        self,
        context: Rates,
        chances: Iterable[Rates],
        lead_times: int,
        members: int,
        reference_time: np.datetime64,
        *,
        mixed: bool,
    ) -> Iterator[Rates]:
        """Members drawn from chances, with the noise of this ensemble.

        Parameters
        ----------
        chances : for each lead time (threshold, y, x), see
            `squall.convgru.ensemble.marginal_members`.
        mixed : whether only some members are; the others are those of `ensemble`
            (`squall.convgru.ensemble.mixed_members`).

        Yields
        ------
        (member, y, x) mm/h of each lead time.

        Raises
        ------
        DataError
            If only the last scan was observed, and has rain.
        """
        scans, run = _tensor(context[-self.context :]), self._run(reference_time)
        tensors = map(_tensor, chances)
        if mixed:
            leads = mixed_members(scans, tensors, lead_times, members, run)
        else:
            leads = marginal_members(scans, tensors, members, run)
        return _arrays(leads)

    def are_stochastic(self, members: int, reference_time: np.datetime64) -> Bools:
        """Which members of a mixed ensemble are not drawn from chances."""
        run = self._run(reference_time)
        return np.array([not is_marginal(number, run) for number in range(members)])

    def _run(self, reference_time: np.datetime64) -> EnsembleRun:
        return EnsembleRun(self.step_min, self.spacing_km, reference_time, self.seed, self.settings)


def _tensor(fields: Rates) -> torch.Tensor:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.from_numpy(np.ascontiguousarray(fields)).to(device)


def _arrays(leads: Iterator[torch.Tensor]) -> Iterator[Rates]:
    """As NumPy arrays; what the scans do not allow is a DataError."""
    try:
        for lead in leads:
            yield lead.cpu().numpy()
            del lead  # before the next is made
    except ValueError as error:
        raise DataError(str(error)) from error
