"""The command `squall export`: an archive as a Zarr store, or a checkpoint as weights."""

from __future__ import annotations

import argparse
from pathlib import Path

from squall.datasets.errors import ConfigError
from squall.pipeline.cli.options import add_common_options, add_options, configured
from squall.pipeline.export.config import ExportConfig, WeightsConfig

EXAMPLES = """\
examples:
  squall export archives/knmi.icechunk knmi.zarr --convention mlcast --license CC-BY-4.0
  squall export archives/knmi.icechunk s3://bucket/knmi.zarr --start 2024-01-01 --end 2024-12-31
  squall export runs/knmi/best.ckpt knmi-1.safetensors

docs/mlcast.md describes the store and the rules of the convention that it cannot meet.
Exported weights hold no paths of this machine; --model accepts them like a checkpoint. Their
SHA-256 is written to SHA256SUMS beside them.
"""
POSITIONAL = ("archive", "checkpoint", "out")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `squall export`."""
    parser.add_argument(
        "source", metavar="ARCHIVE|CKPT", help="an archive (folder or s3://…) or a checkpoint"
    )
    parser.add_argument(
        "out",
        metavar="OUT",
        help="OUT.zarr for an archive, a folder or s3://…; NAME.safetensors for a checkpoint",
    )
    add_common_options(parser)
    add_options(parser, ExportConfig, without=POSITIONAL)
    add_options(parser, WeightsConfig, without=POSITIONAL)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Export; returns the exit code."""
    source = arguments.source
    if Path(source).is_file() or arguments.out.endswith(".safetensors"):
        _refuse_options_of_archives(arguments)
        weights = configured(WeightsConfig, arguments, checkpoint=source)
        from squall.pipeline.export.weights import export_weights

        print(export_weights(weights))
        return 0
    config = configured(ExportConfig, arguments, archive=source)
    from squall.pipeline.export.run import export

    print(export(config))
    return 0


def _refuse_options_of_archives(arguments: argparse.Namespace) -> None:
    """Raise ConfigError if an option is set that a checkpoint does not have."""
    flags = [
        "--" + name.replace("_", "-")
        for name in sorted(ExportConfig.model_fields)
        if name not in POSITIONAL and hasattr(arguments, name)
    ]
    if flags:
        raise ConfigError(
            f"{', '.join(flags)} is for archives, {arguments.source} is a checkpoint; leave it out"
        )
