"""Products of an ensemble, against plain formulas over all of its members at once."""

import warnings

import numpy as np
import pytest

from squall.datasets.grid import grid_from_attributes
from squall.pipeline.forecast.chance_code import CHANCE_CODE, chance_codes
from squall.pipeline.forecast.ensemble_products import EnsembleProducts, Wanted, quantiles
from squall.pipeline.forecast.neighbourhood import Neighbourhood
from squall.pipeline.forecast.pixels import Pixels
from tests.pipeline.forecast.fake_ensemble import random_rates
from tests.pipeline.forecast.test_neighbourhood import LAEA, highest_by_brute_force

THRESHOLDS, PERCENTILES = (0.5, 4.0), (10.0, 33.0, 90.0)
MEMBERS, LEADS, SIZE = 7, 3, 24
LEAD_MIN = (5.0, 10.0, 15.0)


@pytest.fixture(scope="module")
def rates():
    rates = random_rates((MEMBERS, LEADS, SIZE, SIZE))
    rates[:4, 0, 5, 5] = np.nan  # known in 3 of 7 members
    rates[4:, 0, 5, 5] = 1.0
    rates[:3, 0, 6, 6] = np.nan  # known in 4 of 7 members
    rates[3:, 0, 6, 6] = 1.0
    return rates


@pytest.fixture(scope="module")
def products(rates):
    return computed(rates)


def computed(rates, given=None, **wanted):
    grid = grid_from_attributes(np.arange(SIZE) * 4000.0, -np.arange(SIZE) * 4000.0, LAEA)
    around = Neighbourhood.on(grid, 10_000)
    settings = Wanted(THRESHOLDS, PERCENTILES, **wanted)
    scan = np.zeros((SIZE, SIZE), np.float32)
    result = EnsembleProducts(settings, scan, LEAD_MIN, len(rates), around)
    for index in range(LEADS):
        result.add(index, rates[:, index], None if given is None else given[:, index])
    return result


def where_known(values, rates):
    """NaN where less than half of the members are known."""
    return np.where(2 * (~np.isnan(rates)).sum(axis=0) >= len(rates), values, np.nan)


def test_work_on_wet_pixels_alone_changes_no_bit(monkeypatch):
    """As if every pixel were wet."""
    rates = random_rates((MEMBERS, LEADS, SIZE, SIZE))
    rates[:, :, 10:, :] = 0
    rates[:, 1, 12, 12:16] = 3
    rates[:, :, :, 20:] = np.nan
    rates[:4, 0, 5, 5] = rates[:3, 1, 11, 11] = np.nan
    given = np.where(np.isnan(rates[0]), np.nan, 0.3 * (rates[:2] > 1))
    of_wet = computed(rates, given.astype(np.float32)), computed(rates)
    monkeypatch.setattr(
        Pixels, "__init__", lambda self, has: setattr(self, "_indices", np.arange(SIZE**2))
    )
    of_all = computed(rates, given.astype(np.float32)), computed(rates)
    for some, everything in zip(of_wet, of_all, strict=True):
        for name in ("mean", "median", "percentiles", "chances", "chances_around", "amounts"):
            own, expected = getattr(some, name), getattr(everything, name)
            assert own.tobytes() == expected.tobytes(), name
        for own, expected in zip(some.times, everything.times, strict=True):
            assert own.tobytes() == expected.tobytes()


def test_mean_and_percentiles_are_those_of_the_known_members(products, rates):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # pixels that no member knows
        mean, median = np.nanmean(rates, axis=0), np.nanmedian(rates, axis=0)
        percentiles = np.nanpercentile(rates, PERCENTILES, axis=0)
    np.testing.assert_allclose(products.mean, where_known(mean, rates), rtol=1e-5)
    np.testing.assert_allclose(products.median, where_known(median, rates), rtol=1e-5)
    for actual, expected in zip(products.percentiles, percentiles, strict=True):
        np.testing.assert_allclose(actual, where_known(expected, rates), rtol=1e-5, atol=1e-6)


def test_a_pixel_is_known_where_half_of_the_members_are(products):
    assert np.isnan(products.mean[0, 5, 5])
    assert products.mean[0, 6, 6] == 1
    assert products.chances[:, 0, 5, 5].tolist() == [255, 255]
    assert products.chances[:, 0, 6, 6].tolist() == [200, 0]


def test_chances_are_shares_of_the_known_members(products, rates):
    known = (~np.isnan(rates)).sum(axis=0)
    for threshold, chances in zip(THRESHOLDS, products.chances, strict=True):
        expected = where_known((rates >= threshold).sum(axis=0) / np.maximum(known, 1), rates)
        actual = np.where(chances == 255, np.nan, chances / 200)
        np.testing.assert_allclose(actual, expected, atol=0.0026)


