"""GRIB2 files: NOAA MRMS without further keys, others with ``variable`` and ``units``.

Sources: WMO Manual on Codes I.2, FM 92 GRIB edition 2, and the MRMS parameter tables
(nssl.noaa.gov/projects/mrms/operational/tables.php, v11.5 to v12), discipline 209. How the reader
interprets the files:

- MRMS rain rates and accumulations: -3 (no coverage) and -1 (missing) are not observed.
- MRMS reflectivity: -999 (no coverage) is not observed. -99 is "missing" in the table, but it is
  stored in observed pixels without echo (JCSDA-internal/ioda-converters#1475), so it is dry.
- The parameter number of MRMS gives the interval of an accumulation; the time in the file is its
  end.
- Other producers: pixels that the bitmap omits are not observed. Without a bitmap the configuration
  has to list ``missing_values``: otherwise the sea beyond the radars would be dry.
- ``variable`` is a short name of ecCodes, a parameter like 209-6-1 (discipline, category, number),
  or conditions like ``grib_ls -w`` takes: ``shortName=tp,level=0``. It chooses among messages; the
  chosen ones are scans of one field.
- JMA's radar composites (template 4.50008) need ``units``; see `grib_run_length`.
- ``config.grid`` precedes the message's grid. ``scale`` and ``offset`` apply to unpacked values.
- Product template 0 is a moment, template 8 an interval whose time is its end. Forecasts are
  refused.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pandas as pd

from squall.datasets.errors import ConfigError, DataError, ForecastError
from squall.datasets.grid import Grid
from squall.datasets.radar.file_times import (
    NO_TIME,
    TimeError,
    accumulation_times,
    unless_named,
)
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import Packing, Product, north_up
from squall.datasets.radar.readers.grib_grid import check_scanning, grid_of
from squall.datasets.radar.readers.grib_values import (
    Header,
    Messages,
    checked_shape,
    has_missing,
    packing_of,
    stored_values,
    unpacked_values,
)
from squall.datasets.radar.units import parse_unit

MRMS = 209  # discipline
HOURS = (1, 3, 6, 12, 24, 48, 72)
RATE = (6, 1)
QUARTER_HOUR = (6, 45)
# parameters 2 to 43: radar only, gauge corrected, gauge only, mountain mapper, pass 1, pass 2
HOURLY = {(6, 2 + i): pd.Timedelta(hours=HOURS[i % len(HOURS)]) for i in range(42)}
REFLECTIVITY = {
    (3, 57), (3, 58), (8, 8), (9, 0), (9, 1),
    (10, 0), (10, 2), (10, 4), (11, 0), (11, 1), (11, 2), (11, 3),
}  # fmt: skip
MOMENT, INTERVAL = 0, 8  # product templates
PROCESSES = {"rate": 0, "accumulation": 1}  # statistical processes: mean, sum
LOCAL = 192  # statistical processes of the centre, and 255 for none, are from here on
FORECAST_DATA, FORECAST_PROCESSES = 1, (2, 4)
END = "OfEndOfOverallTimeInterval"  # behind the names of keys
TIME_UNITS = {0: "1min", 1: "1h", 2: "1D", 10: "3h", 11: "6h", 12: "12h", 13: "1s"}
TimeAndInterval = tuple[pd.Timestamp, pd.Timedelta | None]
_SHOWN = 10  # fields that a message names


@dataclass(frozen=True)
class _Scan:
    """What the header of a chosen message says."""

    index: int
    field: str
    grid: Grid
    flips: tuple[bool, bool]  # rows, columns
    time: pd.Timestamp
    interval: pd.Timedelta | None
    packing: Packing
    markers: Packing  # missing and dry values, unpacked


@contextmanager
def open_grib(path: str, config: RadarNetworkConfig) -> Iterator[Product]:
    """Open a GRIB2 file and yield the scans of its field, or of the field ``config.variable``.

    Raises
    ------
    ConfigError
        If ecCodes is not installed.
    DataError
        If the file is broken, has several fields of which none is chosen, or the chosen one is
        neither rain nor reflectivity.
    """
    with open_messages(path) as messages:
        yield _product(messages, config)


@contextmanager
def open_messages(path: str) -> Iterator[Messages]:
    """Open a GRIB2 file and yield its messages.

    Raises
    ------
    ConfigError
        If ecCodes is not installed.
    DataError
        If the file is broken.
    """
    try:
        import eccodes
    except (ImportError, RuntimeError) as error:  # RuntimeError: the C library is missing
        raise ConfigError(
            f"reading GRIB needs ecCodes: pip install 'squall[grib]' ({error})"
        ) from error
    with Path(path).open("rb") as stream:
        messages = Messages(eccodes, stream, Path(path).stat().st_size)
        try:
            yield messages
        finally:
            messages.close()


def _product(messages: Messages, config: RadarNetworkConfig) -> Product:
    scans = [_scan(messages.header(i), i, config) for i in _chosen(messages, config.variable)]
    first = scans[0]
    for position, scan in enumerate(scans):
        if scan.time in [other.time for other in scans[:position]]:
            raise DataError(
                f"holds {scan.field} twice for {scan.time}; set 'variable' to conditions that "
                f"choose one, like 'variable: shortName={scan.field.split()[0]},level=0'"
            )
        if scan.flips != first.flips or first.grid.difference(scan.grid):
            raise DataError("its messages differ in grid; split the file")
        if scan.packing.units != first.packing.units:
            raise DataError("its messages differ in unit; split the file")
    # a scale of the configuration is one of unpacked values
    as_packed = len(scans) == 1 and config.scale is None and config.offset is None
    packing = first.packing if as_packed else first.markers

    def read_stored(position: int) -> npt.NDArray[Any]:
        scan = scans[position]
        header = messages.header(scan.index)
        if as_packed:
            values = stored_values(header, packing)
        else:
            values = unpacked_values(header, scan.packing, packing)
        height, width = scan.grid.shape
        if values.size != height * width:
            raise DataError(f"has {values.size} values for {height} × {width} pixels")
        flip_rows, flip_columns = scan.flips
        rows = values.reshape(height, width)
        return north_up(rows, flip_rows, flip_columns)

    return Product(
        grid=first.grid,
        times=tuple(scan.time for scan in scans),
        intervals=tuple(scan.interval for scan in scans),
        packing=packing,
        read_stored=read_stored,
    )


def _chosen(messages: Messages, variable: str) -> list[int]:
    """Positions of the messages that ``variable`` of the configuration chooses, all of one field.

    Raises
    ------
    DataError
        If it chooses no message, or messages of several fields.
    """
    fields, chosen = [], []
    for position in range(len(messages)):
        header = messages.header(position)
        fields.append(_field(header))
        if _fits(header, variable):
            chosen.append(position)
    different = list(dict.fromkeys(fields[i] for i in chosen))
    if len(different) == 1:
        return chosen
    names = list(dict.fromkeys(fields))[:_SHOWN]
    found = f"has no field '{variable}', only" if not chosen else f"holds {len(different)} fields"
    parameter = re.search(r"\d+-\d+-\d+", names[0])
    raise DataError(
        f"{found}: {'; '.join(names)}; set 'variable' in the network configuration, for example "
        f"'variable: {parameter[0] if parameter else names[0]}', or to conditions with a level "
        "like 'variable: shortName=tp,level=0'"
    )


def _field(header: Header) -> str:
    """A field in words: short name, parameter and level."""
    level = f"{header.text('typeOfLevel')} {header.text('level')}"
    return f"{header.text('shortName')} ({parameter_text(header)}) at {level}"


def _parameter(header: Header) -> tuple[int, int, int]:
    return header["discipline"], header["parameterCategory"], header["parameterNumber"]


def parameter_text(header: Header) -> str:
    """Discipline, category and number of a message's parameter, like 209-6-1."""
    return "-".join(str(number) for number in _parameter(header))


