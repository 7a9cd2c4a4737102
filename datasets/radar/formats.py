"""The file formats that are read: their names, their readers, and how a file's content tells them.

Owns the table of formats. Readers are imported when one is needed, because each brings its own
libraries. Other packages add formats through the entry point group ``squall.readers``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

from squall.datasets.errors import ConfigError, DataError, first_line
from squall.datasets.radar.fields import Field
from squall.datasets.radar.product import Reader
from squall.datasets.radar.refused import refusal
from squall.datasets.radar.signatures import (
    container_kind,
    hdf5_convention,
    is_ascii_grid,
    is_cfradial,
    is_classic_netcdf,
    is_grib,
    is_hdf5,
    is_nimrod,
    is_npz,
    is_radolan,
    is_tiff,
)
from squall.datasets.spelling import did_you_mean

PLUGINS = "squall.readers"
PYSTEPS = "pysteps"  # its importers need a name, the key `importer`
HEAD_BYTES = 4096


@dataclass(frozen=True)
class Format:
    """A file format.

    Parameters
    ----------
    title : the format's name in messages.
    reader : the reader, or ``module:function`` of one that is imported when it is needed.
    recognises : whether a file has this format, by its first `HEAD_BYTES` bytes and its path; None
        for a format that a configuration has to name.
    needs_variable : whether ``variable`` of the configuration must say what to read.
    list_fields : function of a path that lists what ``variable`` may name, or ``module:function``;
        None for a format with one field.
    """

    title: str
    reader: Reader | str
    recognises: Callable[[bytes, str], bool] | None = None
    needs_variable: bool = False
    list_fields: Callable[[str], list[Field]] | str | None = None

    @property
    def open(self) -> Reader:
        """The reader; see `squall.datasets.radar.product`."""
        return cast(Reader, _imported(self.reader))

    def fields(self, path: str) -> list[Field]:
        """The fields of a local, unpacked file; empty for a format with one field.

        Raises
        ------
        ConfigError
            If a library that the format needs is not installed.
        DataError, OSError
            If the file is broken.
        """
        if self.list_fields is None:
            return []
        try:
            return cast(list[Field], _imported(self.list_fields)(path))
        except (ConfigError, DataError, OSError):
            raise
        except Exception as error:  # libraries raise any exception for a broken file
            message = f"cannot be read as {self.title}: {first_line(error)}"
            raise DataError(message) from error


def _imported(function: Any) -> Any:
    """A function itself, or the one that ``module:function`` names."""
    if not isinstance(function, str):
        return function
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)


def _hdf5_of(convention: str) -> Callable[[bytes, str], bool]:
    return lambda head, path: is_hdf5(head) and hdf5_convention(path) == convention


_READERS = "squall.datasets.radar.readers"
# in the order in which a file's content is compared with them
FORMATS: dict[str, Format] = {
    "netcdf": Format(
        "netCDF",
        f"{_READERS}.cf_netcdf:open_netcdf",
        lambda head, path: (
            (is_classic_netcdf(head) and not is_cfradial(head)) or _hdf5_of("netcdf")(head, path)
        ),
        needs_variable=True,
        list_fields=f"{_READERS}.field_lists:netcdf_fields",
    ),
    "odim": Format(
        "ODIM HDF5",
        f"{_READERS}.odim:open_odim",
        _hdf5_of("odim"),
        needs_variable=True,
        list_fields=f"{_READERS}.field_lists:odim_fields",
    ),
    "knmi": Format(
        "KNMI HDF5",
        f"{_READERS}.knmi_hdf5:open_knmi",
        _hdf5_of("knmi"),
        needs_variable=True,
        list_fields=f"{_READERS}.field_lists:knmi_fields",
    ),
    "hdf5": Format(
        "plain HDF5",
        f"{_READERS}.plain_hdf5:open_plain_hdf5",
        _hdf5_of("none"),
        needs_variable=True,
        list_fields=f"{_READERS}.field_lists:hdf5_fields",
    ),
    "grib": Format(
        "GRIB2",
        f"{_READERS}.grib:open_grib",
        lambda head, _: is_grib(head),
        list_fields=f"{_READERS}.grib_fields:grib_fields",
    ),
    "geotiff": Format(
        "GeoTIFF",
        f"{_READERS}.geotiff:open_geotiff",
        lambda head, _: is_tiff(head),
        list_fields=f"{_READERS}.geotiff:geotiff_fields",
    ),
    "npz": Format(
        "NumPy",
        f"{_READERS}.npz:open_npz",
        lambda head, _: is_npz(head),
        needs_variable=True,
        list_fields=f"{_READERS}.field_lists:npz_fields",
    ),
    "nimrod": Format(
        "NIMROD",
        f"{_READERS}.nimrod:open_nimrod",
        lambda head, _: is_nimrod(head),
        list_fields=f"{_READERS}.nimrod:nimrod_fields",
    ),
    "radolan": Format(
        "RADOLAN binary", f"{_READERS}.radolan:open_radolan", lambda head, _: is_radolan(head)
    ),
    "ascii_grid": Format(
        "ESRI ASCII grid",
        f"{_READERS}.ascii_grid:open_ascii_grid",
        lambda head, _: is_ascii_grid(head),
    ),
    PYSTEPS: Format(PYSTEPS, f"{_READERS}.pysteps_importers:open_pysteps"),
}


@cache
def _plugin_names() -> tuple[str, ...]:
    return tuple(sorted({point.name for point in entry_points(group=PLUGINS)} - set(FORMATS)))


def format_names() -> tuple[str, ...]:
    """Names of all formats, those of other packages last."""
    return (*FORMATS, *_plugin_names())


def named_format(name: str) -> Format:
    """Return the format of a name.

    Raises
    ------
    ConfigError
        If there is no such format, or the package that adds it is broken.
    """
    if name in FORMATS:
        return FORMATS[name]
    if name not in _plugin_names():
        raise ConfigError(
            f"format '{name}' is not known; expected one of {', '.join(format_names())}"
            + did_you_mean(name, format_names())
        )
    return _plugin(name)


@cache
def _plugin(name: str) -> Format:
    (point, *_) = entry_points(group=PLUGINS, name=name)
    try:
        plugin = point.load()
    except Exception as error:  # a plugin may raise anything
        raise ConfigError(f"format '{name}': {point.value} cannot be loaded: {error}") from error
    if not isinstance(plugin, Format):
        raise ConfigError(
            f"format '{name}': {point.value} is no {Format.__module__}.Format, which the entry "
            f"point group {PLUGINS} needs"
        )
    return plugin


def recognised_format(path: str) -> str | None:
    """Name of the format that a file's content tells; None if it tells none of those known.

    Parameters
    ----------
    path : a local file, unpacked.

    Raises
    ------
    OSError
        If the file cannot be opened.
    """
    head = _head(path)
    for name in format_names():
        recognises = named_format(name).recognises
        if recognises is not None and recognises(head, path):
            return name
    return None


def _head(path: str) -> bytes:
    with Path(path).open("rb") as stream:
        return stream.read(HEAD_BYTES)


def format_of(path: str, configured: str | None) -> Format:
    """The format of a file: the configured one, else the one that its content tells.

    Raises
    ------
    DataError
        If no format is configured, and the content tells none; or if it is a tar file, of which
        the HDF5 library would read one of the files.
    """
    head = _head(path)
    name = configured or recognised_format(path)
    if name is None or container_kind(head) == "tar":
        refused = refusal(head, path)
        if not head:
            raise DataError("the file is empty (0 bytes): fetch it again")
        if refused is not None:
            raise DataError(refused)
        raise DataError(
            f"cannot be read: its format is not recognised by its first bytes {head[:8]!r}; "
            f"formats that are read: {', '.join(format_names())}. If it has one of them, it is "
            "damaged at its start: fetch it again; convert other formats to CF netCDF first, for "
            "example with GDAL or wradlib"
        )
    return named_format(name)


def other_format(path: str, configured: str | None) -> str:
    """A sentence for a file that is not of the configured format; empty if its content fits."""
    if configured is None:
        return ""
    looks_like = recognised_format(path)
    if looks_like is None:
        refused = refusal(_head(path), path)
        return f"; the file {refused}" if refused else ""
    if looks_like == configured:
        return ""
    return (
        f"; it looks like {named_format(looks_like).title}: set 'format: {looks_like}' in the "
        "network configuration, or leave 'format' out"
    )
