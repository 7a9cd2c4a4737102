"""Reading a store that an export wrote: it is the archive that was exported."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from squall.datasets.archive.records import MISSING, OK
from squall.datasets.mlcast.store import MlcastStore


def test_an_export_reads_like_its_archive(exported):
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
        expected = archive.block_statistics(name)
        np.testing.assert_array_equal(store.block_statistics(name), expected)
        np.testing.assert_array_equal(store.block_statistics(name, good), expected[good])
    xr.testing.assert_equal(store.read(28, 8).drop_vars("spatial_ref"),
                            archive.read(28, 8).drop_vars("spatial_ref"))  # fmt: skip
    assert np.isnan(store.read(-1, 1)).all()
    assert store.marks().size == 0
    assert store.rejections == []
    sources = store.records(np.arange(good.size))["source"]
    assert [bool(name) for name in sources] == good.tolist()


def test_codes_are_indexed_like_an_array(exported):
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


def test_a_window_reads_only_its_time_steps(exported):
    _, store = exported
    folder = Path(store.address) / "rainfall_rate"
    intact = {"0.0.0", "1.0.0", "2.0.0", ".zarray", ".zattrs"}
    before = store.codes[0:3, 8:20, 8:20]
    for row in range(75):
        if f"{row}.0.0" not in intact:
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
