"""ODIM composites: what the reader returns, and what it rejects with a reason."""

import h5py
import numpy as np
import pandas as pd
import pytest

from squall.datasets.errors import DataError
from squall.datasets.radar.readers.odim import open_odim

NOON = pd.Timestamp("2024-06-01T12:00")
FIVE = pd.Timedelta("5min")


def test_a_rate_composite(write_odim, configured, unpacked, pixels, tmp_path) -> None:
    path = write_odim(tmp_path / "a.h5", pixels)
    with open_odim(path, configured("odim")) as product:
        assert product.times == (NOON,)
        assert product.intervals == (None,)
        assert product.packing.units == "mm h-1"
        values = unpacked(product)
        assert product.read_stored(0).dtype == np.uint16
        with pytest.raises(IndexError):
            product.read_stored(1)
    assert np.isnan(values[:, 0]).all()
    assert (values[0, 1:] == -np.inf).all()
    np.testing.assert_allclose(values[1:, 1:], 0.1 * pixels[1:, 1:])
    np.testing.assert_allclose(product.grid.x, 1_001_000 + 2000 * np.arange(16), atol=0.01)
    np.testing.assert_allclose(product.grid.y, -1_977_000 - 2000 * np.arange(12), atol=0.01)
    assert "Lambert Azimuthal Equal Area" in product.grid.crs_wkt


def test_the_corners_of_the_opera_domain_give_its_grid(write_odim, configured, tmp_path) -> None:
    # as in OPERA's files (pySTEPS has them in its tests): 1900 × 2200 pixels from (0, -4400 km)
    corners = {
        "LL_lon": -10.4345768386404, "LL_lat": 31.7462153182675,
        "UR_lon": 57.8119647501499, "UR_lat": 67.6210371071631,
        "UL_lon": None, "UL_lat": None, "LR_lon": None, "LR_lat": None,
    }  # fmt: skip
    path = write_odim(tmp_path / "a.h5", np.zeros((2200, 1900), np.uint16), where=corners)
    with open_odim(path, configured("odim")) as product:
        assert product.grid.x[[0, -1]] == pytest.approx([1000, 3_799_000], abs=1)
        assert product.grid.y[[0, -1]] == pytest.approx([-1000, -4_399_000], abs=1)


@pytest.mark.parametrize("level", ["data", "dataset"])
def test_attributes_may_be_on_the_data_or_the_dataset(
    write_odim, configured, pixels, tmp_path, level
) -> None:
    path = write_odim(tmp_path / "a.h5", pixels, level=level, quantity="DBZH", offset=-32.0)
    with open_odim(path, configured("odim", variable="DBZH")) as product:
        assert product.packing.units == "dBZ"
        assert (product.packing.scale, product.packing.offset) == (0.1, -32.0)
        assert product.packing.missing == (65535.0,)
        assert product.packing.dry == (0.0,)


def test_numbers_and_texts_may_be_stored_in_several_types(
    write_odim, configured, pixels, tmp_path
) -> None:
    path = write_odim(
        tmp_path / "a.h5", pixels, gain=np.array([1], dtype=np.int32), nodata=np.uint16(65535),
        undetect=np.array([0.0], dtype=np.float32),
        what={"date": np.array([b"20240601\0"]), "object": np.array(["COMP"], dtype=object)},
    )  # fmt: skip
    with open_odim(path, configured("odim")) as product:
        assert product.packing.scale == 1.0
        assert product.packing.missing == (65535.0,)
        assert product.times == (NOON,)


def test_the_time_of_an_accumulation_is_its_end(write_odim, configured, pixels, tmp_path) -> None:
    spans = (("20240601110000", "20240601120000"), ("20240601111500", "20240601121500"))
    path = write_odim(
        tmp_path / "a.h5", [pixels, pixels], quantity="ACRR", spans=spans, what={"time": "133000"}
    )
    with open_odim(path, configured("odim", variable="ACRR")) as product:
        assert product.times == (NOON, NOON + pd.Timedelta("15min"))
        assert product.intervals == (pd.Timedelta("1h"),) * 2
        assert product.packing.units == "mm"


@pytest.mark.parametrize("span", [(None, None), ("20240601120000", "20240601120000")])
def test_an_accumulation_without_start_or_end(
    write_odim, configured, pixels, tmp_path, span
) -> None:
    path = write_odim(tmp_path / "a.h5", pixels, quantity="ACRR", spans=(span,))
    with open_odim(path, configured("odim", variable="ACRR")) as product:
        assert (product.times, product.intervals) == ((NOON,), (None,))
    settings = configured("odim", variable="ACRR", accumulation="5min", time_marks="start")
    with open_odim(path, settings) as product:
        assert (product.times, product.intervals) == ((NOON + FIVE,), (FIVE,))


