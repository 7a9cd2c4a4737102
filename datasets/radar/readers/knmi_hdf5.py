"""KNMI HDF5 radar composites, such as RAD_NL25_RAC_RT (rain) and RAD_NL25_PCP_NA (reflectivity).

Source: Roozekrans and Holleman (2003), KNMI HDF5 data format specification v3.5, and files of the
KNMI Data Platform. How the reader interprets the files:

- ``image_geo_parameter`` names quantity and unit: REFLECTIVITY_[DBZ], PRECIP_[MM], ….
- ``calibration_formulas``, like GEO=0.010000*PV+0.000000, converts pixel values PV to this unit.
- ``calibration_out_of_image`` (255, 65535) is not observed. ``calibration_missing_data`` (65534) is
  not observed either, unless it is 0: then it is dry, because 0 is stored in pixels without echo of
  reflectivity composites and in dry pixels of accumulations.
- Of images of one field with different valid times the first is the analysis, the others are
  forecasts and refused.
- The valid time is ``image_datetime_valid`` of the image, or ``product_datetime_end`` without it.
  An accumulation runs from ``product_datetime_start`` to ``product_datetime_end``.
- Pixel sizes and the Earth's radii in ``projection_proj4_params`` are kilometres; PROJ would read
  the radii as metres. Row 0 is the northernmost. Offsets count pixels from the projection's origin
  to the outer upper left corner.
- ``config.grid`` precedes projection, pixel size and corners of the file, which may be wrong.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd

from squall.datasets.errors import DataError, ForecastError
from squall.datasets.grid import Grid
from squall.datasets.radar.coordinates import SET_CRS
from squall.datasets.radar.file_times import (
    NO_TIME,
    TimeError,
    accumulation_times,
    unless_named,
)
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import Packing, Product, north_up
from squall.datasets.radar.readers.chunks import read_scan
from squall.datasets.radar.readers.corner_grid import corner_grid
from squall.datasets.radar.readers.hdf5 import (
    image,
    number,
    numbered_groups,
    numbers,
    open_hdf5,
    required,
    subgroup,
    text,
)
from squall.datasets.radar.readers.markers import (
    any_held,
    fault,
    held_by,
    list_missing,
    scale_in_use,
    wrapped_to,
)
from squall.datasets.radar.units import parse_unit

# always English, whereas %b of strptime depends on the locale
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
CORNER_ORDER = ("LL", "UL", "UR", "LR")
SMALLEST_EARTH_M = 1e6  # a smaller radius is in kilometres
NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"


@contextmanager
def open_knmi(path: str, config: RadarNetworkConfig) -> Iterator[Product]:
    """Open a KNMI file and yield the scan in the image ``config.variable``.

    Raises
    ------
    DataError
        If the file is broken, has no such image, or the image is neither rain nor reflectivity.
    """
    with open_hdf5(path) as root:
        yield _product(root, config)


def _product(root: h5py.File, config: RadarNetworkConfig) -> Product:
    chosen = subgroup(root, config.variable) if "/" not in config.variable else None
    if chosen is None:
        images = ", ".join(
            f"{name} ({text(group, 'image_geo_parameter')})"
            for name, group in numbered_groups(root, "image").items()
        )
        raise DataError(
            f"has no image '{config.variable}', only: {images or 'none at all'}; "
            "set 'variable' in the network configuration, for example 'variable: image1'"
        )
    units = _units(chosen, config)
    is_accumulation = parse_unit(config.units or units)[0] == "accumulation"
    time, interval = unless_named(
        lambda: _time_of_analysis(root, chosen, is_accumulation, config),
        (NO_TIME, config.accumulation if is_accumulation else None),
        config,
    )
    pixels = image(chosen, "image_data")
    if config.grid is not None:
        grid, flip_rows, flip_columns = config.grid.harmonised(pixels.shape)
    else:
        grid, flip_rows, flip_columns = _grid(root, pixels.shape, config), False, False

    def read_stored(scan: int) -> npt.NDArray[Any]:
        return north_up(read_scan(pixels), flip_rows, flip_columns)

    return Product(
        grid=grid,
        times=(time,),
        intervals=(interval,),
        packing=_packing(root, chosen, pixels.dtype, units, config),
        read_stored=read_stored,
    )


def _units(chosen: h5py.Group, config: RadarNetworkConfig) -> str:
    """The unit in brackets of ``image_geo_parameter``: ``DBZ`` of REFLECTIVITY_[DBZ]."""
    parameter = text(chosen, "image_geo_parameter") or ""
    bracketed = re.search(r"\[(.*)\]", parameter)
    try:
        units = bracketed[1] if bracketed else ""
        parse_unit(units)
        return units
    except DataError:
        if config.units is not None:
            return config.units
        raise DataError(
            f"{chosen.name} holds '{parameter}', expected rain or reflectivity with its unit, like "
            "PRECIP_[MM]; choose another image as 'variable', or set 'units' in the network "
            "configuration, for example 'units: mm'"
        ) from None


def _time_of_analysis(
    root: h5py.File, chosen: h5py.Group, is_accumulation: bool, config: RadarNetworkConfig
) -> tuple[pd.Timestamp, pd.Timedelta | None]:
    """Time and interval; without times, nothing tells the first image of a field from forecasts."""
    try:
        return _time(root, chosen, is_accumulation, config)
    except TimeError as error:
        field = text(chosen, "image_geo_parameter")
        images = numbered_groups(root, "image").values()
        if sum(text(group, "image_geo_parameter") == field for group in images) > 1:
            raise DataError(f"{error}; it may be a forecast") from error
        raise


def _time(
    root: h5py.File, chosen: h5py.Group, is_accumulation: bool, config: RadarNetworkConfig
) -> tuple[pd.Timestamp, pd.Timedelta | None]:
    overview = subgroup(root, "overview")
    start = end = None
    if overview is not None:
        start = _moment(overview, "product_datetime_start")
        end = _moment(overview, "product_datetime_end")
    valid = _moment(chosen, "image_datetime_valid")
    time = end if valid is None else valid
    if time is None:
        raise TimeError("has no time: no product_datetime_end in /overview; correct the files")
    if valid is not None:
        _check_analysis(root, chosen, valid)
    if not is_accumulation:
        return time, None
    # an image with another valid time is a forecast, which the product's start does not describe
    return accumulation_times(start if time == end else None, time, config)


def _check_analysis(root: h5py.File, chosen: h5py.Group, valid: pd.Timestamp) -> None:
    """Refuse an image of a forecast, which has an earlier image of the same field.

    Raises
    ------
    ForecastError
        If an image of the same ``image_geo_parameter`` is valid before.
    """
    field = text(chosen, "image_geo_parameter")
    for name, group in numbered_groups(root, "image").items():
        other = _moment(group, "image_datetime_valid")
        if text(group, "image_geo_parameter") == field and other is not None and other < valid:
            raise ForecastError(
                f"{chosen.name} is a forecast: it is valid at {valid}, and {name} of the same file "
                f"at {other}; only the first image is observed: set 'variable: {name}' in the "
                "network configuration"
            )


def _moment(group: h5py.Group, name: str) -> pd.Timestamp | None:
    """Read a time (UTC) like ``26-AUG-2010;06:00:00.000``; None if it is missing."""
    written = text(group, name)
    if written is None:
        return None
    pattern = r"(\d{2})-([A-Z]{3})-(\d{4})[; ](\d{2}):(\d{2}):(\d{2})(\.\d+)?"
    matched = re.fullmatch(pattern, written.upper(), re.ASCII)
    try:
        if matched is None:
            raise ValueError
        day, month, year, hour, minute, second = matched.groups()[:6]
        date = int(year), MONTHS.index(month) + 1, int(day)
        return pd.Timestamp(datetime(*date, int(hour), int(minute), int(second)))
    except ValueError:
        raise TimeError(
            f"{name} of {group.name} is '{written}', expected a time like 26-AUG-2010;06:00:00.000"
        ) from None


def _grid(root: h5py.File, shape: tuple[int, int], config: RadarNetworkConfig) -> Grid:
    geographic = subgroup(root, "geographic")
    if geographic is None:
        raise DataError("has no group /geographic")
    sizes = [number(geographic, name) for name in ("geo_number_rows", "geo_number_columns")]
    if None not in sizes and tuple(sizes) != shape:
        raise DataError(
            f"image has {shape[0]} × {shape[1]} pixels, but /geographic says "
            f"{sizes[0]:g} × {sizes[1]:g}"
        )
    mapping = subgroup(geographic, "map_projection")
    proj_text = text(mapping, "projection_proj4_params") if mapping is not None else None
    projection = config.crs or (proj_text and proj_in_metres(proj_text))
    if not projection:
        raise DataError(f"has no projection_proj4_params; {SET_CRS}")
    width = required(geographic, "geo_pixel_size_x")
    height = abs(required(geographic, "geo_pixel_size_y"))
    left = required(geographic, "geo_column_offset") * width
    # rows count downwards from the projection's origin
    bottom = -(required(geographic, "geo_row_offset") + shape[0]) * height
    corners = _corners(geographic)
    units = config.coordinate_units or "km"
    return corner_grid(projection, shape, (height, width), corners, (left, bottom), units)


def _corners(geographic: h5py.Group) -> tuple[tuple[str, float, float], ...]:
    """Name, longitude and latitude of the corners; none if the file does not give them."""
    degrees = numbers(geographic, "geo_product_corners")
    if degrees is None:
        return ()
    if degrees.size != 8:
        raise DataError(f"geo_product_corners has {degrees.size} numbers, expected 8")
    pairs = degrees.reshape(4, 2).tolist()
    return tuple((name, lon, lat) for name, (lon, lat) in zip(CORNER_ORDER, pairs, strict=True))


def proj_in_metres(proj_text: str) -> str:
    """Write all lengths of a PROJ string in metres; KNMI gives the Earth's radii in kilometres."""
    radius = re.search(rf"\+?\b[aR]=({NUMBER})", proj_text)
    if radius is None or float(radius[1]) > SMALLEST_EARTH_M:
        return proj_text
    lengths = re.compile(rf"\b(a|b|R|x_0|y_0)=({NUMBER})")
    metres = lengths.sub(lambda m: f"{m[1]}={float(m[2]) * 1000:.12g}", proj_text)
    return re.sub(r"\+units=\w+", "", metres)


