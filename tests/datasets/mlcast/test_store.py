"""Reading stores as other tools write them: units, layouts, and what is refused."""

import logging

import numpy as np
import pandas as pd
import pytest
import zarr

from squall.datasets.archive.records import MISSING, OK
from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import DataError
from squall.datasets.mlcast.store import MlcastStore, is_plain_zarr
from tests.datasets.mlcast.store_size import HEIGHT, SCANS, TIMES, WIDTH


def test_a_changed_store_is_another_snapshot(write_store, rate):
    before = MlcastStore.open(write_store(rate)).snapshot
    assert MlcastStore.open(write_store(rate)).snapshot == before
    for changed in (
        write_store(rate, attrs={"comment": "reissued"}),
        write_store(rate[:-1], times=TIMES[:-1]),
        write_store(rate, times=TIMES + pd.Timedelta("5min")),
        write_store(rate, units="mm h-1"),
        write_store(rate, consolidated=False, units="mm h-1"),
    ):
        with pytest.raises(DataError, match=f"no snapshot '{before}'.*only its present state"):
            MlcastStore.open(changed, before)


@pytest.mark.parametrize("consolidated", [True, False])
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part:UserWarning")
def test_both_zarr_versions_open(write_store, rate, zarr_format, consolidated):
    address = write_store(rate, zarr_format=zarr_format, consolidated=consolidated)
    assert is_plain_zarr(address)
    store = MlcastStore.open(address)
    np.testing.assert_array_equal(store.codes[:], RAIN_CODE.encode(rate))
    assert store.name == "store"
    assert store.status.tolist() == [OK] * SCANS


def test_only_plain_zarr_is_recognised(rain_archive, tmp_path):
    assert not is_plain_zarr(str(rain_archive))
    assert not is_plain_zarr(str(tmp_path / "nothing"))
    file = tmp_path / "scan.nc"
    file.write_bytes(b"CDF")
    assert not is_plain_zarr(str(file))
    with pytest.raises(DataError, match="there is no Zarr store"):
        MlcastStore.open(tmp_path)


@pytest.mark.parametrize(
    ("variable", "units", "factor"),
    [
        ("rr", "mm h-1", 1.0),
        ("RR", "mm/h", 1.0),
        ("rainfall_flux", "kg m-2 s-1", 1 / 3600),
        ("precipitation_amount", "kg m-2", 1 / 12),
        ("tp", "mm", 1 / 12),
    ],
)
def test_units_decide_how_values_are_converted(write_store, rate, variable, units, factor):
    values = (rate.astype(np.float64) * factor).astype(np.float32)
    store = MlcastStore.open(write_store(values, variable=variable, units=units))
    np.testing.assert_array_equal(store.codes[:], RAIN_CODE.encode(rate))


def test_reflectivity_is_converted_to_rain_rate(write_store, rate):
    with np.errstate(divide="ignore"):
        dbz = (10 * np.log10(200 * rate.astype(np.float64) ** 1.6)).clip(-32).astype(np.float32)
    store = MlcastStore.open(
        write_store(dbz, variable="equivalent_reflectivity_factor", units="dBZ")
    )
    np.testing.assert_array_equal(store.codes[:], RAIN_CODE.encode(rate))


def test_the_field_is_read_north_up_and_in_metres(write_store, rate, grid):
    address = write_store(
        rate[:, ::-1, ::-1].copy(),
        y=grid.y[:HEIGHT][::-1] / 1000,
        x=grid.x[:WIDTH][::-1] / 1000,
        coordinate_units="km",
    )
    store = MlcastStore.open(address)
    np.testing.assert_allclose(store.grid.y, grid.y[:HEIGHT])
    np.testing.assert_allclose(store.grid.x, grid.x[:WIDTH])
    codes = RAIN_CODE.encode(rate)
    np.testing.assert_array_equal(store.codes[:], codes)
    np.testing.assert_array_equal(store.codes[2:5, 3:11, 7:9], codes[2:5, 3:11, 7:9])


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"chunks": (4, HEIGHT, WIDTH)},
        {"chunks": (1, 10, 10)},
        {"zarr_format": 3, "consolidated": False},
        {"zarr_format": 3, "consolidated": False, "encoding": {"compressors": None}},
    ],
)
@pytest.mark.parametrize("empty_chunks", [True, False])
def test_a_scan_without_an_observed_pixel_is_missing(write_store, rate, layout, empty_chunks):
    values = rate.copy()
    values[[0, 3, 4, 5, 6, 7, 11]] = np.nan
    with zarr.config.set({"array.write_empty_chunks": empty_chunks}):
        address = write_store(values, **layout)
    status = MlcastStore.open(address).status
    assert np.flatnonzero(status == MISSING).tolist() == [0, 3, 4, 5, 6, 7, 11]


