"""Arrays in temporary files: what they hold, and what is said when the disk is full."""

from pathlib import Path

import numpy as np
import pytest

from squall.convgru import file_arrays
from squall.convgru.file_arrays import release, zeros


def pages_kb(kind: str) -> int:
    """Memory of this process: ``RssAnon``, or the pages of files, ``RssFile`` and ``RssShmem``."""
    with Path("/proc/self/status").open() as lines:
        return sum(int(line.split()[1]) for line in lines if line.startswith(kind))


@pytest.mark.parametrize("limit", [0, 2**28])
def test_values_stay_when_their_pages_are_released(monkeypatch, limit):
    monkeypatch.setattr(file_arrays, "IN_MEMORY_BYTES", limit)
    values = zeros((3, 4, 5), np.float32)
    assert not values.any()
    values[1] = 7
    release(values)
    assert (values[1] == 7).all()
    assert not values[::2].any()
    assert values.flags.writeable


def test_a_large_array_takes_no_memory_of_the_process_once_it_is_released(monkeypatch):
    monkeypatch.setattr(file_arrays, "IN_MEMORY_BYTES", 0)
    before = pages_kb("RssAnon")
    values = zeros((2**24,), np.float32)
    values[:] = 1
    written = pages_kb("RssFile") + pages_kb("RssShmem")
    release(values[:5], np.zeros(3))
    released = pages_kb("RssFile") + pages_kb("RssShmem")
    assert pages_kb("RssAnon") - before < 2**14
    assert written - released > 2**15
    assert values.sum() == 2**24


def test_a_part_of_something_large_lies_in_a_file(monkeypatch):
    monkeypatch.setattr(file_arrays, "IN_MEMORY_BYTES", 1000)
    assert zeros((10,), np.uint8).base is None
    assert zeros((10,), np.uint8, of_bytes=2000).base is not None
    assert zeros((0, 10), np.uint8, of_bytes=2000).size == 0


def test_too_little_space_is_an_error_and_does_not_kill_the_process():
    with pytest.raises(OSError, match=r"space|large"):
        zeros((2**47,), np.uint8)
