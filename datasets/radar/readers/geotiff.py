"""GeoTIFF composites, with rasterio: FMI, DPC and all that GDAL writes.

How the reader interprets the files (names of tags in `geotiff_tags`):

- One band is a scan. ``variable`` names it by its number or its description; it may be left out
  where the file has one band.
- Numbers are unpacked by the scale and offset of GDAL's band or of the tags. A file in which both
  say different things is refused.
- Not observed are pixels with GDAL's nodata or the tag ``Nodata``, those that an internal mask or
  an alpha band hides, and NaN. Without any of these the sea beyond the radars would be dry: such a
  file is refused until the configuration lists ``missing_values``. The tag ``Undetect`` is dry.
- Blocks that were never written count as nodata; a file with such blocks and without nodata is
  refused, because GDAL reads them as 0, which would be dry.
- The time is that of the tags (FMI's ``Observation time``, ODIM's ``what``), else the one in the
  name, else TIFFTAG_DATETIME, which may be the time at which the image was made.
- Files beside it, like ``.aux.xml`` and ``.msk``, are not read, because only the file itself is
  fetched.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product as pairs
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from squall.datasets.errors import ConfigError, DataError
from squall.datasets.grid import Grid
from squall.datasets.radar.coordinates import SET_CRS
from squall.datasets.radar.fields import Field
from squall.datasets.radar.file_times import (
    NO_TIME,
    TimeError,
    accumulation_times,
    time_from_name,
    unless_named,
)
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import (
    MAX_SCAN_PIXELS,
    Packing,
    Product,
    check_scan_shape,
    north_up,
)
from squall.datasets.radar.readers.geotiff_tags import BandTags
from squall.datasets.radar.readers.markers import any_held, held_by, list_missing, scale_in_use
from squall.datasets.radar.readers.stepped_grid import stepped_grid
from squall.datasets.radar.units import parse_unit

_OWN_FILE_ONLY = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}
MOST_BANDS = 500  # that are listed
_COLOURS = {"red", "green", "blue", "palette", "cyan", "magenta", "yellow", "black"}


@contextmanager
def open_geotiff(path: str, config: RadarNetworkConfig) -> Iterator[Product]:
    """Open a GeoTIFF and yield the scan in one of its bands.

    Raises
    ------
    ConfigError
        If rasterio is not installed.
    DataError
        If the file is broken, or has no regular map of numbers whose meaning is known.
    """
    with _opened(path) as file:
        yield _product(file, path, config)


def geotiff_fields(path: str) -> list[Field]:
    """Bands, by their description where it is theirs alone, else by their number.

    Raises
    ------
    ConfigError
        If rasterio is not installed.
    """
    with _opened(path) as file:
        fields = []
        for band in _bands(file)[:MOST_BANDS]:
            description = file.descriptions[band - 1] or ""
            tags = BandTags.of(file.tags(), file.tags(band), file.count)
            units = file.units[band - 1] or tags.units() or ""
            is_name = description and file.descriptions.count(description) == 1
            name = description if is_name and not description.isdecimal() else str(band)
            fields.append(Field(name, str(units), description, (file.height, file.width)))
        return fields


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    """An open file of rasterio, without the files beside it."""
    try:
        import rasterio
    except ImportError as error:
        raise ConfigError(
            f"reading GeoTIFF needs rasterio: pip install 'squall[geotiff]' ({error})"
        ) from error
    with rasterio.Env(**_OWN_FILE_ONLY), warnings.catch_warnings():
        # the message of `_grid` says more
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(Path(path).absolute(), driver="GTiff") as file:
            yield file


def _product(file: Any, path: str, config: RadarNetworkConfig) -> Product:
    check_scan_shape(file.height, file.width)
    if file.subdatasets:
        raise DataError(
            f"holds {len(file.subdatasets)} images; split it, for example with gdal_translate "
            "-of COG GTIFF_DIR:1:FILE.tif"
        )
    band = _band(file, config)
    if file.count * np.prod(file.block_shapes[band - 1], dtype=np.float64) > 4 * MAX_SCAN_PIXELS:
        raise DataError(
            f"has {file.count} bands in blocks of {file.block_shapes[band - 1]} pixels, more than "
            "any radar composite"
        )
    tags = BandTags.of(file.tags(), file.tags(band), file.count)
    units = _units(file, band, tags, config)
    has_mask = "per_dataset" in {flag.name for flag in file.mask_flag_enums[band - 1]}
    packing = _packing(file, band, tags, units, has_mask, config)
    is_accumulation = parse_unit(config.units or units)[0] == "accumulation"
    time, interval = unless_named(
        lambda: _time(tags, is_accumulation, path, config),
        (NO_TIME, config.accumulation if is_accumulation else None),
        config,
    )
    grid, flip_rows, flip_columns = _grid(file, config)

    def read_stored(scan: int) -> npt.NDArray[Any]:
        numbers = file.read(band)
        if has_mask:
            is_small = numbers.dtype.itemsize <= 2 or numbers.dtype == np.float32
            numbers = numbers.astype(np.float32 if is_small else np.float64)
            numbers[file.read_masks(band) == 0] = np.nan
        return north_up(numbers, flip_rows, flip_columns)

    return Product(grid, (time,), (interval,), packing, read_stored)


def _band(file: Any, config: RadarNetworkConfig) -> int:
    """Number of the band with the scan, from 1 on."""
    bands = _bands(file)
    wanted = config.variable
    if wanted.isdecimal():
        chosen = [band for band in bands if band == int(wanted)]
    elif wanted:
        chosen = [band for band in bands if file.descriptions[band - 1] == wanted]
    else:
        chosen = bands
    if len(chosen) != 1:
        names = ", ".join(
            f"{band} ({file.descriptions[band - 1]})" if file.descriptions[band - 1] else f"{band}"
            for band in bands[:20]
        )
        what = f"no single band '{wanted}'" if wanted else f"{len(bands)} bands"
        raise DataError(
            f"has {what}; its bands are: {names or 'none'}; set 'variable' in the network "
            "configuration to the number or the description of one, for example 'variable: 1'"
        )
    (band,) = chosen
    dtype = file.dtypes[band - 1]
    if dtype.startswith("complex"):
        raise DataError(f"holds {dtype} in band {band}, expected numbers")
    colour = file.colorinterp[band - 1].name
    if colour in _COLOURS and config.units is None:
        raise DataError(
            f"is a picture: its band {band} holds colours ({colour}), not values; fetch "
            "the product with values; if these are values, set 'units' in the network "
            "configuration, for example 'units: dBZ'"
        )
    return band


def _bands(file: Any) -> list[int]:
    """Numbers of the bands that hold values."""
    return [band for band in file.indexes if file.colorinterp[band - 1].name != "alpha"]


def _units(file: Any, band: int, tags: BandTags, config: RadarNetworkConfig) -> str:
    units = config.units or file.units[band - 1] or tags.units()
    if not units:
        raise DataError(
            "has no units; set 'units' in the network configuration, for example 'units: mm h-1' "
            "or 'units: dBZ'"
        )
    return str(units)


def _packing(
    file: Any, band: int, tags: BandTags, units: str, has_mask: bool, config: RadarNetworkConfig
) -> Packing:
    dtype = np.dtype(file.dtypes[band - 1])
    scale, offset = _scale_and_offset(file, band, tags, config)
    markers = file.nodatavals[band - 1], tags.number("nodata")
    missing = tuple(dict.fromkeys(n for marker in markers for n in held_by(dtype, marker)))
    dry = held_by(dtype, tags.number("undetect"))
    if not (missing or has_mask or any_held(dtype, config.missing_values, scale, offset)):
        raise DataError(
            "has no nodata that its pixels can hold, and no mask, so pixels outside radar coverage "
            "cannot be told from dry or wet ones; " + list_missing(dtype, scale, offset)
        )
    if file.nodatavals[band - 1] is None and _has_empty_blocks(file, band):
        raise DataError(
            "has blocks that were never written and no nodata, so nothing tells whether they are "
            "dry or not observed; write it anew with nodata, for example with gdal_translate "
            "-a_nodata"
        )
    return Packing(
        units, scale, offset, missing, tuple(number for number in dry if number not in missing)
    )


def _scale_and_offset(
    file: Any, band: int, tags: BandTags, config: RadarNetworkConfig
) -> tuple[float, float]:
    of_band = float(file.scales[band - 1]), float(file.offsets[band - 1])
    gain, shift = tags.finite("gain"), tags.finite("offset")
    of_tags = of_band if gain is None and shift is None else (gain or 1.0, shift or 0.0)
    if gain == 0 or of_band[0] == 0 or not np.isfinite(of_band).all():
        raise DataError(f"has scale {of_band[0]} and gain {gain}; correct the files")
    if of_band not in ((1.0, 0.0), of_tags) and (config.scale, config.offset) == (None, None):
        raise DataError(
            f"has scale {of_band[0]:g} and offset {of_band[1]:g}, but its tags say gain "
            f"{of_tags[0]:g} and offset {of_tags[1]:g}; set 'scale' and 'offset' in the network "
            "configuration"
        )
    return scale_in_use(config, *of_tags)


def _has_empty_blocks(file: Any, band: int) -> bool:
    height, width = file.block_shapes[band - 1]
    rows, columns = -(-file.height // height), -(-file.width // width)
    return any(
        file.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=band) is None
        for row, column in pairs(range(rows), range(columns))
    )


def _time(
    tags: BandTags, is_accumulation: bool, path: str, config: RadarNetworkConfig
) -> tuple[pd.Timestamp, pd.Timedelta | None]:
    """Valid time of the scan, and the interval of an accumulation."""
    end = tags.time("end") if is_accumulation else None
    time = end or tags.observation_time() or tags.time()
    if time is None:
        named = time_from_name(path, config)
        if named is not None:
            return named, config.accumulation if is_accumulation else None
        time = tags.image_time()
    if time is None:
        raise TimeError(
            "has no time in its tags, and none in its name; set 'time_in_name' in the network "
            "configuration, for example 'time_in_name: \"%Y%m%d%H%M\"'"
        )
    if not is_accumulation:
        return time, None
    return accumulation_times(tags.time("start") if end is not None else None, time, config)


def _grid(file: Any, config: RadarNetworkConfig) -> tuple[Grid, bool, bool]:
    shape = file.height, file.width
    if config.grid is not None:
        return config.grid.harmonised(shape)
    transform = file.transform
    if transform.is_identity:
        raise DataError(
            "is not georeferenced: it has no geotransform; set 'grid' in the network configuration "
            "to its grid"
        )
    if transform.b or transform.d:
        raise DataError(
            "has a rotated or sheared geotransform; put it on a north-up grid first, for example "
            "with gdalwarp"
        )
    projection = config.crs or _projection(file)
    if projection is None:
        raise DataError(f"has no CRS; {SET_CRS}")
    return stepped_grid(projection, shape, (transform.c, transform.f), (transform.a, transform.e))


def _projection(file: Any) -> str | None:
    if not file.crs:
        return None
    code = file.crs.to_epsg(confidence_threshold=100)
    return f"EPSG:{code}" if code else str(file.crs.to_wkt())
