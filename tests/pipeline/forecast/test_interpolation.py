"""Rain rate between two scans: its place, its amount and where it is known."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squall.datasets.coding import RAIN_CODE
from squall.datasets.training.window_reader import coarsened
from squall.pipeline.forecast.interpolation import regridded, scan_motion, with_fields_between
from tests.convgru.moving_rain import moving_texture


def with_scans_between(scans, observed, parts):
    """(time, y, x) of one field a time."""
    return np.concatenate(list(with_fields_between(scans[:, None], scan_motion(observed), parts)))


def moving(columns, scans, lowest_mm_h=0.0):
    """(scans, y, x) mm/h: a texture that moves right by ``columns`` pixels a step."""
    return lowest_mm_h + moving_texture(0, columns, scans)[0, :, 0].numpy()


@pytest.mark.parametrize("lowest_mm_h", [0.0, 1.5], ids=["showers", "rain everywhere"])
def test_rain_is_moved_to_its_place_between_two_scans(lowest_mm_h):
    scans = moving(6, 4, lowest_mm_h)
    truth = moving(2, 10, lowest_mm_h)  # the same rain, three times as often
    finer = with_scans_between(scans, scans, 3)
    np.testing.assert_array_equal(finer[::3], scans)
    inner = (slice(40, -40), slice(40, -40))
    for index in (1, 2, 4, 5, 7, 8):
        expected = truth[index][inner]
        error = np.abs(finer[index][inner] - expected)
        without_motion = np.abs(scans[index // 3][inner] - expected)
        assert error.mean() < 0.25 * without_motion.mean()


def test_a_scan_between_has_more_of_the_nearer_scan():
    """Rain that stands still and grows from 4 to 8 mm/h."""
    scans = moving(0, 1).repeat(2, axis=0)
    scans[:] = 1 + 3 * (scans[:1] > 1)  # areas of 1 and 4 mm/h
    scans[1] *= 2
    finer = with_scans_between(scans, scans[[0, 0]], 4)
    for index, factor in enumerate((1.0, 1.25, 1.5, 1.75, 2.0)):
        np.testing.assert_allclose(finer[index], factor * scans[0], rtol=1e-4)


def test_where_one_scan_is_not_known_the_other_counts_alone():
    scans = np.stack([np.full((64, 64), 4.0), np.full((64, 64), 8.0)]).astype(np.float32)
    scans[0, :, :16] = np.nan
    scans[1, :, 48:] = np.nan
    scans[:, :8] = np.nan
    finer = with_scans_between(scans, np.nan_to_num(scans[[0, 0]]), 4)
    for index, both in ((1, 5.0), (2, 6.0), (3, 7.0)):
        np.testing.assert_allclose(finer[index, 8:, :16], 8.0, rtol=1e-5)
        np.testing.assert_allclose(finer[index, 8:, 16:48], both, rtol=1e-5)
        np.testing.assert_allclose(finer[index, 8:, 48:], 4.0, rtol=1e-5)
        assert np.isnan(finer[index, :8]).all()


def test_beyond_the_edge_nothing_is_known():
    """Rain of at least 2 mm/h everywhere enters a domain whose width is no multiple of 8."""
    scans = moving(-6, 2, lowest_mm_h=2.0)[:, :, :101]
    half_way = with_scans_between(scans, scans, 2)[1]
    assert half_way[~np.isnan(half_way)].min() > 1.9
    assert not np.isnan(half_way[40:-40, 40:-4]).any()


@given(st.integers(0, 2**32), st.sampled_from([2, 3]), st.floats(0.2, 0.8))
def test_a_wide_pixel_is_known_in_a_forecast_if_it_is_in_training(seed, side, share):
    random = np.random.default_rng(seed)
    rain = np.full((1, 4 * side, 5 * side), 3.0, np.float32)
    rain[random.random(rain.shape) > share] = np.nan
    in_training = RAIN_CODE.decode(coarsened(RAIN_CODE.encode(rain), side))
    in_forecast = regridded(rain, Fraction(side))
    np.testing.assert_array_equal(np.isnan(in_forecast), np.isnan(in_training))
    np.testing.assert_allclose(in_forecast, in_training, rtol=0.02)


def test_a_wide_pixel_with_half_of_its_pixels_observed_is_known():
    rain = np.array([[[1, np.nan, 5, np.nan, 7], [np.nan, np.nan, 3, np.nan, np.nan]]], np.float32)
    # of the last wide pixel only one column lies in the domain
    np.testing.assert_array_equal(regridded(rain, Fraction(2)), [[[np.nan, 4, 7]]])
    np.testing.assert_array_equal(regridded(rain[:, 1:], Fraction(2)), [[[np.nan, 3, np.nan]]])


def test_several_fields_are_moved_as_each_of_them_alone():
    scans = moving(6, 3)
    scans[1, :8] = np.nan
    fields = np.stack([scans, 2 * scans, scans**2], axis=1)
    together = np.stack(list(with_fields_between(fields, scan_motion(scans), 2)))
    for number in range(3):
        alone = with_scans_between(fields[:, number], scans, 2)
        np.testing.assert_allclose(together[:, number], alone, rtol=1e-5, atol=1e-6)
