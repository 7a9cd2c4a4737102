"""Measures of a scan: block statistics against a plain loop, and the checksum."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from squall.datasets.coding import RAIN_CODE
from squall.datasets.measures import BLOCK, BLOCK_STATISTICS, measure


def plain_statistics(codes: np.ndarray) -> dict[str, np.ndarray]:
    """Block statistics, block by block and pixel by pixel."""
    height, width = codes.shape
    statistics: dict[str, Any] = {"rain_rate": [], "wet_share": [], "observed_share": []}
    for top in range(0, height, BLOCK):
        row: dict[str, list[float]] = {name: [] for name in statistics}
        for left in range(0, width, BLOCK):
            rates = [
                float(RAIN_CODE.table[code])
                for code in codes[top : top + BLOCK, left : left + BLOCK].ravel()
            ]
            observed = [rate for rate in rates if rate == rate]
            wet = [rate for rate in observed if rate > 0]
            row["rain_rate"].append(sum(observed) / len(observed) if observed else 0.0)
            row["wet_share"].append(len(wet) / len(observed) if observed else 0.0)
            row["observed_share"].append(len(observed) / len(rates))
        for name, values in row.items():
            statistics[name].append(values)
    return {name: np.array(values) for name, values in statistics.items()}


@given(
    arrays(
        np.uint8,
        st.tuples(st.integers(1, 70), st.integers(1, 70)),
        elements=st.sampled_from([0, 0, 1, 100, 254, 255]),
        fill=st.sampled_from([0, 255]),
    )
)
@settings(max_examples=30, deadline=None)
def test_block_statistics_against_a_plain_loop(codes: np.ndarray) -> None:
    statistics = dict(zip(BLOCK_STATISTICS, measure(codes).blocks, strict=True))
    for name, values in plain_statistics(codes).items():
        assert statistics[name].dtype == np.float32
        np.testing.assert_allclose(statistics[name], values, rtol=1e-5, err_msg=name)


def test_block_statistics_by_hand() -> None:
    # 40 x 32: a whole block above an 8 x 32 rest
    codes = np.zeros((40, 32), dtype=np.uint8)
    codes[:16] = RAIN_CODE.NOT_OBSERVED  # half of the upper block
    codes[16:24] = RAIN_CODE.WETTEST  # half of its observed pixels: 205 mm/h
    statistics = dict(zip(BLOCK_STATISTICS, measure(codes).blocks, strict=True))
    np.testing.assert_allclose(statistics["observed_share"], [[0.5], [1.0]])
    np.testing.assert_allclose(statistics["wet_share"], [[0.5], [0.0]])
    np.testing.assert_allclose(statistics["rain_rate"], [[102.5], [0.0]], rtol=1e-6)


@given(
    arrays(
        np.uint8,
        st.tuples(st.integers(1, 4), st.integers(1, 3)).map(lambda n: (n[0] * 37, n[1] * 53)),
        elements=st.sampled_from([0, 254, 255]),
        fill=st.just(254),
    )
)
@settings(max_examples=10)
def test_a_full_block_of_the_heaviest_rain_does_not_overflow(codes: np.ndarray) -> None:
    statistics = dict(zip(BLOCK_STATISTICS, measure(codes).blocks, strict=True))
    for name, values in plain_statistics(codes).items():
        np.testing.assert_allclose(statistics[name], values, rtol=1e-5, err_msg=name)


def test_equal_pixels_have_equal_checksums() -> None:
    codes = np.random.default_rng(0).integers(0, 256, (50, 70)).astype(np.uint8)
    same = [codes, np.asfortranarray(codes), np.repeat(codes, 2, axis=1)[:, ::2]]
    assert len({measure(scan).checksum for scan in same}) == 1
    other = codes.copy()
    other[7, 9] += 1
    assert measure(other).checksum != measure(codes).checksum
