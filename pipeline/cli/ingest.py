"""The command `squall ingest`: parse, call `pipeline.ingest.run`, print, write the report."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd

from squall.datasets.errors import BusyError, ConfigError
from squall.datasets.times import parse_time_or_age

EXAMPLES = """\
examples:
  squall ingest configs/archives/knmi.yaml --archive archives/knmi.icechunk --files 'radar/**/*.nc'
  squall ingest knmi.yaml --since 2024-06-01 --until 2024-06-30 --workers 8
  squall ingest knmi.yaml --report report.json --log-format json      (from cron and the like)

exit codes: 0 all is in the archive; 1 files were set aside or could not be fetched; 2 wrong
arguments; 3 another ingestion was writing all the while, nothing was done
"""


def add_arguments(ingest: argparse.ArgumentParser, existing: type | object) -> None:
    """Declare the arguments of `squall ingest`."""
    ingest.add_argument(
        "config",
        type=existing,  # type: ignore[arg-type]
        metavar="CONFIG.yaml",
        help="where the files are and how to read them (configs/archives)",
    )
    ingest.add_argument(
        "--archive",
        metavar="ADDRESS",
        help="folder, s3://bucket/prefix or gs://bucket/prefix; made if there is none (default: "
        "'archive' of the configuration)",
    )
    ingest.add_argument(
        "--files",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="globs and addresses (s3://, https://, gs://, zip://…), seen from the current folder, "
        "** spans folders; stands behind CONFIG.yaml (default: 'source' of the configuration)",
    )
    ingest.add_argument(
        "--since",
        metavar="TIME",
        help="first valid time, like 2024-06-01T12:00, or a span before now, like 2D or 36h",
    )
    ingest.add_argument("--until", metavar="TIME", help="last valid time, in the same way")
    ingest.add_argument(
        "--dry-run", action="store_true", help="list what is new, read and write nothing"
    )
    ingest.add_argument(
        "--report", type=Path, metavar="FILE.json", help="write what was done, for monitors"
    )
    ingest.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="workers, 0 for none (default: one a core when there are many files)",
    )
    ingest.add_argument(
        "--scheduler",
        default="processes",
        metavar="WHERE",
        help="processes or threads on this machine, or tcp://… of a Dask cluster (default: "
        "processes; threads where fetching takes longer than reading)",
    )
    ingest.add_argument(
        "--wait",
        type=float,
        default=60.0,
        metavar="S",
        help="how long to wait while another ingestion writes, seconds (default 60)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Ingest; returns the exit code."""
    from squall.datasets.radar.network_config import RadarNetworkConfig
    from squall.pipeline.config import load_config, validated
    from squall.pipeline.ingest.config import IngestConfig
    from squall.pipeline.ingest.run import ingest

    config = validated(
        IngestConfig,
        {
            "source": load_config(arguments.config, RadarNetworkConfig),
            "archive": arguments.archive or "",
            "files": arguments.files,
            "since": _limit(arguments.since, "--since"),
            "until": _limit(arguments.until, "--until", end=True),
            "dry_run": arguments.dry_run,
            "scheduler": arguments.scheduler,
            "workers": arguments.workers,
            "lock_timeout_s": arguments.wait,
        },
        "squall ingest",
    )
    try:
        report = ingest(config)
    except BaseException as error:  # a monitor must not take the last run's report for this one's
        outcome = "busy" if isinstance(error, BusyError) else "failed"
        if isinstance(error, KeyboardInterrupt):
            outcome = "interrupted"
        _write(arguments.report, {"outcome": outcome, "error": str(error) or repr(error)})
        raise
    outcome = "complete" if report.complete else "incomplete"
    _write(arguments.report, {"outcome": outcome} | report.as_dict())
    print(f"{config.address}: {report}")
    return 0 if report.complete else 1


def _limit(text: str | None, option: str, *, end: bool = False) -> pd.Timestamp | None:
    if text is None:
        return None
    try:
        return parse_time_or_age(text, end=end)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from error


def _write(path: Path | None, values: dict[str, object]) -> None:
    from squall import __version__
    from squall.pipeline.provenance import atomic_path, now_utc

    if path is None:
        return
    values = {"squall_version": __version__, "written": now_utc()} | values
    with atomic_path(path) as part:
        part.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