def _packing(
    root: h5py.File, chosen: h5py.Group, dtype: np.dtype, units: str, config: RadarNetworkConfig
) -> Packing:
    calibration = subgroup(chosen, "calibration")
    if calibration is None:
        # files with several images of the same kind may describe only the first
        first = subgroup(root, "image1")
        calibration = None if first is None else subgroup(first, "calibration")
    if calibration is None:
        raise DataError(f"{chosen.name} has no calibration")
    formula = text(calibration, "calibration_formulas") or ""
    matched = re.fullmatch(
        rf"GEO\s*=\s*({NUMBER})\s*\*\s*PV\s*(?:([-+])\s*({NUMBER}))?", formula.strip()
    )
    scale, offset = (
        (float(matched[1]), float((matched[2] or "") + "1") * float(matched[3] or 0))
        if matched
        else (math.nan, math.nan)
    )
    if not (math.isfinite(scale) and math.isfinite(offset)) or scale == 0:
        raise DataError(
            f"calibration_formulas is '{formula}', expected one like GEO=0.010000*PV+0.000000"
        )
    outside = number(calibration, "calibration_out_of_image")
    lost = number(calibration, "calibration_missing_data")
    missing = {*held_by(dtype, outside), *(held_by(dtype, lost) if lost else ())}
    in_use = scale_in_use(config, scale, offset)
    is_listed = any_held(dtype, config.missing_values, *in_use)
    if not is_listed and (not missing or (outside is not None and not held_by(dtype, outside))):
        raise DataError(
            f"{calibration.name} has {fault('calibration_out_of_image', outside, dtype)}, so "
            "pixels outside radar coverage cannot be told from dry or wet ones; "
            + list_missing(dtype, *in_use)
        )
    is_held = lost is None or held_by(dtype, lost)
    return Packing(
        units=units,
        scale=scale,
        offset=offset,
        missing=tuple(sorted(missing)),
        dry=(0.0,) if lost == 0 and 0.0 not in missing else (),
        doubtful=() if is_held or is_listed else wrapped_to(dtype, lost or 0.0),
    )
