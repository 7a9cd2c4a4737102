"""Publishing a trained network: a small file of weights without any path of this machine.

Public: `export_weights`, `WeightsResult`, `published_provenance`.
"""

from __future__ import annotations

import copy
import json
import logging
import math
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from squall.convgru import CheckpointError, Nowcaster, draw_noise, load_nowcaster
from squall.convgru.checkpoint import WEIGHTS_SUFFIX, write_weights
from squall.convgru.digests import sha256_of
from squall.convgru.pretrained import record_digest
from squall.convgru.products import product_rain
from squall.datasets.errors import DataError
from squall.datasets.synthetic.config import SyntheticConfig
from squall.datasets.synthetic.radar import synthetic_scans
from squall.pipeline.export.config import WeightsConfig
from squall.pipeline.outputs import check_output_file
from squall.pipeline.provenance import atomic_path

log = logging.getLogger("squall.export")

HALF_STEP_DB = 0.067  # half a step of the archive's code: smaller differences are not stored
WET_MM_H = 0.1


@dataclass(frozen=True)
class WeightsResult:
    """The file of weights.

    Parameters
    ----------
    half : whether the weights are stored in half precision, else in single.
    difference_db : largest change of a forecast by half precision [dB].
    """

    out: Path
    sha256: str
    parameters: int
    half: bool
    difference_db: float

    def __str__(self) -> str:
        stored = "half" if self.half else "single"
        return (
            f"{self.out}: {self.parameters / 1e6:.2f} million weights in {stored} precision, "
            f"{self.out.stat().st_size / 1e6:.1f} MB (half changes a forecast by at most "
            f"{self.difference_db:.3f} dB, {HALF_STEP_DB} are allowed)\n"
            f"SHA-256 {self.sha256}, entered in {self.out.parent / 'SHA256SUMS'}"
        )


def export_weights(config: WeightsConfig) -> WeightsResult:
    """Write ``NAME.safetensors``, and its digest into ``SHA256SUMS`` in the same folder.

    The weights are stored in half precision if this changes a forecast of synthetic rain by less
    than `HALF_STEP_DB` at every pixel, otherwise in single precision. The network gets the name of
    the file. Paths of this machine are not published.

    Raises
    ------
    DataError
        If the checkpoint cannot be used.
    """
    check_output_file(config.out, "OUT", (WEIGHTS_SUFFIX,))
    try:
        nowcaster, provenance = load_nowcaster(config.checkpoint)
    except CheckpointError as error:
        raise DataError(str(error)) from error
    difference = _difference_db(nowcaster, int(provenance["context"]), provenance["lead_times"])
    half = difference < HALF_STEP_DB
    published = published_provenance(provenance) | {
        "name": config.out.stem,
        "checkpoint_sha256": sha256_of(config.checkpoint),
    }
    with atomic_path(config.out) as temporary_path:
        write_weights(
            temporary_path, nowcaster, published, torch.float16 if half else torch.float32
        )
    parameters = sum(weights.numel() for weights in nowcaster.network.parameters())
    return WeightsResult(config.out, record_digest(config.out), parameters, half, difference)


def published_provenance(provenance: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's provenance without paths, trackers and the state for resuming."""
    kept = {key: value for key, value in provenance.items() if key != "order"}
    kept["archives"] = _without_paths(provenance["archives"])
    if "init" in kept:
        kept["init"] = kept["init"] | {"archives": _without_paths(kept["init"]["archives"])}
    if "calibrations" in kept:
        kept["calibrations"] = [_without_folder(entry) for entry in kept["calibrations"]]
    experiment = json.loads(provenance["experiment"])
    experiment.pop("trackers", None)
    if experiment.get("init"):
        experiment["init"] = PurePosixPath(experiment["init"]).name
    for share in experiment["data"]["archives"]:
        share["address"] = PurePosixPath(share["address"]).name
    return kept | {"experiment": json.dumps(experiment)}


def _without_paths(archives: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in each.items() if key != "path"} for each in archives]


def _without_folder(calibration: dict[str, Any]) -> dict[str, Any]:
    source = calibration["source"]
    return calibration | {"source": source | {"archive": PurePosixPath(source["archive"]).name}}


def _difference_db(nowcaster: Nowcaster, context: int, lead_times: int) -> float:
    """Largest change of a forecast by half precision [dB]; `WET_MM_H` is the lowest rate.

    The forecast covers the whole map of a network that has one. A pixel that only one of the two
    forecasts knows has changed infinitely.
    """
    config = SyntheticConfig(missing_fraction=0.0)
    grid = nowcaster.network.config.place_grid
    if grid is not None:
        extent = math.ceil(max(grid.rows, grid.columns) * grid.cell_px)
        config = config.model_copy(update={"size": max(config.size, extent)})
    scans = [scan.rain_rate_mm_h for scan in islice(synthetic_scans(config), context)]
    rain = torch.from_numpy(np.nan_to_num(np.stack(scans)))[None, :, None]  # dry outside the radar
    rounded = copy.deepcopy(nowcaster)
    rounded.network.half().float()
    single_db = _decibels(nowcaster, rain, lead_times)
    half_db = _decibels(rounded, rain, lead_times)
    difference = (single_db - half_db).abs().nan_to_num(torch.inf)
    return float(difference.where(~(single_db.isnan() & half_db.isnan()), 0.0).max())


def _decibels(nowcaster: Nowcaster, rain: Tensor, lead_times: int) -> Tensor:
    """Forecast [dB] of a rain rate (1, T, 1, H, W) [mm/h]; of chances their mean."""
    if nowcaster.gives_chances:
        with torch.inference_mode():
            chances = nowcaster.chances(rain, lead_times, step_min=10, spacing_km=1)
            means = [product_rain(lead, "expected", None) for lead in chances]
        return 10 * torch.log10(torch.stack(means).clamp(min=WET_MM_H))
    height, width = rain.shape[-2:]
    noise = draw_noise(nowcaster.network, [0], 1, (height, width), rain.device)
    return 10 * torch.log10(nowcaster(rain, lead_times, noise).clamp(min=WET_MM_H))
