"""The order of an epoch: every sample once, few reads, well mixed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squall.datasets.training.epoch_plan import SPAN, epoch_order

WORKERS = [0, *(count for count in range(1, SPAN + 1) if SPAN % count == 0)]


def reads_of(
    samples: int, per_group: int, size: int, world: int = 1, workers: int = 0
) -> tuple[np.ndarray, int]:
    """How many crops of each batch its worker has not read ahead, and how many are never used.

    Batch k of a rank goes to its worker ``k % workers``; each rank takes ``size`` lanes.
    """
    whole = size * world
    order = epoch_order(samples, per_group, whole)
    read_ahead: dict[tuple[int, int], set[int]] = {}
    reads = np.zeros(-(-samples // whole), dtype=int)
    for place in range(samples):
        batch, lane = divmod(place, whole)
        group, member, end = (int(column[place]) for column in order)
        ahead = read_ahead.setdefault((lane // size, batch % max(1, workers)), set())
        if (group, member) in ahead:
            ahead.remove((group, member))
        else:
            reads[batch] += 1
            ahead |= {(group, later) for later in range(member + 1, end)}
    return reads, sum(map(len, read_ahead.values()))


@given(st.integers(0, 3000), st.integers(1, 9), st.integers(1, 20))
def test_every_sample_once(samples: int, per_group: int, global_batch: int) -> None:
    order = epoch_order(samples, per_group, global_batch)
    assert all(column.shape == (samples,) for column in order)
    numbers = order.group * per_group + order.member
    assert sorted(numbers.tolist()) == list(range(samples))
    assert ((order.member >= 0) & (order.member < order.end) & (order.end <= per_group)).all()


@given(st.integers(0, 3), st.integers(0, 200), st.integers(2, 6), st.integers(1, 4))
def test_a_batch_is_a_mixture_of_places(
    rounds: int, more: int, per_group: int, global_batch: int
) -> None:
    samples = rounds * SPAN * global_batch * per_group + more
    order = epoch_order(samples, per_group, global_batch)
    batch, lane = np.divmod(np.arange(samples), global_batch)
    chain = batch % SPAN * global_batch + lane
    scattered = set()
    for group in range(samples // per_group):
        members = order.group == group
        if np.unique(batch[members]).size == per_group and np.unique(chain[members]).size == 1:
            scattered.add(group)
    # all groups except those that do not fit into a chain
    assert len(scattered) == (np.bincount(chain) // per_group).sum() if samples else not scattered


@given(
    rounds=st.integers(0, 2),
    more=st.integers(0, 400),
    per_group=st.integers(1, 5),
    size=st.integers(1, 4),
    world=st.integers(1, 3),
    workers=st.sampled_from(WORKERS),
)
def test_all_samples_that_are_read_ahead_are_used(
    rounds: int, more: int, per_group: int, size: int, world: int, workers: int
) -> None:
    samples = rounds * SPAN * size * world * per_group + more
    _, left = reads_of(samples, per_group, size, world, workers)
    assert left == 0


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize(("size", "world"), [(4, 1), (2, 3), (3, 2), (1, 1)])
@pytest.mark.parametrize("per_group", [1, 4, 6])
def test_a_group_is_read_once_but_for_the_first_span(
    per_group: int, size: int, world: int, workers: int
) -> None:
    whole = size * world
    rounds = 5
    groups = rounds * SPAN * whole
    reads, _ = reads_of(groups * per_group, per_group, size, world, workers)
    # lanes that begin in the middle of their first groups read those again at the end
    again = SPAN * sum(lane % per_group > 0 for lane in range(whole))
    assert reads.sum() == groups + again
    # after the start all batches need about the same number of reads
    assert reads[:SPAN].tolist() == [whole] * SPAN
    assert np.ptp(reads[SPAN:]) <= 1


@pytest.mark.parametrize("workers", [0, 2, SPAN])
@pytest.mark.parametrize("world", [1, 2])
def test_long_epochs_of_any_length_read_a_group_about_once(world: int, workers: int) -> None:
    samples, per_group = 50_021, 4
    reads, _ = reads_of(samples, per_group, 4, world, workers)
    assert reads.sum() < 1.1 * samples / per_group


@pytest.mark.parametrize(("world", "most"), [(1, 300), (2, 400), (4, 600), (16, 800)])
@pytest.mark.parametrize("workers", [0, SPAN])
def test_short_epochs_share_fewer_reads(world: int, most: int, workers: int) -> None:
    """The default epoch of 800 samples, 200 groups, on several devices."""
    reads, _ = reads_of(800, 4, 4, world, workers)
    assert reads.sum() <= most
