"""The time in files' names, and patterns that match the files.

Owns the key ``time_in_name``: which digits of a name are the time, and the text around them. Knows
names only; no file is opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd

from squall.datasets.times import now

_DIGITS = {"Y": 4, "y": 2, "m": 2, "d": 2, "j": 3, "H": 2, "M": 2, "S": 2}
# the more directives, the surer; times first
_ORDERS = (
    "YmdHMS", "YjHMS", "YmdHM", "YjHM", "ymdHMS", "ymdHM", "yjHMS", "yjHM", "YmdH", "Ymd", "Yj",
)  # fmt: skip
_LONGEST_SEPARATOR = 3
FIRST_YEAR = 1980
NEAR = pd.Timedelta("3h")  # as the default of quality.name_tolerance


@dataclass(frozen=True)
class NameTime:
    """A time in a name.

    Parameters
    ----------
    format : of `datetime.strptime`, without text around it.
    time : naive UTC.
    start, end : where it stands in the name.
    """

    format: str
    time: pd.Timestamp
    start: int
    end: int


def times_in(name: str) -> list[NameTime]:
    """All ways to read a time in a name, the most precise one first."""
    return [*(found for order in _ORDERS for found in _read(name, order)), *_since_1970(name)]


def _since_1970(name: str) -> Iterator[NameTime]:
    """Seconds since 1970 in ten digits, which may be followed by three of milliseconds."""
    for matched in re.finditer(r"(?<!\d)(\d{10})(\d{3})?(?!\d)", name, re.ASCII):
        time = pd.Timestamp(int(matched[1]), unit="s")
        if _is_plausible(time):
            yield NameTime("%s", time, matched.start(1), matched.end(1))


def _is_plausible(time: pd.Timestamp) -> bool:
    return time.year >= FIRST_YEAR and time <= now() + pd.Timedelta("2D")


def _read(name: str, order: str) -> Iterator[NameTime]:
    # text without digits may stand between date, hours, minutes, but not within other numbers
    separator = rf"([^\d%]{{0,{_LONGEST_SEPARATOR}}})"
    digits = separator.join(rf"(\d{{{_DIGITS[letter]}}})" for letter in order)
    edge = r"(?!\d)" if order[0] == "Y" else ""  # some names end in a further digit
    for matched in re.finditer(rf"(?=(?<!\d){digits}{edge})", name, re.ASCII):
        groups = matched.groups()
        separators = groups[1::2]
        by_letter = dict(zip(order[1:], separators, strict=True))
        if order[0] == "y" and any(separators[:-1]):
            continue  # short numbers in a row are no date
        if by_letter.get("S", by_letter.get("M")) != by_letter.get("M") or (
            by_letter.get("d") != by_letter.get("m")
        ):
            continue  # a number behind the time is no second
        pieces = (f"%{letter}" for letter in order)
        text = "".join(f"{p}{s}" for p, s in zip(pieces, (*separators, ""), strict=True))
        written = "".join(groups)
        try:
            time = pd.Timestamp(datetime.strptime(written, text))
        except ValueError:
            continue
        if time.year >= FIRST_YEAR and time <= now() + pd.Timedelta("2D"):
            yield NameTime(text, time, matched.start(), matched.start() + len(written))


@dataclass(frozen=True)
class NamePatternFound:
    """The pattern of several names.

    Parameters
    ----------
    pattern : as ``time_in_name``; it has the text before the time that all names have.
    times : time in each name, in the order of the names.
    glob : pattern that matches the names, with ``*`` for the time.
    """

    pattern: str
    times: tuple[pd.Timestamp, ...]
    glob: str


def pattern_of(
    names: Sequence[str], times: Sequence[pd.Timestamp | None]
) -> NamePatternFound | None:
    """Find the time in names, the same way in all of them; None if there is none.

    Parameters
    ----------
    times : time in the file of each name, None where it is not known; it decides between several
        ways to read a name. A time that is far from all of them finds none.
    """
    for first in _by_distance(names[0], times[0]):
        rest = [
            next((t for t in times_in(name) if t.format == first.format), None)
            for name in names[1:]
        ]
        readings = [first, *(reading for reading in rest if reading is not None)]
        if len(readings) < len(names):
            continue
        if any(
            known is not None and abs(reading.time - known) > _reach(reading)
            for reading, known in zip(readings, times, strict=True)
        ):
            continue
        before = _common_end([n[: r.start] for n, r in zip(names, readings, strict=True)])
        before = before.rpartition("%")[2]
        glob = glob_of(names, [(r.start, r.end) for r in readings])
        times_read = tuple(reading.time for reading in readings)
        return NamePatternFound(before + first.format, times_read, glob)
    return None


def _by_distance(name: str, time: pd.Timestamp | None) -> list[NameTime]:
    readings = times_in(name)
    if time is None:
        return readings
    return sorted(readings, key=lambda r: (abs(r.time - time), -len(r.format)))


def _reach(reading: NameTime) -> pd.Timedelta:
    """How far the time in a file may be from the one in its name."""
    return NEAR if "%H" in reading.format or reading.format == "%s" else pd.Timedelta("1D") + NEAR


def glob_of(names: Sequence[str], spans: Sequence[tuple[int, int]]) -> str:
    """A pattern for names: the text that all have before and after their times, and ``*``."""
    before = common_start([n[:start] for n, (start, _) in zip(names, spans, strict=True)])
    ends = [n[end:].lstrip("0123456789") for n, (_, end) in zip(names, spans, strict=True)]
    after = _common_end(ends)
    return f"{_escaped(before)}*{_escaped(after)}"


def glob_of_all(names: Sequence[str]) -> str:
    """A pattern for names, with ``*`` for their time, or else for what differs between them."""
    found = pattern_of(names, [None] * len(names))
    if found is not None:
        return found.glob
    if len(set(names)) == 1:
        return _escaped(names[0])
    start = len(common_start(names))
    return glob_of(names, [(start, start)] * len(names))


def numbered_glob(name: str) -> str:
    """A pattern for a name without a time: ``*`` for numbers that may count files.

    A number counts where no letter stands beside it, as in ``scan_12.h5``, or where it ends the
    name before the suffixes, as in ``scan12.h5``. Others are a part of a word, as in ``u1096`` and
    ``2km``.
    """
    end = len(name) - len("".join(Path(name).suffixes))
    parts, done = [], 0
    for number in re.finditer(r"\d+", name, re.ASCII):
        letter_before, letter_behind = (
            side.isalpha() for side in (name[: number.start()][-1:], name[number.end() :][:1])
        )
        if letter_behind or (letter_before and number.end() != end):
            continue
        parts += [_escaped(name[done : number.start()]), "*"]
        done = number.end()
    return "".join([*parts, _escaped(name[done:])])


def kind_of(name: str) -> str:
    """A name with ``*`` in place of its time: the same for files of one kind."""
    times = times_in(name)
    return f"{name[: times[0].start]}*{name[times[0].end :]}" if times else name


def time_like(found: NamePatternFound, name: str) -> pd.Timestamp | None:
    """The time in a name, read as in those of a pattern; None if it is made in another way."""
    readings = (t for t in times_in(name) if found.pattern.endswith(t.format))
    return next((reading.time for reading in readings), None)


def common_start(texts: Sequence[str]) -> str:
    """The characters with which all texts begin."""
    first, last = min(texts), max(texts)
    pairs = zip(first, last, strict=False)
    return first[: next((i for i, (a, b) in enumerate(pairs) if a != b), len(first))]


def _common_end(texts: Sequence[str]) -> str:
    return common_start([text[::-1] for text in texts])[::-1]


def _escaped(text: str) -> str:
    return re.sub(r"([*?[{}])", r"[\1]", text)
