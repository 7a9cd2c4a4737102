"""HDF5 files of no convention: what the reader returns, rejects and recognises."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from squall.datasets.errors import DataError
from squall.datasets.radar.formats import recognised_format
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.readers.plain_hdf5 import open_plain_hdf5

NAME = "rain_202406011200.h5"
GRID = {"crs": "EPSG:3035", "x0": 0, "y0": 12, "dx": 1, "dy": -1, "nx": 16, "ny": 12}
KEYS: dict[str, Any] = {
    "grid": GRID, "units": "mm h-1", "time_in_name": "%Y%m%d%H%M", "missing_values": [-9999],
}  # fmt: skip


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Function of (pixels, attributes) that writes a file and returns its path."""

    def written(pixels: np.ndarray, **attributes: Any) -> str:
        path = tmp_path / NAME
        with h5py.File(path, "w") as file:
            file.create_dataset("rain/rate", data=pixels, compression="gzip")
            file["rain/rate"].attrs.update(attributes)
            file["other"] = np.zeros((3, 4))
            file["link"] = h5py.ExternalLink("/etc/passwd", "/x")
        return str(path)

    return written


@pytest.fixture
def rates() -> np.ndarray:
    """(H, W) mm/h, all rows and columns different; a column outside the radars' coverage."""
    values = np.arange(12 * 16, dtype=np.float32).reshape(12, 16)
    values[:, 0] = -9999
    return values


@pytest.mark.parametrize(("first_row", "step"), [("north", 1), ("south", -1)])
def test_the_configuration_says_what_the_file_does_not(
    write, configured, unpacked, rates, first_row, step
) -> None:
    edges = {"west": 0, "south": 0, "east": 16, "north": 12}
    grid = {"crs": "EPSG:3035", "nx": 16, "ny": 12, "first_row": first_row, **edges}
    with open_plain_hdf5(write(rates), configured("hdf5", **KEYS | {"grid": grid})) as product:
        assert product.times == (pd.Timestamp("2024-06-01T12:00"),)
        assert product.intervals == (None,)
        assert product.packing.units == "mm h-1"
        np.testing.assert_array_equal(product.read_stored(0), rates[::step])
        with pytest.raises(IndexError):
            product.read_stored(1)
    assert product.grid.x[[0, -1]].tolist() == [0.5, 15.5]
    assert product.grid.y[[0, -1]].tolist() == [11.5, 0.5]


def test_an_accumulation_has_the_interval_of_the_configuration(write, configured, rates) -> None:
    keys = KEYS | {"units": "mm", "accumulation": "15min"}
    with open_plain_hdf5(write(rates), configured("hdf5", **keys)) as product:
        assert product.intervals == (pd.Timedelta("15min"),)


def test_attributes_as_in_cf(write, configured, rates) -> None:
    path = write(
        rates.astype(np.int16), scale_factor=0.1, add_offset=1.0, _FillValue=np.int16(-9999),
        units="dBZ",
    )  # fmt: skip
    keys = KEYS | {"units": None, "missing_values": None}
    with open_plain_hdf5(path, configured("hdf5", **keys)) as product:
        packing = product.packing
    assert (packing.units, packing.scale, packing.offset) == ("dBZ", 0.1, 1.0)
    assert packing.missing == (-9999.0,)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"grid": None}, "does not tell its grid; set 'grid'"),
        ({"grid": GRID | {"nx": 15}}, "has 12 rows and 16 columns, but 'grid'"),
        ({"time_in_name": None}, "does not tell its time"),
        ({"time_in_name": "%Y%m%d%H%M%S"}, "does not tell its time"),
        ({"units": None}, "does not tell its unit; set 'units'"),
        ({"missing_values": None}, r"no missing value and no NaN, .*'missing_values: "),
        ({"variable": "rate"}, "has no dataset 'rate', only: other, rain/rate"),
        ({"variable": "rain"}, "has no dataset 'rain'"),
        ({"variable": "link"}, "link is a link to elsewhere"),
    ],
)
def test_what_is_missing_is_named(write, configured, rates, keys, message) -> None:
    with (
        pytest.raises(DataError, match=message),
        open_plain_hdf5(write(rates), configured("hdf5", **KEYS | keys)) as product,
    ):
        product.read_stored(0)


def test_whole_numbers_need_a_missing_value(write, configured, rates) -> None:
    path = write(rates.astype(np.int16))
    with (
        pytest.raises(DataError, match=r"missing_values: \[32767\]"),
        open_plain_hdf5(path, configured("hdf5", **KEYS | {"missing_values": None})),
    ):
        pass


def test_nan_is_enough_to_mark_missing_pixels(write, configured, rates) -> None:
    rates[:, 0] = np.nan
    keys = KEYS | {"missing_values": None}
    with open_plain_hdf5(write(rates), configured("hdf5", **keys)) as product:
        np.testing.assert_array_equal(product.read_stored(0), rates)


def test_only_files_without_marks_of_netcdf_are_recognised(write, rates, tmp_path) -> None:
    assert recognised_format(write(rates)) == "hdf5"
    path = str(tmp_path / "a.nc")
    xr.Dataset({"rain": (("y", "x"), rates)}).to_netcdf(path, engine="netcdf4", group="radar")
    assert recognised_format(path) == "netcdf"
    with h5py.File(path, "w") as file:  # as libraries before netCDF 4.4.1
        file["group/x"] = np.arange(16)
        file["group/x"].make_scale()
    assert recognised_format(path) == "netcdf"
    with h5py.File(path, "w") as file:
        file.attrs["Conventions"] = "CF-1.8"
    assert recognised_format(path) == "netcdf"


def test_a_group_that_contains_itself_ends(tmp_path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a/b"] = file["/"]
    assert recognised_format(str(tmp_path / "a.h5")) == "hdf5"
    settings = RadarNetworkConfig(name="a", step="5min", format="hdf5", variable="c")
    with (
        pytest.raises(DataError, match="has no dataset 'c', only: none"),
        open_plain_hdf5(str(tmp_path / "a.h5"), settings),
    ):
        pass


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("hdf5") / "a.h5"
    with h5py.File(path, "w") as file:
        pixels = np.arange(12 * 16, dtype=np.float32).reshape(12, 16)
        file.create_dataset("rain/rate", data=pixels, compression="gzip")
    return path.read_bytes()


@given(data=st.data())
def test_any_damage_gives_a_product_or_an_exception(
    data, whole, damages, configured, survives
) -> None:
    survives(open_plain_hdf5, configured("hdf5", **KEYS), NAME, data.draw(damages)(whole))
