"""Tables of chances from counts of shares of members."""

import numpy as np
import pytest

from squall.convgru.calibration import FEW_EVENTS
from squall.convgru.ensemble.calibration import KNOTS
from squall.pipeline.calibrate.share_tables import N_CODES, share_tables

THRESHOLDS = 6


def counts_of(pixels, frequencies, members=10):
    """(1, K, O, C) pixels of each possible share, of which some part has an event.

    Parameters
    ----------
    pixels : of each share.
    frequencies : (K, member + 1).
    """
    counts = np.zeros((1, THRESHOLDS, 2, N_CODES))
    codes = np.arange(members + 1) * 200 // members
    counts[0, :, 1, codes] = pixels * np.asarray(frequencies).T
    counts[0, :, 0, codes] = pixels * (1 - np.asarray(frequencies).T)
    return counts


def test_without_pixels_the_chance_is_the_share():
    tables = share_tables(np.zeros((2, THRESHOLDS, 2, N_CODES)), [10, 20])
    np.testing.assert_allclose(tables.chances, np.tile(KNOTS, (2, THRESHOLDS, 1)))


def test_with_many_pixels_the_chance_is_how_often_rain_came():
    frequency = np.linspace(0.05, 0.6, 11)
    tables = share_tables(counts_of(1e7, [frequency] * THRESHOLDS), [10])
    expected = np.interp(KNOTS, np.linspace(0, 1, 11), frequency)
    np.testing.assert_allclose(tables.chances[0], np.tile(expected, (THRESHOLDS, 1)), atol=1e-4)


def test_chances_never_fall_with_the_share():
    frequencies = np.random.default_rng(0).random((THRESHOLDS, 11))
    tables = share_tables(counts_of(1e5, frequencies), [10])
    assert (np.diff(tables.chances, axis=-1) >= 0).all()


def test_few_pixels_hardly_change_the_chance_of_the_threshold_below():
    """The lowest threshold comes true half as often; the others have 50 pixels without rain."""
    half = np.linspace(0, 0.5, 11)
    counts = counts_of(1e7, [half] * THRESHOLDS)
    counts[0, 1:] = counts_of(50, [half * 0] * THRESHOLDS)[0, 1:]
    first, second, *_ = np.asarray(share_tables(counts, [10]).chances[0])
    np.testing.assert_allclose(first, KNOTS / 2, atol=1e-4)
    np.testing.assert_allclose(second, KNOTS / 2 * FEW_EVENTS / (FEW_EVENTS + 50), atol=1e-3)


def test_shares_beyond_those_that_were_counted_keep_what_was_expected():
    counts = counts_of(1e7, [np.zeros(11)] * THRESHOLDS)
    counts[..., 101:] = 0  # no share above a half
    (table, *_), *_ = share_tables(counts, [10]).chances
    assert table[10] == pytest.approx(0, abs=1e-4)
    np.testing.assert_allclose(table[11:], KNOTS[11:])