def test_a_dry_scan_is_not_missing(write_store, rate):
    values = np.zeros_like(rate)
    store = MlcastStore.open(write_store(values))
    assert (store.status == OK).all()
    assert (store.codes[:] == RAIN_CODE.DRY).all()


def test_packed_numbers_are_unpacked(write_store, rate):
    values = np.where(np.isnan(rate), np.nan, np.rint(rate * 10) / 10).astype(np.float32)
    values[2] = np.nan
    packed = {"dtype": "int16", "scale_factor": 0.1, "_FillValue": np.int16(-1)}
    store = MlcastStore.open(write_store(values, encoding=packed))
    assert np.flatnonzero(store.status == MISSING).tolist() == [2]
    decoded, expected = RAIN_CODE.decode(store.codes[:]), RAIN_CODE.decode(RAIN_CODE.encode(values))
    np.testing.assert_allclose(decoded, expected, rtol=0.03)  # 0.1 is inexact: the next code


def test_scans_are_read_once_for_their_statistics_and_this_is_logged(write_store, rate, caplog):
    store = MlcastStore.open(write_store(rate))
    with caplog.at_level(logging.INFO, logger="squall"):
        first = store.block_statistics("rain_rate")
        store.block_statistics("wet_share")
    assert first.shape == (SCANS, 1, 1)
    assert caplog.messages == [f"{store.address}: reading 12 scans for their rain statistics"]


def test_an_error_names_the_scan_whose_values_cannot_be_rain(write_store, rate):
    values = rate.copy()
    values[3, 9] = -9999
    store = MlcastStore.open(write_store(values))
    assert store.codes[2].shape == (HEIGHT, WIDTH)
    with pytest.raises(DataError, match=r"'rainfall_rate' of 2024-06-01T00:15:00 .*-9999"):
        store.codes[3]


def test_an_impossible_pixel_is_not_observed_and_reported_once(write_store, rate, caplog):
    values = rate.copy()
    values[3, 9, 9] = 1e5
    store = MlcastStore.open(write_store(values))
    for _ in range(2):
        codes = store.codes[2:5]
        assert codes[1, 9, 9] == RAIN_CODE.NOT_OBSERVED
    assert [m for m in caplog.messages if "impossible values" in m] == [
        f"{store.address}: impossible values of 'rainfall_rate' in some pixels count as not "
        "observed"
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": "K"}, "no variable .* has units of rain"),
        ({"units": "furlong"}, "the variables are crs, rainfall_rate"),
        ({"coordinate_units": ""}, "coordinate 'y' has units ''|coordinate 'x' has units ''"),
        ({"times": TIMES[:1]}, "the step of a single time is not known"),
        ({"attrs": {"consistent_timestep_start": "soon"}}, "is no time: 'soon'"),
        ({"dims": ("time", "x", "y")}, "expected the order time, y, x"),
    ],
)
def test_a_store_that_breaks_the_convention_is_refused(write_store, rate, grid, changes, message):
    values = rate[: len(changes.get("times", TIMES))]
    if "dims" in changes:
        changes = changes | {"x": grid.x[:HEIGHT], "y": grid.y[:WIDTH]}
    address = write_store(values, **changes)
    with pytest.raises(DataError, match=message) as caught:
        MlcastStore.open(address)
    assert str(caught.value).startswith(f"{address}: does not follow the MLCast convention: ")


def test_two_rain_variables_are_refused(write_store, rate):
    other = (("time", "y", "x"), rate, {"units": "mm h-1", "grid_mapping": "crs"})
    address = write_store(rate, more={"rr": other})
    with pytest.raises(DataError, match="rainfall_rate, rr all hold a rate"):
        MlcastStore.open(address)
