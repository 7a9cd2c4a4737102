"""The fields of GRIB, GeoTIFF and NIMROD files, and how messages name fields."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squall.datasets.errors import DataError
from squall.datasets.radar.fields import Field, in_words, rain_fields
from squall.datasets.radar.formats import named_format
from squall.datasets.radar.readers.nimrod import nimrod_fields
from tests.datasets.radar.readers.test_nimrod import field, put

SHAPE = (30, 40)
TOTAL, TEMPERATURE = (0, 1, 8), (0, 0, 0)


@pytest.fixture
def grib_list(tmp_path: Path) -> Callable[..., list[Field]]:
    """Function that lists the fields of GRIB messages."""

    def listed(*messages: bytes) -> list[Field]:
        (tmp_path / "a.grib2").write_bytes(b"".join(messages))
        return named_format("grib").fields(str(tmp_path / "a.grib2"))

    return listed


def test_the_parameters_of_grib(grib_message, grib_list) -> None:
    values = np.ones(SHAPE)
    rate = grib_message(values), grib_message(values, minute=4)  # two scans of one field
    other = (
        grib_message(values, parameter=(209, 10, 0)),
        grib_message(values, parameter=TEMPERATURE),
    )
    fields = grib_list(*rate, *other)
    assert fields == [
        Field("209-6-1", "mm h-1", "", SHAPE),
        Field("209-10-0", "dBZ", "", SHAPE),
        Field("t", "K", "Temperature", SHAPE),
    ]
    assert rain_fields(fields) == fields[:2]


def test_the_levels_of_a_grib_parameter_are_chosen_by_conditions(grib_message, grib_list) -> None:
    height = {"typeOfLevel": "heightAboveSea"}
    values = np.ones(SHAPE)
    known = [grib_message(values, parameter=TEMPERATURE, **height, level=n) for n in (1, 2)]
    unknown = [grib_message(values, parameter=(209, 10, 0), **height, level=n) for n in (1, 2)]
    assert [field.name for field in grib_list(*known, *unknown)] == [
        "shortName=t,typeOfLevel=heightAboveSea,level=1",
        "shortName=t,typeOfLevel=heightAboveSea,level=2",
        "discipline=209,parameterCategory=10,parameterNumber=0,typeOfLevel=heightAboveSea,level=1",
        "discipline=209,parameterCategory=10,parameterNumber=0,typeOfLevel=heightAboveSea,level=2",
    ]


def test_the_bands_of_a_geotiff(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    from tests.datasets.radar.readers.test_geotiff import write

    bands = np.ones((3, *SHAPE), np.float32)
    path = write(tmp_path / "a.tif", bands, units="dBZ", descriptions=("DBZH", "QIND", "QIND"))
    assert named_format("geotiff").fields(path) == [
        Field("DBZH", "dBZ", "DBZH", SHAPE),
        Field("2", "dBZ", "QIND", SHAPE),
        Field("3", "dBZ", "QIND", SHAPE),
    ]


def test_the_titles_of_nimrod(tmp_path: Path) -> None:
    rate, later = field(), field(valid=(2024, 6, 1, 12, 5, 0))
    path = put(tmp_path / "a.dat", rate, later, field(title="Quality", units="1"))
    assert nimrod_fields(path) == [
        Field("Quality", "1", "Plr single site radars", (2, 3)),
        Field("Rainfall rate Composite", "mm/h", "Plr single site radars", (2, 3)),
    ]


@given(data=st.data())
@settings(max_examples=50)
def test_a_damaged_file_never_crashes_the_lists(
    tmp_path_factory: Any, grib_message: Any, damages: Any, data: Any
) -> None:
    path = tmp_path_factory.mktemp("a") / "a"
    for name, content in (("grib", grib_message(np.ones(SHAPE))), ("nimrod", field())):
        path.write_bytes(data.draw(damages)(content))
        with suppress(DataError, OSError):
            named_format(name).fields(str(path))


def test_fields_in_words() -> None:
    fields = [Field(f"f{number}", "mm", "", SHAPE) for number in range(14)]
    assert in_words(fields[:2]) == "f0 (mm, 30 × 40), f1 (mm, 30 × 40)"
    assert in_words(fields).endswith("f11 (mm, 30 × 40) and 2 more")
    assert in_words([]) == "none at all"
