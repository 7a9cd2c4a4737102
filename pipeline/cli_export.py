"""The command `squall export`: parse, call `pipeline.export`, print."""

from __future__ import annotations

import argparse

EXAMPLES = """\
examples:
  squall export archives/knmi.icechunk knmi.zarr --convention mlcast --license CC-BY-4.0
  squall export archives/knmi.icechunk s3://bucket/knmi.zarr --start 2024-01-01 --end 2024-12-31

what the store holds, and which rules of the convention it cannot meet: docs/mlcast.md
"""


def add_arguments(export: argparse.ArgumentParser) -> None:
    """Declare the arguments of `squall export`."""
    export.add_argument("archive", metavar="ARCHIVE", help="folder or s3://…")
    export.add_argument("out", metavar="OUT.zarr", help="store to make; a folder or s3://…")
    export.add_argument(
        "--convention",
        choices=("mlcast",),
        default="mlcast",
        help="MLCast source data (the default)",
    )
    export.add_argument("--start", metavar="TIME", help="first scan, UTC (default: the first)")
    export.add_argument("--end", metavar="TIME", help="last scan, UTC (default: the last)")
    export.add_argument(
        "--license", metavar="SPDX", help="like CC-BY-4.0, where the archive names none"
    )
    export.add_argument("--creator", metavar="'NAME <MAIL>'", help="who answers for the data")
    export.add_argument("--identifier", metavar="ID", help="like NL-KNMI-radar")
    export.add_argument("--created-with", metavar="URL", help="code that made the data set")
    export.add_argument("--workers", type=int, metavar="N", help="threads (default: one a core)")


def run(arguments: argparse.Namespace) -> int:
    """Export; returns the exit code."""
    from pipeline.config import validated
    from pipeline.export import ExportConfig, export

    values = {name: getattr(arguments, name) for name in ExportConfig.model_fields}
    result = export(validated(ExportConfig, values, "squall export"))
    print(result)
    return 0
