"""Block statistics are read chunk by chunk, and a bounded part of them is kept."""

import tracemalloc

import numpy as np
import pytest

from squall.datasets.training.windows import RainBlocks, RainSampler
from tests.datasets.training.test_windows import BLOCK, BLOCKS, SCANS, draws, rain_in_one_corner


def chunked(
    rain: np.ndarray, observed: np.ndarray, scans: np.ndarray, *, span: int, cache_bytes: int
) -> tuple[RainBlocks, list[np.ndarray]]:
    """Blocks that are read in chunks, and the time indices of each read."""
    reads: list[np.ndarray] = []

    def read(chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        reads.append(chosen)
        numbers = np.searchsorted(scans, chosen)
        return rain[numbers], observed[numbers]

    blocks = RainBlocks(
        scans, read, span=span, shape=(120, 190), block=BLOCK, cache_bytes=cache_bytes
    )
    return blocks, reads


@pytest.mark.parametrize("span", [1, 4, 7, 100])
@pytest.mark.parametrize("cache_bytes", [0, 500, 10**9])
def test_the_crops_do_not_depend_on_chunks_and_cache(span: int, cache_bytes: int) -> None:
    rng = np.random.default_rng(1)
    rain = rng.gamma(0.2, 5.0, (SCANS, *BLOCKS)).astype(np.float32)
    observed = rng.random((SCANS, *BLOCKS), dtype=np.float32)
    scans = np.sort(rng.choice(60, SCANS, replace=False))
    blocks, _ = chunked(rain, observed, scans, span=span, cache_bytes=cache_bytes)
    whole = RainBlocks.of(scans, rain, observed, shape=(120, 190), block=BLOCK)
    np.testing.assert_array_equal(blocks.mean_scores, whole.mean_scores)
    crops = [
        draws(RainSampler(b, np.arange(15), 6, crop=64, strength=20.0, cell=(8, 64)), 100)
        for b in (blocks, whole)
    ]
    assert crops[0] == crops[1]


def test_each_chunk_is_read_once_if_all_fit_into_the_cache() -> None:
    rain, scans = rain_in_one_corner(), np.arange(SCANS)
    one_chunk = 2 * 2 * 5 * BLOCKS[0] * BLOCKS[1]  # two fields of two bytes, five scans
    for cache_bytes, again in ((4 * one_chunk, False), (2 * one_chunk, True)):
        blocks, reads = chunked(rain, rain, scans, span=5, cache_bytes=cache_bytes)
        assert [read.tolist() for read in reads] == scans.reshape(4, 5).tolist()
        blocks.rows(0, SCANS)
        assert (len(reads) > 4) == again


def test_memory_does_not_grow_with_the_number_of_scans() -> None:
    """One scan has 2 × 2 × 900 bytes; 4,000 scans would take 14 MB."""
    field = np.random.default_rng(1).random((256, 30, 30), dtype=np.float32)

    def peak_bytes(scans: int) -> int:
        tracemalloc.start()
        try:
            blocks = RainBlocks(
                np.arange(scans),
                lambda chosen: (field[chosen % 256], field[chosen % 256]),
                span=256,
                shape=(960, 960),
                block=BLOCK,
                cache_bytes=2 * 10**6,
            )
            starts = np.arange(scans - 16)
            source = RainSampler(blocks, starts, 16, crop=256, strength=5.0, cell=(24, 256))
            draws(source, 20)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    short, long = peak_bytes(1000), peak_bytes(4000)
    assert long < 14e6
    assert long - short < 3000 * 100  # some numbers for each scan, but not its blocks
