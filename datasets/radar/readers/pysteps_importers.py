"""All that pysteps can import: its importers and those of its plugins, by their names.

How the reader interprets what an importer returns (an array and a dictionary, see
`pysteps.io.importers`):

- NaN and masked pixels are not observed. All other values are observed; ``zerovalue`` and
  ``threshold`` are not used: pysteps computes them from the scan, so that in a scan without dry
  pixels the lightest rain has the zero value.
- ``unit`` and ``accutime`` (minutes, for accumulations) say what the values are. ``transform`` dB
  of other units than dBZ is undone; other transforms are refused.
- ``projection``, ``x1`` … ``y2`` (outer corners) and ``yorigin`` give the grid, and have to agree
  with ``xpixelsize`` and ``ypixelsize``.
- The time is that in the file's name: importers return none.

Two importers of pysteps are refused, because they mix missing and dry pixels. The file is read when
it is opened, since the importers do all at once.
"""

import inspect
import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj
from PIL import Image, UnidentifiedImageError

from squall.datasets.errors import ConfigError, DataError
from squall.datasets.grid import Grid
from squall.datasets.radar.coordinates import SET_CRS, units_per
from squall.datasets.radar.file_times import time_from_name
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import Packing, Product, check_scan_shape, north_up
from squall.datasets.radar.readers.stepped_grid import stepped_grid
from squall.datasets.radar.units import parse_unit

MAX_PICTURE_PIXELS = 2**24  # importers of pictures go through the pixels one by one
_REFUSED = {
    "mch_hdf5": "makes dry pixels missing",
    "dwd_radolan": "makes clutter dry",
}
_COMMENTS_WITHIN = 2**16

Floats = npt.NDArray[np.floating]


