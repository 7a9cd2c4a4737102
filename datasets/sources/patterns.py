"""Addresses of radar files as people write them: time parts, archives in ``::`` chains, globs.

Owns the text of an address and nothing else; never touches a disk or the network. Who lists
folders is `squall.datasets.sources.stores`.
"""

import fnmatch
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

import pandas as pd

from squall.datasets.errors import ConfigError

MOST_ADDRESSES = 200_000
Tail = tuple[str, ...]  # what is left of a pattern below a folder, one glob a level

_TIME_PART = re.compile(r"\{time:([^{}]*)\}")
_DIRECTIVE_FREQUENCY = {
    "Y": "Y",
    "y": "Y",
    "m": "M",
    "d": "D",
    "j": "D",
    "H": "h",
    "M": "min",
}
_FINEST_FIRST = ("min", "h", "D", "M", "Y")
_MOST_STEMS = 64


def has_glob(text: str, protocol: str | None) -> bool:
    """Whether ``text`` has ``*``, ``?`` or ``[``; a ``?`` starts the query in http addresses."""
    return re.search("[*[]" if protocol in ("http", "https") else "[*?[]", text) is not None


def has_time(pattern: str) -> bool:
    """Whether ``pattern`` has a ``{time:…}`` part."""
    return _TIME_PART.search(pattern) is not None


def fixed_folder(pattern: str, protocol: str | None) -> str:
    """The part of ``pattern`` before what varies, up to and with the last ``/``."""
    varying = "[*[{]" if protocol in ("http", "https") else "[*?[{]"
    folder, slash, _ = re.split(varying, pattern, maxsplit=1)[0].rpartition("/")
    return folder + slash


def expand_times(pattern: str, since: pd.Timestamp | None, until: pd.Timestamp | None) -> list[str]:
    """Addresses that the ``{time:…}`` parts of ``pattern`` stand for, each once, in time order.

    Parameters
    ----------
    pattern : with any number of ``{time:STRFTIME}`` parts; all of them are the same time.
    since, until : naive UTC, both inclusive at the resolution of the finest directive. Without
        ``until``, one hour ahead of the clock, or one day for patterns of days and coarser.

    Raises
    ------
    ConfigError
        No ``since``, an unknown directive, braces that are no time part, too many addresses.
    """
    parts = _TIME_PART.findall(pattern)
    if re.search("[{}]", _TIME_PART.sub("", pattern).replace("[{]", "").replace("[}]", "")):
        raise ConfigError(
            f"{pattern}: braces hold the time, such as {{time:%Y/%m/%d}}; found others "
            "(write [{] and [}] for braces that belong to a name)"
        )
    if not parts:
        return [pattern]
    frequency = _finest(pattern, parts)
    if since is None:
        raise ConfigError(
            f"{pattern}: the time part needs a first time; give --since 2024-06-01 or "
            "`begins:` in the configuration"
        )
    if until is None:
        ahead = pd.Timedelta("1h" if frequency in ("h", "min") else "1D")
        until = pd.Timestamp.now(tz="UTC").tz_localize(None) + ahead
    count = pd.Period(until, frequency).ordinal - pd.Period(since, frequency).ordinal + 1
    if count > MOST_ADDRESSES:
        raise ConfigError(
            f"{pattern}: {count:,} addresses between {since} and {until}, at most "
            f"{MOST_ADDRESSES:,} can be looked at; give a later --since, or a coarser time part "
            "with * for the rest"
        )
    times = pd.period_range(since, until, freq=frequency).to_timestamp().to_pydatetime()
    texts = _TIME_PART.split(pattern)  # every other one is a format
    formats = [(text, place % 2 == 1) for place, text in enumerate(texts)]
    expanded = (
        "".join(time.strftime(text) if is_format else text for text, is_format in formats)
        for time in times
    )
    return list(dict.fromkeys(expanded))


