"""GeoTIFF: what the reader returns, and what it rejects with a reason."""

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.radar.formats import recognised_format
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.readers.geotiff import open_geotiff
from tests.datasets.radar.radar_files import RATE, assert_rate, config, rejection_of, scan_of

rasterio = pytest.importorskip("rasterio")
from rasterio.transform import Affine  # noqa: E402

NOON = pd.Timestamp("2024-06-01T12:00")
NAME = "radar_202406011200.tif"
NORTH_UP = (1000.0, 0.0, 300_000.0, 0.0, -500.0, 7_000_000.0)
FMI = """<GDALMetadata>
<Item name="Observation time" format="YYYYMMDDhhmm">202406011200</Item>
<Item name="Quantity" unit="dBZ">Corrected reflectivity</Item>
<Item name="Gain">0.500000</Item>
<Item name="Offset">-32.000000</Item>
<Item name="Nodata">255</Item>
<Item name="Undetect">0</Item>
</GDALMetadata>"""


def write(
    path: Path,
    bands: Any,
    *,
    transform: tuple[float, ...] | None = NORTH_UP,
    crs: Any = "EPSG:3067",
    tags: dict[str, str] | None = None,
    mask: Any = None,
    units: str | None = None,
    descriptions: tuple[str, ...] = (),
    scale: float = 1.0,
    offset: float = 0.0,
    **profile: Any,
) -> str:
    """Write bands of shape (H, W) with GDAL."""
    numbers = np.asarray(bands)
    numbers = numbers[None] if numbers.ndim == 2 else numbers
    where = {} if transform is None else {"transform": Affine(*transform)}
    with (
        warnings.catch_warnings(),
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True, GDAL_PAM_ENABLED=False),
    ):
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="GTiff", count=len(numbers), height=numbers.shape[1],
            width=numbers.shape[2], dtype=numbers.dtype, crs=crs, **where, **profile,
        ) as file:  # fmt: skip
            file.write(numbers)
            file.update_tags(**(tags or {}))
            file.scales, file.offsets = (scale,) * len(numbers), (offset,) * len(numbers)
            if units is not None:
                file.units = (units,) * len(numbers)
            for band, text in enumerate(descriptions, start=1):
                file.set_band_description(band, text)
            if mask is not None:
                file.write_mask(mask)
    return str(path)


def network(**changes: Any) -> RadarNetworkConfig:
    return config(**{"variable": "", "time_in_name": "%Y%m%d%H%M", **changes})


def refused(path: str, settings: RadarNetworkConfig, message: str) -> None:
    with (
        pytest.raises(DataError, match=message),
        open_geotiff(path, settings) as product,
    ):
        product.read_stored(0)


@pytest.fixture
def numbers() -> np.ndarray:
    """(H, W) as FMI stores them: outside in the first column, no echo in the first row."""
    values = (np.arange(12 * 16, dtype=np.uint8).reshape(12, 16) % 100) + 64
    values[0], values[:, 0] = 0, 255
    return values


def test_the_tags_of_fmi_say_all(numbers, unpacked, tmp_path) -> None:
    path = write(tmp_path / "a.tif", numbers, tags={"GDAL_METADATA": FMI})
    assert recognised_format(path) == "geotiff"
    with open_geotiff(path, network(time_in_name=None)) as product:
        assert product.times == (NOON,)
        assert product.intervals == (None,)
        assert product.packing.units == "dBZ"
        assert product.read_stored(0).dtype == np.uint8
        values = unpacked(product)
        with pytest.raises(IndexError):
            product.read_stored(1)
    assert np.isnan(values[:, 0]).all()
    assert (values[0, 1:] == -np.inf).all()
    np.testing.assert_allclose(values[1:, 1:], (numbers[1:, 1:].astype(float) - 64) / 2)
    np.testing.assert_allclose(product.grid.x, 300_500 + 1000 * np.arange(16))
    np.testing.assert_allclose(product.grid.y, 6_999_750 - 500 * np.arange(12))
    assert product.grid.crs.to_epsg() == 3067


@pytest.mark.parametrize("endianness", ["LITTLE", "BIG"])
@pytest.mark.parametrize("bigtiff", ["YES", "NO"])
def test_any_tiff_is_recognised_and_read(tmp_path, endianness, bigtiff) -> None:
    path = write(
        tmp_path / NAME, RATE, nodata=-1, units="mm/h", ENDIANNESS=endianness, BIGTIFF=bigtiff
    )
    assert recognised_format(path) == "geotiff"
    assert_rate(scan_of(path, network()), RATE)


