"""Forecasts made and scored, here or in worker processes; finished blocks of time are kept.

A case is one reference time on one archive, a block all cases of some time: what the bootstrap
draws, and what a run that goes on need not make again. Owns neither the choice of cases
(`squall.pipeline.verify.cases`) nor the scores (`squall.pipeline.scores.skill`).
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import DataError
from squall.datasets.open_archive import open_archive
from squall.pipeline.forecast.methods import Extrapolation, ForecastMethod, find_method
from squall.pipeline.forecast.names import EXTRAPOLATION
from squall.pipeline.progress import tracked
from squall.pipeline.provenance import atomic_path
from squall.pipeline.scores.sums import ScoreSums, score_sums_by_method

Rates = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Target:
    """One archive and how forecasts on it are scored.

    Parameters
    ----------
    scales_km : of the FSS, those that this grid tells apart.
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
    methods : name shown -> name or path, see `find_method`.
    reachable_only : whether to count only pixels that the extrapolation of the last scan reaches.
    """

    targets: tuple[Target, ...]
    methods: dict[str, str]
    thresholds_mm_h: tuple[float, ...]
    reachable_only: bool
    members: int


@dataclass(frozen=True)
class Case:
    """A reference time, as number of the target and index on its time axis."""

    target: int
    index: int
    block: str


@dataclass(frozen=True)
class Failure:
    """A case that counts for no method, because one could not forecast it."""

    reference_time: str
    method: str
    reason: str


@dataclass
class Block:
    """What the cases of one stretch of time on one archive add up to.

    ``sums`` is None where all of them failed; ``seconds`` of each forecast, by method.
    """

    sums: ScoreSums | None = None
    cases: int = 0
    failures: list[Failure] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, scored: Block) -> None:
        """Take in one more case, or several."""
        if scored.sums is not None:
            self.sums = scored.sums if self.sums is None else self.sums + scored.sums
        self.cases += scored.cases
        self.failures += scored.failures
        for method, seconds in scored.seconds.items():
            self.seconds.setdefault(method, []).extend(seconds)


class Scorer:
    """Makes and scores the forecasts of any case; opens archives and methods when needed."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._opened: dict[int, tuple[ScanStore, dict[str, ForecastMethod]]] = {}

    def opened(self, target: int) -> tuple[ScanStore, dict[str, ForecastMethod]]:
        """Archive and methods of a target."""
        if target not in self._opened:
            to = self.plan.targets[target]
            archive = open_archive(to.address, to.snapshot)
            methods = {
                shown: find_method(name, archive, members=self.plan.members)
                for shown, name in self.plan.methods.items()
            }
            self._opened[target] = archive, methods
        return self._opened[target]

    def forecasts(self, case: Case) -> tuple[Rates, dict[str, Rates], dict[str, float]]:
        """Observed rain rate, forecasts by method (lead_time, y, x), and seconds they took.

        Raises
        ------
        MethodError
            Where a method cannot forecast this case.
        """
        archive, methods = self.opened(case.target)
        lead_times = self.plan.targets[case.target].lead_times
        longest = max(Extrapolation.context, *(method.context for method in methods.values()))
        context = archive.read(case.index - longest + 1, longest).values
        made, seconds = {}, {}
        for shown, method in methods.items():
            began = time.perf_counter()
            try:
                made[shown] = method.nowcast(context[-method.context :], lead_times)
            except Exception as error:  # whatever a library makes of odd scans
                raise MethodError(shown, f"{type(error).__name__}: {error}") from error
            seconds[shown] = time.perf_counter() - began
            if np.isnan(made[shown]).all() and not np.isnan(context[-1]).all():
                raise MethodError(shown, "no pixel of the forecast is known")
        return archive.read(case.index + 1, lead_times).values, made, seconds

    def __call__(self, case: Case) -> Block:
        """Score one case."""
        archive, _ = self.opened(case.target)
        to = self.plan.targets[case.target]
        try:
            observed, made, seconds = self.forecasts(case)
        except MethodError as error:
            when = f"{archive.times[case.index]:%Y-%m-%d %H:%M}"
            return Block(failures=[Failure(when, error.method, error.reason)])
        valid = None
        if self.plan.reachable_only:
            valid = ~np.isnan(self._extrapolated(case, made))
        sums = score_sums_by_method(
            made,
            observed,
            lead_times=lead_times_of(archive, to.lead_times),
            thresholds_mm_h=self.plan.thresholds_mm_h,
            scales_km=to.scales_km,
            pixel_km=archive.grid.pixel_size_m / 1000,
            valid=valid,
        )
        return Block(sums, 1, seconds={method: [s] for method, s in seconds.items()})

    def _extrapolated(self, case: Case, made: dict[str, Rates]) -> Rates:
        """The forecast whose NaN tell what no trajectory reaches."""
        if self.plan.methods.get(EXTRAPOLATION) == EXTRAPOLATION:
            return made[EXTRAPOLATION]
        archive, _ = self.opened(case.target)
        lead_times = self.plan.targets[case.target].lead_times
        method = Extrapolation(lead_times)
        context = archive.read(case.index - method.context + 1, method.context).values
        return method.nowcast(context, lead_times)


