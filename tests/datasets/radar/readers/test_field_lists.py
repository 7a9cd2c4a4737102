"""The fields of a file, and which of them looks like rain."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squall.datasets.errors import DataError
from squall.datasets.radar.fields import Field, is_reflectivity, rain_fields
from squall.datasets.radar.formats import named_format
from squall.datasets.radar.readers.field_lists import (
    knmi_fields,
    netcdf_fields,
    odim_fields,
    time_variables,
)

MAP = (100, 80)


def test_the_variables_of_netcdf_also_in_groups(write_radar: Any, tmp_path: Path) -> None:
    path = write_radar(tmp_path / "a.nc", np.ones((16, 16), np.float32), units="mm")
    with netCDF4.Dataset(path, "a") as file:
        group = file.createGroup("quality")
        group.createDimension("a", 20)
        group.createVariable("index", "f4", ("a", "a")).long_name = "quality index"
    assert netcdf_fields(path) == [
        Field("rain", "mm", "", (1, 16, 16)),
        Field("quality/index", "", "quality index", (20, 20)),
    ]
    assert time_variables(path) == ["time"]
    assert named_format("netcdf").fields(path) == netcdf_fields(path)


def test_the_quantities_of_odim(write_odim: Any, pixels: Any, tmp_path: Path) -> None:
    path = write_odim(tmp_path / "a.h5", pixels)
    with h5py.File(path, "a") as file:
        file.copy("dataset1", "dataset2")
        file["dataset2/data1/what"].attrs["quantity"] = "QIND"
    shape = pixels.shape
    assert odim_fields(path) == [
        Field("RATE", "mm h-1", "RATE", shape), Field("QIND", "", "QIND", shape),
    ]  # fmt: skip


def test_the_images_of_knmi(write_knmi: Any, tmp_path: Path) -> None:
    path = write_knmi(tmp_path / "a.h5", np.zeros((765, 700), np.uint16))
    with h5py.File(path, "a") as file:
        file.copy("image1", "image2")
        file["image2"].attrs["image_datetime_valid"] = "01-JUN-2024;12:05:00.000"
    fields = knmi_fields(path)
    assert [field.name for field in fields] == ["image1", "image2"]
    assert (fields[0].units, fields[0].shape) == ("MM", (765, 700))
    assert rain_fields(fields) == fields[:1]  # the second is a forecast


@pytest.mark.parametrize(
    ("field", "others"),
    [
        (Field("rainfall_rate", "mm h-1", "", MAP), [Field("dbz", "dBZ", "", MAP)]),
        (Field("precip", "mm", "", MAP), [Field("reflectivity", "dBZ", "", MAP)]),
        (Field("RATE", "mm h-1", "RATE", MAP), [Field("QIND", "", "QIND", MAP)]),
        (Field("dbz", "", "", MAP), [Field("dbz_height", "m", "", MAP)]),
        (Field("lwe", "m s-1", "lwe_precipitation_rate", MAP), [Field("w", "m s-1", "wind", MAP)]),
        (
            Field("crr", "mm/h", "convective_precipitation_rate", MAP),
            [Field("crr_class", "1", "convective_precipitation_class", MAP)],
        ),
        (Field("rain", "mm", "", MAP), [Field("rain_forecast", "mm h-1", "", (25, *MAP))]),
        (Field("rr", "mm h-1", "", MAP), [Field("rr_quality", "mm h-1", "", MAP)]),
        (Field("rr", "mm h-1", "", MAP), [Field("bounds", "mm h-1", "", (100, 2))]),
    ],
)
def test_the_field_with_rain(field: Field, others: list[Field]) -> None:
    assert rain_fields([*others, field])[0] == field


@pytest.mark.parametrize(
    "field",
    [
        Field("height", "m", "height of the echo", MAP),
        Field("u", "m s-1", "eastward_wind", MAP),
        Field("QIND", "", "QIND", MAP),
        Field("lat", "degrees_north", "latitude", MAP),
        Field("crr_pal", "", "RGB palette for crr", (256, 3)),
        Field("rain", "mm h-1", "", (100,)),
        Field("radar_data", "K", "", MAP),
        Field("rain_type", "", "", MAP),
    ],
)
def test_fields_that_are_no_rain(field: Field) -> None:
    assert rain_fields([field]) == []


def test_a_single_map_without_a_name_or_unit_may_be_rain() -> None:
    alone = Field("radar_data", "", "", MAP)
    assert rain_fields([alone, Field("lat", "", "", MAP)]) == [alone]
    assert rain_fields([alone, Field("other", "", "", MAP)]) == []


def test_names_tell_reflectivity() -> None:
    assert is_reflectivity(Field("max_dbz", "", "", MAP))
    assert is_reflectivity(Field("Z", "", "equivalent_reflectivity_factor", MAP))
    assert not is_reflectivity(Field("rain_rate", "", "", MAP))


@pytest.mark.parametrize("name", ["netcdf", "odim", "knmi"])
@given(data=st.data())
def test_a_damaged_file_never_crashes_the_list(
    write_odim: Any, tmp_path_factory: Any, damages: Any, name: str, data: Any
) -> None:
    numbers = np.ones((12, 16), np.uint16)
    path = Path(write_odim(tmp_path_factory.mktemp("a") / "a.h5", numbers))
    path.write_bytes(data.draw(damages)(path.read_bytes()))
    with suppress(DataError, OSError):
        named_format(name).fields(str(path))