def _fits(header: Header, variable: str) -> bool:
    if "=" in variable:
        conditions = (condition.partition("=") for condition in variable.split(","))
        return all(header.text(key.strip()) == value.strip() for key, _, value in conditions)
    return variable in ("", header.text("shortName"), parameter_text(header))


def _scan(header: Header, index: int, config: RadarNetworkConfig) -> _Scan:
    shape = checked_shape(header)
    check_scanning(header)
    if config.grid is not None:
        grid, *flips = config.grid.harmonised(shape)
    else:
        grid, *flips = grid_of(header, shape, config.crs)
    units, mrms_interval = units_of(header, config.units)
    kind = parse_unit(config.units or units)[0]
    nothing: TimeAndInterval = NO_TIME, None
    time, interval = unless_named(partial(_time, header, kind), nothing, config)
    if kind == "accumulation" and interval is None:
        time, interval = accumulation_times(None, time, config)
        interval = mrms_interval or interval
    missing: tuple[float, ...] = ()
    dry: tuple[float, ...] = ()
    if header["discipline"] == MRMS:
        missing, dry = ((-999.0,), (-99.0,)) if kind == "reflectivity" else ((-3.0, -1.0), ())
    elif not (has_missing(header) or config.missing_values):
        raise DataError(
            "has no bitmap, so pixels outside radar coverage cannot be told from dry or wet ones; "
            "list the values that mean not observed under 'missing_values' in the network "
            "configuration, for example 'missing_values: [-9999]'; if no pixel is missing, list a "
            "value that no pixel has"
        )
    return _Scan(
        index,
        _field(header),
        grid,
        (flips[0], flips[1]),
        time,
        interval,
        packing_of(header, units, missing, dry),
        Packing(units, missing=missing, dry=dry),
    )


