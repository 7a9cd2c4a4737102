"""The command `squall serve`."""

from __future__ import annotations

import argparse
import importlib.util

from squall.datasets.errors import ConfigError
from squall.pipeline.cli.options import add_common_options, add_options, configured
from squall.pipeline.serve.config import ServeConfig

EXAMPLES = """\
examples:
  squall serve live
  squall serve s3://bucket/rain --host 0.0.0.0 --port 80 --public-url https://rain.example.org

It serves what `squall live` publishes: the files, the forecast of a place (/forecast), OGC API EDR
(/edr), map tiles that clients of RainViewer understand (/public/weather-maps.json), /health and
/metrics. It needs `pip install 'squall[serve]'`.
"""
NEEDED = ("fastapi", "uvicorn", "limits")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `squall serve`."""
    add_common_options(parser)
    add_options(parser, ServeConfig)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until the process is stopped; returns the exit code."""
    config = configured(ServeConfig, arguments)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"squall serve needs {', '.join(missing)}; run: pip install 'squall[serve]'"
        )
    from squall.pipeline.serve.run import serve

    serve(config)
    return 0
