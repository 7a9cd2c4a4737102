"""What was found about a network, as lines of its configuration.

Owns what the lines say. `looks` looks into the files; `squall.pipeline.init.lines` writes the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from squall.datasets.names import safe_name
from squall.datasets.radar.fields import Field, is_reflectivity
from squall.datasets.radar.file_times import is_other_interval
from squall.datasets.radar.units import parse_unit
from squall.pipeline.init.axis import axis_of, phase_of, short_text
from squall.pipeline.init.files import Given
from squall.pipeline.init.lines import Kind, Line
from squall.pipeline.init.looks import Look
from squall.pipeline.init.markers import markers_in
from squall.pipeline.init.source_lines import source_lines
from squall.pipeline.init.sources import Source
from squall.pipeline.init.timing import Timing
from squall.pipeline.init.trial import ANY_STEP, is_placeholder

_UNSAID = "the file does not say it"


@dataclass(frozen=True)
class Description:
    """A configuration with comments.

    Parameters
    ----------
    readable : keys with which a scan can be read now, with assumed values for missing keys.
    """

    lines: tuple[Line, ...]
    readable: dict[str, Any]

    @property
    def missing(self) -> tuple[str, ...]:
        """Keys that the user has to fill in."""
        return tuple(line.key for line in self.lines if line.kind == "missing")


def describe(
    given: Given, look: Look, timing: Timing, source: Source, name: str = ""
) -> Description:
    """Write down what was found; ``name`` is that of the network, if the user chose it."""
    lines = [
        *_naming(given, look, timing, name),
        *_axis(timing, look),
        *source_lines(given, timing, source),
        *_field(look),
        *_units(look, timing),
        *_timing(look, timing),
        *_markers(look),
        *_grid(look),
    ]
    values = {line.key: line.value for line in lines if line.kind in ("found", "guess")}
    missing = [line.key for line in lines if line.kind == "missing"]
    assumed = {key: look.further.get(key) for key in missing if key in look.further}
    if "step" in missing:
        assumed |= {k: v for k, v in ANY_STEP.items() if k != "name"}
    if look.unclear_fill is not None:
        assumed["dry_values"] = [look.unclear_fill]
    if "accumulation" in missing:
        assumed["accumulation"] = "1h"
    return Description(tuple(lines), {**values, **assumed})


def _naming(given: Given, look: Look, timing: Timing, name: str) -> list[Line]:
    if name:
        line = Line("name", safe_name(name), "as the file of this configuration")
    else:
        file_name = given.files[0].name
        before = (
            timing.named.glob.partition("*")[0] if timing.named else file_name.partition(".")[0]
        )
        words = [w for w in re.split(r"[^A-Za-z]+", before) if len(w) > 1]
        # a name that begins with the time: the words behind it, without the ending
        if not words and timing.named:
            words = [
                w
                for w in re.split(r"[^A-Za-z]+", timing.named.glob.rpartition(".")[0])
                if len(w) > 2
            ]
        text = safe_name("_".join(words).lower()[:40]) if words else "radar"
        line = Line("name", text, "from the names of the files; any short word", "guess")
    if look.content.keys:
        return [line, *_importer(look.content.keys)]
    told = (
        "Zarr, by its address" if given.is_zarr else f"{look.content.title}, the content tells it"
    )
    return [line, Line("format", None, told, "fact")]


def _importer(keys: Mapping[str, Any]) -> list[Line]:
    by_name = "importer_options" in keys
    comments = {
        "format": "a picture, which an importer of pysteps reads: pip install 'squall[baselines]'",
        "importer": "by the name of the file" if by_name else "by the comments in the file",
        "importer_options": "by the name of the file",
    }
    return [Line(key, value, comments[key], "guess") for key, value in keys.items()]


def _axis(timing: Timing, look: Look) -> list[Line]:
    axis = axis_of(timing.valid_times)
    interval = look.first.intervals[0]
    if axis is None and interval is not None:
        about = "the interval of the accumulation in the file; give several files"
        line = Line("step", short_text(interval), about, "guess")
        return [line, *_phase(phase_of(timing.valid_times, interval), "guess")]
    if axis is None:
        advice = "time between scans, like 5min: one file alone does not tell it; give several"
        return [Line("step", None, advice, "missing")]
    count = len(set(timing.valid_times))
    comment = f"most frequent difference of {count} times{timing.whence} ({axis.share:.0%})"
    is_seen = axis.step == axis.difference
    if not is_seen:
        comment = f"divides a day and {short_text(axis.difference)}, the {comment}"
    kind: Kind = "found" if is_seen and count > 3 else "guess"
    lines = [Line("step", short_text(axis.step), comment, kind)]
    lines += _phase(axis.phase, lines[0].kind)
    if axis.tolerance is not None:
        late = "some times are seconds off the step; twice the largest difference"
        lines.append(Line("snap_tolerance", short_text(axis.tolerance), late, "guess"))
    return lines


def _phase(phase: pd.Timedelta, kind: Kind) -> list[Line]:
    about = "scans are so long after multiples of the step"
    return [Line("phase", short_text(phase), about, kind)] if phase else []


def _field(look: Look) -> list[Line]:
    if look.field is None:
        return []
    others = [_named(field) for field in look.candidates if field != look.field]
    also = f"; others that look like rain: {', '.join(others)}" if others else ""
    kind: Kind = "guess" if others else "found"
    return [Line("variable", look.field.name, f"{_about(look.field)}{also}", kind)]


def _about(field: Field) -> str:
    title = field.title if field.title != field.name else ""
    return ", ".join(text for text in (title, field.units) if text) or "it looks like rain"


def _named(field: Field) -> str:
    about = _about(field)
    return f"{field.name} ({about})"


def _units(look: Look, timing: Timing) -> list[Line]:
    if "units" in look.further:
        written = look.field.units if look.field is not None else ""
        fault = f"the file's units '{written}' are no rain unit" if written else "the file has none"
        if not written and look.field is not None and is_reflectivity(look.field):
            return [
                Line("units", "dBZ", f"{fault}, but the names say reflectivity", "guess"),
                _z_r(),
            ]
        return [Line("units", None, f"{fault}: {_advice_on_units(look, timing)}", "missing")]
    units = look.first.packing.units
    lines = [Line("units", None, f"{units}, in the file", "fact")]
    return [*lines, _z_r()] if parse_unit(units)[0] == "reflectivity" else lines


def _advice_on_units(look: Look, timing: Timing) -> str:
    axis = axis_of(timing.valid_times)
    like = "like 5min" if axis is None else f"perhaps {short_text(axis.step)}, the step"
    advice = f"write mm h-1, dBZ, mm (with 'accumulation' too, {like}) or another unit of rain"
    stored = look.first.stored
    is_packed = look.first.packing.scale == 1 and np.array_equal(stored, np.rint(stored))
    if not (stored.size and is_packed):
        return advice
    return (
        f"{advice}. Its numbers are whole, up to {stored.max():g}: set 'scale' if they are packed"
    )


def _z_r() -> Line:
    return Line(
        "z_r", {"a": 200, "b": 1.6}, "Marshall and Palmer; your network's may differ", "guess"
    )


def _timing(look: Look, timing: Timing) -> list[Line]:
    lines = []
    if timing.is_in_file:
        variable = look.further.get("time_variable")
        if variable is not None:
            lines.append(Line("time_variable", variable, "its unit is that of a time", "guess"))
        else:
            lines.append(Line("times", None, f"in the file, {_times_text(look)}", "fact"))
    if timing.pattern is not None:
        use = "" if timing.is_in_file else ": the file has no time of its own"
        lines.append(Line("time_in_name", timing.pattern, f"{timing.name_comment}{use}"))
    interval = look.first.intervals[0]
    if interval is not None:
        lines.append(_interval(interval, look, timing))
    elif timing.needs_interval and timing.interval is not None:
        length = short_text(timing.interval)
        where = "name and file tell times that are so far apart"
        lines.append(Line("accumulation", length, where, "guess"))
        if timing.marks_start:
            about = "the time in the file is earlier than the one in the name, by the accumulation"
            lines.append(Line("time_marks", "start", about, "guess"))
    elif timing.needs_interval:
        axis = axis_of(timing.valid_times)
        like = "like 5min or 1h" if axis is None else f"perhaps {short_text(axis.step)}, the step"
        advice = f"over which time the rain is summed, {like}: the file does not say"
        lines.append(Line("accumulation", None, advice, "missing"))
    return lines


def _interval(interval: pd.Timedelta, look: Look, timing: Timing) -> Line:
    length, axis = short_text(interval), axis_of(timing.valid_times)
    quantity = None if "units" in look.further else parse_unit(look.first.packing.units)[0]
    if axis is None or quantity is None or not is_other_interval(interval, quantity, axis.step):
        return Line("accumulation", None, f"{length}, in the file", "fact")
    about = f"in the file, not the step: each scan is a mean over {length}"
    return Line("accumulation", length, about)


def _times_text(look: Look) -> str:
    times = [time for facts in look.facts.values() for time in facts.times if not pd.isna(time)]
    if not times:
        return "but missing"
    count = len(look.first.times)
    scans = f"; {count} scans in a file" if count > 1 else ""
    return f"such as {min(times):%Y-%m-%d %H:%M:%S}{scans}"


def _markers(look: Look) -> list[Line]:
    lines = []
    has_unit = "units" not in look.further
    markers = markers_in(list(look.facts.values()), has_unit=has_unit)
    if "missing_values" in look.further and not markers.missing:
        advice = (
            "numbers, in the file's unit, of pixels that no radar observes, like [-9999]: the file "
            "does not say which"
        )
        lines.append(Line("missing_values", None, advice, "missing"))
    if look.unclear_fill is not None:
        advice = (
            f"[{look.unclear_fill:g}] if chunks that were never written, or their fill value, mean "
            "no rain; if they are not observed, write 'missing_values' in place of 'dry_values'"
        )
        lines.append(Line("dry_values", None, advice, "missing"))
    elif "dry_values" in look.further:
        advice = "numbers, in the file's unit, of pixels without rain, like [0]: see the file"
        lines.append(Line("dry_values", None, advice, "missing"))
    if lines:
        return lines
    if markers.missing:
        unpacked = "" if has_unit else "; with 'scale' or 'offset', write the unpacked numbers"
        about = f"{markers.missing_px:,} pixels have them; they cannot be rain{unpacked}"
        lines.append(Line("missing_values", list(markers.missing), about, "guess"))
    elif not markers.has_declared:
        about = (
            "none declared. If pixels that no radar observes are stored as 0, they would read as "
            "dry: look at a map (--plot)"
        )
        lines.append(Line("missing_values", None, about, "fact"))
    if markers.dry:
        about = f"{markers.dry_px:,} pixels have them, which a correction may have left below 0"
        if markers.is_no_echo:
            about = (
                f"no echo: {markers.dry_px:,} pixels have them, and nearly all pixels beside rain "
                "are of them"
            )
        lines.append(Line("dry_values", list(markers.dry), about, "guess"))
    return lines


def _grid(look: Look) -> list[Line]:
    grid, lines = look.first.grid, []
    rows, columns = grid.shape
    projections = look.content.projections
    if "grid" in look.further:
        crs = next((f"crs: '{text}'" for text in projections), "crs")
        advice = (
            f"{{{crs}, west, south, east, north, nx: {columns}, ny: {rows}}}, from the producer's "
            f"documentation (docs/formats.md). Without it the file is not read: {look.grid_fault}"
        )
        return [Line("grid", None, advice, "missing")]
    for key in ("coordinate_units", "crs"):
        if key not in look.further:
            continue
        if key == "crs" and is_placeholder(key, look.further[key]):
            advice = "EPSG code, PROJ string or WKT of the map projection: the file does not say it"
            lines.append(Line(key, None, advice, "missing"))
        else:
            found = projections.get(look.further[key]) if key == "crs" else None
            others = [place for text, place in projections.items() if text != look.further[key]]
            also = f"; another one is in {', '.join(others)}" if others else ""
            comment = f"from {found}{also}" if found else _UNSAID
            lines.append(Line(key, look.further[key], comment, "guess"))
    if not any(line.kind == "missing" for line in lines):
        size = grid.pixel_size_m
        about = f"{rows} rows, {columns} columns of about {size:.0f} m, {grid.projection_name}"
        lines.append(Line("grid", None, f"{about}, in the file", "fact"))
    return lines
