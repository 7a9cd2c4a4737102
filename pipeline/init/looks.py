"""A look into files: which field is rain, and which keys a file needs to be read.

Owns the choice between the fields of a file. `trial` opens files, `describe` writes down what was
found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from squall.datasets.errors import ConfigError, DataError
from squall.datasets.radar.fields import Field, in_words, rain_fields
from squall.datasets.radar.file_times import is_other_interval
from squall.datasets.radar.formats import named_format, recognised_format
from squall.datasets.times import duration_text
from squall.pipeline.init.copies import Copies
from squall.pipeline.init.files import Given
from squall.pipeline.init.names import NamePatternFound, pattern_of
from squall.pipeline.init.trial import (
    Content,
    Facts,
    content_of,
    facts_of,
    remedies_for,
    tried,
)

_MOST_FIELDS_TRIED = 4
_MOST_PX = 2**22  # of scans that are read only to look for rare numbers


@dataclass(frozen=True)
class Look:
    """What the first looked-at file says, and the others as far as they can be read with it.

    Parameters
    ----------
    field : the chosen one; None if the format has one field.
    candidates : all fields that look like rain, the chosen one too.
    further : keys that were needed to open the file, some of them with placeholders.
    facts : of each looked-at file that could be read, by its name.
    problems : what is wrong with the others.
    unclear_fill : as of `Copies`.
    grid_fault : what a reader says without the key ``grid``, if that key is needed.
    path : of the first file on this machine, unpacked.
    """

    content: Content
    field: Field | None
    candidates: tuple[Field, ...]
    further: dict[str, Any]
    facts: dict[str, Facts]
    problems: tuple[str, ...]
    path: Path
    unclear_fill: float | None = None
    grid_fault: str = ""

    @property
    def first(self) -> Facts:
        """Of the first file."""
        return next(iter(self.facts.values()))

    @property
    def keys(self) -> dict[str, Any]:
        """Keys with which the files open, with placeholders."""
        variable = {} if self.field is None else {"variable": self.field.name}
        return {**self.content.keys, **variable, **self.further}


def look_at(given: Given, copies: Copies) -> Look:
    """Look into a few of the files.

    Raises
    ------
    ConfigError, DataError
        If the first one cannot be used; the message names it.
    """
    first, *others = given.looked_at
    path = copies.path(first)
    try:
        content = content_of(str(path))
        field, further, facts = opened(path, content, pattern_of([first.name], [None]))
    except (ConfigError, DataError) as error:
        raise type(error)(f"{first.identity}: {error}") from error
    look = Look(
        content,
        field,
        tuple(rain_fields(content.fields)),
        further,
        {first.name: facts},
        (),
        path,
    )
    more, problems = {}, []
    for other in others:
        try:
            local = str(copies.path(other))
            _check_format(local, content, first.name)
            its_facts = facts_of(local, look.keys, most_px=_MOST_PX)
            _check_interval(its_facts, facts, first.name)
            more[other.name] = its_facts
        except DataError as error:
            problems.append(f"{other.identity}: {error}")
    return replace(
        look,
        facts=look.facts | more,
        problems=tuple(problems),
        unclear_fill=copies.unclear_fill,
        grid_fault=_fault_without("grid", str(path), look.keys),
    )


def _check_format(path: str, content: Content, first: str) -> None:
    """Refuse a file of another format than the first one has, which is of another network."""
    name = recognised_format(path)
    if name is not None and name != content.format:
        raise DataError(
            f"is {named_format(name).title}, and {first} is {content.title}: one configuration "
            "describes the files of one network; give these alone, or list the others under "
            "'exclude'"
        )


def _check_interval(facts: Facts, of_first: Facts, first: str) -> None:
    """Refuse accumulations over another interval than those of the first file."""
    own, others = facts.intervals[0], of_first.intervals[0]
    if own is None or others is None or not is_other_interval(own, "accumulation", others):
        return
    raise DataError(
        f"holds sums over {duration_text(own)}, and {first} over {duration_text(others)}: scans of "
        "different intervals must not stand in one archive; give the files of one interval, or "
        "list the others under 'exclude'"
    )


def _fault_without(key: str, path: str, keys: Mapping[str, Any]) -> str:
    """What a reader says of a file without one of the keys that were needed to open it."""
    if key not in keys:
        return ""
    try:
        facts_of(path, {name: value for name, value in keys.items() if name != key})
    except (ConfigError, DataError) as error:
        return str(error)
    return ""


def opened(
    path: Path, content: Content, named: NamePatternFound | None, *, most_px: int | None = None
) -> tuple[Field | None, dict[str, Any], Facts]:
    """The first field that looks like rain and can be opened, with the keys that it needs.

    Parameters
    ----------
    path : of an unpacked file.
    named : the time in its name.
    most_px : larger scans are not read; None reads all.

    Raises
    ------
    ForecastError
        If the file holds forecasts alone.
    ConfigError, DataError
        If no field can be opened.
    """
    candidates: Sequence[Field | None] = rain_fields(content.fields)[:_MOST_FIELDS_TRIED]
    if not content.needs_variable and (len(content.fields) < 2 or not candidates):
        candidates = [None]  # the reader names several fields in its message
    elif not candidates:
        raise DataError(_no_rain(content))
    from_name = [] if named is None else [{"time_in_name": named.pattern}]
    first_error: ConfigError | DataError | None = None
    for field in candidates:
        keys = {**content.keys, **({} if field is None else {"variable": field.name})}
        try:
            remedies = [*from_name, *remedies_for(content, field)]
            further, facts = tried(str(path), keys, remedies, most_px=most_px)
            return field, further, facts
        except (ConfigError, DataError) as error:
            first_error = first_error or error
    assert first_error is not None
    raise first_error


def _no_rain(content: Content) -> str:
    return (
        f"is {content.title}, and no field of it looks like rain or reflectivity on a map; its "
        f"fields are: {in_words(content.fields)}. If one of them is rain, write 'variable: NAME' "
        "and 'units:' into a configuration yourself"
    )
