"""The fields of netCDF, HDF5 and NumPy files, for those who do not know what is in a file.

Owns their names, units and titles. Reads attributes and shapes only, no pixel.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace

import netCDF4

from squall.datasets.radar.fields import Field
from squall.datasets.radar.readers.cf_limits import checked_file
from squall.datasets.radar.readers.hdf5 import (
    image,
    member,
    numbered_groups,
    open_hdf5,
    subgroup,
    text,
)
from squall.datasets.radar.readers.npz import array_header
from squall.datasets.radar.readers.odim import UNITS
from squall.datasets.radar.readers.plain_hdf5 import dataset_paths

MOST_FIELDS = 500
_TITLES = ("standard_name", "long_name", "title", "description")


def netcdf_fields(path: str) -> list[Field]:
    """Variables of two dimensions or more, also in groups: ``group/name``.

    Raises
    ------
    DataError
        If the file is cut off, or no netCDF file.
    """
    with checked_file(path), netCDF4.Dataset(path) as file:
        return [
            Field(f"{place}{name}", _text(variable, "units"), _title(variable), variable.shape)
            for place, group in _groups(file)
            for name, variable in group.variables.items()
            if variable.ndim >= 2
        ][:MOST_FIELDS]


def time_variables(path: str) -> list[str]:
    """Names of a netCDF file's variables whose unit is that of a time, ``… since …``."""
    with checked_file(path), netCDF4.Dataset(path) as file:
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
    """Quantities of all datasets, each once; then the places of those that occur several times.

    Raises
    ------
    DataError
        If the file is no HDF5 file, or leads to other files.
    """
    by_quantity: dict[str, list[Field]] = {}
    with open_hdf5(path) as root:
        for dataset in numbered_groups(root, "dataset").values():
            for data in numbered_groups(dataset, "data").values():
                groups = [subgroup(level, "what") for level in (data, dataset, root)]
                quantity = next((q for g in groups if g and (q := text(g, "quantity"))), None)
                pixels = member(data, "data")
                shape = tuple(getattr(pixels, "shape", None) or ())
                if quantity is not None:
                    place = str(data.name).strip("/")
                    field = Field(place, UNITS.get(quantity, ""), quantity, shape)
                    by_quantity.setdefault(quantity, []).append(field)
    quantities = [replace(at_place[0], name=name) for name, at_place in by_quantity.items()]
    several = [at_place for at_place in by_quantity.values() if len(at_place) > 1]
    return [*quantities, *(field for at_place in several for field in at_place)]


def hdf5_fields(path: str) -> list[Field]:
    """Datasets with rows and columns of an HDF5 file of no convention.

    Raises
    ------
    DataError
        If the file is no HDF5 file, or leads to other files.
    """
    with open_hdf5(path) as root:
        found = {name: image(root, name) for name in dataset_paths(root)}
        return [
            Field(name, text(pixels, "units") or "", text(pixels, "long_name") or "", pixels.shape)
            for name, pixels in found.items()
        ]


def npz_fields(path: str) -> list[Field]:
    """Arrays of numbers in a NumPy archive, which tells no units.

    Raises
    ------
    DataError
        If an array has no header of NumPy.
    """
    fields = []
    with zipfile.ZipFile(path) as file:
        for member_name in file.namelist()[:MOST_FIELDS]:
            name = member_name.removesuffix(".npy")
            with file.open(member_name) as stream:
                dtype, shape = array_header(stream, name)
            if dtype.kind in "iuf":
                fields.append(Field(name, "", "", shape))
    return fields


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
