import logging
import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import MISSING, OK
from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import DataError
from squall.datasets.grid import grid_mapping_attributes
from squall.datasets.mlcast.store import MlcastStore, is_plain_zarr
from squall.pipeline.export.config import ExportConfig
from squall.pipeline.export.run import export

SCANS, HEIGHT, WIDTH = 12, 20, 30
TIMES = pd.date_range("2024-06-01", periods=SCANS, freq="5min")


@pytest.fixture(scope="module")
def rate():
    """(time, y, x) mm/h, north up, with a blind corner; the values are those of codes."""
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 255, (SCANS, HEIGHT, WIDTH), dtype=np.uint8)
    codes[:, :4, :5] = RAIN_CODE.NOT_OBSERVED
    return RAIN_CODE.decode(codes)


@pytest.fixture
def write_store(tmp_path, grid):
    """Function that writes a store as somebody else might, and returns its address."""

    def write(
        values,
        *,
        times=TIMES,
        variable="rainfall_rate",
        units="kg m-2 h-1",
        x=None,
        y=None,
        coordinate_units="m",
        dims=("time", "y", "x"),
        chunks=None,
        zarr_format=2,
        consolidated=True,
        missing=None,
        attrs=None,
        encoding=None,
        more=None,
        name="store.zarr",
    ):
        rows, columns = values.shape[1:]
        axes = {
            "y": grid.y[:rows] if y is None else y,
            "x": grid.x[:columns] if x is None else x,
        }
        coords = {
            axis: (
                axis,
                numbers,
                {
                    "standard_name": f"projection_{axis}_coordinate",
                    "units": coordinate_units,
                    "axis": axis.upper(),
                },
            )
            for axis, numbers in axes.items()
        } | {"time": ("time", pd.DatetimeIndex(times), {"standard_name": "time"})}
        if missing is not None:
            coords["missing_times"] = ("missing_times", pd.DatetimeIndex(missing))
        described = {"units": units, "grid_mapping": "crs"}
        dataset = xr.Dataset(
            {
                variable: (dims, values, described),
                "crs": ((), 0, grid_mapping_attributes(grid.crs)),
                **(more or {}),
            },
            coords=coords,
            attrs=attrs or {},
        )
        path = tmp_path / name
        shutil.rmtree(path, ignore_errors=True)
        dataset.to_zarr(
            path,
            zarr_format=zarr_format,
            consolidated=consolidated,
            encoding={variable: {"chunks": chunks or (1, rows, columns), **(encoding or {})}},
        )
        return str(path)

    return write


@pytest.fixture
def exported(rain_archive, tmp_path):
    """The fixture archive and an export of it."""
    out = tmp_path / "rain.zarr"
    export(ExportConfig(archive=str(rain_archive), out=str(out)))
    return Archive.open(rain_archive), MlcastStore.open(out)


def test_an_export_reads_as_the_archive_that_it_came_from(exported):
    archive, store = exported
    assert (store.name, store.title, store.step) == (archive.name, archive.title, archive.step)
    assert store.attributes["license"] == "CC0-1.0"
    assert archive.grid.difference(store.grid) is None
    assert (store.times == archive.times).all()
    good = archive.status == OK
    assert 0 < good.sum() < good.size
    np.testing.assert_array_equal(store.status, np.where(good, OK, MISSING))
    np.testing.assert_array_equal(store.codes[:], archive.codes[:])
    np.testing.assert_array_equal(store.checksums[good], archive.checksums[good])
    for name in ("rain_rate", "wet_share", "observed_share"):
        there, here = archive.block_statistics(name), store.block_statistics(name)
        np.testing.assert_array_equal(here, there)
        np.testing.assert_array_equal(store.block_statistics(name, good), there[good])
    xr.testing.assert_equal(store.read(28, 8).drop_vars("spatial_ref"),
                            archive.read(28, 8).drop_vars("spatial_ref"))  # fmt: skip
    assert np.isnan(store.read(-1, 1)).all()
    assert store.marks().size == 0
    assert store.rejections == []
    sources = store.records(np.arange(good.size))["source"]
    assert [bool(name) for name in sources] == good.tolist()


