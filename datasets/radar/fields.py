"""What the fields of a radar file are: names, units and titles, to find the one with rain.

Owns the judgement which field is rain, by its units, names and titles. A format lists its fields
(`squall.datasets.radar.formats.Format.fields`); no values are read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from squall.datasets.errors import DataError
from squall.datasets.radar.units import parse_unit


@dataclass(frozen=True)
class Field:
    """A field of a file.

    Parameters
    ----------
    name : value of the key ``variable`` that chooses it.
    units : as the file writes them; empty if it does not say.
    title : standard name, long name or quantity, in the file's words.
    shape : of the whole field; the map is the last two dimensions.
    """

    name: str
    units: str
    title: str
    shape: tuple[int, ...]


# words of fields that are no rain at this time and place
_OTHER = re.compile(
    r"height|altitude|elevation|quality|qind|\bqi\b|flag|mask|error|uncert|\bstd\b|deviation|prob|"
    r"\bclass|velocity|vrad|distance|\bcounts?\b|\bnumber|forecast|\blat|\blon|angle|\bzdr|\brho|"
    r"kdp|phidp|\bindex|confidence|palette|\bpal\b|conditions|adjustment|\bwind\b|temperature|"
    r"\bsnow|bounds|bnds|status|category|\btype\b"
)
_RAIN = re.compile(r"precip|rain|reflect|dbz|acrr|\brr\b|\brate\b|\bsri\b|\bvmi\b|\bcappi\b|rfall")
_REFLECTIVITY = re.compile(r"dbz|reflect|\bvmi\b|\bth\b|\btv\b")
_STANDARD = {
    "rainfall_rate", "precipitation_rate", "lwe_precipitation_rate", "rainfall_flux",
    "precipitation_flux", "rainfall_amount", "precipitation_amount", "rate", "acrr", "dbzh",
    "lwe_thickness_of_precipitation_amount", "equivalent_reflectivity_factor",
}  # fmt: skip
_BY_QUANTITY = {"rate": 40.0, "accumulation": 30.0, "reflectivity": 20.0}
_CLUES_NEEDED = {"m", "m s-1", "in", "cm"}  # units of heights and winds, too
_MOST_NAMED = 12
LEAST_SIDE = 8  # a smaller field is no map


def rain_fields(fields: Sequence[Field]) -> list[Field]:
    """The fields that look like rain or reflectivity, the most likely one first.

    If none does, and a single map has neither a unit nor a name of something else, it is that one.
    """
    scored = [(score, field) for field in fields if (score := _score(field)) > 0]
    unknown = [field for field in fields if _is_map(field) and not field.units]
    if not scored and len(unknown) == 1:
        return unknown
    return [field for _, field in sorted(scored, key=lambda pair: -pair[0])]


def in_words(fields: Sequence[Field]) -> str:
    """Names, units and sizes of fields, for a message; of many fields, the first ones."""
    named = []
    for field in fields[:_MOST_NAMED]:
        sizes = " × ".join(str(size) for size in field.shape)
        named.append(f"{field.name} ({', '.join(text for text in (field.units, sizes) if text)})")
    more = f" and {len(fields) - _MOST_NAMED} more" if len(fields) > _MOST_NAMED else ""
    return f"{', '.join(named) or 'none at all'}{more}"


def is_reflectivity(field: Field) -> bool:
    """Whether the names of a field without units say that it is reflectivity."""
    return _REFLECTIVITY.search(_words(field)) is not None


def _score(field: Field) -> float:
    """How much a field looks like rain; 0 if it is something else.

    A rate comes before an accumulation, and an accumulation before reflectivity, because less has
    to be known to make rain rates of it.
    """
    words = _words(field)
    if not _is_map(field):
        return 0.0
    has_clue = _RAIN.search(words) is not None
    title = 8.0 if _STANDARD & {field.title.lower(), field.name.lower()} else 0.0
    clue = 4.0 * has_clue + title
    try:
        quantity, _ = parse_unit(field.units)
    except DataError:
        return 1.0 + clue if has_clue else 0.0
    if field.units.strip().lower() in _CLUES_NEEDED and not has_clue:
        return 0.0
    return _BY_QUANTITY[quantity] + clue


def _is_map(field: Field) -> bool:
    """Whether a field has rows and columns, and no name of something else than rain."""
    has_sides = len(field.shape) >= 2 and min(field.shape[-2:]) >= LEAST_SIDE
    return has_sides and not _OTHER.search(_words(field))


def _words(field: Field) -> str:
    """Name and title as words: the last part of a name in groups, in small letters."""
    name = field.name.rpartition("/")[2]
    return re.sub(r"[\W_]+", " ", f"{name} {field.title}").lower()
