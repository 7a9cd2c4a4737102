"""Random numbers follow from seed, reference time, member and purpose."""

import numpy as np
import pytest
import torch

from squall.convgru.ensemble.random_numbers import RandomSource
from tests.convgru.ensemble.evolving_rain import TIME


def test_all_that_names_the_numbers_changes_them():
    later = TIME + np.timedelta64(5, "m")
    drawn = [
        RandomSource(seed, time).normal(member, purpose, (5,))
        for seed, time, member, purpose in (
            (0, TIME, 0, "noise 1"),
            (1, TIME, 0, "noise 1"),
            (0, later, 0, "noise 1"),
            (0, TIME, 1, "noise 1"),
            (0, TIME, 0, "noise 2"),
            (0, TIME, 11, "noise 1"),
            (0, TIME, 1, "noise 11"),
        )
    ]
    assert len({tuple(values.tolist()) for values in drawn}) == len(drawn)


def test_the_unit_of_the_reference_time_changes_nothing():
    drawn = [
        RandomSource(0, TIME.astype(f"datetime64[{unit}]")).normal(2, "noise 1", (5,))
        for unit in ("m", "s", "ms", "us", "ns")
    ]
    assert all(torch.equal(drawn[0], values) for values in drawn[1:])


def test_the_numbers_are_these_on_each_machine():
    drawn = RandomSource(0, TIME).normal(3, "noise 1", (4,)).tolist()
    numbers = [-0.7245295, -0.5949809, -1.4197005, -0.4122706]
    assert drawn == pytest.approx(numbers, rel=1e-6)


def test_a_smooth_field_has_variance_1_and_its_correlation_length():
    length = 5.0
    fields = torch.stack(
        [RandomSource(1, TIME).smooth(m, "along", (20, 30), length) for m in range(400)]
    )
    assert fields.shape == (400, 20, 30)
    assert fields.mean().item() == pytest.approx(0, abs=0.06)
    assert fields.var().item() == pytest.approx(1, abs=0.06)
    lagged = (fields[:, :, :-5] * fields[:, :, 5:]).mean().item()
    assert lagged == pytest.approx(np.exp(-0.5), abs=0.06)
    opposite = (fields[:, :, 0] * fields[:, :, -1]).mean().item()
    assert opposite == pytest.approx(0, abs=0.12)