def test_chances_within_10_km_are_those_of_the_highest_rate_there(products, rates):
    known = (~np.isnan(rates)).sum(axis=0)
    for number, threshold in enumerate(THRESHOLDS):
        reached = (rates >= threshold).astype(np.uint8)
        for lead in range(LEADS):
            around = np.stack([highest_by_brute_force(m[lead], 4.0, 4.0) for m in reached])
            count = (around * ~np.isnan(rates[:, lead])).sum(axis=0)
            expected = where_known(count / np.maximum(known[lead], 1), rates[:, lead])
            stored = products.chances_around[number, lead]
            actual = np.where(stored == 255, np.nan, stored / 200)
            np.testing.assert_allclose(actual, expected, atol=0.0026)
    assert (products.chances_around >= products.chances).all()
    assert (products.chances_around > products.chances).any()


def test_a_rare_chance_is_not_stored_as_none():
    rates = np.zeros((1000, LEADS, SIZE, SIZE), np.float32)
    rates[0, :, 3, 3] = 1.0
    rates[:, :, 9, 9] = 1.0
    rates[0, :, 9, 9] = 0.0
    rates[:, :, 15, 15] = 1.0
    chances = computed(rates, neighbourhood=False).chances[0, 0]
    assert (chances[3, 3], chances[9, 9], chances[15, 15], chances[0, 0]) == (1, 199, 200, 0)


def test_amounts_are_integrals_over_the_horizon(products, rates):
    # trapezes from the last scan, which is dry
    first, second, third = np.moveaxis(rates, 1, 0)
    expected = (first + second + third / 2) * 5 / 60
    np.testing.assert_allclose(products.amounts, expected, rtol=1e-5)
    (median,) = products.amount_quantiles([0.5])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        np.testing.assert_allclose(
            median, where_known(np.nanmedian(expected, axis=0), expected), rtol=1e-5
        )
        mean = where_known(np.nanmean(expected, axis=0), expected)
    np.testing.assert_allclose(products.mean_amount, mean, rtol=1e-5)


def test_times_are_known_where_members_are_known_at_all_lead_times(products, rates):
    always = ~np.isnan(rates).any(axis=1)
    unknown = products.times.chance[0] == 255
    np.testing.assert_array_equal(unknown, 2 * always.sum(axis=0) < MEMBERS)


def test_what_is_not_wanted_is_not_computed(rates):
    off = ("median", "rate_percentiles", "chances", "neighbourhood", "amounts", "times")
    products = computed(rates, **dict.fromkeys(off, False))
    for name in ("median", "percentiles", "chances", "chances_around", "amounts"):
        assert getattr(products, name).size == 0
    assert np.isfinite(products.mean).any()


def test_quantiles_of_complete_members_equal_those_of_numpy():
    members = np.random.default_rng(1).gamma(1, 2, (10, 6, 6)).astype(np.float32)
    fractions = [0.0, 0.05, 0.5, 0.999, 1.0]
    actual = list(quantiles(members, np.full((6, 6), 10), fractions))
    np.testing.assert_allclose(actual, np.quantile(members, fractions, axis=0), rtol=1e-5)


def test_chances_are_stored_as_the_nearest_half_percents():
    chances = np.array([[0.0, 0.0024, 0.0026, 0.5, 0.9999, 1.0], [np.nan] * 6], np.float32)
    codes = chance_codes(chances)
    assert codes.dtype == np.uint8
    assert codes.tolist() == [[0, 0, 1, 100, 200, 200], [255] * 6]
    decoded = codes[0] * CHANCE_CODE["scale_factor"]
    assert np.abs(decoded - chances[0]).max() <= 0.0025


def test_given_chances_take_the_place_of_counts_and_are_the_least_elsewhere(rates):
    given = np.full((2, LEADS, SIZE, SIZE), 0.004, np.float32)
    given[0, 1, 12, 12], given[1, 1, 12, 12] = 0.93, 0.61
    given[:, :, 0, 0] = np.nan
    dry = np.where(np.isnan(rates), np.nan, np.float32(0))
    dry[:, :, 0, 0] = np.nan
    counted = computed(dry)
    assert not counted.are_chances_given
    products = computed(dry, given=given)
    assert products.are_chances_given
    np.testing.assert_array_equal(products.chances, chance_codes(given))
    assert products.chances[0, 0, 0, 0] == 255
    for number, code in ((0, 186), (1, 122)):
        around = products.chances_around[number, 1]
        assert around[12, 12] == around[12, 14] == around[10, 12] == code
        assert around[12, 15] == 1
        is_unknown = counted.chances_around[number] == 255
        np.testing.assert_array_equal(products.chances_around[number] == 255, is_unknown)
        assert products.times.chance[number, 12, 12] == code
    np.testing.assert_array_equal(products.mean, counted.mean)
    wet = computed(rates, given=given)
    assert (wet.chances_around >= computed(rates).chances_around).all()
