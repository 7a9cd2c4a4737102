"""Window index and sampling: pure index arithmetic, against plain loops."""

from collections import Counter
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from squall.datasets.runs import runs
from squall.datasets.training.windows import Crop, RainBlocks, RainSampler, window_starts

masks = st.lists(st.booleans(), max_size=60).map(lambda values: np.array(values, dtype=bool))


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
    stretches = runs(mask)
    again = np.zeros_like(mask)
    for first, end in stretches:
        assert first < end
        again[first:end] = True
    np.testing.assert_array_equal(again, mask)
    for (_, end), (first, _) in pairwise(stretches):
        assert end < first


# --- sampling ----------------------------------------------------------------------------------

BLOCK = 32
SCANS = 20
BLOCKS = (4, 6)  # of a domain of 120 x 190: the last row and column of blocks are cut
DRAWS = 2000


def rain_of(blocks: tuple[int, int] = BLOCKS, value: float = 0.0) -> np.ndarray:
    return np.full((SCANS, *blocks), value, dtype=np.float32)


def sampler(
    rain: np.ndarray | None = None,
    observed: np.ndarray | None = None,
    *,
    scans: Any = range(SCANS),
    starts: Any = range(15),
    strength: float = 20.0,
    shape: tuple[int, int] = (120, 190),
    crop: int = 64,
    length: int = 6,
    cell: tuple[int, int] = (8, 64),
) -> RainSampler:
    blocks = (-(-shape[0] // BLOCK), -(-shape[1] // BLOCK))
    return RainSampler(
        RainBlocks.of(
            np.array(scans),
            rain_of(blocks) if rain is None else rain,
            rain_of(blocks, 1.0) if observed is None else observed,
            shape=shape,
            block=BLOCK,
        ),
        np.array(starts),
        length,
        crop=crop,
        strength=strength,
        cell=cell,
    )


def draws(source: RainSampler, count: int = 300, seed: int = 0) -> list[Crop]:
    rng = np.random.default_rng(seed)
    return [source.draw(rng)[0] for _ in range(count)]


def rain_in_one_corner() -> np.ndarray:
    """Only the scans from 10 on, only in the lower right block of the whole ones."""
    rain = rain_of()
    rain[10:, 2, 4] = 5.0
    return rain


def test_the_same_generator_gives_the_same_crops() -> None:
    a, b = sampler(rain_in_one_corner()), sampler(rain_in_one_corner())
    assert draws(a, seed=3) == draws(b, seed=3)
    assert draws(a, seed=3) != draws(b, seed=4)
    crops, crops_again = (source.draw(np.random.default_rng(5), 9) for source in (a, b))
    assert crops == crops_again
    assert len(crops) == 9


@given(
    st.integers(33, 200),
    st.integers(33, 200),
    st.integers(8, 200),
    st.tuples(st.integers(1, 30), st.integers(1, 300)),
    st.integers(0, 2**32),
)
def test_crops_lie_inside_the_domain_and_in_one_cell(
    height: int, width: int, crop: int, cell: tuple[int, int], seed: int
) -> None:
    crop = min(crop, height, width)
    rng = np.random.default_rng(seed)
    blocks = (SCANS, -(-height // BLOCK), -(-width // BLOCK))
    scans = np.sort(rng.choice(90, SCANS, replace=False))
    source = sampler(
        rng.gamma(0.3, 2.0, blocks).astype(np.float32),
        rng.random(blocks, dtype=np.float32),
        scans=scans,
        shape=(height, width),
        crop=crop,
        cell=cell,
    )
    side = max(BLOCK, cell[1] // BLOCK * BLOCK)
    for _ in range(3):
        crops = source.draw(rng, 5)
        for place in crops:
            assert place.scan in scans[:15]
            assert all(type(number) is int for number in (place.scan, place.row, place.column))
        assert len({place.scan // cell[0] for place in crops}) == 1
        for offsets, size in (([c.row for c in crops], height), ([c.column for c in crops], width)):
            assert len({offset // side for offset in offsets}) == 1
            assert all(0 <= offset <= size - crop for offset in offsets)


@pytest.mark.parametrize("starts", [[3], [2, 9, 14]])
def test_only_the_given_windows_are_drawn(starts: list[int]) -> None:
    assert {place.scan for place in draws(sampler(starts=starts))} == set(starts)


def test_starts_are_numbers_of_good_scans_and_crops_say_the_time() -> None:
    scans = [*range(4, 14), *range(40, 50)]  # 10 good scans, a gap, 10 more
    drawn_scans = {place.scan for place in draws(sampler(scans=scans, starts=[0, 4, 10, 14]))}
    assert drawn_scans == {4, 8, 40, 44}


# --- probabilities -----------------------------------------------------------------------------


def chance_of_each_crop(
    rain: np.ndarray,
    observed: np.ndarray,
    starts: list[int],
    *,
    length: int,
    crop: int,
    strength: float,
    shape: tuple[int, int],
) -> Counter[tuple[int, int, int]]:
    """The documented probabilities of (start, row, column), in plain loops."""

    def scaled(scores: list[float]) -> list[float]:
        mean = sum(scores) / len(scores)
        return [1 + strength * (score / mean if mean else 0) for score in scores]

    score = observed * (1 - np.exp(-rain))
    side = max(1, crop // BLOCK)
    # upper left blocks where a whole crop fits in
    rows = range((shape[0] - crop) // BLOCK + 1)
    columns = range((shape[1] - crop) // BLOCK + 1)
    of_windows = scaled([float(score[start : start + length].mean()) for start in starts])
    chances: Counter[tuple[int, int, int]] = Counter()
    for start, weight in zip(starts, of_windows, strict=True):
        boxes = [
            np.s_[start : start + length, row : row + side, column : column + side]
            for row, column in product(rows, columns)
        ]
        within = [  # positions of the crop whose upper left pixel is in the block
            list(
                product(
                    range(row * BLOCK, min(row * BLOCK + BLOCK, shape[0] - crop + 1)),
                    range(column * BLOCK, min(column * BLOCK + BLOCK, shape[1] - crop + 1)),
                )
            )
            for row, column in product(rows, columns)
        ]
        of_crops = scaled([float(score[box].mean()) for box in boxes])
        weights = [w * float(observed[box].mean()) for w, box in zip(of_crops, boxes, strict=True)]
        total = sum(w * len(places) for w, places in zip(weights, within, strict=True))
        for value, places in zip(weights, within, strict=True):
            for place in places:
                chances[start, *place] += weight / sum(of_windows) * value / total
    return chances


@pytest.mark.parametrize(
    ("shape", "crop", "cell", "per_read"),
    [
        ((120, 190), 64, (8, 64), 1),  # 2 x 4 upper left blocks in tiles of 2 x 2
        ((160, 250), 64, (8, 96), 4),  # 4 x 6 in ragged tiles of 3 x 3
        ((120, 190), 40, (7, 160), 4),  # 3 x 5 in tiles of 5 x 5, of no whole block
        ((96, 130), 20, (1, 48), 4),  # smaller than a block, each window its own chunk
        ((70, 200), 70, (100, 96), 4),  # one row of places, ragged tiles of 3
    ],
)
def test_crops_have_the_documented_probabilities(
    shape: tuple[int, int], crop: int, cell: tuple[int, int], per_read: int
) -> None:
    rng = np.random.default_rng(11)
    blocks = (-(-shape[0] // BLOCK), -(-shape[1] // BLOCK))
    rain = rng.gamma(0.2, 4.0, (SCANS, *blocks)).astype(np.float32)
    observed = rng.choice([0.25, 0.5, 1.0], (SCANS, *blocks)).astype(np.float32)
    starts, length, strength = [0, 1, 2, 3, 7, 8, 14], 6, 8.0
    chances = chance_of_each_crop(
        rain,
        observed,
        starts,
        length=length,
        crop=crop,
        strength=strength,
        shape=shape,
    )
    source = sampler(
        rain,
        observed,
        starts=starts,
        strength=strength,
        shape=shape,
        crop=crop,
        length=length,
        cell=cell,
    )

    ends = [0, *source._chunk_ends.tolist()]
    weights = np.concatenate([source._crop_weights(slice(*edges)) for edges in pairwise(ends)])
    exact = np.zeros_like(weights)
    for (start, row, column), chance in chances.items():
        exact[starts.index(start), row // BLOCK, column // BLOCK] += chance
    np.testing.assert_allclose(weights, exact, rtol=2e-3)  # scores are float16

    def binned(counts: Counter[tuple[int, int, int]]) -> Counter[tuple[int, int, int]]:
        bins: Counter[tuple[int, int, int]] = Counter()
        for (start, row, column), count in counts.items():
            bins[start, row // 16, column // 16] += count
        return bins

    expected = binned(chances)
    assert sum(expected.values()) == pytest.approx(1)
    generator = np.random.default_rng(0)
    groups = [source.draw(generator, per_read) for _ in range(DRAWS)]
    for member in range(per_read):
        # members of a group are not independent draws; the same members of all groups are
        crops = [group[member] for group in groups]
        counts = binned(Counter((c.scan, c.row, c.column) for c in crops))
        assert counts.keys() <= expected.keys()
        often = [key for key, chance in expected.items() if chance * DRAWS >= 5]
        f_obs = np.array([counts[key] for key in often] + [DRAWS - sum(counts[k] for k in often)])
        f_exp = DRAWS * np.array([expected[key] for key in often] + [0.0])
        f_exp[-1] = DRAWS - f_exp.sum()
        kept = f_exp > 1  # the rest is in one bin, which may be empty
        f_exp, f_obs = f_exp[kept], f_obs[kept]
        tested = stats.chisquare(f_obs, f_exp * f_obs.sum() / f_exp.sum())
        assert tested.pvalue > 1e-4


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


def test_the_probability_of_a_window_by_hand() -> None:
    # windows of one scan, the second with rain: scores 0 and 2 after scaling to mean 1,
    # weights 1 and 1 + 3 * 2 = 7
    rain = rain_of()
    rain[1] = 1.0
    places = draws(sampler(rain, starts=[0, 1], length=1, strength=3.0), 1500)
    assert np.mean([place.scan for place in places]) == pytest.approx(7 / 8, abs=0.02)


def test_rain_anywhere_in_a_window_counts() -> None:
    rain = rain_of()
    rain[5] = 1.0  # the last scan of the first of two windows: weights 7 and 1 again
    places = draws(sampler(rain, starts=[0, 14], strength=3.0), 1000)
    assert np.mean([place.scan == 0 for place in places]) == pytest.approx(7 / 8, abs=0.03)


def test_every_place_can_be_drawn_without_preference() -> None:
    places = draws(sampler(strength=0, shape=(128, 192)), 1000)
    assert {p.scan for p in places} == set(range(15))
    rows, columns = np.array([(p.row, p.column) for p in places]).T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, 64, 0, 128)


def test_unobserved_areas_are_avoided() -> None:
    observed = rain_of()
    observed[:, 0, :2] = 1.0  # only the upper left 32 x 64 pixels have radar
    for place in draws(sampler(observed=observed, crop=32), 200):
        assert place.row < 32
        assert place.column < 64


@pytest.mark.parametrize("observed", [0.0, 1.0])
def test_archives_that_are_all_dry_or_all_missing(observed: float) -> None:
    source = sampler(observed=rain_of(value=observed))
    assert not source.rains
    assert len({place.scan for place in draws(source)}) == 15


def test_dry_windows_of_an_archive_that_rains_elsewhere() -> None:
    source = sampler(rain_in_one_corner(), starts=[0, 1, 2])
    assert not source.rains
    assert {p.scan for p in draws(source)} == {0, 1, 2}
    assert sampler(rain_in_one_corner(), starts=[2, 5]).rains


def test_rain_at_unobserved_pixels_does_not_count() -> None:
    observed = rain_of(value=1.0)
    observed[:, 2, 4] = 0.0
    assert not sampler(rain_in_one_corner(), observed).rains


def test_years_of_rain_before_a_window_do_not_blur_it() -> None:
    """Scores are differences of running sums, which must keep a light shower after years."""
    scans = 300_000
    rain = np.full((scans, 1, 1), 3.0, dtype=np.float32)
    rain[-20:] = 0.0
    rain[-3, 0, 0] = 0.01
    blocks = RainBlocks.of(np.arange(scans), rain, np.ones_like(rain), shape=(32, 32), block=32)
    starts = np.arange(scans - 20, scans - 5)
    source = RainSampler(blocks, starts, 6, crop=32, strength=100.0, cell=(24, 32))
    assert source.rains
    wet = np.mean([place.scan + 6 > scans - 3 for place in draws(source, 500)])
    assert wet > 0.95  # 3 of 15 windows have it
