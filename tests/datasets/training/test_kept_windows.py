"""Windows that are computed once and kept."""

import pickle

import numpy as np
import pytest
import zarr

from squall.datasets.coding import RAIN_CODE
from squall.datasets.open_archive import open_archive
from squall.datasets.training import kept_windows
from squall.datasets.training.batches import Sample
from squall.datasets.training.kept_windows import KeptWindowReader, KeptWindows, Window
from squall.datasets.training.sampling import Variant
from squall.datasets.training.window_reader import coarsened
from squall.datasets.training.windows import Crop

LENGTH = 3
CELL_PX = 8
AS_IT_IS = Variant(0, 1, 1)


def doubled_and_last(rain_rate):
    """Two channels: the first scan times two, and the last scan. Paths: the last scan's corner."""
    cells = tuple(-(-side // CELL_PX) for side in rain_rate.shape[1:])
    paths = np.full((1, 2, *cells), np.nan_to_num(rain_rate[-1, 0, 0]), np.float32)
    paths[0, 1] += np.arange(cells[1])
    return Window(np.stack([2 * rain_rate[0], rain_rate[-1]]), paths)


@pytest.fixture
def store_of(rain_archive, tmp_path):
    archive = open_archive(str(rain_archive))

    def store(starts=(0, 2, 5), variant=AS_IT_IS, version="1", cell_px=CELL_PX):
        return KeptWindows(
            tmp_path / "windows", archive, variant, np.array(starts), length=LENGTH, channels=2,
            lead_times=1, version=version, cell_px=cell_px,
        )  # fmt: skip

    return store


def filled(store):
    store.create()
    for number in store.missing():
        store.compute(number, doubled_and_last)
    store.mark_done(store.missing())
    return store


def test_a_window_has_what_its_function_computes(store_of):
    store = filled(store_of())
    codes = np.asarray(store.archive.codes[2 : 2 + LENGTH])
    crop = store.crop(2, 3, 5, 20)
    expected = RAIN_CODE.encode(2 * RAIN_CODE.table[codes[0]])
    assert np.array_equal(crop[0], expected[3:23, 5:25])
    assert np.array_equal(crop[1], codes[-1][3:23, 5:25])
    assert (crop[0] != crop[1]).any()


def test_what_is_missing_is_computed_later(store_of):
    store = store_of()
    store.create()
    assert store.missing() == [0, 1, 2]
    store.compute(1, doubled_and_last)
    assert store.missing() == [0, 1, 2]  # not before it is marked
    store.mark_done([1])
    again = store_of()
    again.create()  # must not clear it
    assert again.missing() == [0, 2]
    assert np.array_equal(again.crop(2, 0, 0, 16), store.crop(2, 0, 0, 16))


def test_a_creation_that_was_interrupted_is_repeated(store_of):
    store = store_of()
    zarr.open_group(store.path, mode="a")  # the group is there, its arrays are not
    assert filled(store).missing() == []


def test_other_windows_or_versions_have_another_place(store_of):
    paths = {
        store_of().path,
        store_of(starts=(0, 2, 6)).path,
        store_of(version="2").path,
        store_of(cell_px=16).path,
        store_of(variant=Variant(0, 2, 1)).path,
        store_of(variant=Variant(0, 1, 2)).path,
    }
    assert len(paths) == 6
    assert store_of().path == store_of().path


def test_every_second_scan_with_wider_pixels(store_of):
    store = filled(store_of(variant=Variant(0, 2, 2)))
    codes = np.asarray(store.archive.codes[5:10:2])
    height, width = (side // 2 * 2 for side in store.archive.grid.shape)
    wide = coarsened(codes[:, :height, :width], 2)
    # the function works on rates of codes, so they are coded twice
    assert np.array_equal(store.crop(5, 0, 0, 12)[1], wide[-1][:12, :12])


def test_a_reader_cuts_samples_out_of_the_windows(store_of):
    store = filled(store_of())
    reader = KeptWindowReader({store.variant: store}, 2, 16)
    samples = [
        Sample(1, 0, crop=Crop(0, 1, 2)),
        Sample(1, 1, crop=Crop(5, 3, 4), dropped=(0,)),
        Sample(1, -1),
    ]
    codes = reader.receive(reader.__getitems__(samples)).codes.numpy()
    assert np.array_equal(codes[0], store.crop(0, 1, 2, 16))
    assert (codes[1, 0] == RAIN_CODE.NOT_OBSERVED).all()
    assert np.array_equal(codes[1, 1], store.crop(5, 3, 4, 16)[1])
    assert (codes[2] == RAIN_CODE.NOT_OBSERVED).all()


def test_a_store_of_another_layout_is_not_read(store_of, monkeypatch):
    """An older store has no paths; it must have another name."""
    now = store_of().path
    monkeypatch.setattr(kept_windows, "LAYOUT", 1)
    assert store_of().path != now


def test_a_reader_gives_the_paths_of_the_windows_if_they_are_asked_for(store_of):
    store = filled(store_of())
    samples = [Sample(1, 0, crop=Crop(5, 1, 2)), Sample(1, -1), Sample(1, 1, crop=Crop(0, 3, 4))]
    reader = KeptWindowReader({store.variant: store}, 2, 16, gives_paths=True)
    paths = reader.receive(reader.__getitems__(samples)).paths.numpy()
    assert paths.shape == (3, 1, 2, 6, 8)
    assert np.array_equal(paths[0], store.paths(5))
    assert not paths[1].any()
    assert np.array_equal(paths[2], store.paths(0))
    assert (paths[0, 0, 1, 0] - paths[0, 0, 0, 0]).tolist() == list(range(8))
    without = KeptWindowReader({store.variant: store}, 2, 16)
    assert not without.receive(without.__getitems__(samples)).paths.numel()


def test_a_sample_of_wider_pixels_is_cut_where_its_crop_lies(store_of):
    store = filled(store_of(variant=Variant(0, 1, 2)))
    reader = KeptWindowReader({store.variant: store}, 2, 8)
    sample = Sample(1, 0, crop=Crop(2, 6, 10), coarsen=2)
    codes = reader.receive(reader.__getitems__([sample])).codes.numpy()
    assert np.array_equal(codes[0], store.crop(2, 3, 5, 8))


def test_worker_processes_get_the_store(store_of):
    store = filled(store_of())
    copy = pickle.loads(pickle.dumps(store))
    assert np.array_equal(copy.crop(0, 0, 0, 16), store.crop(0, 0, 0, 16))
