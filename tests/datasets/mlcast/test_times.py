"""Times of a store on the regular axis of an archive."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from squall.datasets.archive.records import MISSING, OK
from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import DataError
from squall.datasets.mlcast.store import MlcastStore
from tests.datasets.mlcast.store_size import HEIGHT, SCANS, TIMES, WIDTH


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


def test_gaps_lie_on_a_regular_axis(write_store, rate):
    present = [0, 1, 2, 5, 6, 11]
    store = MlcastStore.open(write_store(rate[present], times=TIMES[present]))
    assert store.step == pd.Timedelta("5min")
    assert (store.times == TIMES).all()
    assert np.flatnonzero(store.status == OK).tolist() == present
    np.testing.assert_array_equal(store.codes[present], RAIN_CODE.encode(rate[present]))
    assert (store.codes[3:5] == RAIN_CODE.NOT_OBSERVED).all()
    assert np.isnan(store.read(7, 4)).all()


def test_missing_times_give_the_step_if_the_scans_do_not(write_store, rate):
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


def test_the_step_is_found_although_seconds_scatter(write_store, rate):
    scatter = np.random.default_rng(5).integers(-9, 10, SCANS)
    store = MlcastStore.open(write_store(rate, times=TIMES + pd.to_timedelta(scatter, unit="s")))
    assert (store.times == TIMES).all()
    np.testing.assert_array_equal(store.codes[:], RAIN_CODE.encode(rate))


def test_times_before_the_consistent_start_are_used_for_rates_but_not_for_accumulations(
    write_store, rate
):
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


def test_a_single_scan_has_its_step_from_the_attribute(write_store, rate):
    attrs = {"time_coverage_resolution": "PT10M"}
    store = MlcastStore.open(write_store(rate[:1], times=TIMES[:1], attrs=attrs))
    assert store.step == pd.Timedelta("10min")
    assert store.codes.shape == (1, HEIGHT, WIDTH)


@pytest.mark.parametrize("zone", ["CEST", "+530", "local"])
def test_times_in_another_time_zone_are_refused(write_store, rate, zone):
    address = write_store(rate)
    units = zarr.open_array(f"{address}/time", mode="r+").attrs["units"]
    time = zarr.open_array(f"{address}/time", mode="r+")
    time.attrs["units"] = f"{units} {zone}" if ":" in units else f"{units} 00:00:00 {zone}"
    zarr.consolidate_metadata(address, zarr_format=2)
    with pytest.raises(DataError, match="'time' holds no times in UTC"):
        MlcastStore.open(address)
