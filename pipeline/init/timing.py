"""When the scans are: times in files and in names, and how far these are apart.

Owns the keys ``time_in_name``, ``time_marks`` and ``accumulation`` as far as times tell them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pandas as pd

from squall.datasets.errors import DataError
from squall.datasets.radar.units import parse_unit
from squall.pipeline.init.axis import short_text
from squall.pipeline.init.files import MOST_NAMES, Given, names_beside
from squall.pipeline.init.looks import Look
from squall.pipeline.init.names import NamePatternFound, pattern_of, time_like


@dataclass(frozen=True)
class Timing:
    """Times of a network's scans.

    Parameters
    ----------
    named : the time in the names; None if they have none.
    pattern : the key ``time_in_name``; None if names tell the day only, of files with many scans.
    is_in_file : whether the file has a time of its own.
    offset : time in the file minus time in its name; None if one of them is missing or if it
        differs between files.
    needs_interval : whether an accumulation has no interval in the file.
    valid_times : of the scans that are known, from files and names.
    whence : where these come from, for a comment.
    """

    named: NamePatternFound | None
    pattern: str | None
    is_in_file: bool
    offset: pd.Timedelta | None
    needs_interval: bool
    valid_times: tuple[pd.Timestamp, ...]
    whence: str

    @property
    def interval(self) -> pd.Timedelta | None:
        """A guess for an accumulation's interval: how far name and file are apart."""
        return abs(self.offset) if self.offset else None

    @property
    def marks_start(self) -> bool:
        """Whether the file's time is before the one in its name: the start of an accumulation."""
        return self.needs_interval and self.offset is not None and self.offset < pd.Timedelta(0)

    @property
    def name_comment(self) -> str:
        """What the time in the name is, compared with the file's."""
        if not self.is_in_file or self.offset is None:
            return "the time in the names"
        if not self.offset:
            return "the time in the names, the same as in the files"
        side = "before" if self.offset > pd.Timedelta(0) else "after"
        return f"the time in the names, {short_text(abs(self.offset))} {side} the one in the files"


def timing_of(given: Given, look: Look) -> Timing:
    """Find the times of the scans."""
    is_in_file = "time_in_name" not in look.further
    known = {
        name: (_known(facts.times[0]) if is_in_file and facts.times else None)
        for name, facts in look.facts.items()
    }
    names = [file.name for file in given.files][:MOST_NAMES]
    names = list(dict.fromkeys([*known, *names]))
    # the scans of a Zarr store have no names of their own
    named = None if given.is_zarr else pattern_of(names, [known.get(name) for name in names])
    beside: list[pd.Timestamp] = []
    if named is not None:
        beside = _times_of(names_beside(given), named)
    offset = _offset(names, known, named) if is_in_file else None
    has_many = any(len(facts.times) > 1 for facts in look.facts.values())
    pattern = (
        None
        if named is None or (has_many and not re.search("%[Hs]", named.pattern))
        else named.pattern
    )
    needs_interval = look.first.intervals[0] is None and _is_accumulation(look)
    in_files = [t for f in look.facts.values() for t in f.times if not pd.isna(t)]
    in_files += _times_in_stores(given)
    start = needs_interval and offset is not None and offset < pd.Timedelta(0)
    # names that are as far from their files as the accumulation is long tell the end of it
    shift = pd.Timedelta(0) if start or offset is None else offset
    of_names = [] if named is None or has_many else [t + shift for t in (*named.times, *beside)]
    if start or not is_in_file:
        in_files = []
    whence = " in names" if of_names else " in files"
    if beside and of_names:
        whence = " in names of files beside it"
    return Timing(
        named, pattern, is_in_file, offset, needs_interval, (*in_files, *of_names), whence
    )


def _times_in_stores(given: Given) -> list[pd.Timestamp]:
    """Times of all scans of Zarr stores whose rows of chunks hold a scan or two."""
    rows = [file.scans for file in given.files if file.scans is not None]
    return [time for row in rows if row.times and row.last - row.first <= 2 for time in row.times]


def _known(time: pd.Timestamp) -> pd.Timestamp | None:
    return None if pd.isna(time) else time


def _is_accumulation(look: Look) -> bool:
    try:
        is_known = "units" not in look.further
        return is_known and parse_unit(look.first.packing.units)[0] == "accumulation"
    except DataError:
        return False


def _times_of(names: list[str], named: NamePatternFound) -> list[pd.Timestamp]:
    """Times in the names that are made like ``named``."""
    before = named.glob.partition("*")[0]
    times = (time_like(named, name) for name in names if name.startswith(before))
    return [time for time in times if time is not None]


def _offset(
    names: list[str], known: dict[str, pd.Timestamp | None], named: NamePatternFound | None
) -> pd.Timedelta | None:
    if named is None:
        return None
    by_name = dict(zip(names, named.times, strict=True))
    offsets = {time - by_name[name] for name, time in known.items() if time is not None}
    return offsets.pop() if len(offsets) == 1 else None
