"""The command `squall ingest`: ingests, prints, and writes the report for monitors."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from squall import __version__
from squall.datasets.errors import BusyError
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.pipeline.cli.options import add_common_options, add_options, configured, existing_path
from squall.pipeline.config import load_config
from squall.pipeline.ingest.config import IngestConfig
from squall.pipeline.outputs import check_output_file, output_path
from squall.pipeline.provenance import atomic_path, now_utc

EXAMPLES = """\
examples:
  squall ingest configs/archives/knmi.yaml --archive archives/knmi.icechunk --files 'radar/**/*.nc'
  squall ingest knmi.yaml --since 2024-06-01 --until 2024-06-30 --workers 8
  squall ingest knmi.yaml --report report.json --log-format json      (from cron and the like)

exit codes: 0 everything that was found is in the archive; 1 files or scans are rejected (by this
run, or by an earlier one and still not in the archive) or could not be fetched; 2 wrong arguments;
3 another ingestion was writing for the whole time of --wait, nothing was done
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `squall ingest`."""
    parser.add_argument(
        "config",
        type=existing_path,
        metavar="CONFIG.yaml",
        help="the radar network: where its files are and how to read them (configs/archives)",
    )
    add_common_options(parser)
    add_options(parser, IngestConfig)
    parser.add_argument("--report", metavar="FILE.json", help="write what was done, for monitors")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Ingest; returns the exit code."""
    source = load_config(arguments.config, RadarNetworkConfig)
    config = configured(IngestConfig, arguments, source=source)
    from squall.pipeline.ingest.run import ingest

    report_file = None if arguments.report is None else output_path(arguments.report)
    if report_file is not None:
        check_output_file(report_file, "--report")
    try:
        report = ingest(config)
    except BaseException as error:  # else a monitor takes the report of the last run for this one's
        outcome = "busy" if isinstance(error, BusyError) else "failed"
        if isinstance(error, KeyboardInterrupt):
            outcome = "interrupted"
        _write(report_file, {"outcome": outcome, "error": str(error) or repr(error)})
        raise
    outcome = "complete" if report.complete else "incomplete"
    _write(report_file, {"outcome": outcome} | report.as_dict())
    print(f"{config.address}: {report}")
    return 0 if report.complete else 1


def _write(path: Path | None, values: dict[str, object]) -> None:
    if path is None:
        return
    values = {"squall_version": __version__, "written": now_utc()} | values
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
