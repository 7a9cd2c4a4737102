"""What a verification leaves behind: netCDF, CSV, tables, plots and the report, all in one folder.

With several archives the folder holds the pooled scores, and one folder of its archive's name for
each. Scores nothing; how things look is that of `score_report`, `score_plots`, `case_page` and
`html_report`.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from squall.datasets.archive.scan_store import ScanStore
from squall.pipeline.forecast.methods import ForecastMethod
from squall.pipeline.forecast.network_method import NetworkMethod
from squall.pipeline.provenance import atomic_path, code_version, now_utc
from squall.pipeline.report.case_figure import Case as DrawnCase
from squall.pipeline.report.page import Section, html_report
from squall.pipeline.report.plots import plots
from squall.pipeline.report.summary import shown_leads
from squall.pipeline.report.tables import table, write_csv
from squall.pipeline.scores.sums import ScoreSums
from squall.pipeline.verify.cases import Cases, rainiest
from squall.pipeline.verify.config import VerifyConfig
from squall.pipeline.verify.scoring import (
    Block,
    Case,
    Failure,
    MethodError,
    Scorer,
    Target,
    lead_times_of,
)

log = logging.getLogger("squall.verify")

FAILURES_SHOWN = 5
PIXELS = {
    "reachable": "observed at the valid time, known to every method, and reached by a trajectory "
    "of the motion of rain from inside what the last scan observed",
    "observed": "observed at the valid time and known to every method",
}


@dataclass(frozen=True)
class ArchiveScores:
    """What was scored on one archive; ``total`` has counts only, ``blocks`` the sums."""

    archive: ScanStore
    methods: dict[str, ForecastMethod]
    target: Target
    cases: Cases
    total: Block
    blocks: tuple[ScoreSums, ...]
    scores: xr.Dataset


@dataclass(frozen=True)
class VerifyResult:
    """Scores, pooled and by archive, what was left out, and the files that hold them.

    ``left_out`` counts reference times that models were trained on; ``failures`` are cases that
    a method could not forecast, so that they count for none.
    """

    scores: xr.Dataset
    by_archive: dict[str, xr.Dataset]
    cases: int
    left_out: int
    failures: tuple[Failure, ...]
    netcdf: Path
    csv: Path
    report: Path
    plots: tuple[Path, ...]
    table: str


def write(
    config: VerifyConfig, scored: list[ArchiveScores], pooled: xr.Dataset | None, scorer: Scorer
) -> VerifyResult:
    """Write everything to the configuration's folder; ``pooled`` is None with one archive."""
    out = config.out
    failures = tuple(failure for one in scored for failure in one.total.failures)
    for warning in _failed(scored):
        log.warning("%s", warning)
    texts = []
    if pooled is not None:
        texts += ["All archives pooled", table(pooled), ""]
        for one in scored:
            texts += [one.archive.title, table(one.scores), ""]
            _write_scores(one.scores, out / one.archive.name)
    scores = scored[0].scores if pooled is None else pooled
    drawn = _write_scores(scores, out)
    text = "\n".join(texts).rstrip() if texts else table(scores)
    _write_text(out / "scores.txt", text + "\n")
    _write_text(out / "report.html", _page(config, scored, pooled, scorer))
    return VerifyResult(
        scores=scores,
        by_archive={one.archive.name: one.scores for one in scored},
        cases=sum(one.total.cases for one in scored),
        left_out=sum(one.cases.trained_on for one in scored),
        failures=failures,
        netcdf=out / "scores.nc",
        csv=out / "scores.csv",
        report=out / "report.html",
        plots=drawn,
        table=text,
    )


def _write_scores(scores: xr.Dataset, folder: Path) -> tuple[Path, ...]:
    """``scores.nc``, ``scores.csv`` and one picture a kind of plot; returns the pictures."""
    with atomic_path(folder / "scores.nc") as part:
        scores.to_netcdf(part)
    with atomic_path(folder / "scores.csv") as part:
        write_csv(scores, part)
    drawn = []
    for name, figure in plots(scores).items():
        drawn.append(folder / f"{name}.png")
        with atomic_path(drawn[-1]) as part:
            figure.savefig(part, dpi=110)
    return tuple(drawn)


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def _page(
    config: VerifyConfig, scored: list[ArchiveScores], pooled: xr.Dataset | None, scorer: Scorer
) -> str:
    sections = [
        Section(one.archive.title, one.scores, _facts(one), _drawn(number, one, config, scorer))
        for number, one in enumerate(scored)
    ]
    if pooled is not None:
        names = ", ".join(one.archive.title for one in scored)
        facts = {"Archives": names, "Cases": str(pooled.attrs["cases"])}
        sections.insert(0, Section("All archives pooled", pooled, facts))
    methods = scored[0].methods
    cautions = _failed(scored)
    if config.include_training:
        cautions.append("Times that models were trained or chosen on are among the cases.")
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
        configuration=json.dumps(config.model_dump(mode="json"), indent=2),
        cautions=cautions,
    )


def _facts(one: ArchiveScores) -> dict[str, str]:
    archive, scores = one.archive, one.scores
    height, width = archive.grid.shape
    left_out = [
        f"{count} {why}"
        for count, why in (
            (one.cases.trained_on, "that models were trained or chosen on"),
            (one.cases.gaps, "without all scans to start from"),
        )
        if count
    ]
    apart = f" (left out: {' and '.join(left_out)})" if left_out else ""
    first, last = (scores.attrs[f"{end}_reference_time"] for end in ("first", "last"))
    return {
        "Archive": archive.address,
        "Snapshot": archive.snapshot,
        "Reference times": f"{first} to {last} UTC",
        "Cases": f"{one.total.cases}{apart}",
        "Grid": f"{height} × {width} pixels of {archive.grid.pixel_size_m / 1000:.3g} km, "
        f"every {archive.step.total_seconds() / 60:g} min",
        **{
            f"Resampling for {name}": str(method.resampling)
            for name, method in one.methods.items()
            if isinstance(method, NetworkMethod) and str(method.resampling)
        },
    }


def _drawn(
    number: int, one: ArchiveScores, config: VerifyConfig, scorer: Scorer
) -> list[DrawnCase]:
    """The rainiest cases, forecast once more to be drawn."""
    archive, lead_times = one.archive, one.target.lead_times
    drawn = []
    for index in rainiest(archive, one.cases.indices, lead_times, config.cases):
        try:
            observed, made, _ = scorer.forecasts(Case(number, index, ""))
        except MethodError:
            continue  # reported with the other failures
        leads = lead_times_of(archive, lead_times)
        shown = shown_leads(leads)
        drawn.append(
            DrawnCase(
                title=f"{archive.title}: much rain to come",
                reference_time=archive.times[index],
                lead_times=leads[shown],
                observed=observed[shown],
                forecasts={name: made_by[shown] for name, made_by in made.items()},
                grid=archive.grid,
            )
        )
    return drawn


def _failed(scored: list[ArchiveScores]) -> list[str]:
    """Which cases count for no method, and why, in a few lines."""
    lines = []
    for one in scored:
        failures = one.total.failures
        lines += [
            f"{one.archive.name} {failure.reference_time}: {failure.method} could not forecast, "
            f"so this case counts for no method: {failure.reason}"
            for failure in failures[:FAILURES_SHOWN]
        ]
        if len(failures) > FAILURES_SHOWN:
            lines.append(f"{one.archive.name}: {len(failures) - FAILURES_SHOWN} more such cases")
    return lines