def test_rows_and_columns_in_any_direction(tmp_path) -> None:
    south_up = (-1000.0, 0.0, 303_000.0, 0.0, 500.0, 6_999_000.0)
    turned = np.ascontiguousarray(RATE[::-1, ::-1])
    upright = write(tmp_path / f"a{NAME}", RATE, nodata=-1, units="mm h-1")
    path = write(tmp_path / f"b{NAME}", turned, nodata=-1, units="mm h-1", transform=south_up)
    assert_rate(scan_of(path, network()), RATE)
    with open_geotiff(path, network()) as one, open_geotiff(upright, network()) as other:
        assert one.grid.difference(other.grid) is None


def test_feet_become_metres_and_degrees_stay(tmp_path) -> None:
    path = write(tmp_path / NAME, RATE, nodata=-1, units="mm h-1", crs="EPSG:2225")  # US feet
    with open_geotiff(path, network()) as product:
        assert product.grid.pixel_size == pytest.approx((500 * 0.3048006, 1000 * 0.3048006))
    degrees = (0.5, 0.0, 10.0, 0.0, -0.25, 45.0)
    path = write(tmp_path / NAME, RATE, nodata=-1, units="mm/h", crs=4326, transform=degrees)
    with open_geotiff(path, network()) as product:
        assert product.grid.x[0] == pytest.approx(10.25)
        assert product.grid.y[0] == pytest.approx(44.875)


def test_scale_and_offset_of_the_band(tmp_path) -> None:
    stored = np.round(RATE * 10).astype(np.int16) + 5
    packing = {"nodata": -1, "units": "mm h-1", "scale": 0.1, "offset": -0.5}
    path = write(tmp_path / NAME, stored, **packing)
    assert_rate(scan_of(path, network()), RATE)
    path = write(tmp_path / NAME, stored, **packing, tags={"Gain": "0.2"})
    refused(path, network(), "scale 0.1 and offset -0.5, but its tags say gain 0.2 and offset 0")
    assert_rate(scan_of(path, network(scale=0.1, offset=-0.5)), RATE)
    path = write(tmp_path / NAME, stored, nodata=-1, units="mm h-1")
    assert_rate(scan_of(path, network(scale=0.1, offset=-0.5)), RATE)


def test_the_band_is_chosen_by_number_or_description(tmp_path) -> None:
    bands = np.stack([RATE * 0 + 9, RATE, RATE * 0 + 7])
    named = ("quality", "rain rate", "quality")
    path = write(tmp_path / NAME, bands, nodata=-1, units="mm h-1", descriptions=named)
    for variable in ("2", "rain rate"):
        assert_rate(scan_of(path, network(variable=variable)), RATE)
    refused(path, network(), r"3 bands; its bands are: 1 \(quality\), 2 \(rain rate\)")
    for variable in ("quality", "4", "rain"):
        refused(path, network(variable=variable), f"no single band '{variable}'")


def test_a_mask_and_an_alpha_band_hide_pixels(tmp_path) -> None:
    mask = np.full(RATE.shape, 255, np.uint8)
    mask[0, 1] = 0
    for numbers in (RATE, RATE.astype(np.uint8), RATE.astype(np.int32)):
        path = write(tmp_path / NAME, numbers, mask=mask, units="mm h-1")
        assert_rate(scan_of(path, network()), np.where(mask == 0, np.nan, numbers))
    bands = np.stack([RATE.astype(np.uint8), mask])
    path = write(tmp_path / NAME, bands, units="mm h-1", alpha="YES", photometric="MINISBLACK")
    assert_rate(scan_of(path, network()), np.where(mask == 0, np.nan, bands[0]))


def test_nan_is_not_observed(tmp_path) -> None:
    rate = RATE.copy()
    rate[1, 1] = np.nan
    path = write(tmp_path / NAME, rate, nodata=np.nan, units="mm h-1")
    assert_rate(scan_of(path, network()), rate)


def test_without_nodata_the_configuration_has_to_say(tmp_path) -> None:
    """As in a cut-out of DPC's composite: -9999 outside, 0 where it was warped, -9998 no echo."""
    dbz = np.array([[0, -9999, -9998], [20, 40, 30]], dtype=np.float32)
    path = write(tmp_path / NAME, dbz, units="dBZ")
    refused(path, network(), r"has no nodata .*missing_values: \[-9999\]")
    settings = network(missing_values=[-9999, 0], dry_values=-9998)
    rate = scan_of(path, settings)
    assert np.isnan(rate[0, :2]).all()
    assert rate[0, 2] == 0
    np.testing.assert_allclose(rate[1, 0], (10**2 / 200) ** (1 / 1.6), rtol=0.016)
    path = write(tmp_path / NAME, RATE.astype(np.uint8), tags={"Nodata": "-1"}, units="dBZ")
    refused(path, network(), "has no nodata that its pixels can hold")