def _finest(pattern: str, parts: list[str]) -> str:
    frequencies = set()
    for part in parts:
        directives = re.findall("%(.?)", part)
        unknown = [d for d in directives if d != "%" and d not in _DIRECTIVE_FREQUENCY]
        if unknown or set(directives) <= {"%"}:
            found = f"has %{unknown[0]}" if unknown else "has no directive"
            raise ConfigError(
                f"{pattern}: {{time:{part}}} {found}; known are %Y %y %m %d %j %H %M "
                "(write * for seconds)"
            )
        frequencies |= {_DIRECTIVE_FREQUENCY[d] for d in directives if d != "%"}
    return next(f for f in _FINEST_FIRST if f in frequencies)


def pattern_tail(rest: str) -> Tail:
    """The levels of a pattern below its fixed folder; a ``**`` at the end takes every file."""
    levels: list[str] = []
    for level in rest.split("/"):
        if level != "**" or levels[-1:] != ["**"]:
            levels.append(level)
    if levels[-1] == "**":
        levels.append("*")
    return tuple(levels)


class FolderNames:
    """What is wanted in one folder: names and globs, each with what follows below it.

    As in a shell, ``*`` and ``**`` leave out hidden names, which is what uploads under way have.

    Parameters
    ----------
    tails : of the patterns that meet in this folder; an own ``**`` level stands for no folder too.
    protocol : of the address.
    """

    def __init__(self, tails: Iterable[Tail], protocol: str | None) -> None:
        self.spanning: set[Tail] = set()
        self.literals: dict[str, set[Tail]] = {}
        self._globs: dict[str, list[tuple[re.Pattern[str], Tail]]] = {}
        for tail in tails:
            if tail[0] == "**":
                self.spanning.add(tail)
                self._add(tail[1:], protocol)
            else:
                self._add(tail, protocol)
        self._stem_lengths = sorted({len(stem) for stem in self._globs})

    def _add(self, tail: Tail, protocol: str | None) -> None:
        head, below = tail[0], tail[1:]
        if not has_glob(head, protocol):
            self.literals.setdefault(head, set()).add(below)
            return
        if protocol in ("http", "https"):
            head = head.replace("?", "[?]")
        stem = re.split("[*?[]", head, maxsplit=1)[0]
        self._globs.setdefault(stem, []).append((_compiled(head[len(stem) :]), below))

    @property
    def needs_listing(self) -> bool:
        """Whether anything here can be known from a listing only."""
        return bool(self._globs or self.spanning)

    @property
    def file_names(self) -> list[str]:
        """Literal names of files, in order."""
        return sorted(name for name, tails in self.literals.items() if () in tails)

    def folders(self) -> Iterator[tuple[str, Tail]]:
        """Literal names of folders with what follows in them."""
        for name, tails in self.literals.items():
            yield from ((name, tail) for tail in tails if tail)

    def stems(self) -> list[str]:
        """Few prefixes, none starting with another, that together cover every wanted name."""
        if self.spanning:
            return [""]
        stems = {*self._globs, *self.file_names}
        length = max(map(len, stems), default=0)
        while len(stems) > _MOST_STEMS:
            length -= 1
            stems = {stem[:length] for stem in stems}
        kept: list[str] = []
        for stem in sorted(stems):
            if not kept or not stem.startswith(kept[-1]):
                kept.append(stem)
        return kept

    def below(self, name: str) -> set[Tail]:
        """What follows a name that a listing showed; an empty tail says that it is a file."""
        tails = set(self.literals.get(name, ()))
        hidden = name.startswith(".")
        for length in self._stem_lengths:
            if length == 0 and hidden:
                continue
            for pattern, tail in self._globs.get(name[:length], ()):
                if pattern.match(name, length):
                    tails.add(tail)
        if not hidden and name != "lost+found":  # of every ext4 disk, and closed to all but root
            tails |= self.spanning
        return tails


@lru_cache(maxsize=4096)
def _compiled(glob: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(glob))
