"""The files of a verification: netCDF, CSV, tables, plots and the report page, all in one folder.

With several archives, the folder has the pooled scores, and a folder of scores for each archive.
This module computes no score. Layout and words of the report are in `squall.pipeline.report`.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.grid import Grid
from squall.datasets.public_text import public_address, public_text
from squall.pipeline.forecast.methods import gives_chances, is_ensemble
from squall.pipeline.forecast.network_method import NetworkMethod
from squall.pipeline.maps.sampling import sampled_axis
from squall.pipeline.pictures import image_of
from squall.pipeline.provenance import atomic_path, code_version, now_utc
from squall.pipeline.report.case_figure import ForecastCase
from squall.pipeline.report.page import Section, html_report
from squall.pipeline.report.plots import score_figures
from squall.pipeline.report.probability_plots import probability_figures
from squall.pipeline.report.summary import shown_leads
from squall.pipeline.report.tables import score_table, write_csv
from squall.pipeline.scores.pooling import on_common_axes
from squall.pipeline.scores.sums import ScoreSums
from squall.pipeline.verify.blocks import Block
from squall.pipeline.verify.cases import ChosenCases
from squall.pipeline.verify.config import VerifyConfig
from squall.pipeline.verify.drawn import drawn_shape
from squall.pipeline.verify.plan import (
    Failure,
    Method,
    MethodError,
    Target,
    VerificationCase,
    reference_text,
)
from squall.pipeline.verify.scoring import Scorer, lead_times_of

log = logging.getLogger("squall.verify")

FAILURES_SHOWN = 5
PIXELS = {
    "reachable": "observed at the valid time, known to every method, and reached by a trajectory "
    "that starts where the last scan observed, along the motion of the rain",
    "observed": "observed at the valid time and known to every method",
}


@dataclass(frozen=True)
class ArchiveScores:
    """Scores on one archive.

    Parameters
    ----------
    to_draw : indices of the reference times that the report draws.
    total : cases, failures and seconds of all blocks, without sums.
    blocks : sums of each block.
    """

    archive: ScanStore
    methods: dict[str, Method]
    target: Target
    cases: ChosenCases
    to_draw: tuple[int, ...]
    total: Block
    blocks: tuple[ScoreSums, ...]
    scores: xr.Dataset

    def missing_scans(self) -> dict[str, int]:
        """Reference time of each scored case that lacks scans, to the number of these scans."""
        return missing_scans(self.archive, self.cases, self.total)


@dataclass(frozen=True)
class VerifyResult:
    """Scores, what was left out, and the files.

    Parameters
    ----------
    scores : of all archives pooled.
    cases : number of cases scored.
    incomplete : number of cases scored that lack scans of their context.
    left_out : number of reference times that models were trained or validated on.
    failures : cases that a method failed on. They are left out for all methods.
    replaced : number of cases that a method of pysteps has no forecast of its own for, by method.
        The forecast of ``pysteps-extrapolation`` is scored in its place.
    table : the printed table.
    blocks : sums of each block of time, of all archives, with the axes of ``scores``.
    """

    scores: xr.Dataset
    by_archive: dict[str, xr.Dataset]
    cases: int
    incomplete: int
    left_out: int
    failures: tuple[Failure, ...]
    replaced: dict[str, int]
    netcdf: Path
    csv: Path
    report: Path
    plots: tuple[Path, ...]
    table: str
    blocks: tuple[ScoreSums, ...]


def missing_scans(archive: ScanStore, cases: ChosenCases, total: Block) -> dict[str, int]:
    """Reference time of each case that did not fail and lacks scans, to the number of these."""
    failed = {failure.reference_time for failure in total.failures}
    times = (reference_text(archive.times[index]) for index in cases.indices)
    counts = zip(times, cases.missing_scans, strict=True)
    return {time: count for time, count in counts if count and time not in failed}


def chance_sources(
    methods: Mapping[str, Method], thresholds_mm_h: Sequence[float], members: int | None
) -> dict[str, str]:
    """Where the chances of each method come from, in words; not of those that have 0 and 1 only.

    Parameters
    ----------
    members : number of members that are scored, if any.
    """
    sources = {}
    for name, method in methods.items():
        if members and isinstance(method, NetworkMethod):
            sources[name] = f"{method.source_of_chances} ({members} members)"
            if not method.are_chances_shares and not method.calibration:
                sources[name] += ", not calibrated on this radar network"
        elif gives_chances(method, thresholds_mm_h):
            levels = ", ".join(f"{t:g}" for t in method.chance_thresholds(thresholds_mm_h))
            sources[name] = f"said by the method, at {levels} mm/h"
            if isinstance(method, NetworkMethod):
                calibrated = "calibrated" if method.calibration else "not calibrated"
                sources[name] += f", {calibrated} on this radar network"
        elif members and is_ensemble(method):
            sources[name] = f"share of {members} members"
    return sources


def all_blocks(scored_archives: Sequence[ArchiveScores]) -> list[ScoreSums]:
    """Sums of each block of time; those of several archives on common axes."""
    sums = [block for scored in scored_archives for block in scored.blocks]
    if len(scored_archives) == 1:
        return sums
    scales = [scored.target.scales_km for scored in scored_archives for _ in scored.blocks]
    return on_common_axes(sums, scales)


def replaced(scored_archives: list[ArchiveScores]) -> dict[str, int]:
    """As in `VerifyResult`, over all archives."""
    total = Block()
    for scored in scored_archives:
        total.add(Block(replaced=scored.total.replaced))
    return total.replaced


def _replaced_lines(scored_archives: list[ArchiveScores]) -> list[str]:
    """A sentence for each method whose forecasts are partly those of an extrapolation."""
    cases = sum(scored.total.cases for scored in scored_archives)
    return [
        f"In {count} of {cases} cases, pysteps has no forecast of {method}: the scans are dry or "
        "constant. There the scores are those of pysteps-extrapolation."
        for method, count in replaced(scored_archives).items()
    ]


def write(
    config: VerifyConfig,
    scored_archives: list[ArchiveScores],
    blocks: Sequence[ScoreSums],
    pooled: xr.Dataset | None,
    scorer: Scorer,
) -> VerifyResult:
    """Write all files to the configured folder.

    Parameters
    ----------
    blocks : sums of `all_blocks`.
    pooled : their scores; None with one archive.
    """
    out = config.out
    for line in [*_failure_lines(scored_archives), *_replaced_lines(scored_archives)]:
        log.warning("%s", line)
    sections = []
    if pooled is not None:
        titles = ", ".join(scored.archive.title for scored in scored_archives)
        facts = {"Archives": titles, "Cases": str(pooled.attrs["cases"])}
        plots = write_scores(pooled, out)
        sections.append(Section("All archives pooled", pooled, facts, plots))
    for number, scored in enumerate(scored_archives):
        plots = write_scores(scored.scores, out if pooled is None else out / scored.archive.name)
        cases = _cases_to_draw(number, scored, scorer)
        title = scored.archive.title
        sections.append(Section(title, scored.scores, _facts(scored), plots, cases))
    scores = sections[0].scores
    texts = [f"{section.title}\n{score_table(section.scores)}" for section in sections]
    text = "\n\n".join(texts) if pooled is not None else score_table(scores)
    _write_text(out / "scores.txt", text + "\n")
    _write_text(out / "report.html", _page(config, scored_archives, sections))
    return VerifyResult(
        scores=scores,
        by_archive={scored.archive.name: scored.scores for scored in scored_archives},
        cases=sum(scored.total.cases for scored in scored_archives),
        incomplete=sum(len(scored.missing_scans()) for scored in scored_archives),
        left_out=sum(scored.cases.trained_on for scored in scored_archives),
        failures=tuple(f for scored in scored_archives for f in scored.total.failures),
        replaced=replaced(scored_archives),
        netcdf=out / "scores.nc",
        csv=out / "scores.csv",
        report=out / "report.html",
        plots=tuple(sections[0].plots.values()),
        table=text,
        blocks=tuple(blocks),
    )


def write_scores(scores: xr.Dataset, folder: Path) -> dict[str, Path]:
    """Write ``scores.nc``, ``scores.csv`` and the plots; return the paths of the plots by name."""
    with atomic_path(folder / "scores.nc") as temporary:
        scores.to_netcdf(temporary)
    with atomic_path(folder / "scores.csv") as temporary:
        write_csv(scores, temporary)
    plots = {}
    for name, figure in {**score_figures(scores), **probability_figures(scores)}.items():
        plots[name] = folder / f"{name}.png"
        with atomic_path(plots[name]) as temporary:
            image_of(figure).save(temporary, "PNG")
    return plots


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _page(
    config: VerifyConfig, scored_archives: list[ArchiveScores], sections: Sequence[Section]
) -> str:
    """The page; the sections are in its order."""
    methods = scored_archives[0].methods
    cautions = [*_failure_lines(scored_archives), *_replaced_lines(scored_archives)]
    if config.include_training:
        cautions.append("The cases include times that models were trained or validated on.")
    incomplete = sum(len(scored.missing_scans()) for scored in scored_archives)
    if incomplete:
        cautions.append(f"{incomplete} of the cases lack scans of their context.")
    digests = {
        f"{'Weights' if isinstance(method, NetworkMethod) else 'Code'} of {name}": method.digest
        for name, method in methods.items()
    }
    return html_report(
        f"Verification of {', '.join(methods)}",
        sections,
        facts={
            "Methods": ", ".join(methods),
            "Pixels that count": PIXELS[config.pixels] + "; the same for all methods",
            "Intervals": f"90 %, bootstrap over blocks of {config.block_minutes:g} min",
        },
        provenance={"Squall": code_version(), "Made at": now_utc(), **digests},
        configuration=public_text(json.dumps(config.model_dump(mode="json"), indent=2)),
        cautions=cautions,
    )


def _facts(scored: ArchiveScores) -> dict[str, str]:
    archive, attrs = scored.archive, scored.scores.attrs
    height, width = archive.grid.shape
    reasons = {
        "that models were trained or validated on": scored.cases.trained_on,
        "without all scans of their context": scored.cases.gaps,
    }
    left_out = " and ".join(f"{count} {reason}" for reason, count in reasons.items() if count)
    counts = sorted(Counter(scored.missing_scans().values()).items())
    incomplete = ", ".join(f"{scans} missing in {cases}" for scans, cases in counts)
    return {
        "Archive": public_address(archive.address),
        "Snapshot": archive.snapshot,
        "Reference times": "{first_reference_time} to {last_reference_time} UTC".format(**attrs),
        "Cases": f"{scored.total.cases}" + (f" (left out: {left_out})" if left_out else ""),
        **({"Cases by scans missing in the context": incomplete} if incomplete else {}),
        "Grid": f"{height} × {width} pixels of {archive.grid.pixel_size_m / 1000:.3g} km, "
        f"every {archive.step.total_seconds() / 60:g} min",
        **{f"Chances of {name}": source for name, source in json.loads(attrs["chances"]).items()},
        **{
            f"Resampling for {name}": str(method.resampling)
            for name, method in scored.methods.items()
            if isinstance(method, NetworkMethod) and str(method.resampling)
        },
    }


def _cases_to_draw(number: int, scored: ArchiveScores, scorer: Scorer) -> list[ForecastCase]:
    """The rainiest cases. Those that an earlier run scored are forecast again."""
    archive = scored.archive
    leads = lead_times_of(archive, scored.target.lead_times)
    rows, columns = drawn_shape(archive.grid.shape)
    x, y = sampled_axis(archive.grid.x, columns), sampled_axis(archive.grid.y, rows)
    failed = {failure.reference_time for failure in scored.total.failures}
    cases = []
    for index in scored.to_draw:
        if reference_text(archive.times[index]) in failed:
            continue
        fields = scored.total.drawn.get(index)
        if fields is None:
            try:
                fields = scorer.drawn(VerificationCase(number, index, ""))
            except MethodError as error:  # memory was short, for example; the scores are there
                log.warning("%s is not drawn: %s", archive.times[index], error)
                continue
        cases.append(
            ForecastCase(
                title=f"{archive.title}: a rainy case",
                reference_time=archive.times[index],
                lead_times=leads[shown_leads(leads)],
                observed=fields.observed,
                forecasts=fields.forecasts,
                grid=Grid(x=x, y=y, crs_wkt=archive.grid.crs_wkt),
            )
        )
    return cases


def _failure_lines(scored_archives: list[ArchiveScores]) -> list[str]:
    """The first failures of each archive, and the number of the others."""
    lines = []
    for scored in scored_archives:
        name, failures = scored.archive.name, scored.total.failures
        lines += [
            f"{name} {failure.reference_time}: {failure.method} failed, so this case is left out "
            f"for all methods: {failure.reason}"
            for failure in failures[:FAILURES_SHOWN]
        ]
        if len(failures) > FAILURES_SHOWN:
            lines.append(f"{name}: {len(failures) - FAILURES_SHOWN} more cases are left out")
    return lines
