"""The command `squall point`."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from squall.pipeline.cli.options import add_common_options, add_options, configured
from squall.pipeline.point.config import PointConfig

if TYPE_CHECKING:
    from squall.pipeline.point.outlook import Outlook

EXAMPLES = """\
examples:
  squall point forecast.nc --at 52.1,5.18
  squall point forecast.nc --at -37.8,145.0 --threshold 2 --plot rain.png

The first line says whether and when it rains; times are UTC, the chance is that of rain at the
place at any time of the forecast. The table has the chances at the place and within 10 km. The
first line speaks of the first rain only: the table shows whether it rains again later.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `squall point`."""
    add_common_options(parser)
    add_options(parser, PointConfig)
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what the forecast says about the place; returns the exit code."""
    config = configured(PointConfig, arguments)
    from squall.pipeline.point.run import point

    outlook = point(config)
    if arguments.json:
        print(json.dumps(outlook.as_dict(), indent=2))
        return 0
    print(outlook.sentence)
    print(table(outlook))
    if config.plot is not None:
        print(config.plot)
    return 0


def table(outlook: Outlook) -> str:
    """Lines of the lead times, with a head that says what the columns are."""
    kind = f"{outlook.members} members of {outlook.name}" if outlook.members else outlook.name
    head = f"\n{kind}, from {outlook.reference:%Y-%m-%d %H:%M} UTC, rain in mm/h"
    limit = f"≥ {outlook.threshold_mm_h:g}"
    columns = [
        ("UTC", [f"{time:%H:%M}" for time in outlook.times]),
        ("median" if outlook.members else "rain", _rates(outlook.rain_mm_h)),
    ]
    if outlook.low_mm_h is not None and outlook.high_mm_h is not None:
        ends = zip(_rates(outlook.low_mm_h), _rates(outlook.high_mm_h), strict=True)
        columns.append(("10 to 90 %", [f"{low} to {high}" for low, high in ends]))
    for title, chances in (
        (f"{limit} here", outlook.chance),
        (f"{limit} within 10 km", outlook.chance_around),
    ):
        if chances is not None:
            columns.append((title, [_number(100 * value, "{:.0f} %") for value in chances]))
    widths = [max(map(len, [title, *cells])) for title, cells in columns]
    lines = zip(*([title, *cells] for title, cells in columns), strict=True)
    rows = ["  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in lines]
    return "\n".join([head, *rows])


def _rates(values: object) -> list[str]:
    return [_number(value, "{:.1f}") for value in values]  # type: ignore[attr-defined]


def _number(value: float, form: str) -> str:
    return form.format(value) if value == value else "–"  # NaN: not known
