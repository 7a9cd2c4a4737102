"""Window index, splits and sampling: pure index arithmetic, against plain loops."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from datasets.windows import Crop, Period, RainSampler, SplitConfig, runs, window_starts

masks = st.lists(st.booleans(), max_size=60).map(lambda values: np.array(values, dtype=bool))


def times(count: int) -> pd.DatetimeIndex:
    return pd.date_range("2024-06-01", periods=count, freq="5min")


# --- contiguity --------------------------------------------------------------------------------


@given(masks, st.integers(1, 20))
def test_window_starts_against_a_plain_loop(usable: np.ndarray, length: int) -> None:
    expected = [
        start
        for start in range(usable.size - length + 1)
        if all(usable[start + step] for step in range(length))
    ]
    assert window_starts(usable, length).tolist() == expected


@given(masks)
def test_runs_are_the_stretches_of_the_mask(mask: np.ndarray) -> None:
    found = runs(mask)
    again = np.zeros_like(mask)
    for first, end in found:
        assert first < end
        again[first:end] = True
    np.testing.assert_array_equal(again, mask)
    for (_, end), (first, _) in pairwise(found):
        assert end < first


# --- periods and splits ------------------------------------------------------------------------


def test_a_period_starts_inclusive_and_ends_exclusive() -> None:
    period = Period(start="2024-06-01T00:05", end="2024-06-01T00:15")
    assert period.contains(times(5)).tolist() == [False, True, True, False, False]


@pytest.mark.parametrize("start", ["2024-06-01T00:05Z", "2024-06-01T02:05+02:00"])
def test_a_period_may_name_its_time_zone(start: str) -> None:
    period = Period(start=start, end="2024-06-01T00:15")
    assert period.contains(times(5)).tolist() == [False, True, True, False, False]


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ("2024-06-02", "2024-06-01", "must be before end"),
        ("2024-06-01", "2024-06-01", "must be before end"),
        ("yesterday evening", "2024-06-01", "not a time"),
        ("", "2024-06-01", "must be before end"),
    ],
)
def test_what_is_no_period(start: str, end: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Period(start=start, end=end)


@pytest.mark.parametrize("changes", [{"validation_fraction": 0}, {"validation_fraction": 1}])
def test_what_is_no_split(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="validation_fraction"):
        SplitConfig(**changes)


periods = st.lists(
    st.tuples(st.integers(0, 70), st.integers(1, 30)).map(
        lambda p: Period(start=str(times(100)[p[0]]), end=str(times(101)[p[0] + p[1]]))
    ),
    max_size=3,
).map(tuple)
ok_masks = st.lists(st.sampled_from([True] * 9 + [False]), min_size=70, max_size=70).map(np.array)


@given(periods, periods, st.floats(0.05, 0.95), ok_masks, st.integers(1, 8))
def test_no_scan_is_in_two_splits(
    validation: tuple[Period, ...],
    test: tuple[Period, ...],
    fraction: float,
    ok: np.ndarray,
    length: int,
) -> None:
    split = SplitConfig(validation=validation, test=test, validation_fraction=fraction)
    axis = times(70)
    training, validating = split.regions(axis, ok)
    testing = np.zeros(70, dtype=bool)
    for period in test:
        testing |= period.contains(axis)
    assert not (training & validating).any()
    assert not ((training | validating) & testing).any()
    # and so no window of one has a scan of another
    held = {
        name: {
            start + step
            for start in window_starts(region & ok, length).tolist()
            for step in range(length)
        }
        for name, region in (("train", training), ("validate", validating), ("test", testing))
    }
    assert not held["train"] & held["validate"]
    assert not held["train"] & held["test"]
    assert not held["validate"] & held["test"]
    assert all(ok[index] for index in held["train"] | held["validate"])


def test_periods_of_validation_and_test() -> None:
    split = SplitConfig(
        validation=(Period(start="2024-06-01T00:10", end="2024-06-01T00:25"),),
        test=(Period(start="2024-06-01T00:20", end="2024-06-01T00:30"),),
    )
    training, validation = split.regions(times(8), np.ones(8, dtype=bool))
    # 00:20 is in both: test wins
    assert np.flatnonzero(validation).tolist() == [2, 3]
    assert np.flatnonzero(training).tolist() == [0, 1, 6, 7]


def test_the_last_share_validates_where_no_period_lies() -> None:
    ok = np.ones(20, dtype=bool)
    ok[2:12] = False  # shares are counted in good scans: 10 of them, the last 3 validate
    split = SplitConfig(
        validation=(Period(start="1999-01-01", end="1999-01-02"),), validation_fraction=0.3
    )
    training, validation = split.regions(times(20), ok)
    assert np.flatnonzero(validation).tolist() == [17, 18, 19]
    assert training.sum() == 17


def test_the_last_share_leaves_the_test_period_alone() -> None:
    split = SplitConfig(
        test=(Period(start="2024-06-01T01:00", end="2024-06-02"),), validation_fraction=0.5
    )
    training, validation = split.regions(times(20), np.ones(20, dtype=bool))
    assert np.flatnonzero(training).tolist() == list(range(6))
    assert np.flatnonzero(validation).tolist() == list(range(6, 12))


def test_a_split_of_nothing() -> None:
    training, validation = SplitConfig().regions(times(0), np.zeros(0, dtype=bool))
    assert training.size == validation.size == 0
    training, validation = SplitConfig().regions(times(5), np.zeros(5, dtype=bool))
    assert training.all()
    assert not validation.any()


# --- sampling ----------------------------------------------------------------------------------

BLOCKS = (4, 6)  # of 32 pixels: a domain of 120 x 190, the last row and column of blocks cut


def sampler(
    rain: np.ndarray | None = None,
    observed: np.ndarray | None = None,
    *,
    starts: Any = range(15),
    strength: float = 20.0,
    shape: tuple[int, int] = (120, 190),
    crop: int = 64,
    length: int = 6,
) -> RainSampler:
    blocks = (20, -(-shape[0] // 32), -(-shape[1] // 32))
    return RainSampler(
        np.array(starts),
        length,
        np.zeros(blocks, dtype=np.float32) if rain is None else rain,
        np.ones(blocks, dtype=np.float32) if observed is None else observed,
        shape=shape,
        block=32,
        crop=crop,
        strength=strength,
    )


def draws(source: RainSampler, count: int = 300, seed: int = 0) -> list[Crop]:
    rng = np.random.default_rng(seed)
    return [source.draw(rng) for _ in range(count)]


def rain_in_one_corner() -> np.ndarray:
    """Only the scans from 10 on, only in the lower right block of the whole ones."""
    rain = np.zeros((20, *BLOCKS), dtype=np.float32)
    rain[10:, 2, 4] = 5.0
    return rain


def test_the_same_generator_gives_the_same_crops() -> None:
    a, b = sampler(rain_in_one_corner()), sampler(rain_in_one_corner())
    assert draws(a, seed=3) == draws(b, seed=3)
    assert draws(a, seed=3) != draws(b, seed=4)


@given(
    st.integers(33, 200),
    st.integers(33, 200),
    st.integers(8, 256),
    st.integers(0, 2**32),
)
def test_crops_lie_inside_the_domain(height: int, width: int, crop: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = (20, -(-height // 32), -(-width // 32))
    source = sampler(
        rng.gamma(0.3, 2.0, blocks).astype(np.float32),
        rng.random(blocks, dtype=np.float32),
        shape=(height, width),
        crop=crop,
    )
    for place in draws(source, 20, seed):
        assert 0 <= place.scan <= 14
        assert 0 <= place.row <= max(0, height - crop)
        assert 0 <= place.column <= max(0, width - crop)


@pytest.mark.parametrize("starts", [[3], [2, 9, 14]])
def test_only_the_given_windows_are_drawn(starts: list[int]) -> None:
    assert {place.scan for place in draws(sampler(starts=starts))} == set(starts)


def test_rain_is_preferred_in_time_and_space() -> None:
    places = draws(sampler(rain_in_one_corner()), 600)
    even = draws(sampler(rain_in_one_corner(), strength=0), 600)

    def share_with_rain(crops: list[Crop]) -> float:
        # the raining block is rows 64 to 95, columns 128 to 159; windows from 5 on reach scan 10
        hits = [
            c.scan + 6 > 10 and c.row < 96 and c.row + 64 > 64 and c.column + 64 > 128
            for c in crops
        ]
        return float(np.mean(hits))

    assert share_with_rain(places) > share_with_rain(even) + 0.15
    late = np.mean([place.scan >= 10 for place in places])
    assert late > np.mean([place.scan >= 10 for place in even]) + 0.1


def test_a_window_is_as_likely_as_its_rain_says() -> None:
    # windows of one scan, the second with rain: scores 0 and 2 after scaling to mean 1,
    # weights 1 and 1 + 3 * 2 = 7
    rain = np.zeros((20, *BLOCKS), dtype=np.float32)
    rain[1] = 1.0
    places = draws(sampler(rain, starts=[0, 1], length=1, strength=3.0), 4000)
    assert np.mean([place.scan for place in places]) == pytest.approx(7 / 8, abs=0.02)


def test_rain_anywhere_in_a_window_counts() -> None:
    rain = np.zeros((20, *BLOCKS), dtype=np.float32)
    rain[5] = 1.0  # the last scan of the first of two windows: weights 7 and 1 again
    places = draws(sampler(rain, starts=[0, 14], strength=3.0), 2000)
    assert np.mean([place.scan == 0 for place in places]) == pytest.approx(7 / 8, abs=0.03)


def test_every_place_can_be_drawn_without_preference() -> None:
    places = draws(sampler(strength=0, shape=(128, 192)), 4000)
    assert {p.scan for p in places} == set(range(15))
    rows, columns = np.array([(p.row, p.column) for p in places]).T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, 64, 0, 128)


def test_unobserved_areas_are_avoided() -> None:
    observed = np.zeros((20, *BLOCKS), dtype=np.float32)
    observed[:, 0, :2] = 1.0  # only the upper left 32 x 64 pixels have radar
    for place in draws(sampler(observed=observed, crop=32), 200):
        assert place.row < 32
        assert place.column < 64


@pytest.mark.parametrize("observed", [0.0, 1.0])
def test_archives_that_are_all_dry_or_all_missing(observed: float) -> None:
    share = np.full((20, *BLOCKS), observed, dtype=np.float32)
    assert len({place.scan for place in draws(sampler(observed=share))}) == 15


def test_dry_windows_of_an_archive_that_rains_elsewhere() -> None:
    assert {p.scan for p in draws(sampler(rain_in_one_corner(), starts=[0, 1, 2]))} == {0, 1, 2}


@pytest.mark.parametrize("shape", [(20, 25), (64, 20), (33, 200)])
def test_domains_smaller_than_the_crop(shape: tuple[int, int]) -> None:
    for place in draws(sampler(shape=shape, crop=128), 50):
        assert place.row == 0
        assert place.column <= max(0, shape[1] - 128)
