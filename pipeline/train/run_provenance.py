"""What a checkpoint says about its run: data, periods and the order of samples."""

from __future__ import annotations

import json
from typing import Any

from squall.datasets.training.datamodule import RainDataModule
from squall.pipeline.provenance import code_version, now_utc
from squall.pipeline.train.experiment import ExperimentConfig
from squall.pipeline.train.resume import Position


def provenance_of(
    experiment: ExperimentConfig, data: RainDataModule, processes: int
) -> dict[str, Any]:
    """Return what a forecast and a resumed run need to know, as plain JSON values.

    Parameters
    ----------
    processes : number of processes that train together.
    """
    splits = zip(data.periods("training"), data.periods("validation"), strict=True)
    return {
        "squall_version": code_version(),
        "name": experiment.name,
        "context": experiment.data.context,
        "lead_times": experiment.data.lead_times,
        "steps_s": data.steps_s,
        "spacings_m": data.spacings_m,
        "archives": [
            {
                "name": archive.name,
                "path": archive.address,
                "snapshot": archive.snapshot,
                "training_periods": [list(period) for period in training],
                "validation_periods": [list(period) for period in validation],
            }
            for archive, (training, validation) in zip(data.archives, splits, strict=True)
        ],
        "order": _order(experiment, data, processes),
        "experiment": json.dumps(experiment.model_dump(mode="json")),
    }


def sessions_of(position: Position | None, changed: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Return when the run began and went on, with which version and which changed settings.

    The provenance's ``experiment`` holds the values of the last session. Values of earlier steps
    follow from the changes.

    Parameters
    ----------
    position : where this session begins; None for a new run.
    changed : settings that differ from those of the session before: was, is.
    """
    earlier: list[dict[str, Any]] = []
    if position:
        unknown = {"from_step": 0, "started": "", "changed": {}}  # of a version before sessions
        version = position.provenance["squall_version"]
        earlier = position.provenance.get("sessions", [unknown | {"squall_version": version}])
    session = {
        "from_step": position.step if position else 0,
        "squall_version": code_version(),
        "started": now_utc(),
        "changed": {k: v for k, v in changed.items() if not k.startswith("trackers.")},
    }
    return [*earlier, session]


def _order(experiment: ExperimentConfig, data: RainDataModule, processes: int) -> dict[str, Any]:
    """Return all that decides which samples an epoch has and in which order."""
    config = experiment.data
    order = config.model_dump(mode="json", exclude={"archives", "workers", "batch_size"})
    return order | {
        "seed": experiment.seed,
        "samples of a batch on all devices": config.batch_size * processes,
        "accumulate": experiment.trainer.accumulate,
        "snapshots": [archive.snapshot for archive in data.archives],
        "weight": [share.weight for share in config.archives],
        "speeds": [share.speeds or config.speeds for share in config.archives],
        "coarsen": [share.coarsen or config.coarsen for share in config.archives],
    }