def test_blocks_that_were_never_written(tmp_path) -> None:
    """GDAL reads them as 0, which would be dry."""
    settings = {"tiled": True, "blockxsize": 16, "blockysize": 16, "SPARSE_OK": "YES"}
    rate = np.zeros((32, 32), np.float32)
    rate[:16, :16] = 5
    path = write(tmp_path / NAME, rate, units="mm h-1", **settings)
    refused(path, network(missing_values=-9), "blocks that were never written and no nodata")
    path = write(tmp_path / NAME, rate, units="mm h-1", **{**settings, "SPARSE_OK": "NO"})
    assert (scan_of(path, network(missing_values=-9))[16:] == 0).all()


def test_times_and_quantity_of_odim(tmp_path) -> None:
    """As DPC's files, which gdal_translate makes from ODIM HDF5."""
    tags = {
        "dataset1_what_quantity": "RATE", "dataset1_what_nodata": "-9999",
        "dataset1_data1_quality1_what_gain": "0.4", "dataset1_data1_quality1_what_undetect": "1",
        "what_date": "20240601", "what_time": "120000",
    }  # fmt: skip
    rate = RATE.copy()
    rate[0, 2], rate[1, 0] = -9999, -1
    path = write(tmp_path / "a.tif", rate, nodata=-1, tags=tags)
    missing = rate < 0
    assert_rate(scan_of(path, network()), np.where(missing, np.nan, rate))
    tags |= {
        "dataset1_what_quantity": "ACRR", "what_time": "121000",
        "dataset1_what_enddate": "20240601", "dataset1_what_endtime": "120000",
        "dataset1_what_startdate": "20240601", "dataset1_what_starttime": "113000",
    }  # fmt: skip
    path = write(tmp_path / "a.tif", rate, nodata=-1, tags=tags)
    half = network(accumulation="30min")
    assert_rate(scan_of(path, half), np.where(missing, np.nan, rate * 2))


def test_the_time_of_the_image_is_the_last_choice(tmp_path) -> None:
    tags = {"TIFFTAG_DATETIME": "2024:06:01 12:05:00"}
    path = write(tmp_path / NAME, RATE, nodata=-1, units="mm", tags=tags)
    settings = {"accumulation": "5min", "time_marks": "start"}
    for pattern, time in (("%Y%m%d%H%M", "12:05"), (None, "12:10")):
        with open_geotiff(path, network(time_in_name=pattern, **settings)) as product:
            assert product.times == (pd.Timestamp(f"2024-06-01 {time}"),)
            assert product.intervals == (pd.Timedelta("5min"),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transform": (1000.0, 1.0, 0.0, 0.0, -500.0, 0.0)}, "rotated or sheared"),
        ({"transform": None}, "is not georeferenced.*set 'grid'"),
        ({"crs": None}, "has no CRS; set 'crs'"),
        ({"crs": 'LOCAL_CS["site",UNIT["metre",1]]'}, "no map projection.*set 'crs'"),
        ({"crs": "EPSG:4326"}, "latitudes up to 6.*degrees"),
        ({"units": None}, "has no units; set 'units'"),
        ({"units": "furlongs"}, "no rain unit"),
        ({"tags": {"Observation time": "yesterday"}}, "time 'yesterday', expected"),
        ({"tags": {"Gain": "much"}}, "tag 'gain' is 'much', expected a number"),
        ({"tags": {"Offset": "inf"}}, "tag 'offset' is inf, expected a finite"),
        ({"tags": {"Gain": "0"}}, "has scale 1.0 and gain 0.0"),
        ({"bands": RATE.astype(np.complex64)}, "holds complex64"),
        ({"path": "a.tif"}, "no time in its tags, and none in its name"),
        (
            {"bands": np.ones((3, 2, 3), np.uint8), "units": None, "variable": "1"},
            "is a picture: its band 1 holds colours",
        ),
    ],
)
def test_an_unreadable_file_is_rejected_with_a_reason(tmp_path, changes, message) -> None:
    changes = {"bands": RATE, "nodata": 200, "units": "mm h-1", "path": NAME, **changes}
    path, variable = tmp_path / changes.pop("path"), changes.pop("variable", "")
    refused(write(path, changes.pop("bands"), **changes), network(variable=variable), message)


