"""Counts a network's chances on forecasts of an archive, and writes them into its weights."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from squall.convgru.calibration import Calibration, calibrated, count_logits
from squall.convgru.checkpoint import WEIGHTS_SUFFIX
from squall.convgru.products import moved_logits
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.open_archive import open_archive
from squall.datasets.public_text import public_address
from squall.datasets.times import parse_time
from squall.pipeline.calibrate.config import CalibrateConfig
from squall.pipeline.calibrate.ensembles import EnsembleCases, calibrate_ensembles
from squall.pipeline.calibrate.model_file import write_calibrated
from squall.pipeline.calibrate.parts import FIT, spread
from squall.pipeline.forecast.interpolation import regridded
from squall.pipeline.forecast.methods import used_steps
from squall.pipeline.forecast.network_method import NetworkMethod
from squall.pipeline.forecast.radar_network import network_digest
from squall.pipeline.forecast.reference_times import ReferencePeriod
from squall.pipeline.outputs import check_output_file
from squall.pipeline.processes import cores, results_of
from squall.pipeline.progress import tracked
from squall.pipeline.provenance import now_utc
from squall.pipeline.verify.cases import choose_cases, training_times

log = logging.getLogger("squall.calibrate")

FEW_FORECASTS = 20  # fewer are counted with a warning


@dataclass(frozen=True)
class CalibrateResult:
    """A calibrated model."""

    out: Path
    forecasts: int
    calibration: Calibration
    counts_LKEN: npt.NDArray[np.float64]
    """see `squall.convgru.calibration.count_logits`"""


def calibrate(config: CalibrateConfig) -> CalibrateResult:
    """Choose cuts, bias and reliability of a network on an archive, and write them with it.

    An earlier calibration on the same radar network is replaced; those on others are kept. With
    ``members``, the ensembles are calibrated, too; without, their earlier calibration is kept.

    Raises
    ------
    ConfigError
        If there is no such model, or it forecasts no chances.
    DataError
        If a file cannot be read, or no forecast can be counted, or there are too few for ensembles.
    """
    check_output_file(config.out, "--out", (WEIGHTS_SUFFIX,))
    archive = open_archive(config.archive)
    method = NetworkMethod.load(config.model, archive)
    if not method.nowcaster.gives_chances:
        raise ConfigError(
            f"{config.model}: forecasts rain and no chances, so there is nothing to calibrate; "
            "give a model with network.head exceedance"
        )
    possible = _cases(config, archive, method)
    cases = spread(possible, config.most_forecasts)
    of_ensembles = EnsembleCases.chosen(archive, possible, method) if config.members else None
    workers = min(config.workers or cores(), cores())
    by_case = _counted(config, archive, method, cases, workers)
    counts = by_case.sum(axis=0)
    calibration = _calibration(archive, method, cases, counts)
    if of_ensembles is None:
        ensemble = method.ensemble_calibration
    else:
        assert config.members
        of_fit = set(of_ensembles.parts.cases(FIT, cases))
        is_of_fit = np.array([case in of_fit for case in cases])
        ensemble = calibrate_ensembles(
            archive,
            method,
            _calibration(archive, method, cases, by_case[is_of_fit].sum(axis=0)),
            of_ensembles,
            members=config.members,
            workers=workers,
        )
    calibration = calibration.model_copy(update={"ensemble": ensemble})
    write_calibrated(config.out, method, calibration)
    return CalibrateResult(config.out, len(cases), calibration, counts)


def _counted(
    config: CalibrateConfig,
    archive: ScanStore,
    method: NetworkMethod,
    cases: Sequence[int],
    workers: int,
) -> npt.NDArray[np.float64]:
    """(case, L, K, 2, N) counts of logits."""
    counter = _Counter(config.archive, archive.snapshot, config.model, method.lead_times)
    advice = f"Run it again with less than --workers {workers}"
    with results_of(counter, cases, workers, preload=__name__, advice=advice) as results:
        return np.stack(list(tracked(results, "calibrate", len(cases), "forecast")))


def _calibration(
    archive: ScanStore,
    method: NetworkMethod,
    cases: Sequence[int],
    counts: npt.NDArray[np.float64],
) -> Calibration:
    """The calibration of the network's chances that follows from the counts."""
    step_min = archive.step.total_seconds() / 60
    times = archive.times
    return calibrated(
        counts,
        [step_min * steps for steps, _ in method.resampling.common_lead_times(method.lead_times)],
        archive=archive.name,
        grid=network_digest(archive),
        source={
            "archive": public_address(archive.address),
            "snapshot": archive.snapshot,
            "first": times[cases[0]].isoformat(),
            "last": times[min(cases[-1] + method.lead_times, times.size - 1)].isoformat(),
            "forecasts": len(cases),
            "made": now_utc(),
        },
    )


