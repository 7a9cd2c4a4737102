"""The fields of netCDF, ODIM and KNMI files, for those who do not know what is in a file.

Owns their names, units and titles. Reads attributes and shapes only, no pixel.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import netCDF4

from squall.datasets.radar.fields import Field
from squall.datasets.radar.readers.cf_limits import check_file
from squall.datasets.radar.readers.hdf5 import member, numbered_groups, open_hdf5, subgroup, text
from squall.datasets.radar.readers.odim import UNITS

MOST_FIELDS = 500
_TITLES = ("standard_name", "long_name", "title", "description")


def netcdf_fields(path: str) -> list[Field]:
    """Variables of two dimensions or more, also in groups: ``group/name``.

    Raises
    ------
    DataError
        If the file is cut off, or no netCDF file.
    """
    check_file(path)
    with netCDF4.Dataset(path) as file:
        return [
            Field(f"{place}{name}", _text(variable, "units"), _title(variable), variable.shape)
            for place, group in _groups(file)
            for name, variable in group.variables.items()
            if variable.ndim >= 2
        ][:MOST_FIELDS]


def time_variables(path: str) -> list[str]:
    """Names of a netCDF file's variables whose unit is that of a time, ``… since …``."""
    check_file(path)
    with netCDF4.Dataset(path) as file:
        return [name for name, var in file.variables.items() if " since " in _text(var, "units")]


def _groups(
    group: netCDF4.Dataset | netCDF4.Group, place: str = ""
) -> Iterator[tuple[str, netCDF4.Dataset | netCDF4.Group]]:
    yield place, group
    for name, child in group.groups.items():
        yield from _groups(child, f"{place}{name}/")


def _title(variable: netCDF4.Variable) -> str:
    return next((found for name in _TITLES if (found := _text(variable, name))), "")


def _text(variable: netCDF4.Variable, name: str) -> str:
    return str(getattr(variable, name, "")).strip()


def odim_fields(path: str) -> list[Field]:
    """Quantities of all datasets, each once.

    Raises
    ------
    DataError
        If the file is no HDF5 file, or leads to other files.
    """
    fields: dict[str, Field] = {}
    with open_hdf5(path) as root:
        for dataset in numbered_groups(root, "dataset").values():
            for data in numbered_groups(dataset, "data").values():
                groups = [subgroup(level, "what") for level in (data, dataset, root)]
                quantity = next((q for g in groups if g and (q := text(g, "quantity"))), None)
                pixels = member(data, "data")
                shape = tuple(getattr(pixels, "shape", None) or ())
                if quantity is not None:
                    unit = UNITS.get(quantity, "")
                    fields.setdefault(quantity, Field(quantity, unit, quantity, shape))
    return list(fields.values())


def knmi_fields(path: str) -> list[Field]:
    """Images, with the unit in brackets of ``image_geo_parameter``.

    Of several images with one parameter and different times, the later ones are forecasts.

    Raises
    ------
    DataError
        If the file is no HDF5 file, or leads to other files.
    """
    with open_hdf5(path) as root:
        fields: list[Field] = []
        first_times: dict[str, str | None] = {}
        for name, group in numbered_groups(root, "image").items():
            parameter = text(group, "image_geo_parameter") or ""
            unit = re.search(r"\[(.*)\]", parameter)
            shape = tuple(getattr(member(group, "image_data"), "shape", None) or ())
            valid = text(group, "image_datetime_valid")
            is_later = first_times.setdefault(parameter, valid) != valid
            title = f"{parameter}{', forecast' if is_later else ''}"
            fields.append(Field(name, unit[1] if unit else "", title, shape))
        return fields
