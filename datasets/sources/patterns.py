"""Patterns of radar files: time parts (``{time:%Y/%m/%d}``) and globs (``*.nc``).

Owns what a pattern matches; never touches a disk or the network. The text of an address is
`squall.datasets.addresses`, listing folders is `squall.datasets.sources.stores`.
"""

import fnmatch
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

import pandas as pd

from squall.datasets.addresses import HTTP, base_name
from squall.datasets.errors import ConfigError

MOST_ADDRESSES = 200_000
Tail = tuple[str, ...]  # the levels of a pattern below a folder, such as ("**", "*.nc")

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
    """Whether ``text`` has ``*``, ``?`` or ``[``; in http addresses, ``?`` starts the query."""
    return re.search("[*[]" if protocol in HTTP else "[*?[]", text) is not None


def has_time(pattern: str) -> bool:
    """Whether ``pattern`` has a ``{time:…}`` part."""
    return _TIME_PART.search(pattern) is not None


def fixed_folder(pattern: str, protocol: str | None) -> str:
    """The folders of ``pattern`` before the first glob or time part, with the last ``/``."""
    variable = "[*[{]" if protocol in HTTP else "[*?[{]"
    folder, slash, _ = re.split(variable, pattern, maxsplit=1)[0].rpartition("/")
    return folder + slash


def expand_times(pattern: str, since: pd.Timestamp | None, until: pd.Timestamp | None) -> list[str]:
    """Fill in the ``{time:…}`` parts of ``pattern``: each address once, in order of time.

    Parameters
    ----------
    pattern : with any number of ``{time:STRFTIME}`` parts; all of them take the same time.
    since, until : naive UTC, both inclusive at the resolution of the finest directive. Without
        ``until``, one hour after the current time, or one day if the finest directive is a day or
        coarser.

    Raises
    ------
    ConfigError
        If ``since`` is missing, a directive is unknown, braces hold something else than a time
        part, or there would be too many addresses.
    """
    time_formats = _TIME_PART.findall(pattern)
    if re.search("[{}]", _TIME_PART.sub("", pattern).replace("[{]", "").replace("[}]", "")):
        raise ConfigError(
            f"{pattern}: braces may only hold the time, such as {{time:%Y/%m/%d}}; found others "
            "(write [{] and [}] for braces that belong to a name)"
        )
    if not time_formats:
        return [pattern]
    frequency = _finest(pattern, time_formats)
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
            f"{MOST_ADDRESSES:,} are possible; give a later --since, or a coarser time part with "
            "* for the rest"
        )
    times = pd.period_range(since, until, freq=frequency).to_timestamp().to_pydatetime()
    texts = _TIME_PART.split(pattern)  # fixed text and formats alternate
    formats = [(text, i % 2 == 1) for i, text in enumerate(texts)]
    expanded = (
        "".join(time.strftime(text) if is_format else text for text, is_format in formats)
        for time in times
    )
    return list(dict.fromkeys(expanded))


def _finest(pattern: str, time_formats: list[str]) -> str:
    """The pandas frequency of the finest directive."""
    frequencies = set()
    for time_format in time_formats:
        directives = re.findall("%(.?)", time_format)
        unknown = [d for d in directives if d != "%" and d not in _DIRECTIVE_FREQUENCY]
        if unknown or set(directives) <= {"%"}:
            fault = f"has %{unknown[0]}" if unknown else "has no directive"
            raise ConfigError(
                f"{pattern}: {{time:{time_format}}} {fault}; known are %Y %y %m %d %j %H %M "
                "(write * for seconds)"
            )
        frequencies |= {_DIRECTIVE_FREQUENCY[d] for d in directives if d != "%"}
    return next(f for f in _FINEST_FIRST if f in frequencies)


def pattern_tail(rest: str) -> Tail:
    """The levels of a pattern below its fixed folder; ``**`` at the end matches every file."""
    levels: list[str] = []
    for level in rest.split("/"):
        if level != "**" or levels[-1:] != ["**"]:
            levels.append(level)
    if levels[-1] == "**":
        levels.append("*")
    return tuple(levels)


def is_excluded(address: str, globs: Iterable[str]) -> bool:
    """Whether a glob fits a file: its name, or the whole address if the glob has a ``/``.

    In an address ``*`` also spans folders.
    """
    name = base_name(address)
    return any(fnmatch.fnmatchcase(address if "/" in glob else name, glob) for glob in globs)


class FolderNames:
    """The names and globs that are wanted in one folder, each with the levels below it.

    As in a shell, ``*`` and ``**`` do not match hidden names; unfinished uploads have such names.

    Parameters
    ----------
    tails : of all patterns that reach this folder. A ``**`` level also matches no folder.
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
        if protocol in HTTP:
            head = head.replace("?", "[?]")
        stem = re.split("[*?[]", head, maxsplit=1)[0]
        self._globs.setdefault(stem, []).append((_compiled(head[len(stem) :]), below))

    @property
    def needs_listing(self) -> bool:
        """Whether a listing is needed to find matches."""
        return bool(self._globs or self.spanning)

    @property
    def file_names(self) -> list[str]:
        """Names of files without a glob, sorted."""
        return sorted(name for name, tails in self.literals.items() if () in tails)

    def folders(self) -> Iterator[tuple[str, Tail]]:
        """Names of folders without a glob, with the levels below them."""
        for name, tails in self.literals.items():
            yield from ((name, tail) for tail in tails if tail)

    def stems(self) -> list[str]:
        """A few prefixes that cover every wanted name; no prefix starts with another."""
        if self.spanning:
            return [""]
        stems = {*self._globs, *self.file_names}
        length = max(map(len, stems), default=0)
        while len(stems) > _MOST_STEMS:
            length -= 1
            stems = {stem[:length] for stem in stems}
        prefixes: list[str] = []
        for stem in sorted(stems):
            if not prefixes or not stem.startswith(prefixes[-1]):
                prefixes.append(stem)
        return prefixes

    def below(self, name: str) -> set[Tail]:
        """The tails below a name of a listing; an empty tail means that a file is wanted."""
        tails = set(self.literals.get(name, ()))
        is_hidden = name.startswith(".")
        for length in self._stem_lengths:
            if length == 0 and is_hidden:
                continue
            for pattern, tail in self._globs.get(name[:length], ()):
                if pattern.match(name, length):
                    tails.add(tail)
        # each ext4 disk has a folder lost+found that only root may read
        if not is_hidden and name != "lost+found":
            tails |= self.spanning
        return tails


@lru_cache(maxsize=4096)
def _compiled(glob: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(glob))