def _cases(config: CalibrateConfig, archive: ScanStore, method: NetworkMethod) -> list[int]:
    """Indices of the reference times that can be counted."""
    excluded = np.zeros(archive.times.size, dtype=bool)
    if not config.include_training:
        excluded = training_times(archive, [_only_trained(method.provenance)])
    chosen = choose_cases(
        archive,
        used=set(used_steps(method)),
        lead_times=method.lead_times,
        periods=_periods(config, archive, method),
        interval=None,
        excluded=excluded,
    )
    if not chosen.indices:
        reason = (
            f"the model was trained on all {chosen.trained_on} (--include-training counts them)"
            if chosen.trained_on
            else "no scan in the chosen time has a whole context and a later scan"
        )
        raise DataError(f"{config.archive}: no forecast to count: {reason}")
    if len(chosen.indices) < FEW_FORECASTS:
        log.warning(
            "%s: only %d forecasts to count; the calibration will be uncertain",
            *(config.archive, len(chosen.indices)),
        )
    return list(chosen.indices)


def _periods(
    config: CalibrateConfig, archive: ScanStore, method: NetworkMethod
) -> list[ReferencePeriod]:
    """The configured period; without one, when the model was validated; else all times.

    A forecast in a period of validation has its context and its lead times there, too.
    """
    if config.start is None and config.end is None:
        before = (method.context - 1) * archive.step
        after = (method.lead_times + 1) * archive.step  # the end itself does not belong to it
        validated = [
            ReferencePeriod(parse_time(start) + before, parse_time(end) - after)
            for entry in method.provenance["archives"]
            if entry["name"] == archive.name
            for start, end in entry["validation_periods"]
        ]
        if validated:
            return validated
    return [ReferencePeriod(config.start, config.end)]


def _only_trained(provenance: dict[str, Any]) -> dict[str, Any]:
    """The provenance as if the model had been neither validated nor calibrated.

    The same for the model whose weights it began with.
    """
    result = provenance | {"archives": _without_validation(provenance), "calibrations": []}
    if "init" in provenance:
        init = provenance["init"]
        result["init"] = init | {"archives": _without_validation(init)}
    return result


def _without_validation(provenance: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry | {"validation_periods": []} for entry in provenance["archives"]]


@dataclass(frozen=True)
class _Counter:
    """Counts the logits of one forecast; it opens archive and network in its own process."""

    address: str
    snapshot: str
    model: str | Path
    lead_times: int

    @cached_property
    def _opened(self) -> tuple[ScanStore, NetworkMethod]:
        archive = open_archive(self.address, self.snapshot)
        return archive, NetworkMethod.load(self.model, archive)

    def __call__(self, index: int) -> npt.NDArray[np.float64]:
        """(L, K, 2, N) counts of the forecast from the scan with this index.

        They are counted on the network's pixels, at the lead times that network and archive share.
        """
        archive, method = self._opened
        resampling = method.resampling
        context = archive.read(index - method.context + 1, method.context).values
        scans = resampling.network_scans(context)
        height, width = scans.shape[-2:]
        pairs = resampling.common_lead_times(self.lead_times)
        steps_of = {number: steps for steps, number in pairs}
        counts = []
        with torch.inference_mode():
            leads = method.chances(scans, resampling.network_lead_times(self.lead_times))
            for number, chances in enumerate(leads, start=1):
                if number not in steps_of:
                    continue
                logits, is_known = moved_logits(chances)
                observed = archive.read(index + steps_of[number], 1).values
                observed = regridded(observed, resampling.space_factor)
                target = torch.from_numpy(observed)[None].to(method.device)
                valid = is_known[..., :height, :width] & ~torch.isnan(target)
                counts.append(count_logits(logits[..., :height, :width], target, valid).cpu())
        return torch.stack(counts).double().numpy()