@contextmanager
def open_pysteps(path: str, config: RadarNetworkConfig) -> Iterator[Product]:
    """Import a file with the importer ``config.importer`` of pysteps and yield its scan.

    Raises
    ------
    ConfigError
        If pysteps or a package that the importer needs is not installed, or there is no such
        importer, or it has not these options.
    DataError
        If the file cannot be imported, or the importer does not say what its values are and where.
    """
    importer = _importer(config)
    _check_picture(path, str(config.importer))
    values, metadata = _imported(importer, path, config)
    if values.ndim != 2:
        raise DataError(f"is imported with {values.ndim} dimensions, expected rows and columns")
    check_scan_shape(*values.shape)
    units, values = _untransformed(values, metadata, config)
    grid, flip_rows, flip_columns = _grid(values.shape, metadata, config)
    interval = None
    if parse_unit(config.units or units)[0] == "accumulation":
        interval = _interval(metadata, config)
    time = time_from_name(path, config)
    if time is None:
        raise DataError(
            "has no time in its name, and importers of pysteps return none; set 'time_in_name' in "
            "the network configuration, for example 'time_in_name: \"%Y%m%d%H%M\"'"
        )

    def read_stored(scan: int) -> Floats:
        return north_up(values, flip_rows, flip_columns)

    yield Product(grid, (time,), (interval,), Packing(units), read_stored)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what pysteps prints, and its warnings about scans without rain."""
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _importer(config: RadarNetworkConfig) -> Callable[..., Any]:
    name = str(config.importer)
    try:
        with _quiet():
            from pysteps.io import get_method

            importer = get_method(name, "importer")
    except ImportError as error:
        raise ConfigError(
            f"importer '{name}' needs pysteps: pip install 'squall[baselines]' ({error})"
        ) from error
    except ValueError as error:
        raise ConfigError(f"'importer': {' '.join(str(error).split())}") from error
    if name in _REFUSED:
        raise ConfigError(
            f"importer '{name}' {_REFUSED[name]}; Squall reads these files without pysteps: leave "
            "'format' and 'importer' out"
        )
    try:
        inspect.signature(importer).bind("file", **config.importer_options)
    except TypeError as error:
        raise ConfigError(f"'importer_options' of importer '{name}': {error}") from error
    return importer


def _check_picture(path: str, name: str) -> None:
    """Refuse pictures on which an importer would work for hours, or forever."""
    try:
        with Image.open(path) as picture:
            pixels = picture.width * picture.height
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        pixels = 0  # no picture; the importer says what is wrong
    except Image.DecompressionBombError:
        pixels = MAX_PICTURE_PIXELS + 1
    if pixels > MAX_PICTURE_PIXELS:
        raise DataError(f"is a picture with more than {MAX_PICTURE_PIXELS} pixels")
    if name == "fmi_pgm":
        with Path(path).open("rb") as stream:
            if b"\n#" not in b"\n" + stream.read(_COMMENTS_WITHIN):
                raise DataError("has no comments with the grid, which PGM files of FMI have")


def _imported(
    importer: Callable[..., Any], path: str, config: RadarNetworkConfig
) -> tuple[Floats, Mapping[str, Any]]:
    from pysteps.exceptions import MissingOptionalDependency

    try:
        with _quiet():
            values, _, metadata = importer(path, **config.importer_options)
    except MissingOptionalDependency as error:
        raise ConfigError(f"importer '{config.importer}': {error}") from error
    except AssertionError as error:
        raise DataError(f"cannot be imported as {config.importer}: {error}") from error
    numbers = np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan)
    return np.asarray(numbers, dtype=np.float64), metadata


def _untransformed(
    values: Floats, metadata: Mapping[str, Any], config: RadarNetworkConfig
) -> tuple[str, Floats]:
    """Units, and the values without a transform."""
    units, transform = metadata.get("unit"), metadata.get("transform")
    if not (units or config.units):
        raise DataError(
            "is imported without a unit; set 'units' in the network configuration, for example "
            "'units: mm h-1'"
        )
    units = str(units or config.units)
    if transform is None or (transform == "dB" and parse_unit(units)[0] == "reflectivity"):
        return units, values
    if transform != "dB":
        raise DataError(f"is imported with the transform '{transform}', expected none or dB")
    return units, 10.0 ** (values / 10.0)


def _interval(metadata: Mapping[str, Any], config: RadarNetworkConfig) -> pd.Timedelta | None:
    minutes = metadata.get("accutime")
    if minutes is None or not 0 < float(minutes) < np.inf:
        return config.accumulation
    return pd.Timedelta(minutes=float(minutes))


def _grid(
    shape: tuple[int, ...], metadata: Mapping[str, Any], config: RadarNetworkConfig
) -> tuple[Grid, bool, bool]:
    height, width = shape
    if config.grid is not None:
        return config.grid.harmonised((height, width))
    projection = config.crs or metadata.get("projection")
    if not projection:
        raise DataError(f"is imported without a projection; {SET_CRS}")
    try:
        west, south, east, north = (float(metadata[name]) for name in ("x1", "y1", "x2", "y2"))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"is imported without its corners ({error}); set 'grid' in the network configuration"
        ) from error
    steps = (east - west) / width, (north - south) / height
    for name, step, count in (("xpixelsize", steps[0], width), ("ypixelsize", steps[1], height)):
        size = metadata.get(name)
        if size is not None and abs(float(size) - step) * count > 0.5 * abs(step):
            raise DataError(
                f"is imported with {name} {float(size):g}, but its corners and its {count} pixels "
                f"give {step:g}; set 'grid' in the network configuration to the right grid"
            )
    origin = metadata.get("yorigin")
    if origin not in ("upper", "lower"):
        raise DataError(
            f"is imported with yorigin '{origin}', expected upper or lower; set 'grid' in the "
            "network configuration"
        )
    first, dy = (north, -steps[1]) if origin == "upper" else (south, steps[1])
    factor = _factor(str(projection), metadata, config)
    return stepped_grid(
        str(projection),
        (height, width),
        (west * factor, first * factor),
        (steps[0] * factor, dy * factor),
    )


def _factor(projection: str, metadata: Mapping[str, Any], config: RadarNetworkConfig) -> float:
    """From the unit of the corners to that of the projection."""
    try:
        crs = pyproj.CRS.from_user_input(projection)
    except pyproj.exceptions.CRSError as error:
        raise DataError(
            f"is imported with a projection that PROJ does not know: {error}; {SET_CRS}"
        ) from error
    default = "degrees" if crs.is_geographic else "m"
    unit = config.coordinate_units or metadata.get("cartesian_unit") or default
    factor = units_per(str(unit), crs)
    return factor if crs.is_geographic else factor / crs.axis_info[0].unit_conversion_factor
