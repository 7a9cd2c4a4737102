"""KNMI composites: what the reader returns, and what it rejects with a reason."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squall.datasets.errors import DataError
from squall.datasets.radar.readers.knmi_hdf5 import open_knmi, proj_in_metres
from tests.datasets.radar.radar_files import NAME, NAMED, rejection_of, scan_of

NOON = pd.Timestamp("2024-06-01T12:00")
DBZ = {
    "parameter": "REFLECTIVITY_[DBZ]", "formula": "GEO = 0.500000 * PV + -32.000000",
    "lost": 0, "outside": 255, "start": "01-JUN-2024;12:00:00.000",
}  # fmt: skip


@pytest.fixture
def pixels() -> np.ndarray:
    """(H, W) stored numbers that repeat from 0 to 249."""
    numbers = np.arange(765 * 700).reshape(765, 700) % 250
    return numbers.astype(np.uint16)


def test_rain_of_five_minutes(write_knmi, configured, unpacked, pixels, tmp_path) -> None:
    pixels[0, 0], pixels[0, 1] = 65535, 65534
    path = write_knmi(tmp_path / "a.h5", pixels)
    with open_knmi(path, configured("knmi")) as product:
        assert product.times == (NOON,)
        assert product.intervals == (pd.Timedelta("5min"),)
        assert product.packing.units == "MM"
        values = unpacked(product)
        with pytest.raises(IndexError):
            product.read_stored(1)
    assert np.isnan(values[0, :2]).all()
    np.testing.assert_allclose(values[0, 2:6], [0.02, 0.03, 0.04, 0.05])
    assert values[2, 100] == 0.0  # PV 0 means 0 mm
    # the corners that KNMI writes into its files lie at (0, -3650) and (700, -4415) km
    assert product.grid.x[[0, -1]] == pytest.approx([500, 699_500], abs=5)
    assert product.grid.y[[0, -1]] == pytest.approx([-3_650_500, -4_414_500], abs=5)
    assert product.grid.crs.ellipsoid.semi_major_metre == 6378140


def test_the_corners_of_real_files_agree(write_knmi, configured, pixels, tmp_path) -> None:
    real = [0.0, 49.362064, 0.0, 55.973602, 10.856453, 55.388973, 9.0093, 48.8953]
    path = write_knmi(tmp_path / "a.h5", pixels, geographic={"geo_product_corners": real})
    with open_knmi(path, configured("knmi")) as product:
        assert product.grid.shape == (765, 700)


def test_the_key_grid_replaces_a_wrong_grid(write_knmi, configured, pixels, tmp_path) -> None:
    wrong = [0.0, 40.0, 0.0, 45.0, 10.0, 45.0, 9.0, 40.0]
    path = write_knmi(tmp_path / "a.h5", pixels, geographic={"geo_product_corners": wrong})
    edges = {"crs": "EPSG:3035", "west": 0, "south": 0, "east": 7e5, "north": 765e3}
    grid = {**edges, "nx": 700, "ny": 765, "first_row": "south"}
    with open_knmi(path, configured("knmi", grid=grid)) as product:
        assert product.grid.crs.to_epsg() == 3035
        np.testing.assert_array_equal(product.read_stored(0), pixels[::-1])


def test_reflectivity(write_knmi, configured, unpacked, pixels, tmp_path) -> None:
    pixels = pixels.astype(np.uint8)
    pixels[0, 0] = 255
    path = write_knmi(tmp_path / "a.h5", pixels, **DBZ)
    with open_knmi(path, configured("knmi")) as product:
        assert product.intervals == (None,)
        assert product.packing.units == "DBZ"
        values = unpacked(product)
    assert np.isnan(values[0, 0])
    assert (values[pixels == 0] == -np.inf).all()
    np.testing.assert_allclose(values[0, 1:4], [-31.5, -31.0, -30.5])


@pytest.mark.parametrize(
    ("formula", "scale", "offset"),
    [
        ("GEO=0.010000*PV+0.000000", 0.01, 0.0),
        ("GEO = 0.5 * PV + -32", 0.5, -32.0),
        ("GEO = 0.5*PV - 31.5", 0.5, -31.5),
        ("GEO=1e-2*PV", 0.01, 0.0),
    ],
)
def test_calibration_formulas(
    write_knmi, configured, pixels, tmp_path, formula, scale, offset
) -> None:
    path = write_knmi(tmp_path / "a.h5", pixels, formula=formula)
    with open_knmi(path, configured("knmi")) as product:
        assert (product.packing.scale, product.packing.offset) == (scale, offset)


def test_months_are_english_and_any_case(write_knmi, configured, pixels, tmp_path) -> None:
    for month, name in ((3, "MAR"), (5, "May"), (10, "oct"), (12, "DEC")):
        path = write_knmi(
            tmp_path / f"{name}.h5", pixels, start=None, end=f"26-{name}-2010;06:00:30.000"
        )
        with open_knmi(path, configured("knmi")) as product:
            assert product.times == (pd.Timestamp(2010, month, 26, 6, 0, 30),)
            assert product.intervals == (None,)


def test_the_configuration_replaces_missing_attributes(
    write_knmi, configured, pixels, tmp_path
) -> None:
    path = write_knmi(tmp_path / "a.h5", pixels, start=None)
    settings = configured("knmi", accumulation="5min", time_marks="start")
    with open_knmi(path, settings) as product:
        assert product.times == (NOON + pd.Timedelta("5min"),)
        assert product.intervals == (pd.Timedelta("5min"),)
    path = write_knmi(tmp_path / "b.h5", pixels, parameter="RAIN")
    with open_knmi(path, configured("knmi", units="mm h-1")) as product:
        assert (product.packing.units, product.intervals) == ("mm h-1", (None,))


def test_an_image_may_have_its_own_valid_time(write_knmi, configured, pixels, tmp_path) -> None:
    path = write_knmi(
        tmp_path / "a.h5", pixels, image={"image_datetime_valid": "01-JUN-2024;12:05:00.000"}
    )
    with open_knmi(path, configured("knmi")) as product:
        assert (product.times, product.intervals) == ((NOON + pd.Timedelta("5min"),), (None,))


def test_an_image_without_calibration_uses_that_of_the_first_image(
    write_knmi, configured, pixels, tmp_path
) -> None:
    path = write_knmi(tmp_path / "a.h5", pixels)
    with h5py.File(path, "a") as file:
        file.create_group("image2").attrs["image_geo_parameter"] = "PRECIP_[MM]"
        file["image2/image_data"] = pixels + 1
    with open_knmi(path, configured("knmi", variable="image2")) as product:
        np.testing.assert_array_equal(product.read_stored(0), pixels + 1)
        assert product.packing.scale == 0.01


def test_forecasts_in_a_file_are_refused(write_knmi, configured, pixels, tmp_path) -> None:
    """As in RAD_NL25_RAC_FM: the first image is the analysis."""
    valid = {"image_datetime_valid": "01-JUN-2024;11:55:00.000"}
    path = write_knmi(tmp_path / "a.h5", pixels, image=valid)
    with h5py.File(path, "a") as file:
        file.copy("image1", "image2")
        file["image2"].attrs["image_datetime_valid"] = np.bytes_("01-JUN-2024;12:00:00.000")
    settings = {"accumulation": "5min"}
    with open_knmi(path, configured("knmi", **settings)) as product:
        assert product.times == (pd.Timestamp("2024-06-01T11:55"),)
    with (
        pytest.raises(DataError, match=r"image2 is a forecast: .* 12:00.*'variable: image1'"),
        open_knmi(path, configured("knmi", variable="image2", **settings)),
    ):
        pass


def test_lengths_of_a_projection_in_kilometres_become_metres() -> None:
    in_km = "+proj=stere +lat_0=90 +lat_ts=60.0 +a=6378.14 +b=6356.75 +x_0=0 y_0=2.5 +units=km"
    assert proj_in_metres(in_km).split() == [
        "+proj=stere", "+lat_0=90", "+lat_ts=60.0", "+a=6378140", "+b=6356750", "+x_0=0",
        "y_0=2500",
    ]  # fmt: skip
    in_m = "+proj=stere +lat_0=90 +a=6378137 +b=6356752 +units=km"
    assert proj_in_metres(in_m) == in_m
    assert proj_in_metres("+proj=stere +ellps=WGS84") == "+proj=stere +ellps=WGS84"


@pytest.mark.parametrize(
    "projection",
    [
        "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378137 +b=6356752 +x_0=0 +y_0=0 +units=km",
        "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378.137 +b=6356.752 +x_0=0 +y_0=0",
    ],
)
def test_old_and_new_projections_give_the_same_grid(
    write_knmi, configured, pixels, tmp_path, projection
) -> None:
    corners = [0.0, 49.362064, 0.0, 55.973602, 10.856453, 55.388973, 9.0093, 48.8953]
    path = write_knmi(
        tmp_path / "a.h5", pixels, projection=projection,
        geographic={"geo_product_corners": corners},
    )  # fmt: skip
    with open_knmi(path, configured("knmi")) as product:
        assert product.grid.y[0] == pytest.approx(-3_650_500, abs=5)
        assert product.grid.crs.axis_info[0].unit_name == "metre"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameter": "QUALITY_[-]"}, "holds 'QUALITY_\\[-\\]', expected rain"),
        ({"formula": "GEO=PV**2"}, "calibration_formulas is 'GEO=PV\\*\\*2'"),
        ({"formula": "GEO=0*PV+0"}, "calibration_formulas is"),
        ({"formula": "GEO=1e999*PV+0"}, "calibration_formulas is"),
        ({"formula": None}, "calibration_formulas is ''"),
        (
            {"outside": None, "lost": 0},
            "has no calibration_out_of_image, so pixels outside radar coverage .*missing_values",
        ),
        ({"end": None}, "has no time"),
        ({"end": "26-AOUT-2010;06:00:00.000"}, "expected a time like 26-AUG-2010"),
        ({"end": "31-JUN-2010;06:00:00.000"}, "expected a time like 26-AUG-2010"),
        ({"end": "26-ABC-2010;06:00:00.000"}, "expected a time like 26-AUG-2010"),
        ({"start": "01-JUN-2024;13:00:00.000"}, "ends before"),
        ({"geographic": {"geo_number_rows": 764}}, "765 × 700 pixels, but /geographic says 764"),
        ({"geographic": {"geo_pixel_size_x": np.nan}}, "geo_pixel_size_x is nan"),
        ({"geographic": {"geo_pixel_size_x": 0.0}}, "expected positive sizes"),
        ({"geographic": {"geo_row_offset": None}}, "geo_row_offset is missing"),
        ({"geographic": {"geo_row_offset": 3600.0}}, "corner LL lies .* -49.98 in y"),
        ({"geographic": {"geo_product_corners": [1.0, 2.0]}}, "has 2 numbers, expected 8"),
        ({"geographic": {"geo_product_corners": "north"}}, "expected numbers"),
        ({"geographic": {"geo_product_corners": [np.inf] * 8}}, "outside the projection"),
    ],
)
def test_an_unreadable_file_is_rejected_with_a_reason(
    write_knmi, configured, pixels, tmp_path, changes, message
) -> None:
    path = write_knmi(tmp_path / "a.h5", pixels, **changes)
    with pytest.raises(DataError, match=message), open_knmi(path, configured("knmi")):
        pass


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("image1", "no image 'image1', only: none at all"),
        ("image1/image_data", "has no image /image1/image_data"),
        ("image1/calibration", "/image1 has no calibration"),
        ("geographic", "no group /geographic"),
        ("geographic/map_projection", "no projection_proj4_params; set 'crs'"),
        ("overview", "has no time"),
    ],
)
def test_missing_groups_are_rejected(
    write_knmi, configured, pixels, tmp_path, removed, message
) -> None:
    path = write_knmi(tmp_path / "a.h5", pixels)
    with h5py.File(path, "a") as file:
        del file[removed]
    with pytest.raises(DataError, match=message), open_knmi(path, configured("knmi")):
        pass


def test_the_message_names_the_images_of_the_file(write_knmi, configured, pixels, tmp_path) -> None:
    path = write_knmi(tmp_path / "a.h5", pixels)
    for variable in ("image7", "image1/calibration"):
        with (
            pytest.raises(DataError, match=f"no image '{variable}', only: image1 .PRECIP_.MM"),
            open_knmi(path, configured("knmi", variable=variable)),
        ):
            pass


def test_the_time_in_the_name_replaces_a_broken_one(
    write_knmi, configured, pixels, tmp_path
) -> None:
    path = write_knmi(tmp_path / NAME, pixels, end="yesterday")
    named = {**NAMED, "accumulation": "5min"}
    assert "product_datetime_end of /overview" in rejection_of(path, configured("knmi", **named))
    by_name = configured("knmi", **named, time_from="name")
    np.testing.assert_allclose(scan_of(path, by_name)[0, 100], 12, rtol=0.016)
    with h5py.File(path, "a") as file:
        file.copy("image1", "image2")
    # nothing tells which of the two is the analysis
    assert "it may be a forecast" in rejection_of(path, by_name)


@pytest.fixture(scope="session")
def whole(write_knmi, tmp_path_factory) -> bytes:
    numbers = np.arange(12 * 16, dtype=np.uint16).reshape(12, 16)
    return Path(write_knmi(tmp_path_factory.mktemp("knmi") / "a.h5", numbers)).read_bytes()


@given(data=st.data())
def test_any_damage_gives_a_product_or_an_exception(
    data, whole, damages, configured, survives
) -> None:
    survives(open_knmi, configured("knmi"), "a.h5", data.draw(damages)(whole))
