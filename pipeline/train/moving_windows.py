"""Computes the training windows of the exceedance head once, and keeps them beside the run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import filelock
import numpy as np
import numpy.typing as npt
import torch

from squall.convgru.heads.moving_frame import MOVING_FRAME_VERSION, moving_window
from squall.convgru.motion import COARSE
from squall.datasets.training.kept_windows import KeptWindows, MovingFrame, Window
from squall.pipeline.processes import cores, results_of
from squall.pipeline.progress import tracked
from squall.pipeline.train.experiment import ExperimentConfig

log = logging.getLogger("squall.train")

MARK_EVERY = 16  # windows between two notes of what is done


def moving_frame_of(experiment: ExperimentConfig, out: Path) -> MovingFrame | None:
    """How windows in the moving frame are computed and kept, if the network trains on them."""
    if experiment.network.head != "exceedance":
        return None
    return MovingFrame(
        version=MOVING_FRAME_VERSION,
        folder=out.parent / "windows",
        cell_px=COARSE,
        gives_paths=experiment.network.place_channels > 0,
    )


def keep_windows(stores: Sequence[KeptWindows], context: int) -> None:
    """Compute the windows that are not there yet, in as many processes as there are cores.

    Several processes may call this at the same time, also of different runs: one computes, the
    others wait. If it is interrupted, it goes on where it was.

    Raises
    ------
    DataError
        If a worker process dies.
    """
    for store in stores:
        store.path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{store.path}.lock"):
            store.create()
            missing = store.missing()
            if not missing:
                continue
            log.info(
                "computes %d windows of %s for %s (%.1f GB)",
                *(len(missing), store.archive.name, store.path, store.nbytes / 1e9),
            )
            _compute(store, missing, context)


@dataclass(frozen=True)
class _ComputeWindow:
    store: KeptWindows
    context: int

    def __call__(self, number: int) -> int:
        self.store.compute(number, self._window)
        return number

    def _window(self, rain_rate: npt.NDArray[np.float32]) -> Window:
        scans = torch.from_numpy(np.ascontiguousarray(rain_rate))[None, :, None]
        fields, paths = moving_window(scans, self.context)
        return Window(fields[0].numpy(), paths[0].numpy())


def _compute(store: KeptWindows, numbers: list[int], context: int) -> None:
    function = _ComputeWindow(store, context)
    advice = "Finished windows are kept: run it again on a machine with more memory"
    unmarked: list[int] = []
    with results_of(function, numbers, cores(), preload=__name__, advice=advice) as results:
        for number in tracked(results, "windows", len(numbers), "window"):
            unmarked.append(number)
            if len(unmarked) == MARK_EVERY:
                store.mark_done(unmarked)
                unmarked = []
    store.mark_done(unmarked)
