"""The fields of a GRIB2 file, for those who do not know what is in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from squall.datasets.errors import DataError
from squall.datasets.radar.fields import Field
from squall.datasets.radar.readers.grib import open_messages, parameter_text, units_of
from squall.datasets.radar.readers.grib_values import Header, checked_shape

MOST_MESSAGES = 500
_UNKNOWN = "unknown"
_CONDITIONS = ("shortName", "typeOfLevel", "level")
_OF_PARAMETER = ("discipline", "parameterCategory", "parameterNumber", "typeOfLevel", "level")


def grib_fields(path: str) -> list[Field]:
    """Parameters at their levels, each once.

    A field is named by its short name, or by its parameter, or by conditions: by the first of them
    that no other field of the file has.

    Raises
    ------
    ConfigError
        If ecCodes is not installed.
    DataError
        If the file is broken.
    """
    fields: dict[tuple[str | None, ...], tuple[dict[str, str | None], Field]] = {}
    with open_messages(path) as messages:
        for index in range(min(len(messages), MOST_MESSAGES)):
            header = messages.header(index)
            keys = {key: header.text(key) for key in (*_CONDITIONS, *_OF_PARAMETER)}
            keys["parameter"] = parameter_text(header)
            fields.setdefault(tuple(keys.values()), (keys, _field(header)))
    short_names = Counter(keys["shortName"] for keys, _ in fields.values())
    parameters = Counter(keys["parameter"] for keys, _ in fields.values())
    named = []
    for keys, field in fields.values():
        short_name, parameter = str(keys["shortName"]), str(keys["parameter"])
        if short_name != _UNKNOWN and short_names[keys["shortName"]] == 1:
            name = short_name
        elif parameters[keys["parameter"]] == 1:
            name = parameter
        else:
            name = _conditions(keys, short_name)
        named.append(Field(name, field.units, field.title, field.shape))
    return named


def _conditions(keys: Mapping[str, str | None], short_name: str) -> str:
    names = _OF_PARAMETER if short_name == _UNKNOWN else _CONDITIONS
    return ",".join(f"{name}={keys[name]}" for name in names)


def _field(header: Header) -> Field:
    try:
        units = units_of(header)[0]
    except DataError:
        units = header.text("units") or ""
    try:
        shape = checked_shape(header)
    except DataError:
        shape = (0, 0)
    title = header.text("name") or ""
    return Field("", units, "" if title == _UNKNOWN else title, shape)