def units_of(header: Header, configured: str | None = None) -> tuple[str, pd.Timedelta | None]:
    """Units, and the interval of an accumulation of MRMS.

    Raises
    ------
    DataError
        If they are no units of rain or reflectivity, and none are configured.
    """
    discipline, *parameter = _parameter(header)
    if discipline == MRMS:
        number = parameter[0], parameter[1]
        if number == RATE:
            return "mm h-1", None
        if number in HOURLY:
            return "mm", HOURLY[number]
        if number == QUARTER_HOUR:
            return "mm", pd.Timedelta("15min")
        if number in REFLECTIVITY:
            return "dBZ", None
    if configured is not None:
        return configured, None
    units = (header.text("units") or "").replace("**", "")
    try:
        parse_unit(units)
    except DataError:
        raise DataError(
            f"holds GRIB parameter {parameter_text(header)} in '{units}', which is no rain rate, "
            "accumulation or reflectivity that is known here; if it is, set 'units' in the network "
            "configuration, for example 'units: mm h-1'"
        ) from None
    return units, None


def _time(header: Header, kind: str) -> TimeAndInterval:
    """Valid time, and the interval of template 8."""
    template = header["productDefinitionTemplateNumber"]
    if template == MOMENT:
        if header["forecastTime"]:
            raise ForecastError(f"is a forecast, {header['stepRange']} ahead of its reference time")
        return _moment(header), None
    if template != INTERVAL:
        raise DataError(f"has GRIB product template {template}, expected {MOMENT} or {INTERVAL}")
    _check_observed(header)
    if header["numberOfTimeRanges"] != 1:
        raise DataError(f"has {header['numberOfTimeRanges']} time ranges, expected one")
    process = header.whole("typeOfStatisticalProcessing")
    # JMA's own units and processes: the configuration says what the values are
    is_of_jma = header.is_of_jma and (process == PROCESSES["accumulation"] or process >= LOCAL)
    if process != PROCESSES.get(kind) and not is_of_jma:
        raise DataError(
            f"holds {kind} with the statistical process {process}; expected a mean of a rate (0) "
            "or a sum of an accumulation (1)"
        )
    reference, end = _moment(header), _moment(header, END)
    if header.is_of_jma:
        return end, _length(header)
    unit = TIME_UNITS.get(header.whole("indicatorOfUnitOfTimeRange"))
    if unit is None or abs(header["forecastTime"]) > 10**6:
        raise TimeError("has a start of its interval that cannot be read")
    start = reference + header["forecastTime"] * pd.Timedelta(unit)
    if start >= end:
        raise TimeError(f"has an interval from {start} to {end}")
    return end, end - start


def _length(header: Header) -> pd.Timedelta | None:
    """Length of the interval of template 8; None for a moment."""
    unit = TIME_UNITS.get(header.whole("indicatorOfUnitForTimeRange"))
    length = header["lengthOfTimeRange"]
    return None if unit is None or not 0 < length < 10**6 else length * pd.Timedelta(unit)


def _check_observed(header: Header) -> None:
    """Refuse an interval of a forecast, also if its times cannot be read."""
    is_forecast = (
        header.whole("typeOfProcessedData") == FORECAST_DATA
        or header.whole("typeOfGeneratingProcess") in FORECAST_PROCESSES
    )
    if not is_forecast:
        return
    try:
        reference, end = _moment(header), _moment(header, END)
    except TimeError as error:
        raise ForecastError(f"is perhaps a forecast: {error}") from error
    if end > reference:
        raise ForecastError(f"is a forecast until {end} of {reference}; only observations are read")


def _moment(header: Header, suffix: str = "") -> pd.Timestamp:
    names = ("year", "month", "day", "hour", "minute", "second")
    fields = [header[f"{name}{suffix}"] for name in names]
    try:
        return pd.Timestamp(datetime(*fields))
    except (ValueError, OverflowError):
        raise TimeError(f"has no time: {fields} are no date and time") from None
