"""Types of keys of the network configuration that need a check of their own.

Each is a pydantic type whose validator says what is wrong with the value. Rules between several
keys are in `squall.datasets.radar.network_config`.
"""

import re
from datetime import date
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, FiniteFloat

from squall.datasets.radar.units import parse_unit
from squall.datasets.spelling import did_you_mean

# directive of time_in_name -> number of its digits; s counts the seconds since 1970
NAME_DIGITS = {"Y": 4, "y": 2, "j": 3, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2, "s": 10}


def _as_tuple(value: Any) -> Any:
    """A single value where a list is meant; an empty key of YAML is an empty list."""
    if value is None:
        return ()
    return value if isinstance(value, list | tuple) else (value,)


def _as_texts(value: Any) -> Any:
    """Attributes whose values YAML reads as numbers or dates; several values become one text."""
    if not isinstance(value, dict):
        return value
    return {
        key: ", ".join(map(str, text))
        if isinstance(text, list | tuple)
        else str(text)
        if isinstance(text, int | float | date)
        else text
        for key, text in value.items()
    }


def _check_units(units: str) -> str:
    parse_unit(units)
    return units


def _check_name_pattern(pattern: str) -> str:
    directives = re.findall("%(.?)", pattern)
    unknown = sorted({f"%{d}" for d in directives if d not in NAME_DIGITS})
    if unknown:
        known = " ".join(f"%{d}" for d in NAME_DIGITS)
        raise ValueError(f"{', '.join(unknown)} is not known here; use {known}")
    distinct = set(directives)
    if distinct == {"s"} and len(directives) == 1:
        return pattern
    if "s" in distinct:
        raise ValueError("%s is a whole time, so no other directive may stand beside it")
    has_day = "j" in distinct or {"m", "d"} <= distinct
    if pattern and not (len(distinct & {"Y", "y"}) == 1 and has_day):
        raise ValueError("needs a whole date: %Y with %m and %d, or %Y with %j; or %y for %Y")
    if len(distinct) < len(directives):
        raise ValueError("each directive may occur once only")
    return pattern


def _check_format(name: str) -> str:
    from squall.datasets.radar.formats import format_names

    if name not in format_names():
        names = format_names()
        raise ValueError(f"'{name}' is not one of {', '.join(names)}{did_you_mean(name, names)}")
    return name


def needs_variable(format: str) -> bool:
    """Whether files of a format hold several fields, of which ``variable`` names one."""
    from squall.datasets.radar.formats import named_format

    return named_format(format).needs_variable


def _check_crs(text: str) -> str:
    import pyproj  # slow to import, and most commands need no network

    from squall.datasets.grid import check_map_projection

    try:
        crs = pyproj.CRS.from_user_input(text)
    except pyproj.exceptions.CRSError as error:
        raise ValueError(f"PROJ does not know this CRS: {error}") from error
    check_map_projection(crs)
    return text


def _check_coordinate_units(text: str) -> str:
    from squall.datasets.radar.coordinates import coordinate_unit

    unit = coordinate_unit(text)
    if unit is None:
        raise ValueError(f"'{text}' is not one of m, km, degrees, radians")
    return unit


def _check_scale(scale: float) -> float:
    if scale == 0:
        raise ValueError("must not be 0: all values would be the same")
    return scale


Attributes = Annotated[dict[str, str], BeforeValidator(_as_texts)]
Eras = Annotated[tuple[dict[str, Any], ...], BeforeValidator(_as_tuple)]
OneOrMore = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
Numbers = Annotated[tuple[float, ...], BeforeValidator(_as_tuple)]
Scale = Annotated[FiniteFloat, AfterValidator(_check_scale)]
RainUnits = Annotated[str, AfterValidator(_check_units)]
FormatName = Annotated[str, AfterValidator(_check_format)]
NamePattern = Annotated[str, AfterValidator(_check_name_pattern)]
CoordinateUnits = Annotated[str, AfterValidator(_check_coordinate_units)]
CrsText = Annotated[str, AfterValidator(_check_crs)]
