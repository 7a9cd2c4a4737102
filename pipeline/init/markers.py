"""Numbers of a scan that may mean not observed or dry though the file does not say so.

Owns the guesses for ``missing_values`` and ``dry_values``. They look at the numbers of single
scans, so they are guesses, and a configuration says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from squall.datasets.errors import DataError
from squall.datasets.radar.units import parse_unit
from squall.pipeline.init.trial import Facts

_ROUND = {-1.0, -9.0, -99.0, -999.0, -9999.0, -99999.0, -32768.0, 9999.0, 999.0, 32767.0, 65535.0}
_BELOW_ALL = -900.0
_LOWEST_DBZ = -60.0  # noise of radars begins above
_SMALLEST = 1e-6
_LEFT_OVER = 0.5  # mm or mm/h: what corrections leave below zero is smaller
_FEW = 0.01  # a share of pixels
_MANY = 0.1
_MOST = 0.9
_MOST_VALUES = 5


@dataclass(frozen=True)
class Markers:
    """Guessed values, unpacked, and how many pixels have them.

    Parameters
    ----------
    is_no_echo : whether ``dry`` is a marker of pixels without echo, and no rain below 0.
    """

    missing: tuple[float, ...] = ()
    missing_px: int = 0
    dry: tuple[float, ...] = ()
    dry_px: int = 0
    has_declared: bool = False
    is_no_echo: bool = False


def markers_in(scans: Sequence[Facts], *, has_unit: bool = True) -> Markers:
    """Guess which numbers of scans are markers, see `_markers_in`.

    Of two markers, one may mean no echo: it is dry if the scan has no other dry pixels, if many
    pixels have it, and if nearly all markers beside rain are this one.
    """
    markers = _markers_in(scans, has_unit)
    if len(markers.missing) != 2 or markers.dry:
        return markers
    values = scans[0].values
    places = [np.isclose(values, marker, rtol=0, atol=1e-6) for marker in markers.missing]
    is_rain = np.isfinite(values) & ~(places[0] | places[1])
    if not is_rain.any() or (values == values[is_rain].min()).mean() > _FEW:
        return markers  # the lowest of the other numbers is that of dry pixels
    beside_rain = _neighbours(is_rain)
    contacts = [int((place & beside_rain).sum()) for place in places]
    counts = [int(place.sum()) for place in places]
    dry = int(contacts[1] > contacts[0])
    if contacts[dry] < _MOST * sum(contacts) or counts[dry] < _MANY * values.size:
        return markers
    return Markers(
        (markers.missing[1 - dry],),
        counts[1 - dry],
        (markers.missing[dry],),
        counts[dry],
        markers.has_declared,
        is_no_echo=True,
    )


def _neighbours(mask: np.ndarray) -> np.ndarray:
    """Pixels beside those of a mask, (y, x)."""
    beside = np.zeros_like(mask)
    beside[1:] |= mask[:-1]
    beside[:-1] |= mask[1:]
    beside[:, 1:] |= mask[:, :-1]
    beside[:, :-1] |= mask[:, 1:]
    return beside


def _markers_in(scans: Sequence[Facts], has_unit: bool) -> Markers:
    """Guess which numbers of scans mean not observed, or dry though they are below zero.

    A number that the file declares is none of them. Of rain, the negative numbers cannot be rain: a
    few that are hardly below zero, in a file that declares its missing pixels, are dry; others are
    missing. Of reflectivity, only numbers below all noise are markers, and no echo is not.
    Without a known unit, numbers below -900 are missing, and so is the only one below zero, if
    many pixels have it.
    """
    first = scans[0]
    if not has_unit:
        return _below_all_units(scans)
    try:
        quantity, _ = parse_unit(first.packing.units)
    except DataError:
        return Markers(has_declared=_declares(first))
    values = np.concatenate([_undeclared(facts) for facts in scans])
    total = max(sum(facts.stored.size for facts in scans), 1)
    if quantity == "reflectivity":
        suspects = values[(values < _LOWEST_DBZ) & np.isfinite(values)]
        # -99 and the like beside a declared fill value are pixels without echo
        is_marker = suspects <= -900 if _declares(first) else suspects <= _LOWEST_DBZ
        missing = suspects[is_marker]
        return _as_markers(missing, suspects[:0], _declares(first))
    high = values[np.isin(values, [v for v in _ROUND if v > 0]) & (values > 900)]
    negative = values[values < -_SMALLEST]
    small = negative[negative >= -_LEFT_OVER]
    is_left_over = _declares(first) and small.size <= _FEW * total
    dry = small if is_left_over else small[:0]
    missing = negative[negative < -_LEFT_OVER] if is_left_over else negative
    return _as_markers(np.concatenate([missing, high]), dry, _declares(first))


def _below_all_units(scans: Sequence[Facts]) -> Markers:
    values = np.concatenate([_undeclared(facts) for facts in scans])
    negative = values[values < 0]
    is_alone = negative.size > _FEW * values.size and negative.min() == negative.max()
    missing = negative if is_alone else values[values <= _BELOW_ALL]
    return _as_markers(missing, values[:0], any(map(_declares, scans)))


def _declares(facts: Facts) -> bool:
    """Whether the file says which pixels are not observed."""
    packing = facts.packing
    limits = packing.lowest is not None or packing.highest is not None
    has_nan = facts.stored.dtype.kind == "f" and bool(np.isnan(facts.stored).any())
    return bool(packing.missing) or limits or has_nan


def _undeclared(facts: Facts) -> np.ndarray:
    """The unpacked numbers of the pixels that are not declared missing or dry, flat."""
    packing, stored = facts.packing, facts.stored
    is_known = np.isin(stored, [*packing.missing, *packing.dry])
    for limit, is_outside in ((packing.lowest, np.less), (packing.highest, np.greater)):
        if limit is not None:
            is_known |= is_outside(stored, limit)
    values = facts.values[~is_known]
    return values[np.isfinite(values)]


def _as_markers(missing: np.ndarray, dry: np.ndarray, has_declared: bool) -> Markers:
    found = [np.unique(np.round(part, 6)) for part in (missing, dry)]
    if any(part.size > _MOST_VALUES for part in found):  # many values are data, no marker
        return Markers(has_declared=has_declared)
    return Markers(
        tuple(float(value) for value in found[0]),
        missing.size,
        tuple(float(value) for value in found[1]),
        dry.size,
        has_declared,
    )
