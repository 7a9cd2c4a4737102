"""The chances of a network at the lead times and on the grid of an archive."""

import weakref

import numpy as np
import pytest

from squall.convgru.motion import coarse_motion
from squall.pipeline.forecast.interpolation import scan_motion
from tests.pipeline.forecast.moving_showers import (
    SIZE,
    centre,
    nowcast,
    optical_flow,
    persistence,
    resampling,
    scan_at,
    scans,
)

THRESHOLDS = (0.5, 5.0)


def sure(network):
    """A network that gives the rain of another one, and chances of 0 and 1 that follow from it."""

    def fields(context, lead_times, _motion=None):
        for rain in network(context, lead_times):
            levels = np.reshape(THRESHOLDS, (-1, 1, 1))
            chances = np.where(np.isnan(rain), np.nan, rain >= levels)
            yield np.concatenate([rain[None], chances]).astype(np.float32)

    return fields


def with_chances(chosen, network, context, lead_times):
    """Rain (lead_time, y, x) and chances (lead_time, threshold, y, x)."""
    leads = np.stack(list(chosen.leads(network, context, lead_times, THRESHOLDS)))
    return leads[:, 0], leads[:, 1:]


@pytest.mark.parametrize(("step_min", "spacing_km"), [(5.0, 1.0), (2.0, 1.0), (20.0, 1.0)])
def test_chances_are_at_the_lead_times_of_the_archive(step_min, spacing_km):
    chosen = resampling(step_min, spacing_km)
    context = scans(chosen.context, step_min, spacing_km)
    rain, chances = with_chances(chosen, sure(optical_flow), context, 6)
    np.testing.assert_array_equal(rain, nowcast(chosen, optical_flow, context, 6))
    assert chances.shape == (6, 2, SIZE, SIZE)
    for threshold in range(2):
        np.testing.assert_array_equal(np.isnan(chances[:, threshold]), np.isnan(rain))
    known = ~np.isnan(rain)
    assert (chances[:, 1][known] <= chances[:, 0][known] + 1e-6).all()
    assert np.nanmin(chances) >= 0
    assert np.nanmax(chances) <= 1 + 1e-6
    of_network = list(
        sure(optical_flow)(chosen.network_scans(context), chosen.network_lead_times(6))
    )
    for steps, number in chosen.common_lead_times(6):
        np.testing.assert_array_equal(chances[steps - 1], of_network[number - 1][1:])
    for lead in range(1, 4 if step_min < 20 else 2):
        centre_of_chance = centre(chances[lead - 1, 1])
        expected = centre((scan_at(step_min * lead) >= THRESHOLDS[1]).astype(float))
        np.testing.assert_allclose(centre_of_chance, expected, atol=1.0)


def test_fields_of_earlier_lead_times_are_not_kept():
    """Also no more of the network's lead times are asked for than the archive's need."""
    chosen = resampling(2.5)
    alive, made = [], []

    def network(context, lead_times, _motion):
        for _ in range(lead_times):
            fields = np.zeros((3, SIZE, SIZE), np.float32)
            made.append(weakref.ref(fields))
            yield fields

    for _ in chosen.leads(network, scans(7, 2.5), 11, THRESHOLDS):
        alive.append(sum(fields() is not None for fields in made))
    assert max(alive) <= 2
    assert (len(alive), len(made)) == (11, 6)


def test_the_motion_is_computed_once_for_rain_and_chances(monkeypatch):
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return coarse_motion(*arguments)

    monkeypatch.setattr("squall.pipeline.forecast.interpolation.coarse_motion", counted)
    with_chances(resampling(2.0), sure(persistence), scans(10, 2.0), 6)
    assert len(calls) == 1


def test_chances_of_wide_pixels_are_those_of_the_pixels_in_them():
    chosen = resampling(5.0, 0.25)
    wide = np.random.default_rng(1).random((1, 3, 20, 21)).astype(np.float32)
    scan = np.zeros((4, 39, 41), np.float32)
    _, narrow = with_chances(chosen, lambda *_: wide, scan, 1)
    assert narrow.shape == (1, 2, 39, 41)
    np.testing.assert_array_equal(narrow[..., ::2, ::2], wide[:, 1:])
    np.testing.assert_array_equal(narrow[..., 1::2, 1::2], wide[:, 1:, :19, :20])


def test_chances_of_narrow_pixels_are_averaged():
    chosen = resampling(5.0, 4.0)
    narrow = np.random.default_rng(1).random((1, 3, 12, 14)).astype(np.float32)
    _, wide = with_chances(chosen, lambda *_: narrow, np.zeros((4, 6, 7), np.float32), 1)
    expected = narrow[:, 1:].reshape(1, 2, 6, 2, 7, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(wide, expected, rtol=1e-5)


def test_a_network_gets_the_motion_that_the_fields_between_move_with():
    given = []

    def network(context, lead_times, motion):
        given.append((context, motion))
        return iter(np.zeros((lead_times, 3, SIZE, SIZE), np.float32))

    for step_min in (2.5, 10.0):
        chosen = resampling(step_min)
        list(chosen.leads(network, scans(chosen.context, step_min), 4, THRESHOLDS))
    (context, motion), (_, not_yet_known) = given
    np.testing.assert_array_equal(motion, scan_motion(context))
    assert motion.abs().max() > 1
    assert not_yet_known is None
