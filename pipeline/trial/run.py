"""Calibrates a model after its training, and scores it on days that nothing was chosen on."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from squall.convgru import load_nowcaster
from squall.convgru.checkpoint import WEIGHTS_SUFFIX
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.open_archive import open_archive
from squall.datasets.times import parse_time
from squall.pipeline.calibrate.config import CalibrateConfig
from squall.pipeline.calibrate.figure import draw_reliability
from squall.pipeline.calibrate.report import table
from squall.pipeline.calibrate.run import calibrate
from squall.pipeline.forecast.methods import find_method
from squall.pipeline.forecast.names import PYSTEPS_METHODS
from squall.pipeline.forecast.pysteps_methods import check_pysteps
from squall.pipeline.forecast.reference_times import ReferencePeriod
from squall.pipeline.scores.intervals import with_intervals
from squall.pipeline.train.experiment import ExperimentConfig, TrialConfig
from squall.pipeline.train.run import TrainResult
from squall.pipeline.verify.config import VerifyConfig
from squall.pipeline.verify.run import verify

log = logging.getLogger("squall.trial")

CALIBRATED, SCORED = 150, 100  # forecasts, at most
SENTENCE_MM_H = 2.0  # threshold that the last sentence is about


@dataclass(frozen=True)
class TrialResult:
    """The model to use, and how it did on test days.

    Parameters
    ----------
    model : weights with calibrations; of a network without chances its checkpoint.
    reports : text for each archive with test days.
    """

    model: Path
    reports: tuple[str, ...]


def check_trial(experiment: ExperimentConfig) -> None:
    """Check before the training that all methods to compare with can be loaded.

    Raises
    ------
    ConfigError, DataError
        If there is no such method, or it cannot be used on an archive.
    """
    if experiment.trial is None:
        return
    for share in experiment.data.archives:
        archive = open_archive(share.address, share.snapshot)
        for name in _possible(experiment.trial.compare):
            try:
                find_method(name, archive)
            except ConfigError as error:
                raise ConfigError(f"trial.compare: {error}") from error


def trial(result: TrainResult, experiment: ExperimentConfig) -> TrialResult:
    """Calibrate the model of a run on its validation days, and score it on its test days.

    Where there is nothing to calibrate or to score on, a warning says why: the model is complete.

    Raises
    ------
    ConfigError
        As `calibrate` and `verify`. The run and its checkpoints are complete before.
    """
    assert experiment.trial is not None
    addresses = [share.address for share in experiment.data.archives]
    model = _calibrated(result, experiment, addresses)
    reports = []
    for address, periods in zip(addresses, result.test_periods, strict=True):
        if periods:
            out = result.out / "scores"
            if len(addresses) > 1:
                out /= open_archive(address).name
            try:
                reports.append(_scored(model, address, periods, out, experiment.trial))
            except DataError as error:
                log.warning("not scored: %s", error)
    if not any(result.test_periods):
        log.warning("data.split has no test days, so the model was not scored")
    return TrialResult(model, tuple(reports))


def _calibrated(result: TrainResult, experiment: ExperimentConfig, addresses: list[str]) -> Path:
    """The model with a calibration on each archive that has validation days."""
    nowcaster, _ = load_nowcaster(result.best)
    if not nowcaster.gives_chances:
        return result.best
    assert experiment.trial is not None
    most = min(experiment.trial.forecasts or CALIBRATED, CALIBRATED)
    out, model = result.out / f"{experiment.name}.safetensors", result.best
    for address in addresses:
        try:
            done = calibrate(
                CalibrateConfig(archive=address, model=model, out=out, most_forecasts=most)
            )
        except DataError as error:
            log.warning("not calibrated: %s", error)
            continue
        model = out
        draw_reliability(done, result.out / f"reliability_{done.calibration.archive}.png")
        log.info("calibrated on %d forecasts of %s\n%s", done.forecasts, address, table(done))
    return model


def _scored(
    model: Path,
    address: str,
    periods: Sequence[tuple[str, str]],
    out: Path,
    config: TrialConfig,
) -> str:
    """Verify on the test days of one archive; returns a table of ratios and a sentence."""
    archive = open_archive(address)
    spans = [(parse_time(start), parse_time(end)) for start, end in periods]
    days = len({day for start, end in spans for day in _days(start, end)})
    scans = sum((end - start) / archive.step for start, end in spans)
    steps = max(1, math.ceil(scans / (config.forecasts or SCORED)))
    tested = []
    for start, end in spans:
        # not from its start on: such a forecast begins with scans of the day before, which may
        # have trained the model
        first = start + archive.step * (min(steps, int((end - start) / archive.step)) // 2)
        tested.append(ReferencePeriod(first, end - archive.step))
    # a model with a calibration: the sharp forecast, and the one with the highest CSI
    products = [f"{model}:best-csi"] if model.suffix == WEIGHTS_SUFFIX else []
    scores = verify(
        VerifyConfig(
            archives=(address,),
            models=(model, *products, *_possible(config.compare)),
            out=out,
            periods=tuple(tested),
            every_minutes=(archive.step * steps).total_seconds() / 60,
            thresholds_mm_h=config.thresholds_mm_h,
        )
    )
    names = [str(name) for name in scores.scores.method.values if name != "persistence"]
    own, others = names[: 1 + len(products)], names[1 + len(products) :]
    minutes = int(scores.scores.lead_time.values[-1] / np.timedelta64(1, "m"))
    heading = (
        f"{archive.name}, {days} test days, {scores.cases} forecasts up to {minutes} min: CSI, "
        "mean over lead times, above or below that of other methods"
    )
    thresholds = config.thresholds_mm_h
    lines = [heading, " " * 36 + "".join(f"{t:>11g} mm/h" for t in thresholds)]
    gains = {
        other: with_intervals(scores.blocks, reference=other, names=("csi",)) for other in others
    }
    for method in own:
        for other, gain in gains.items():
            of_method = gain.sel({"method": method})  # method= is an argument of sel itself
            cells = (f"{_percent(of_method, t):>16}" for t in thresholds)
            lines.append(f"{f'{method}, {other}':<36}" + "".join(cells))
    lines += [f"report: {scores.report}"]
    if others:
        gain = gains[others[0]].sel({"method": own[0]})
        lines.append(_sentence(others[0], gain, days, thresholds))
    return "\n".join(lines)


def _possible(methods: Sequence[str]) -> list[str]:
    """The methods that this installation has."""
    possible = []
    for method in methods:
        try:
            if method in PYSTEPS_METHODS:
                check_pysteps(method)
        except ConfigError as error:
            log.warning("not compared: %s", error)
        else:
            possible.append(method)
    return possible


def _days(start: pd.Timestamp, end: pd.Timestamp) -> list[pd.Timestamp]:
    """Calendar days of a period [start, end)."""
    return list(pd.date_range(start.floor("D"), end - pd.Timedelta(1, "s"), freq="D"))


def _percents(gain: xr.Dataset, threshold: float) -> tuple[float, float, float]:
    """The gain of the CSI and the ends of its interval, in percent."""
    at = gain.sel(threshold=threshold)
    value, low, high = (float(at[f"csi_gain{end}"]) for end in ("", "_low", "_high"))
    return value, low, high


def _percent(gain: xr.Dataset, threshold: float) -> str:
    """Like "+6 % [4, 9]"; a dash where the score is not defined."""
    value, low, high = _percents(gain, threshold)
    if math.isnan(value):
        return "–"
    bounds = "" if math.isnan(low + high) else f" [{low:.0f}, {high:.0f}]"
    return f"{value:+.0f} %{bounds}"


def _sentence(other: str, gain: xr.Dataset, days: int, thresholds: Sequence[float]) -> str:
    """The result in words, for the threshold nearest to `SENTENCE_MM_H`."""
    threshold = min(thresholds, key=lambda t: abs(math.log(t / SENTENCE_MM_H)))
    value, low, high = _percents(gain, threshold)
    if math.isnan(value):
        return f"No rain of {threshold:g} mm/h was observed or forecast on the test days."
    sign = -1 if value < 0 else 1
    bounds = sorted(round(sign * bound) for bound in (low, high)) if low == low else None
    interval = f" [{bounds[0]}, {bounds[1]}]" if bounds else ""
    return (
        f"On {days} day{'s' * (days != 1)} that nothing was chosen on, CSI at {threshold:g} mm/h "
        f"is {abs(value):.0f} %{interval} {'above' if sign > 0 else 'below'} {other}."
    )
