"""Scans that equal their neighbour in every pixel: the radar is stuck.

Owns the comparison; without rain, equal scans are normal and are never rejected.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from squall.datasets.archive.writer import StoredScan
from squall.datasets.measures import BLOCK
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.pipeline.ingest.stored import StoredScans

# wet pixels that do not count as rain: at most this many, or this share of the observed ones
CLUTTER_PX, CLUTTER_SHARE = 10, 1e-4


def identical_neighbours(
    scans: Mapping[pd.Timestamp, StoredScan], stored: StoredScans, network: RadarNetworkConfig
) -> dict[pd.Timestamp, pd.Timestamp]:
    """Times of scans with rain that equal a neighbour, with the neighbour's time.

    The neighbour is the scan before, rejected or not; or the scan after, if it is stored already:
    then this scan comes late.
    """
    checksums = {time: _checksum(scan) for time, scan in scans.items()}
    identical = {}
    for time in sorted(scans):
        era = network.at(time)
        if not (era.quality.reject_identical and _has_rain(scans[time])):
            continue
        before, after = time - era.step, time + era.step
        checksum_before = checksums.get(before, stored.checksum(before))
        if checksum_before == checksums[time]:
            identical[time] = before
        elif after not in checksums:
            slot = stored.good(after)
            if slot is not None and slot.checksum == checksums[time]:
                identical[time] = after
    return identical


def _checksum(scan: StoredScan) -> int:
    assert scan.measures is not None
    return scan.measures.checksum


def _has_rain(scan: StoredScan) -> bool:
    """Whether enough pixels are wet for rain: a few that never change are clutter."""
    assert scan.measures is not None
    _, wet_share, observed_share = scan.measures.blocks
    observed_px = observed_share * BLOCK**2  # fewer in the blocks at the edge
    wet_px = float((wet_share * observed_px).sum())
    return wet_px > max(CLUTTER_PX, CLUTTER_SHARE * float(observed_px.sum()))