def lead_times_of(archive: ScanStore, count: int) -> npt.NDArray[np.timedelta64]:
    """The first so many lead times of an archive's steps."""
    return np.array([(k * archive.step).to_timedelta64() for k in range(1, count + 1)])


class MethodError(Exception):
    """A method could not forecast a case."""

    def __init__(self, method: str, reason: str) -> None:
        super().__init__(f"{method}: {reason}")
        self.method, self.reason = method, " ".join(reason.split())


class BlockStore:
    """Finished blocks in a folder of their own for each configuration, so that none ever mix."""

    def __init__(self, out: Path, digest: str) -> None:
        self.folder = out / "blocks" / digest[:16]

    def others(self) -> bool:
        """Whether another configuration left blocks in the same place."""
        return any(path != self.folder for path in self.folder.parent.glob("*"))

    def clear(self) -> None:
        """Forget the blocks of this configuration."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def load(self, target: Target, block: str) -> Block | None:
        """What was kept of a block, None if nothing."""
        path = self._path(target, block)
        if not path.exists():
            return None
        with xr.open_dataset(path, decode_timedelta=True) as data:
            loaded = data.load()
        kept = json.loads(loaded.attrs.pop("block"))
        failures = [Failure(**failure) for failure in kept["failures"]]
        sums = ScoreSums(loaded) if loaded.data_vars else None
        return Block(sums, kept["cases"], failures, kept["seconds"])

    def save(self, target: Target, name: str, block: Block) -> None:
        """Keep a finished block, whole or not at all."""
        kept = {
            "cases": block.cases,
            "failures": [vars(failure) for failure in block.failures],
            "seconds": block.seconds,
        }
        data = xr.Dataset() if block.sums is None else block.sums.data
        with atomic_path(self._path(target, name)) as part:
            data.assign_attrs(block=json.dumps(kept)).to_netcdf(part)

    def _path(self, target: Target, block: str) -> Path:
        return self.folder / target.name / f"{block}.nc"


def scored_blocks(
    plan: Plan, cases: Sequence[Case], store: BlockStore, workers: int
) -> dict[tuple[int, str], Block]:
    """All blocks of the cases, by target and name: those kept, and the others made now.

    Cases are added up in their order whatever the number of processes, so that the sums are the
    same to the last bit. ``workers`` of 1 is this process.

    Raises
    ------
    DataError
        If a worker process dies.
    """
    blocks: dict[tuple[int, str], Block] = {}
    for key in dict.fromkeys((case.target, case.block) for case in cases):
        kept = store.load(plan.targets[key[0]], key[1])
        if kept is not None:
            blocks[key] = kept
    left = [case for case in cases if (case.target, case.block) not in blocks]
    growing: dict[tuple[int, str], Block] = {}
    counts: dict[tuple[int, str], int] = {}
    for case in left:
        key = case.target, case.block
        counts[key] = counts.get(key, 0) + 1
    with _results(plan, left, workers) as results:
        for case, scored in zip(left, tracked(results, "verify", len(left)), strict=True):
            key = case.target, case.block
            block = growing.setdefault(key, Block())
            block.add(scored)
            counts[key] -= 1
            if not counts[key]:
                store.save(plan.targets[case.target], case.block, block)
                blocks[key] = growing.pop(key)
    return dict(sorted(blocks.items()))


@contextmanager
def _results(plan: Plan, cases: Sequence[Case], workers: int) -> Iterator[Iterable[Block]]:
    if workers == 1 or len(cases) < 2:
        yield map(Scorer(plan), cases)
        return
    # forked from a process that has imported everything and has no threads, nor a GPU, open
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    pool = ProcessPoolExecutor(
        min(workers, len(cases)), context, initializer=_start_worker, initargs=(plan,)
    )
    try:
        yield _in_order(pool, cases, at_most=2 * workers)
    except BaseException as error:
        for process in list(pool._processes.values()):  # a forecast may take minutes
            process.terminate()
        if not isinstance(error, BrokenProcessPool):
            raise
        raise DataError(
            "a worker process died, most likely for lack of memory; blocks finished before are "
            f"kept: run it again with less than --workers {workers}"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(pool: ProcessPoolExecutor, cases: Sequence[Case], *, at_most: int) -> Iterator[Block]:
    """Results in the order of the cases, few of them under way or waiting at any time."""
    under_way: deque[Future[Block]] = deque()
    for case in cases:
        under_way.append(pool.submit(_score, case))
        if len(under_way) >= at_most:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()


_scorer: Scorer | None = None  # of a worker process


def _start_worker(plan: Plan) -> None:
    global _scorer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits for us
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    _scorer = Scorer(plan)


def _score(case: Case) -> Block:
    assert _scorer is not None
    return _scorer(case)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))
