"""The order of an epoch's samples, the same for any number of ranks and workers.

Samples come in groups that are cut from one read of the archive. The order scatters a group over
batches that one worker of one rank makes, so that each read is decoded once and every batch is a
mixture of many places: a shuffle buffer that is a formula. Pure index arithmetic.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

SPAN = 12
"""Batches between two samples of a group. Batches go to workers in turn, so a group stays with one
worker where the number of workers divides the span."""

Integers = npt.NDArray[np.int64]


class EpochOrder(NamedTuple):
    """The samples of an epoch in their order, a global batch after the other.

    A sample's number is ``group * per_group + member``.
    """

    group: Integers
    member: Integers
    end: Integers
    """the members up to here (exclusive) come later in the same lane: read them together"""


def epoch_order(samples: int, per_group: int, global_batch: int) -> EpochOrder:
    """Every sample once.

    Place q is lane ``q % global_batch`` of batch ``q // global_batch``. The places of one lane in
    every `SPAN`-th batch are a chain, which takes as many whole groups as fit in; what is left of
    the chains shares the last groups. Lanes begin with different members, so that new reads spread
    evenly over the batches. An epoch shorter than ``SPAN * per_group`` batches shares fewer reads.

    Parameters
    ----------
    samples : length of the epoch.
    per_group : samples that are cut from one read.
    global_batch : samples of one optimiser step on all devices together.
    """
    batch, lane = np.divmod(np.arange(samples), global_batch)
    slot, phase = np.divmod(batch, SPAN)
    chain = phase * global_batch + lane
    lengths = np.bincount(chain, minlength=SPAN * global_batch)
    groups, rest = np.divmod(lengths, per_group)
    first_group = np.cumsum(groups) - groups
    first_rest = groups.sum() * per_group + np.cumsum(rest) - rest

    length, shift = lengths[chain], lane % per_group % lengths[chain]
    link = (slot + shift) % length  # which sample of its chain
    whole = groups[chain] * per_group
    number = np.where(
        link < whole, first_group[chain] * per_group + link, first_rest[chain] + link - whole
    )
    group, member = np.divmod(number, per_group)
    # a chain is begun at `shift`, and the links before it come last
    to_come = np.where(link < shift, shift, np.where(link < whole, whole, length)) - link
    return EpochOrder(group, member, np.minimum(member + to_come, per_group))