def test_the_codes_are_sliced_like_an_array(exported):
    archive, store = exported
    codes, whole = store.codes, archive.codes[:]
    assert (codes.shape, codes.dtype, codes.ndim) == (whole.shape, whole.dtype, 3)
    assert codes.chunks == (1, *whole.shape[1:])
    for key in [
        np.s_[28:36, 3:20, 10:50],
        np.s_[29],
        np.s_[-1, :4],
        np.s_[5:3],
        np.s_[::7],
        np.s_[70:200, 40:99, 60:],
        np.s_[:, 4:4],
        np.array([0, 31, 7]),
    ]:
        np.testing.assert_array_equal(codes[key], whole[key])


def test_a_window_reads_its_time_steps_alone(exported):
    _, store = exported
    folder = Path(store.address) / "rainfall_rate"
    kept = {"0.0.0", "1.0.0", "2.0.0", ".zarray", ".zattrs"}
    before = store.codes[0:3, 8:20, 8:20]
    for row in range(75):
        if f"{row}.0.0" not in kept:
            (folder / f"{row}.0.0").write_bytes(b"broken")
    np.testing.assert_array_equal(MlcastStore.open(store.address).codes[0:3, 8:20, 8:20], before)
    with pytest.raises(Exception, match=r"(?i)zstd"):
        store.codes[0:4]


def test_it_pickles_as_its_address_and_snapshot(exported):
    _, store = exported
    again = pickle.loads(pickle.dumps(store))
    assert isinstance(again, MlcastStore)
    assert again.snapshot == store.snapshot
    np.testing.assert_array_equal(again.codes[3], store.codes[3])


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


def test_only_plain_zarr_is_taken_for_it(rain_archive, tmp_path):
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
def test_units_decide_what_the_numbers_mean(write_store, rate, variable, units, factor):
    values = (rate.astype(np.float64) * factor).astype(np.float32)
    store = MlcastStore.open(write_store(values, variable=variable, units=units))
    np.testing.assert_array_equal(store.codes[:], RAIN_CODE.encode(rate))


def test_reflectivity_becomes_rain(write_store, rate):
    with np.errstate(divide="ignore"):
        dbz = (10 * np.log10(200 * rate.astype(np.float64) ** 1.6)).clip(-32).astype(np.float32)
    store = MlcastStore.open(
        write_store(dbz, variable="equivalent_reflectivity_factor", units="dBZ")
    )
    np.testing.assert_array_equal(store.codes[:], RAIN_CODE.encode(rate))


def test_bounds_give_an_accumulation_its_interval_and_end(write_store, rate):
    starts = TIMES - pd.Timedelta("10min")
    bounds = xr.DataArray(np.stack([starts, TIMES], axis=1), dims=("time", "bound"))
    values = (rate.astype(np.float64) / 6).astype(np.float32)
    address = write_store(values, times=starts, units="mm", more={"time_bounds": bounds})
    zarr.open_array(f"{address}/time", mode="r+").attrs["bounds"] = "time_bounds"
    zarr.consolidate_metadata(address, zarr_format=2)
    store = MlcastStore.open(address)
    assert (store.start, store.step) == (TIMES[0], pd.Timedelta("5min"))
    np.testing.assert_array_equal(store.codes[:], RAIN_CODE.encode(rate))


def test_the_field_is_turned_north_up_and_into_metres(write_store, rate, grid):
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


def test_gaps_lie_on_a_regular_axis(write_store, rate):
    present = [0, 1, 2, 5, 6, 11]
    store = MlcastStore.open(write_store(rate[present], times=TIMES[present]))
    assert store.step == pd.Timedelta("5min")
    assert (store.times == TIMES).all()
    assert np.flatnonzero(store.status == OK).tolist() == present
    np.testing.assert_array_equal(store.codes[present], RAIN_CODE.encode(rate[present]))
    assert (store.codes[3:5] == RAIN_CODE.NOT_OBSERVED).all()
    assert np.isnan(store.read(7, 4)).all()


def test_missing_times_tell_the_step_where_scans_do_not(write_store, rate):
    present, absent = [0, 2, 4, 6], [1, 3, 5]
    address = write_store(rate[present], times=TIMES[present], missing=TIMES[absent])
    store = MlcastStore.open(address)
    assert store.step == pd.Timedelta("5min")
    assert store.status.tolist() == [OK, MISSING, OK, MISSING, OK, MISSING, OK]


