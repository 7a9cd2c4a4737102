"""When rain begins and ends: the first spell of each member, and its medians."""

import numpy as np
import pytest

from squall.pipeline.forecast.spells import RainSpells

NAN = np.nan


def times_of(rain: list[list[int]], now: int = 0, step: float = 5.0, known=None, leads=None):
    """Times of one pixel; ``rain`` has for each member whether it rains at each lead time."""
    ranks = np.array(rain, np.uint8)[:, :, None, None]
    count = leads or ranks.shape[1]
    minutes = tuple(step * (index + 1) for index in range(count))
    spells = RainSpells.begin(np.array([[now]], np.uint8), 1, len(rain), minutes)
    for index in range(count):
        spells.add(index + 1, ranks[:, min(index, ranks.shape[1] - 1)])
    is_known = np.ones((len(rain), 1, 1), bool)
    if known is not None:
        is_known[:, 0, 0] = known
    chance, start, end, _ = spells.times(is_known)
    return int(chance[0, 0, 0]), float(start[0, 0, 0]), float(end[0, 0, 0])


@pytest.mark.parametrize(
    ("member", "start", "end"),
    [
        ([0, 1, 1, 0, 0, 0], 10, 20),
        ([1, 0, 0, 0, 0, 0], 5, 10),
        ([0, 0, 0, 0, 1, 1], 25, NAN),  # lasts beyond the forecast
        ([1, 0, 1, 0, 0, 0], 5, 20),  # a gap of 5 min
        ([1, 0, 0, 1, 0, 0], 5, 25),  # a gap of 10 min
        ([1, 0, 0, 0, 1, 0], 5, 10),  # a gap of 15 min ends it
        ([1, 0, 0, 0, 1, 1], 5, 10),  # what follows is another spell
    ],
)
def test_the_first_spell_of_rain(member, start, end):
    # both members are the same, so the median is theirs
    np.testing.assert_equal(times_of([member, member]), (200, start, end))


def test_a_gap_of_less_than_two_steps_does_not_end_a_shower():
    assert times_of([[1, 0, 1, 0]] * 2, step=15.0) == (200, 15, 60)
    assert times_of([[1, 0, 0, 1, 0]] * 2, step=15.0) == (200, 15, 30)
    assert times_of([[1, 0, 1, 0]] * 2, step=30.0) == (200, 30, 120)


def test_a_gap_of_short_steps_is_measured_in_minutes():
    assert times_of([[1, 0, 0, 0, 0, 1, 0]] * 2, step=2.0) == (200, 2, 14)


def test_quantiles_of_the_start_are_those_of_the_members_with_rain():
    members = np.zeros((5, 6, 1, 1), np.uint8)
    for member, lead in enumerate((0, 2, 3, 5)):  # the fifth is dry
        members[member, lead:] = 1
    spells = RainSpells.begin(np.array([[0]], np.uint8), 1, 5, (5.0, 10, 15, 20, 25, 30))
    for lead in range(6):
        spells.add(lead + 1, members[:, lead])
    times = spells.times(np.ones((5, 1, 1), bool), (0.1, 0.5, 0.9))
    # starts 5, 15, 20, 30: the tenth of the way from the first to the last is at member 0.3
    expected = [8, times.start_min.item(), 27]
    np.testing.assert_allclose(times.start_quantiles_min[:, 0, 0, 0], expected)
    too_few = spells.times(np.array([1, 0, 0, 0, 1], bool)[:, None, None], (0.1, 0.9))
    assert np.isnan(too_few.start_quantiles_min).all()
    assert too_few.start_quantiles_min.shape == (2, 1, 1, 1)


def test_medians_are_those_of_the_members_with_rain():
    members = [[0, 1, 0, 0], [0, 0, 1, 0], [1, 1, 1, 0], *[[0, 0, 0, 0]] * 2]
    assert times_of(members) == (120, 10, 20)
    assert times_of([[0, 1, 0, 0], [0, 0, 1, 0]]) == (200, 12.5, 17.5)


def test_an_end_is_missing_if_the_median_member_still_has_rain():
    still, ended = [1, 1, 1, 1], [1, 0, 0, 0]
    np.testing.assert_equal(times_of([still, still, ended]), (200, 5, NAN))
    np.testing.assert_equal(times_of([still, ended, ended]), (200, 5, 10))


def test_rain_at_the_reference_time_is_the_first_rain():
    np.testing.assert_equal(times_of([[1, 1, 0, 0]] * 2, now=1), (200, 0, 15))
    np.testing.assert_equal(times_of([[0, 0, 0, 0]] * 2, now=1), (200, 0, 5))


def test_few_members_with_rain_give_a_chance_and_no_time():
    wet, dry = [1, 0, 0, 0], [0, 0, 0, 0]
    np.testing.assert_equal(times_of([wet, *[dry] * 4]), (40, NAN, NAN))  # one member
    np.testing.assert_equal(times_of([wet, wet, *[dry] * 18]), (20, 5, 10))
    np.testing.assert_equal(times_of([wet, wet, *[dry] * 19]), (19, NAN, NAN))  # less than a tenth
    np.testing.assert_equal(times_of([dry, dry]), (0, NAN, NAN))


def test_members_that_are_not_always_known_do_not_count():
    wet, dry = [1, 0, 0, 0], [0, 0, 0, 0]
    members = [wet, wet, dry, dry]
    assert times_of(members, known=[True, True, True, False])[0] == 133
    assert times_of(members, known=[True, False, False, True])[0] == 100
    np.testing.assert_equal(times_of(members, known=[True, False, False, False]), (255, NAN, NAN))


def test_more_than_255_lead_times():
    np.testing.assert_equal(times_of([[0] * 299 + [1, 0]] * 2, step=1.0), (200, 300, 301))
