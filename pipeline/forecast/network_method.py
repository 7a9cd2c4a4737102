"""Trained networks as a forecast method, from a checkpoint or from packaged weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from squall.convgru import CheckpointError, Nowcaster, draw_noise, load_nowcaster
from squall.convgru.digests import sha256_of
from squall.convgru.pretrained import UnknownModelError, find_model
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import ConfigError, DataError
from squall.pipeline.forecast.resampling import Resampling

MEMBERS = 8  # of an ensemble network; the forecast is their mean


@dataclass(frozen=True)
class NetworkMethod:
    """A trained network, ready to forecast on one archive; it uses the GPU if there is one.

    If the archive has another time step or grid spacing than the network was trained on, the scans
    and the forecast are resampled (`squall.pipeline.forecast.resampling`).
    """

    path: Path
    nowcaster: Nowcaster
    provenance: dict[str, Any]
    device: torch.device
    resampling: Resampling

    @classmethod
    def load(cls, model: str | Path, archive: ScanStore) -> NetworkMethod:
        """Load a network from the path of a checkpoint or by the name of packaged weights.

        Raises
        ------
        ConfigError
            If there is no such file or name.
        DataError
            If the file is damaged, or the network cannot be used at the archive's time step or
            grid spacing.
        """
        try:
            path = find_model(str(model))
            nowcaster, provenance = load_nowcaster(path)
        except UnknownModelError as error:
            raise ConfigError(str(error)) from error
        except CheckpointError as error:
            raise DataError(str(error)) from error
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        resampling = Resampling.for_archive(
            provenance,
            step_s=archive.step.total_seconds(),
            spacing_m=archive.grid.pixel_size_m,
        )
        return cls(path, nowcaster.to(device), provenance, device, resampling)

    @property
    def name(self) -> str:
        return str(self.provenance["name"])

    @property
    def context(self) -> int:
        """Number of the archive's scans that the network needs as input."""
        return self.resampling.context

    @property
    def stride(self) -> int:
        """The network uses every ``stride``-th of these scans."""
        return self.resampling.stride

    @property
    def lead_times(self) -> int:
        """Number of the archive's time steps that the network was trained to forecast."""
        return self.resampling.lead_times

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file of weights."""
        return sha256_of(self.path)

    def nowcast(self, context: npt.NDArray[np.float32], lead_times: int) -> npt.NDArray[np.float32]:
        """Forecast rain rate. An ensemble network gives the mean of `MEMBERS` members.

        Parameters
        ----------
        context : (T, y, x), mm/h, NaN = not observed.

        Returns
        -------
        (lead_time, y, x), mm/h, NaN = not known.
        """
        return self.resampling.nowcast(self._nowcast, context, lead_times)

    def _nowcast(
        self, context: npt.NDArray[np.float32], lead_times: int
    ) -> npt.NDArray[np.float32]:
        """Forecast at the network's own time step and grid spacing."""
        scans = torch.from_numpy(np.ascontiguousarray(context))[None, :, None].to(self.device)
        height, width = scans.shape[-2:]
        with torch.inference_mode():
            noise = draw_noise(self.nowcaster.network, [0], MEMBERS, (height, width), self.device)
            rate = self.nowcaster(scans, lead_times, noise)
        if noise is not None:
            rate = rate.mean(dim=1)
        return np.asarray(rate[0, :, 0].float().cpu().numpy())
