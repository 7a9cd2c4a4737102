"""The maps of one forecast: what each shows, its caption, and which of them the overview shows.

Public: `Frame`, `frames_of`, `amounts_of`, `overview_panels`, `pairs_of`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from squall.pipeline.forecast.forecast_file import timestamp
from squall.pipeline.lettering import readable
from squall.pipeline.maps.drawing import Caption, Panel


class Frame(NamedTuple):
    """One map to draw; `name` ends its file name and is empty for an observed scan.

    `is_covered` is as in `squall.pipeline.maps.drawing.draw_map`.
    """

    rain_rate_mm_h: NDArray
    caption: Caption
    name: str = ""
    is_covered: NDArray[np.bool_] | None = None


def frames_of(
    forecast: xr.Dataset, credits: Sequence[str], timezone: str | None = None
) -> tuple[list[Frame], list[Frame]]:
    """Make a frame for each scan of the context and for each lead time.

    Parameters
    ----------
    credits : sources of coastlines, borders and places, as texts of the footer.
    timezone : zone of the local time of the captions.
    """
    reference = timestamp(forecast["forecast_reference_time"])
    attributes = forecast.attrs
    titles = (readable(attributes.get(key, "")) for key in ("archive_title", "title"))
    title = next(filter(None, titles), "Rain radar")
    footer = _footer(attributes, credits)
    scans = []
    for rain, time in zip(
        forecast["observed_rain_rate"].values, forecast["context_time"].values, strict=True
    ):
        caption = Caption(
            "observed", title, timestamp(time), reference, "Observed by radar", footer, timezone
        )
        scans.append(Frame(rain, caption))
    missing = missing_context(attributes)
    members = attributes.get("members")
    what = f"Mean of {members} members" if members else "Forecast"
    origin = f"{what} by {readable(attributes.get('model', '')) or 'unnamed model'}{missing}"
    minutes = forecast["lead_time"].values / np.timedelta64(1, "m")
    width = 6.2 if (minutes % 1).any() else 3.0  # leading zeros: file names sort by lead time
    is_covered = np.isfinite(forecast["observed_rain_rate"].values).any(axis=0)
    leads = []
    for rain, lead_min in zip(forecast["rain_rate"].values, minutes, strict=True):
        valid = reference + pd.Timedelta(minutes=lead_min)
        caption = Caption("forecast", title, valid, reference, origin, footer, timezone)
        leads.append(Frame(rain, caption, f"plus{lead_min:0{width}f}min", is_covered))
    return scans, leads


def amounts_of(last_scan: Frame, leads: list[Frame]) -> list[Frame]:
    """Rain amount [mm] of each full hour of a forecast; of all of it if it is shorter.

    The rate changes linearly between two lead times. An amount is unknown (NaN) where the rate is
    unknown at any time of the hour.
    """
    rates = [last_scan.rain_rate_mm_h, *(lead.rain_rate_mm_h for lead in leads)]
    captions = [replace(leads[0].caption, valid=last_scan.caption.valid)]
    captions += [lead.caption for lead in leads]
    hours = [(caption.valid - captions[0].valid) / pd.Timedelta(hours=1) for caption in captions]
    ends = [i for i, hour in enumerate(hours) if i and abs(hour - round(hour)) < 1e-6]
    frames, first = [], 0
    for end in ends or [len(leads)]:
        amount = sum(
            (rates[i] + rates[i - 1]) / 2 * (hours[i] - hours[i - 1])
            for i in range(first + 1, end + 1)
        )
        caption = replace(captions[end], start=captions[first].valid)
        name = f"amount{round(60 * hours[end]):03d}min"
        frames.append(Frame(np.asarray(amount), caption, name, leads[0].is_covered))
        first = end
    return frames


def pairs_of(
    scans: list[Frame], leads: list[Frame], observed: dict[pd.Timestamp, NDArray]
) -> list[list[Panel]]:
    """Panels of each picture of an animation: what was observed, and beside it the forecast."""
    pairs = [
        [_panel(0, 0, scan), Panel(0, 1, None, replace(leads[0].caption, valid=scan.caption.valid))]
        for scan in scans
    ]
    for lead in leads:
        caption = replace(lead.caption, kind="observed", origin=scans[-1].caption.origin)
        scan = observed.get(lead.caption.valid)
        pairs.append([Panel(0, 0, scan, caption), _panel(0, 1, lead)])
    return pairs


def missing_context(attributes: dict[str, Any]) -> str:
    """Which scans of the context were missing, as the end of a sentence; empty if none was."""
    texts = np.atleast_1d(attributes.get("missing_context", "")).tolist()
    words = [word for text in texts for word in str(text).replace(",", " ").split()]
    times = pd.to_datetime(pd.Series(words), errors="coerce", utc=True, format="ISO8601")
    labels = [
        readable(word) if pd.isna(time) else f"{time:%H:%M}"
        for word, time in zip(words, times, strict=True)
    ]
    return f", without the scans of {', '.join(labels)} UTC" if labels else ""


def _footer(attributes: dict[str, Any], credits: Sequence[str]) -> tuple[str, str]:
    """Two lines below a map: whose data it shows, and what computed it."""
    rights = [readable(attributes.get(key, "")) for key in ("institution", "licence", "license")]
    source = ", ".join(filter(None, rights))
    provenance = {
        "Squall": attributes.get("squall_version"),
        "model": attributes.get("model"),
        "checkpoint": str(attributes.get("checkpoint_sha256", ""))[:12],
        "archive snapshot": attributes.get("archive_snapshot"),
    }
    return (
        f"Radar data: {source or 'source not named in the forecast'}",
        " · ".join(
            [
                *(f"{label} {value}" for label, value in provenance.items() if value),
                *credits,
            ]
        ),
    )


def overview_panels(
    scans: list[Frame], leads: list[Frame], observed: dict[pd.Timestamp, NDArray]
) -> list[Panel]:
    """Arrange at most four lead times and the observed scans.

    If a lead time was observed, the observed scans are above the lead times. Otherwise the last
    scans of the context are to the left of them.
    """
    count = min(4, len(leads))
    chosen = [leads[round(len(leads) * (i + 1) / count) - 1] for i in range(count)]
    if any(lead.caption.valid in observed for lead in leads):
        captions = [replace(lead.caption, kind="observed") for lead in chosen]
        above = [Panel(0, i, observed.get(c.valid), c) for i, c in enumerate(captions)]
        below = [
            Panel(1, i, lead.rain_rate_mm_h, lead.caption, lead.is_covered)
            for i, lead in enumerate(chosen)
        ]
        return above + below
    context = scans[-4:]
    left, right = (len(context) + 1) // 2, (count + 1) // 2
    return [
        Panel(
            i // columns, first + i % columns, frame.rain_rate_mm_h, frame.caption, frame.is_covered
        )
        for frames, columns, first in ((context, left, 0), (chosen, right, left))
        for i, frame in enumerate(frames)
    ]


def _panel(row: int, column: int, frame: Frame) -> Panel:
    return Panel(row, column, frame.rain_rate_mm_h, frame.caption, frame.is_covered)
