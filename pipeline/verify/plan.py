"""The plan of a verification: which methods forecast which cases of which archives.

A case is one reference time on one archive. A block has the cases of one stretch of time: the
bootstrap draws blocks, and a resumed run does not repeat finished blocks. This module makes no
forecasts.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pandas as pd

from squall.convgru.thresholds import THRESHOLDS_MM_H
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.open_archive import open_archive
from squall.pipeline.forecast.methods import (
    ForecastMethod,
    find_method,
    gives_chances,
    is_ensemble,
    used_steps,
)
from squall.pipeline.forecast.names import EXTRAPOLATION, PERSISTENCE, STEPS, STEPS_MEMBERS
from squall.pipeline.forecast.network_method import NetworkMethod
from squall.pipeline.forecast.pysteps_methods import PystepsMethod
from squall.pipeline.forecast.reference_times import ReferencePeriod
from squall.pipeline.scores.pooling import scales_of_grid
from squall.pipeline.verify.cases import (
    ChosenCases,
    choose_cases,
    others_trained_then,
    training_times,
)
from squall.pipeline.verify.config import VerifyConfig
from squall.pipeline.verify.stored import StoredForecasts, common_times

# Others are compared with the first of these that is scored. Persistence always is.
REFERENCES = (STEPS, "s-prog", "linda", "pysteps-extrapolation", EXTRAPOLATION, PERSISTENCE)
BLOCKS = "blocks"  # folder of the output that keeps finished parts of a verification

Method: TypeAlias = ForecastMethod | StoredForecasts  # what is scored

log = logging.getLogger("squall.verify")


@dataclass(frozen=True)
class Target:
    """One archive, and how forecasts on it are scored.

    Parameters
    ----------
    lead_times : number of time steps to forecast.
    scales_km : of the FSS, those whose neighbourhoods differ on this grid.
    """

    address: str
    snapshot: str
    name: str
    lead_times: int
    scales_km: tuple[float, ...]


@dataclass(frozen=True)
class Plan:
    """What a worker needs to score any case.

    Parameters
    ----------
    methods : label of each method to its name or path, see `find_method`.
    reachable_only : whether to count only pixels that the extrapolation of the last scan reaches.
    members : number of members that each ensemble is scored with; None = no members are scored.
    reference : label of the method that the others are compared with.
    stored : labels whose forecasts were made before; their paths are in ``methods``.
    """

    targets: tuple[Target, ...]
    methods: dict[str, str]
    thresholds_mm_h: tuple[float, ...]
    reachable_only: bool
    members: int | None
    reference: str
    stored: frozenset[str] = frozenset()


@dataclass(frozen=True)
class VerificationCase:
    """One reference time.

    Parameters
    ----------
    target : number of the target.
    index : of the reference time on the archive's time axis.
    block : name of the block.
    is_drawn : whether the report draws it.
    """

    target: int
    index: int
    block: str
    is_drawn: bool = False


@dataclass(frozen=True)
class Failure:
    """A case that a method failed on. It is left out for all methods."""

    reference_time: str
    method: str
    reason: str


def reference_text(time: pd.Timestamp) -> str:
    """A reference time in words; with seconds if it has any, so that it names one case."""
    return f"{time:%Y-%m-%d %H:%M}" + (f"{time::%S}" if time.second else "")


class MethodError(Exception):
    """A method failed on a case."""

    def __init__(self, method: str, reason: str) -> None:
        super().__init__(f"{method}: {reason}")
        self.method, self.reason = method, " ".join(reason.split())


@dataclass(frozen=True)
class PlannedArchive:
    """One archive with its methods, by label, and its cases."""

    archive: ScanStore
    methods: dict[str, Method]
    target: Target
    cases: ChosenCases


def opened_methods(
    labels: Mapping[str, str], stored: Collection[str], archive: ScanStore, members: int | None
) -> dict[str, Method]:
    """The methods on an archive, and what was forecast before (`StoredForecasts`), by label.

    Raises
    ------
    DataError, ConfigError
        As `find_method` and `StoredForecasts.open`.
    """
    return {
        label: StoredForecasts.open(Path(name), archive)
        if label in stored
        else find_method(name, archive, members=members)
        for label, name in labels.items()
    }


def make_plan(config: VerifyConfig) -> tuple[Plan, list[PlannedArchive]]:
    """Open the archives, load the methods and choose the cases.

    Raises
    ------
    DataError
        If an archive has no case, or a model cannot be loaded.
    ConfigError
        If archives have the same name or no common lead time, a time cannot be read, or a method
        does not exist.
    """
    archives = [open_archive(address) for address in config.archives]
    names = [archive.name for archive in archives]
    if len({name.casefold() for name in names}) < len(names):  # each gets a folder
        raise ConfigError(
            f"two archives have the same name ({', '.join(names)}): verify them separately"
        )
    if BLOCKS in {name.casefold() for name in names}:
        raise ConfigError(f"an archive called '{BLOCKS}' cannot be verified: the folder is in use")
    labels = _labels(config, archives[0])
    stored = _with_stored(config, labels)
    periods = config.reference_periods()
    planned_archives = [_planned(config, archive, labels, stored, periods) for archive in archives]
    without_cases = [
        f"{planned.archive.address}: no forecast to score: {planned.cases.reason()}"
        for planned in planned_archives
        if not planned.cases.indices
    ]
    if without_cases:
        raise DataError("; ".join(without_cases))
    _check_common_lead_times(planned_archives)
    plan = Plan(
        tuple(planned.target for planned in planned_archives),
        labels,
        config.thresholds_mm_h,
        config.pixels == "reachable",
        _members(config, planned_archives[0].methods),
        _reference(config, labels),
        stored,
    )
    return plan, planned_archives


def _planned(
    config: VerifyConfig,
    archive: ScanStore,
    labels: dict[str, str],
    stored: Collection[str],
    periods: Sequence[ReferencePeriod],
) -> PlannedArchive:
    methods = opened_methods(labels, stored, archive, config.members)
    made_before = [method for method in methods.values() if isinstance(method, StoredForecasts)]
    if config.incomplete_contexts:
        _check_takes_gaps(methods)
    networks = [method for method in methods.values() if isinstance(method, NetworkMethod)]
    for network in networks:
        if network.caution:
            log.warning("%s: %s", archive.name, network.caution)
        counts_chances = network.says_chances and config.members is None
        if counts_chances and not gives_chances(network, config.thresholds_mm_h):
            log.warning(
                "%s: has chances of %s mm/h only, so its chances are not scored; add such "
                "--thresholds",
                *(network.name, ", ".join(f"{level:g}" for level in THRESHOLDS_MM_H)),
            )
    provenances = [network.provenance for network in networks]
    provenances += [training for before in made_before for training in before.training]
    if config.include_training:
        provenances = []
    lead_times = _lead_times(config, archive, methods)
    cases = choose_cases(
        archive,
        used={step for method in methods.values() for step in used_steps(method)},
        lead_times=lead_times,
        periods=periods,
        interval=pd.Timedelta(minutes=config.every_minutes) if config.every_minutes else None,
        excluded=training_times(archive, provenances),
        incomplete=config.incomplete_contexts,
        stored=common_times(archive, made_before),
    )
    if others := others_trained_then(archive, provenances, cases.indices):
        log.warning(
            "%s: a model was trained on %s at some of these times; if that is the same radar "
            "network, its scores are too good: leave these times out with --period",
            *(archive.name, ", ".join(others)),
        )
    for count, reason in (
        (cases.trained_on, "a model was trained or validated on them"),
        (cases.gaps, "scans of their context are missing"),
    ):
        if count:
            log.info("%s: %d reference times left out: %s", archive.name, count, reason)
    scales_km = scales_of_grid(config.scales_km, archive.grid.pixel_size_m / 1000)
    target = Target(archive.address, archive.snapshot, archive.name, lead_times, scales_km)
    return PlannedArchive(archive, methods, target, cases)


def _check_takes_gaps(methods: dict[str, Method]) -> None:
    """ConfigError if a method cannot forecast when scans of its context are missing."""
    names = [name for name, method in methods.items() if isinstance(method, PystepsMethod)]
    if names:
        raise ConfigError(
            f"--incomplete-contexts: {', '.join(names)} cannot forecast when scans are missing; "
            "leave these methods out, or verify complete contexts only"
        )


def _labels(config: VerifyConfig, archive: ScanStore) -> dict[str, str]:
    """Label of every method to its name or path; persistence is always among them.

    The label is the method's name. Models of the same name also have their folder in the label.
    """
    models = list(dict.fromkeys(str(model) for model in config.models))
    if PERSISTENCE not in models:
        models.append(PERSISTENCE)
    names = [find_method(model, archive, members=config.members).name for model in models]
    labels: dict[str, str] = {}
    for name, model in zip(names, models, strict=True):
        path = Path(model)
        label = name if names.count(name) == 1 else f"{name} ({path.parent.name}/{path.stem})"
        if label in labels:
            raise ConfigError(f"{model} and {labels[label]} are both called {label}; rename one")
        labels[label] = model
    return labels


def _with_stored(config: VerifyConfig, labels: dict[str, str]) -> frozenset[str]:
    """Add the stored forecasts to the labels, by the names of their files; returns these labels.

    Raises
    ------
    ConfigError
        If two have the same name, or one has the name of a method.
    """
    stored = set()
    for path in dict.fromkeys(config.forecasts):
        if path.stem in labels:
            raise ConfigError(
                f"--forecasts {path}: another method is called {path.stem} too; rename the store"
            )
        labels[path.stem] = str(path)
        stored.add(path.stem)
    return frozenset(stored)


def _members(config: VerifyConfig, methods: dict[str, Method]) -> int | None:
    """Number of members to score; None without ensembles.

    Raises
    ------
    ConfigError
        If members are asked for and no method makes any, or the name of a model says how members
        are made and none are asked for.
    """
    stored = [m.members for m in methods.values() if isinstance(m, StoredForecasts) and m.members]
    if stored and (config.members or 0) > min(stored):
        raise ConfigError(
            f"--members {config.members}: the stored --forecasts have {min(stored)} members"
        )
    if config.members is None:
        if stored:
            return min(stored)
        if STEPS in methods:
            return STEPS_MEMBERS
        for name, method in methods.items():
            if isinstance(method, NetworkMethod):
                method.check_engine(name, config.members)
        return None
    if not stored and not any(map(is_ensemble, methods.values())):
        raise ConfigError(
            f"--members {config.members}: none of {', '.join(methods)} makes members; add --model "
            f"{STEPS}, or leave --members out"
        )
    return config.members


def _reference(config: VerifyConfig, labels: dict[str, str]) -> str:
    """Label of the method that the others are compared with.

    Raises
    ------
    ConfigError
        If the configured one is not scored.
    """
    if config.reference is None:
        return next(name for name in REFERENCES if name in labels)
    for label, name in labels.items():
        if config.reference in (label, name):
            return label
    raise ConfigError(
        f"--reference {config.reference} is not scored; add --model {config.reference}, or give "
        f"one of these: {', '.join(labels)}"
    )


def _lead_times(config: VerifyConfig, archive: ScanStore, methods: dict[str, Method]) -> int:
    """Number of time steps to forecast.

    It is the configured number. Without one, it is the number that all trained models can
    forecast, and that all stored forecasts have; without such methods, one hour.

    Raises
    ------
    ConfigError
        If no step is asked for, or more than stored forecasts have.
    """
    stored = {
        label: method.lead_times
        for label, method in methods.items()
        if isinstance(method, StoredForecasts)
    }
    if config.lead_times is None and config.minutes is None:
        limited = [m for m in methods.values() if isinstance(m, NetworkMethod | StoredForecasts)]
        return min(method.lead_times for method in limited or methods.values())
    asked = config.lead_times or int(pd.Timedelta(minutes=config.minutes or 0) // archive.step)
    if asked == 0:
        raise ConfigError(
            f"--minutes {config.minutes:g} is less than the step of {archive.address}, "
            f"{archive.step.total_seconds() / 60:g} min"
        )
    for label, count in stored.items():
        if asked > count:
            raise ConfigError(f"--forecasts {label}: has {count} lead times, and {asked} are asked")
    return asked


def _check_common_lead_times(planned_archives: Sequence[PlannedArchive]) -> None:
    """ConfigError if the forecasts of one archive end before the first lead time of another."""
    slowest = max(
        (planned.archive for planned in planned_archives), key=lambda archive: archive.step
    )
    for planned in planned_archives:
        horizon = planned.target.lead_times * planned.archive.step
        if horizon < slowest.step:
            first_lead = f"{slowest.step.total_seconds() / 60:g} min"
            raise ConfigError(
                f"the forecasts on {planned.archive.address} end at "
                f"{horizon.total_seconds() / 60:g} min, before the first lead time of "
                f"{slowest.address}, {first_lead}, so their scores cannot be pooled; forecast at "
                f"least {first_lead}, or verify the archives separately"
            )