def test_several_scans_of_rates_have_their_own_times(
    write_odim, configured, pixels, tmp_path
) -> None:
    spans = (("20240601115500", "20240601120000"), ("20240601120000", "20240601120500"))
    path = write_odim(tmp_path / "a.h5", [pixels, pixels + 1], spans=spans)
    with open_odim(path, configured("odim")) as product:
        assert product.times == (NOON, NOON + FIVE)
        np.testing.assert_array_equal(product.read_stored(1), pixels + 1)


def test_nodata_and_undetect_in_single_precision(
    write_odim, configured, unpacked, tmp_path
) -> None:
    numbers = np.full((4, 5), 1.5, dtype=np.float32)
    numbers[0], numbers[1] = -3.4028234663852886e38, -8888000.1
    path = write_odim(
        tmp_path / "a.h5", numbers, gain=1.0, nodata=-3.4028234663852886e38, undetect=-8888000.1
    )
    with open_odim(path, configured("odim")) as product:
        values = unpacked(product)
    assert np.isnan(values[0]).all()
    assert (values[1] == -np.inf).all()
    assert (values[2:] == 1.5).all()


def test_a_number_that_is_both_nodata_and_undetect_is_not_observed(
    write_odim, configured, pixels, tmp_path
) -> None:
    path = write_odim(tmp_path / "a.h5", pixels, nodata=255.0, undetect=255.0)
    with open_odim(path, configured("odim")) as product:
        assert (product.packing.missing, product.packing.dry) == ((255.0,), ())


def test_missing_gain_and_offset_have_defaults(write_odim, configured, pixels, tmp_path) -> None:
    path = write_odim(tmp_path / "a.h5", pixels, gain=None, offset=None, undetect=None)
    with open_odim(path, configured("odim")) as product:
        assert (product.packing.scale, product.packing.offset) == (1.0, 0.0)
        assert product.packing.dry == ()


def test_the_configuration_replaces_missing_and_wrong_attributes(
    write_odim, configured, pixels, tmp_path
) -> None:
    path = write_odim(tmp_path / "a.h5", pixels, nodata=None)
    with open_odim(path, configured("odim", missing_values=[25.5])) as product:
        assert product.packing.missing == ()
    path = write_odim(tmp_path / "b.h5", pixels, where={"projdef": None})
    with open_odim(path, configured("odim", crs="EPSG:3035")) as product:
        assert product.grid.crs.to_epsg() == 3035
    path = write_odim(tmp_path / "c.h5", pixels, where={"LL_lat": 40.0, "xscale": 3.0})
    edges = {"west": 0, "south": 0, "east": 32, "north": 12, "nx": 16, "ny": 12}
    for first_row, rows in (("north", pixels), ("south", pixels[::-1])):
        grid = {"crs": "EPSG:3035", "first_row": first_row, **edges}
        with open_odim(path, configured("odim", grid=grid)) as product:
            assert product.grid.x[[0, -1]] == pytest.approx([1, 31])
            assert product.grid.y[[0, -1]] == pytest.approx([11.5, 0.5])
            np.testing.assert_array_equal(product.read_stored(0), rows)
    path = write_odim(tmp_path / "d.h5", pixels, quantity="PREC")
    with open_odim(path, configured("odim", variable="PREC", units="mm")) as product:
        assert product.packing.units == "mm"


