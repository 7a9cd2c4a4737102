"""Overviews of the frames of a large grid."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from squall.pipeline.live import overviews
from squall.pipeline.live.overviews import overview_factor, overview_of
from squall.pipeline.live.states import Order
from squall.pipeline.live.work import Worker
from tests.pipeline.live.test_worker import AT, LEADS, config_of, published


def test_only_large_grids_have_overviews():
    assert overview_factor((765, 700)) == 1  # KNMI
    assert overview_factor((1400, 1200)) == 1  # Italy
    assert overview_factor((2200, 1900)) == 2  # OPERA
    assert overview_factor((3500, 7000)) == 4  # MRMS


def test_a_block_shows_its_strongest_pixel_and_nothing_unknown_becomes_dry():
    codes = np.array(
        [
            [0, 0, 0, 9, 255],
            [0, 0, 70, 0, 255],
            [0, 255, 255, 255, 0],
            [0, 0, 255, 3, 0],
            [1, 0, 255, 255, 255],
        ],
        np.uint8,
    )
    # the last row and column of blocks are not whole
    expected = [[0, 70, 255], [255, 3, 0], [1, 255, 255]]
    np.testing.assert_array_equal(overview_of(codes, 2), expected)


def test_first_rain_is_the_earliest():
    codes = np.array([[0, 4, 255, 0], [7, 2, 9, 254]], np.uint8)
    np.testing.assert_array_equal(overview_of(codes, 2, is_first_time=True), [[2, 9]])
    dry = np.array([[0, 0, 255, 0], [0, 0, 0, 0]], np.uint8)
    np.testing.assert_array_equal(overview_of(dry, 2, is_first_time=True), [[0, 255]])


@given(
    codes=arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))),
    factor=st.integers(2, 4),
)
def test_each_block_is_that_of_its_pixels(codes, factor):
    overview = overview_of(codes, factor)
    assert overview.shape == tuple(-(-side // factor) for side in codes.shape)
    for (row, column), code in np.ndenumerate(overview):
        block = codes[row * factor :, column * factor :][:factor, :factor]
        rain = block[(block > 0) & (block < 255)]
        is_known = (block < 255).all()
        assert code == (rain.max() if rain.size else 0 if is_known else 255)


@pytest.mark.parametrize("members", [None, 4])
def test_each_frame_of_a_large_grid_has_an_overview(chain, tmp_path, monkeypatch, members):
    monkeypatch.setattr(overviews, "MOST_PIXELS", 1000)
    worker = Worker(config_of(tmp_path, members=members), str(chain.archive))
    path, manifest = published(tmp_path, worker.make(Order(AT, LEADS)))
    factor = manifest["overview_factor"]
    assert factor > 1
    shape = tuple(-(-manifest["grid"][side] // factor) for side in ("rows", "columns"))
    listed = {entry["name"] for entry in manifest["files"]}
    for layer in manifest["layers"]:
        for frame in layer["frames"]:
            whole, overview = (
                np.asarray(Image.open(path / frame[key])) for key in ("file", "overview")
            )
            assert frame["overview"] in listed
            assert overview.shape == shape
            is_first = layer["code"] == "first_rain"
            expected = overview_of(whole, factor, is_first_time=is_first)
            np.testing.assert_array_equal(overview, expected)


def test_a_small_grid_has_none(chain, tmp_path):
    worker = Worker(config_of(tmp_path), str(chain.archive))
    path, manifest = published(tmp_path, worker.make(Order(AT, LEADS)))
    assert manifest["overview_factor"] == 1
    assert not (path / "overviews").exists()
    assert "overview" not in json.dumps(manifest["layers"])
