"""The order of an epoch's samples, the same for any number of ranks and workers.

The samples of a group are cut from one read of the archive. The order spreads a group over many
batches of one worker of one rank. So each read is decoded once, and every batch mixes samples of
many places. It does what a shuffle buffer does, with a formula. Pure index arithmetic.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

SPAN = 12
"""Batches between two samples of a group. Batches go to the workers in rotation, so a group stays
with one worker if the number of workers divides the span."""

Integers = npt.NDArray[np.int64]


class EpochOrder(NamedTuple):
    """The samples of an epoch in their order, one global batch after another.

    A sample's number is ``group * per_group + member``.
    """

    group: Integers
    member: Integers
    end: Integers
    """the members from ``member`` to this one (exclusive) belong to one lane: read them together"""


def epoch_order(samples: int, per_group: int, global_batch: int) -> EpochOrder:
    """Return an order that has every sample once.

    Position q of the order is lane ``q % global_batch`` of batch ``q // global_batch``. A chain
    has the positions of one lane in every `SPAN`-th batch. A chain takes as many whole groups as
    fit into it; the remaining positions of all chains share the last groups. Lanes begin with
    different members, so that new reads spread evenly over the batches. In an epoch shorter than
    ``SPAN * per_group`` batches fewer samples share a read.

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
    # a chain begins at link `shift`; the links before it come at its end
    to_come = np.where(link < shift, shift, np.where(link < whole, whole, length)) - link
    return EpochOrder(group, member, np.minimum(member + to_come, per_group))