def test_degrees(write_odim, configured, pixels, tmp_path) -> None:
    path = write_odim(
        tmp_path / "a.h5", pixels, projdef="+proj=longlat +ellps=WGS84", scale=0.01,
        where={
            "LL_lon": 5.0, "LL_lat": 50.0, "UL_lon": 5.0, "UL_lat": 50.12,
            "UR_lon": 5.16, "UR_lat": 50.12, "LR_lon": 5.16, "LR_lat": 50.0,
        },
    )  # fmt: skip
    with open_odim(path, configured("odim")) as product:
        assert product.grid.x[0] == pytest.approx(5.005)
        assert product.grid.y[0] == pytest.approx(50.115)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"what": {"object": "PVOL"}}, "object 'PVOL', expected COMP or IMAGE"),
        ({"quantity": "DBZH"}, "no quantity 'RATE', only: DBZH"),
        ({"nodata": None}, r"no nodata, so pixels .*missing_values: \[6553\.5\]"),
        ({"gain": np.nan}, "gain is nan, expected a finite number"),
        ({"gain": 0.0}, "gain 0"),
        ({"gain": "much"}, "gain is .*much.*expected a number"),
        ({"gain": np.array([1.0, 2.0])}, "gain has 2 values, expected one"),
        ({"offset": np.inf}, "offset is inf"),
        ({"nodata": np.zeros(4000)}, "nodata has 4000 values"),
        ({"what": {"date": "1 June 2024"}}, "date '1 June 2024' .*YYYYMMDD .*'time_in_name'"),
        ({"what": {"time": "120061"}}, "time '120061' .*no time"),
        ({"what": {"time": "256000"}}, "no time, expected"),
        ({"what": {"time": None}}, "has no time"),
        ({"what": {"object": 7}}, "object is 7, expected text"),
        ({"spans": (("20240601120000", "2024"),)}, "enddate '2024'"),
        ({"where": {"xsize": 17}}, "12 × 16 pixels, but its /where says 12 × 17"),
        ({"where": {"xscale": None}}, "no xscale and yscale"),
        ({"where": {"xscale": -2000.0}}, "expected positive sizes"),
        ({"where": {"xscale": np.nan}}, "xscale is nan"),
        ({"where": {"xscale": 2500.0}}, "corner UR lies -3.2\\d pixels in x"),
        ({"where": {"UR_lat": 90.0, "UR_lon": 0.0}}, "corner UR lies"),
        ({"where": {"LL_lat": -1000.0}}, "corner LL .*outside the projection"),
        ({"where": {"projdef": None}}, "no projdef in /where; set 'crs'"),
        ({"where": {"projdef": "+proj=flat"}}, "PROJ does not know the projection"),
        ({"where": {"projdef": "+proj=geocent +ellps=WGS84"}}, "no map projection"),
        ({"where": {"projdef": "+proj=laea " + "+x_0=1 " * 1000}}, "of 7010 characters"),
        ({"scans": np.zeros((2, 12, 16, 1))}, "expected rows and columns"),
        ({"scans": np.zeros((12, 16), dtype="S3")}, "holds .*S3, expected numbers"),
        ({"scans": np.zeros((12, 16), dtype=complex)}, "expected numbers"),
        ({"pack": {"scaleoffset": 0}}, "HDF5 filters .*6"),
    ],
)  # fmt: skip
def test_an_unreadable_file_is_rejected_with_a_reason(
    write_odim, configured, pixels, tmp_path, changes, message
) -> None:
    settings = {"scans": pixels, **changes}
    if settings["scans"].ndim == 4:
        path = write_odim(tmp_path / "a.h5", pixels)
        with h5py.File(path, "a") as file:
            del file["dataset1/data1/data"]
            file["dataset1/data1/data"] = settings["scans"]
    else:
        path = write_odim(tmp_path / "a.h5", **settings)
    with pytest.raises(DataError, match=message), open_odim(path, configured("odim")):
        pass


def test_a_file_without_corners_is_rejected(write_odim, configured, pixels, tmp_path) -> None:
    none = {f"{name}_{axis}": None for name in ("LL", "UL", "UR", "LR") for axis in ("lon", "lat")}
    path = write_odim(tmp_path / "a.h5", pixels, where=none)
    with (
        pytest.raises(DataError, match="none of the corners LL, UL, UR, LR"),
        open_odim(path, configured("odim")),
    ):
        pass


@pytest.mark.parametrize(
    ("quantity", "spans", "message"),
    [
        ("RATE", (("20240601115500", "20240601120000"),) * 2, "twice for 2024-06-01 12:00:00: "
         "dataset1/data1 and dataset2/data1; .*'variable: dataset1/data1'"),
        ("RATE", ((None, None),) * 2, "twice"),
        ("ACRR", (("20240601130000", "20240601120000"), (None, None)), "ends before"),
    ],
)  # fmt: skip
def test_two_scans_of_the_same_time_are_rejected(
    write_odim, configured, pixels, tmp_path, quantity, spans, message
) -> None:
    path = write_odim(tmp_path / "a.h5", [pixels] * 2, quantity=quantity, spans=spans)
    with (
        pytest.raises(DataError, match=message),
        open_odim(path, configured("odim", variable=quantity)),
    ):
        pass


@pytest.mark.parametrize("change", ["gain", "corner"])
def test_scans_of_a_file_must_share_grid_and_packing(
    write_odim, configured, pixels, tmp_path, change
) -> None:
    spans = (("20240601115500", "20240601120000"), ("20240601120000", "20240601120500"))
    path = write_odim(tmp_path / "a.h5", [pixels] * 2, spans=spans)
    with h5py.File(path, "a") as file:
        if change == "gain":
            file["dataset2/data1/what"].attrs["gain"] = 0.2
        else:
            where = file.create_group("dataset2/where").attrs
            where["LL_lon"] = file["where"].attrs["LL_lon"] + 0.005
    with (
        pytest.raises(DataError, match="differ in grid or packing"),
        open_odim(path, configured("odim")),
    ):
        pass
