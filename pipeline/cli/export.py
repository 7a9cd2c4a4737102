"""The command `squall export`: parse, call `pipeline.export.run` or `export_weights`, print."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """\
examples:
  squall export archives/knmi.icechunk knmi.zarr --convention mlcast --license CC-BY-4.0
  squall export archives/knmi.icechunk s3://bucket/knmi.zarr --start 2024-01-01 --end 2024-12-31
  squall export runs/knmi/best.ckpt knmi-1.safetensors
  squall export runs/knmi/best.ckpt careful.safetensors --strength 0.5

what the store holds, and which rules of the convention it cannot meet: docs/mlcast.md
A checkpoint becomes weights to publish, a file without paths of this machine; --model takes it as
it takes the checkpoint. Its digest goes into SHA256SUMS beside it.
"""


def add_arguments(export: argparse.ArgumentParser) -> None:
    """Declare the arguments of `squall export`."""
    export.add_argument("source", metavar="ARCHIVE|CKPT", help="folder or s3://…; or best.ckpt")
    export.add_argument(
        "out",
        metavar="OUT",
        help="of an archive: OUT.zarr, a folder or s3://…; of a checkpoint: NAME.safetensors",
    )
    store = export.add_argument_group("of an archive")
    store.add_argument("--convention", choices=("mlcast",), help="MLCast source data (the default)")
    store.add_argument("--start", metavar="TIME", help="first scan, UTC (default: the first)")
    store.add_argument("--end", metavar="TIME", help="last scan, UTC (default: the last)")
    store.add_argument(
        "--license", metavar="SPDX", help="like CC-BY-4.0, where the archive names none"
    )
    store.add_argument("--creator", metavar="'NAME <MAIL>'", help="who answers for the data")
    store.add_argument("--identifier", metavar="ID", help="like NL-KNMI-radar")
    store.add_argument("--created-with", metavar="URL", help="code that made the data set")
    store.add_argument("--workers", type=int, metavar="N", help="threads (default: one a core)")
    weights = export.add_argument_group("of a checkpoint")
    weights.add_argument(
        "--strength",
        type=float,
        metavar="SHARE",
        help="0 to 1, how much is kept of what the network adds to the advection head; less is "
        "nearer to smoothed extrapolation, which is safer on other networks (default: 1)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Export; returns the exit code."""
    from squall.datasets.errors import ConfigError
    from squall.pipeline.config import validated
    from squall.pipeline.export.config import ExportConfig
    from squall.pipeline.export.run import export

    given = {
        name: value
        for name in ExportConfig.model_fields.keys() - {"archive", "out"}
        if (value := getattr(arguments, name)) is not None
    }
    source, out = arguments.source, arguments.out
    if Path(source).is_file() or out.endswith(".safetensors"):
        print(_export_weights(source, out, arguments.strength, given))
        return 0
    if arguments.strength is not None:
        raise ConfigError(f"squall export: --strength is for checkpoints, {source} is an archive")
    values = given | {"archive": source, "out": out}
    print(export(validated(ExportConfig, values, "squall export")))
    return 0


def _export_weights(
    checkpoint: str, out: str, strength: float | None, given: dict[str, object]
) -> str:
    from squall.datasets.errors import ConfigError
    from squall.pipeline.config import validated
    from squall.pipeline.export.config import WeightsConfig
    from squall.pipeline.export.weights import export_weights

    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(given))
        raise ConfigError(
            f"squall export: {options} is for archives, {checkpoint} is a checkpoint; leave it out"
        )
    values: dict[str, object] = {"checkpoint": checkpoint, "out": out}
    if strength is not None:
        values["strength"] = strength
    return str(export_weights(validated(WeightsConfig, values, "squall export")))
