"""Small files as OPERA, KNMI and NOAA write them, for the tests of their readers."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyproj
import pytest
from hypothesis import strategies as st

from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import Product, Reader

LAEA = "+proj=laea +lat_0=55.0 +lon_0=10.0 +x_0=1950000.0 +y_0=-2100000.0 +units=m +ellps=WGS84"
# radii in kilometres, as in the files
STEREOGRAPHIC_KM = (
    "+proj=stere +lat_0=90 +lon_0=0.0 +lat_ts=60.0 +a=6378.14 +b=6356.75 +x_0=0 y_0=0"
)
# (distance from the left, distance from the bottom) in widths and heights
CORNERS = {"LL": (0, 0), "UL": (0, 1), "UR": (1, 1), "LR": (1, 0)}


def config(format: str, **changes: Any) -> RadarNetworkConfig:
    """A configuration for one of the formats."""
    variable = {"odim": "RATE", "knmi": "image1", "hdf5": "rain/rate"}.get(format, "")
    return RadarNetworkConfig(
        **{"name": "radar", "step": "5min", "format": format, "variable": variable, **changes}
    )


@pytest.fixture(scope="session")
def configured() -> Callable[..., RadarNetworkConfig]:
    """Function of (format, settings…) that gives a configuration."""
    return config


@pytest.fixture(scope="session")
def write_odim() -> Callable[..., str]:
    """Function of (path, scans, …) that writes an ODIM composite and returns its path."""
    return _write_odim


@pytest.fixture
def pixels() -> np.ndarray:
    """(H, W) numbers stored by ODIM: no echo in the first row, no radar in the first column."""
    numbers = np.arange(12 * 16, dtype=np.uint16).reshape(12, 16) + 1
    numbers[0] = 0
    numbers[:, 0] = 65535
    return numbers


def _put(group: h5py.Group, attributes: Mapping[str, Any]) -> None:
    for name, value in attributes.items():
        if value is not None:
            group.attrs[name] = np.bytes_(value) if isinstance(value, str) else value


def _write_odim(
    path: Path,
    scans: Any,
    *,
    quantity: str = "RATE",
    gain: Any = 0.1,
    offset: Any = 0.0,
    nodata: Any = 65535.0,
    undetect: Any = 0.0,
    level: str = "data",
    spans: tuple[tuple[str | None, str | None], ...] = (("20240601115500", "20240601120000"),),
    what: Mapping[str, Any] | None = None,
    where: Mapping[str, Any] | None = None,
    projdef: str = LAEA,
    scale: float = 2000.0,
    origin: tuple[float, float] = (1_000_000.0, -2_000_000.0),
    pack: Mapping[str, Any] | None = None,
) -> str:
    """Write scans of shape (H, W), one dataset each; ``origin`` is the lower left corner.

    ``level`` says where quantity and packing stand: data (ODIM 2.4) or dataset (ODYSSEY).
    """
    images = np.asarray(scans)
    images = images[None] if images.ndim == 2 else images
    height, width = images.shape[1:]
    project = pyproj.Proj(projdef)
    placed: dict[str, Any] = {
        "projdef": projdef, "xsize": width, "ysize": height, "xscale": scale, "yscale": scale,
    }  # fmt: skip
    for name, (across, up) in CORNERS.items():
        x, y = origin[0] + across * width * scale, origin[1] + up * height * scale
        placed[f"{name}_lon"], placed[f"{name}_lat"] = project(x, y, inverse=True)
    with h5py.File(path, "w") as file:
        _put(file, {"Conventions": "ODIM_H5/V2_4"})
        nominal = {"object": "COMP", "version": "H5rad 2.4", "date": "20240601", "time": "120000"}
        _put(file.create_group("what"), nominal | dict(what or {}))
        _put(file.create_group("where"), placed | dict(where or {}))
        for i, (pixels, (start, end)) in enumerate(zip(images, spans, strict=True), start=1):
            packing = {
                "quantity": quantity, "gain": gain, "offset": offset,
                "nodata": nodata, "undetect": undetect,
            }  # fmt: skip
            span = {"product": "COMP"}
            for prefix, moment in (("start", start), ("end", end)):
                if moment is not None:
                    span |= {f"{prefix}date": moment[:8], f"{prefix}time": moment[8:]}
            dataset = file.create_group(f"dataset{i}")
            data = dataset.create_group("data1")
            described = dataset.create_group("what")
            _put(described, span)
            _put(data.create_group("what") if level == "data" else described, packing)
            storage = {"compression": "gzip"} if pack is None else dict(pack)
            data.create_dataset("data", data=pixels, **storage)
    return str(path)


@pytest.fixture(scope="session")
def write_knmi() -> Callable[..., str]:
    """Function of (path, pixels, …) that writes a KNMI composite and returns its path."""
    return _write_knmi


def _write_knmi(
    path: Path,
    pixels: Any,
    *,
    parameter: str = "PRECIP_[MM]",
    formula: str = "GEO=0.010000*PV+0.000000",
    lost: Any = 65534,
    outside: Any = 65535,
    start: str | None = "01-JUN-2024;11:55:00.000",
    end: str | None = "01-JUN-2024;12:00:00.000",
    image: Mapping[str, Any] | None = None,
    geographic: Mapping[str, Any] | None = None,
    projection: str = STEREOGRAPHIC_KM,
    row_offset: float = 3649.981933,
) -> str:
    """Write one image of shape (H, W), 1 km pixels whose upper left corner lies at 0° E."""
    pixels = np.asarray(pixels)
    height, width = pixels.shape
    size = 1.000003, -1.000005
    # in kilometres, as PROJ takes the radii for the unit
    project = pyproj.Proj(projection)
    corners = []
    for name in ("LL", "UL", "UR", "LR"):
        across, up = CORNERS[name]
        corners += project(
            across * width * size[0], (row_offset + (1 - up) * height) * size[1], inverse=True
        )
    with h5py.File(path, "w") as file:
        _put(
            file.create_group("overview"),
            {"product_datetime_start": start, "product_datetime_end": end},
        )
        placed = {
            "geo_number_columns": np.array([width], dtype=np.int32),
            "geo_number_rows": np.array([height], dtype=np.int32),
            "geo_pixel_size_x": np.array([size[0]], dtype=np.float32),
            "geo_pixel_size_y": np.array([size[1]], dtype=np.float32),
            "geo_column_offset": np.array([0.0], dtype=np.float32),
            "geo_row_offset": np.array([row_offset], dtype=np.float32),
            "geo_product_corners": np.array(corners, dtype=np.float32),
            "geo_dim_pixel": "KM,KM",
            "geo_pixel_def": "LU",
        }
        geo = file.create_group("geographic")
        _put(geo, placed | dict(geographic or {}))
        _put(geo.create_group("map_projection"), {"projection_proj4_params": projection})
        image_group = file.create_group("image1")
        _put(image_group, {"image_geo_parameter": parameter, **(image or {})})
        image_group.create_dataset("image_data", data=pixels, compression="gzip")
        calibration = {
            "calibration_formulas": formula,
            "calibration_missing_data": lost,
            "calibration_out_of_image": outside,
        }
        _put(image_group.create_group("calibration"), calibration)
    return str(path)


@pytest.fixture(scope="session")
def grib_message() -> Callable[..., bytes]:
    """Function of (values, keys…) that gives a GRIB2 message; skips without ecCodes."""
    pytest.importorskip("eccodes", exc_type=ImportError)
    return _grib_message


def _grib_message(
    values: Any,
    *,
    parameter: tuple[int, int, int] = (209, 6, 1),
    packing: str = "grid_png",
    north_first: bool = True,
    bitmap: float | None = None,
    west: float = 230.005,
    **keys: Any,
) -> bytes:
    """A message of (H, W) values, north up, on pixels of 0.01° from 54.995° N."""
    import eccodes

    rows = np.asarray(values, dtype=np.float64)
    height, width = rows.shape
    latitudes = [54.995, 54.995 - 0.01 * (height - 1)]
    settings = {
        "discipline": parameter[0], "centre": 161, "Ni": width, "Nj": height,
        "iDirectionIncrementInDegrees": 0.01, "jDirectionIncrementInDegrees": 0.01,
        "latitudeOfFirstGridPointInDegrees": latitudes[0 if north_first else 1],
        "latitudeOfLastGridPointInDegrees": latitudes[1 if north_first else 0],
        "longitudeOfFirstGridPointInDegrees": west,
        "longitudeOfLastGridPointInDegrees": west + 0.01 * (width - 1),
        "jScansPositively": int(not north_first),
        "year": 2024, "month": 6, "day": 1, "hour": 12, "minute": 2, "second": 0,
        "parameterCategory": parameter[1], "parameterNumber": parameter[2],
        "decimalScaleFactor": 1,
    }  # fmt: skip
    handle = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
    try:
        for key, value in settings.items():
            eccodes.codes_set(handle, key, value)
        if bitmap is not None:
            eccodes.codes_set(handle, "bitmapPresent", 1)
            eccodes.codes_set(handle, "missingValue", bitmap)
        eccodes.codes_set_values(handle, (rows if north_first else rows[::-1]).ravel())
        eccodes.codes_set(handle, "packingType", packing)  # packs the values again
        for key, value in keys.items():
            eccodes.codes_set(handle, key, value)
        return eccodes.codes_get_message(handle)
    finally:
        eccodes.codes_release(handle)


@pytest.fixture(scope="session")
def unpacked() -> Callable[..., np.ndarray]:
    """Function of (product, scan) that gives values, NaN where not observed, -inf where dry."""
    return _unpacked


def _unpacked(product: Any, scan: int = 0) -> np.ndarray:
    stored = product.read_stored(scan)
    assert stored.shape == product.grid.shape
    values = stored * product.packing.scale + product.packing.offset
    values[np.isin(stored, product.packing.dry)] = -np.inf
    values[np.isin(stored, product.packing.missing)] = np.nan
    return values


@pytest.fixture(scope="session")
def survives() -> Callable[..., None]:
    """Function that runs a reader on any bytes: it must yield a product or raise."""
    return _survives


def _survives(reader: Reader, settings: RadarNetworkConfig, name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        try:
            with reader(str(path), settings) as product:
                shape = product.read_stored(0).shape
        except Exception:
            return  # read_file turns the exception into a rejection
        assert isinstance(product, Product)
        assert shape == product.grid.shape


@pytest.fixture(scope="session")
def damages() -> Any:
    """Hypothesis strategy of functions that damage the bytes of a file."""
    return st.builds(
        _damage,
        st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
        st.one_of(st.none(), st.floats(0, 1)),
    )


def _damage(flips: list[tuple[float, int]], cut: float | None) -> Callable[[bytes], bytes]:
    def damaged(whole: bytes) -> bytes:
        data = bytearray(whole)
        for place, value in flips:
            data[int(place * len(data))] = value
        return bytes(data if cut is None else data[: int(cut * len(data))])

    return damaged