def test_times_off_the_step_are_snapped_or_reported(write_store, rate):
    times = TIMES.tolist()
    times[2] += pd.Timedelta("20s")
    times[6] += pd.Timedelta("2min")
    times[9] = times[8] + pd.Timedelta("10s")
    store = MlcastStore.open(write_store(rate, times=times))
    assert (store.times == TIMES).all()
    assert np.flatnonzero(store.status == MISSING).tolist() == [6, 9]
    np.testing.assert_array_equal(store.codes[8], RAIN_CODE.encode(rate[8]))
    off, again = store.rejections
    assert (off.time, off.reason) == (times[6], "1 times lie off the step of 5 min")
    assert (again.time, again.reason) == (times[9], "1 times fall on the step of another")


def test_the_step_is_found_under_scattered_seconds(write_store, rate):
    scatter = np.random.default_rng(5).integers(-9, 10, SCANS)
    store = MlcastStore.open(write_store(rate, times=TIMES + pd.to_timedelta(scatter, unit="s")))
    assert (store.times == TIMES).all()
    np.testing.assert_array_equal(store.codes[:], RAIN_CODE.encode(rate))


def test_an_earlier_step_counts_for_rates_but_not_for_accumulations(write_store, rate):
    times = [*pd.date_range("2024-05-31T23:00", periods=8, freq="15min"), TIMES[-1]]
    times[4:8] = TIMES[8:12] - pd.Timedelta("5min")
    attrs = {"consistent_timestep_start": str(times[4])}
    rates = MlcastStore.open(write_store(rate[:9], times=times, attrs=attrs))
    assert rates.step == pd.Timedelta("5min")
    assert (rates.status == OK).sum() == 9
    amounts = MlcastStore.open(write_store(rate[:9], times=times, attrs=attrs, units="mm"))
    assert amounts.start == times[4]
    (left_out,) = amounts.rejections
    assert left_out.time == times[0]
    assert "4 times before consistent_timestep_start" in left_out.reason


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
    decoded, there = RAIN_CODE.decode(store.codes[:]), RAIN_CODE.decode(RAIN_CODE.encode(values))
    np.testing.assert_allclose(decoded, there, rtol=0.03)  # 0.1 is not exact: the next code


def test_statistics_are_read_once_and_said_so(write_store, rate, caplog):
    store = MlcastStore.open(write_store(rate))
    with caplog.at_level(logging.INFO, logger="squall"):
        first = store.block_statistics("rain_rate")
        store.block_statistics("wet_share")
    assert first.shape == (SCANS, 1, 1)
    assert caplog.messages == [f"{store.address}: reading 12 scans for their rain statistics"]


def test_values_that_are_no_rain_name_the_scan(write_store, rate):
    values = rate.copy()
    values[3, 9, 9] = -9999
    store = MlcastStore.open(write_store(values))
    assert store.codes[2].shape == (HEIGHT, WIDTH)
    with pytest.raises(DataError, match=r"'rainfall_rate' of 2024-06-01T00:15:00 .*-9999"):
        store.codes[3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": "K"}, "no variable .* has units of rain"),
        ({"units": "furlong"}, "the variables are crs, rainfall_rate"),
        ({"coordinate_units": ""}, "coordinate 'y' has units ''|coordinate 'x' has units ''"),
        ({"times": TIMES[:1]}, "one time alone does not tell the step"),
        ({"attrs": {"consistent_timestep_start": "soon"}}, "is no time: 'soon'"),
        ({"dims": ("time", "x", "y")}, "expected the order time, y, x"),
    ],
)
def test_what_breaks_the_convention_is_refused_in_words(write_store, rate, grid, changes, message):
    values = rate[: len(changes.get("times", TIMES))]
    if "dims" in changes:
        changes = changes | {"x": grid.x[:HEIGHT], "y": grid.y[:WIDTH]}
    address = write_store(values, **changes)
    with pytest.raises(DataError, match=message) as caught:
        MlcastStore.open(address)
    assert str(caught.value).startswith(f"{address}: does not follow the MLCast convention: ")


def test_two_rain_variables_are_not_guessed_between(write_store, rate):
    other = (("time", "y", "x"), rate, {"units": "mm h-1", "grid_mapping": "crs"})
    address = write_store(rate, more={"rr": other})
    with pytest.raises(DataError, match="rainfall_rate, rr all hold a rate"):
        MlcastStore.open(address)


def test_a_single_scan_has_its_step_from_the_attribute(write_store, rate):
    attrs = {"time_coverage_resolution": "PT10M"}
    store = MlcastStore.open(write_store(rate[:1], times=TIMES[:1], attrs=attrs))
    assert store.step == pd.Timedelta("10min")
    assert store.codes.shape == (1, HEIGHT, WIDTH)
