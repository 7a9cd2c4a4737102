"""Forecasts whose fields do not fill the memory, and their temporary file."""

import os
import threading

import numpy as np
import pytest
import xarray as xr

from squall.datasets.archive.archive import Archive
from squall.pipeline.forecast import lead_fields
from squall.pipeline.forecast.config import ForecastConfig
from squall.pipeline.forecast.field_file import FieldFile
from squall.pipeline.forecast.run import forecast


def test_fields_are_read_in_any_order_and_from_several_threads():
    random = np.random.default_rng(0)
    fields = [random.random((2, 30, 40)).astype(np.float32)[:, ::2] for _ in range(6)]
    file = FieldFile()
    for field in fields:
        file.append(field)
    file.append(np.arange(6, dtype=np.uint8))
    np.testing.assert_array_equal(file[6], np.arange(6, dtype=np.uint8))
    wrong = []

    def read(number):
        for _ in range(50):
            if not np.array_equal(file[number], fields[number]):
                wrong.append(number)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(list(file)) == len(file) == 7


def test_stacked_fields_hold_on_to_their_file():
    file = FieldFile()
    for number in range(3):
        file.append(np.full((2, 4, 5), number, np.uint8))
    stacked = file.stacked(axis=1)
    del file
    assert stacked.shape == (2, 3, 4, 5)
    np.testing.assert_array_equal(stacked[1, :, 0, 0].compute(), [0, 1, 2])


def test_a_threshold_is_read_without_the_others(monkeypatch):
    """All thresholds of a large grid, read and decoded together, filled the memory."""
    file = FieldFile()
    for number in range(3):
        file.append(np.arange(40, dtype=np.uint8).reshape(2, 4, 5) + np.uint8(100 * number))
    read, preadv = [], os.preadv

    def counted(*arguments):
        read.append(preadv(*arguments))
        return read[-1]

    monkeypatch.setattr(os, "preadv", counted)
    fields = file.stacked(axis=1)[1].compute()
    np.testing.assert_array_equal(fields, np.stack([field[1] for field in file]))
    assert sum(read[:3]) == fields.nbytes


@pytest.mark.parametrize("name", ["f.nc", "f.zarr"])
@pytest.mark.parametrize("keep_bits", [None, 7])
def test_a_forecast_from_a_file_is_that_from_memory(chain, tmp_path, monkeypatch, name, keep_bits):
    made = []
    for folder, limit in (("memory", 2**28), ("file", 0)):
        monkeypatch.setattr(lead_fields, "IN_MEMORY_BYTES", limit)
        (tmp_path / folder).mkdir()
        config = ForecastConfig(
            archive=chain.archive,
            model="squall-base",
            at="2024-06-01T04:00",
            lead_times=5,
            out=tmp_path / folder / name,
            keep_bits=keep_bits,
        )
        returned = forecast(config)
        engine = "zarr" if name.endswith("zarr") else None
        with xr.open_dataset(config.out, engine=engine) as stored:
            for variable in ("rain_rate", "observed_rain_rate", "probability_of_exceedance"):
                np.testing.assert_array_equal(returned[variable].values, stored[variable].values)
            made.append(stored.load())
    xr.testing.assert_equal(*made)
    for variable in made[0].data_vars:
        assert made[0][variable].attrs == made[1][variable].attrs


def test_scans_that_are_read_later_are_those_that_are_read_at_once(chain):
    archive = Archive.open(chain.archive)
    first = len(archive.times) - 3
    now, later = (
        archive.read(first, 6, lazy=lazy) for lazy in (False, True)
    )  # beyond the end, too
    assert later.chunks is not None
    xr.testing.assert_identical(now, later.compute())
    assert np.isnan(now.values[3:]).all()
