"""One part of the time fits the ensembles, another part compares them."""

import numpy as np
import pytest

from squall.datasets.errors import DataError
from squall.pipeline.calibrate.parts import COMPARE, FIT, divided, spread
from tests.pipeline.calibrate.fake_archive import FakeArchive

BEFORE, AFTER = 3, 6
STEPS_OF_A_DAY = 144


def archive_of(days, rainy):
    """Scans of some days; it rains at the rainy ones."""
    rain = np.zeros((days * STEPS_OF_A_DAY, 2, 2), np.float32)
    for day in rainy:
        rain[day * STEPS_OF_A_DAY : (day + 1) * STEPS_OF_A_DAY] = 1
    return FakeArchive(rain)


def windows(cases):
    return {step for case in cases for step in range(max(0, case - BEFORE), case + AFTER + 1)}


@pytest.mark.parametrize("rainy", [[0, 1, 3, 4], [2], [1, 3]])
def test_the_parts_do_not_overlap_in_time(rainy):
    archive = archive_of(5, rainy)
    indices = range(archive.rain.shape[0])
    parts, fit, comparison = divided(archive, indices, before=BEFORE, after=AFTER)
    assert len(fit) > 50
    assert len(comparison) > 50
    assert not windows(fit) & windows(comparison)
    days = archive.times.normalize()
    if len(rainy) > 1:
        assert set(days[fit]) == set(days[[d * STEPS_OF_A_DAY for d in rainy[::2]]])
        assert not set(days[fit]) & set(days[comparison])
    else:
        assert max(fit) < min(comparison)
    # all cases belong to a part by their time, also dry ones
    all_cases = [parts.cases(part, indices) for part in (FIT, COMPARE)]
    assert not windows(all_cases[0]) & windows(all_cases[1])
    assert {*fit} <= {*all_cases[0]}
    assert {*comparison} <= {*all_cases[1]}


def test_a_case_without_its_context_is_not_used():
    archive = archive_of(1, [0])
    archive.status[40] = 0
    _, fit, comparison = divided(archive, range(144), before=BEFORE, after=AFTER)
    assert not {41, 42, 43} & {*fit, *comparison}
    assert 44 in fit
    assert min(fit) == BEFORE


def test_too_few_rainy_cases_are_an_error_that_says_what_to_do():
    archive = archive_of(2, [])
    archive.rain[10:24] = 1
    with pytest.raises(DataError, match=r"1 rainy forecasts to fit .* leave --members out"):
        divided(archive, range(len(archive.rain)), before=BEFORE, after=AFTER)
    archive.rain[:] = 0
    with pytest.raises(DataError, match="0 rainy forecasts to fit"):
        divided(archive, range(len(archive.rain)), before=BEFORE, after=AFTER)


def test_cases_are_spread_evenly():
    assert spread(range(10, 21), 3) == [10, 15, 20]
    assert spread([4, 5], 3) == [4, 5]
