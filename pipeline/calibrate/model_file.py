"""Writes the weights of a model with a calibration.

Public: `write_calibrated`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from squall.convgru.calibration import Calibration
from squall.convgru.checkpoint import write_weights
from squall.pipeline.forecast.network_method import NetworkMethod
from squall.pipeline.provenance import atomic_path


def write_calibrated(out: Path, method: NetworkMethod, calibration: Calibration) -> None:
    """Write the weights of a method with a calibration in place of that on the same network."""
    entry = calibration.model_dump(mode="json")
    others: Sequence[dict[str, Any]] = method.provenance.get("calibrations", ())
    kept = [other for other in others if other["grid"] != calibration.grid]
    provenance = method.provenance | {"calibrations": [*kept, entry]}
    nowcaster = method.nowcaster.cpu()
    with atomic_path(out) as temporary:
        write_weights(temporary, nowcaster, provenance, torch.float32)
