"""Stretches of a mask: by hand, and against numpy for any mask."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from squall.datasets.runs import runs


def test_by_hand() -> None:
    mask = np.array([1, 1, 0, 0, 1, 0, 1], dtype=bool)
    assert runs(mask) == [(0, 2), (4, 5), (6, 7)]
    assert runs(mask[:0]) == runs(np.zeros(3, dtype=bool)) == []
    assert runs(np.ones(3, dtype=bool)) == [(0, 3)]


@given(arrays(bool, st.integers(0, 30)))
def test_stretches_cover_the_mask_and_do_not_touch(mask: np.ndarray) -> None:
    stretches = runs(mask)
    covered = np.zeros_like(mask)
    for first, end in stretches:
        assert end > first
        covered[first:end] = True
    np.testing.assert_array_equal(covered, mask)
    assert all(end < first for (_, end), (first, _) in pairwise(stretches))