def test_the_configuration_gives_a_grid(tmp_path) -> None:
    path = write(tmp_path / NAME, RATE, nodata=-1, units="mm h-1", crs=None, transform=None)
    grid = {"crs": "EPSG:3067", "x0": 0, "y0": 0, "dx": 1000, "dy": 1000, "nx": 3, "ny": 2}
    assert_rate(scan_of(path, network(grid=grid)), RATE[::-1])
    with (
        pytest.raises(DataError, match="ny: 2, nx: 4"),
        open_geotiff(path, network(grid=grid | {"nx": 4})),
    ):
        pass


def test_several_images_in_a_file(tmp_path) -> None:
    path = write(tmp_path / NAME, RATE, nodata=-1, units="mm h-1")
    write(tmp_path / NAME, RATE, nodata=-1, units="mm h-1", APPEND_SUBDATASET=True)
    with rasterio.open(path) as file:
        assert len(file.subdatasets) == 2
    refused(path, network(), "holds 2 images; split it")


def test_without_rasterio(tmp_path, monkeypatch) -> None:
    path = write(tmp_path / NAME, RATE, nodata=-1, units="mm h-1")
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(ConfigError, match=r"pip install 'squall\[geotiff\]'"):
        scan_of(path, network(format="geotiff"))
    # a file whose content alone tells its format may be a stray one, which ends no run
    with pytest.raises(OSError, match=r"pip install 'squall\[geotiff\]'"):
        scan_of(path, network())


def test_files_beside_it_are_not_read(tmp_path) -> None:
    """Only the file itself is fetched, so that its neighbours must not change its values."""
    path = write(tmp_path / NAME, RATE, nodata=-1, units="mm h-1")
    beside = Path(f"{path}.aux.xml")
    beside.write_text(
        '<PAMDataset><PAMRasterBand band="1"><NoDataValue>50</NoDataValue></PAMRasterBand>'
        "</PAMDataset>"
    )
    with rasterio.open(path) as file:
        assert file.nodata == 50  # the file beside it works
    assert_rate(scan_of(path, network()), RATE)


def test_a_forecast_of_squall_is_read_back(tmp_path) -> None:
    codes = RAIN_CODE.decode(np.arange(256, dtype=np.uint8).reshape(16, 16))
    path = write(tmp_path / NAME, codes, nodata=np.nan, units="mm h-1", compress="DEFLATE")
    np.testing.assert_array_equal(scan_of(path, network()), codes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("tiff") / NAME
    rain = np.random.default_rng(1).integers(0, 200, (40, 50)).astype(np.uint8)
    write(path, rain, tags={"GDAL_METADATA": FMI}, compress="DEFLATE", tiled=True, blockxsize=16,
          blockysize=16)  # fmt: skip
    return path.read_bytes()


@given(data=st.data())
@settings(max_examples=60)
def test_a_damaged_file_never_crashes_the_reader(data, whole, damages, survives) -> None:
    survives(open_geotiff, network(), NAME, data.draw(damages)(whole))


@given(start=st.sampled_from([b"II*\x00", b"MM\x00*", b"II+\x00"]), rest=st.binary(max_size=300))
def test_arbitrary_bytes_never_crash_the_reader(start, rest, survives) -> None:
    survives(open_geotiff, network(), NAME, start + rest)


def test_the_time_in_the_name_replaces_a_broken_one(numbers, tmp_path) -> None:
    broken = FMI.replace("202406011200", "202406991200")
    path = write(tmp_path / NAME, numbers, tags={"GDAL_METADATA": broken})
    assert "has a tag with the time '202406991200'" in rejection_of(path, network())
    scan_of(path, network(time_from="name"))


def test_huge_dimensions_are_refused_before_memory_is_allocated(tmp_path) -> None:
    for height, width, block in ((200_000, 200_000, 16_384), (16, 16, 65_536)):
        shape = {"height": height, "width": width, "blockxsize": block, "blockysize": block}
        with rasterio.open(
            tmp_path / NAME, "w", driver="GTiff", count=8, dtype="uint8", tiled=True,
            SPARSE_OK=True, nodata=0, crs=3067, transform=Affine(*NORTH_UP), **shape,
        ):  # fmt: skip
            pass
        refused(str(tmp_path / NAME), network(variable="1"), "more than any radar composite")
