"""Trained networks as a method of forecasting: checkpoints and the weights of the package."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from squall.convgru import CheckpointError, Nowcaster, draw_noise, load_nowcaster
from squall.convgru.pretrained import UnknownModelError, find_model
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import ConfigError, DataError
from squall.pipeline.forecast.resampling import Resampling
from squall.pipeline.provenance import sha256_of

MEMBERS = 8  # of an ensemble network, whose mean is the forecast


@dataclass(frozen=True)
class Model:
    """A trained network ready to forecast on one archive, on the device that is there.

    Steps and grid spacings that it was not trained on are brought to those that it was
    (`squall.pipeline.forecast.resampling`).
    """

    path: Path
    nowcaster: Nowcaster
    provenance: dict[str, Any]
    device: torch.device
    resampling: Resampling

    @classmethod
    def load(cls, model: str | Path, archive: ScanStore) -> Model:
        """Rebuild the network of a checkpoint's path or of a packaged name.

        Raises
        ------
        ConfigError
            If there is no such file or name.
        DataError
            If the file is damaged, or the archive's step or spacing is too far from the model's.
        """
        try:
            path = find_model(str(model))
            nowcaster, provenance = load_nowcaster(path)
        except UnknownModelError as error:
            raise ConfigError(str(error)) from error
        except CheckpointError as error:
            raise DataError(str(error)) from error
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        resampling = Resampling.of(
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
        """How many scans of the archive it starts from."""
        return self.resampling.context

    @property
    def lead_times(self) -> int:
        """How many steps of the archive it was trained to forecast."""
        return self.resampling.lead_times

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file with its weights."""
        return sha256_of(self.path)

    def nowcast(self, context: npt.NDArray[np.float32], lead_times: int) -> npt.NDArray[np.float32]:
        """Forecast rain rate; of an ensemble network the mean of `MEMBERS` members.

        Parameters
        ----------
        context : (T, y, x), mm/h, NaN = not observed.

        Returns
        -------
        (lead_time, y, x), mm/h, NaN where it is not known.
        """
        return self.resampling.nowcast(self._nowcast, context, lead_times)

    def _nowcast(
        self, context: npt.NDArray[np.float32], lead_times: int
    ) -> npt.NDArray[np.float32]:
        """At the network's own step and spacing."""
        scans = torch.from_numpy(np.ascontiguousarray(context))[None, :, None].to(self.device)
        height, width = scans.shape[-2:]
        with torch.inference_mode():
            noise = draw_noise(self.nowcaster.network, [0], MEMBERS, (height, width), self.device)
            rate = self.nowcaster(scans, lead_times, noise)
        if noise is not None:
            rate = rate.mean(dim=1)
        return np.asarray(rate[0, :, 0].float().cpu().numpy())
