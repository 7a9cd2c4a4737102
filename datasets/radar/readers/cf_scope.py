"""What a variable of a netCDF file sees: the variables of its group and of the groups above.

Owns groups (CF 2.7): a name is looked up in the variable's group first, then in its parents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import netCDF4
import xarray as xr

from squall.datasets.errors import DataError
from squall.datasets.radar.network_config import RadarNetworkConfig

MAX_NAMES = 40  # in a message


@dataclass(frozen=True)
class Scope:
    """Variables by the names under which the configured one finds them.

    Parameters
    ----------
    rain : the configured variable.
    levels : the file and the groups down to the variable's.
    """

    rain: netCDF4.Variable
    variables: dict[str, netCDF4.Variable]
    levels: tuple[netCDF4.Dataset, ...]

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the file and of the variable's groups; those of the inner group count."""
        return {key: level.getncattr(key) for level in self.levels for key in level.ncattrs()}

    def path(self, name: str | None) -> str | None:
        """Where a variable is in the file, by its name in the scope."""
        return None if name is None else path_of(self.variables[name])

    def dataset(self) -> xr.Dataset:
        """The variables as xarray sees them, not decoded and not yet read."""
        stores: dict[str, xr.backends.NetCDF4DataStore] = {}
        seen = {}
        for name, variable in self.variables.items():
            group = variable.group()
            # HDF5 may crash if a file with text variables is opened twice: xarray gets the open one
            store = stores.setdefault(group.path, xr.backends.NetCDF4DataStore(group))
            seen[name] = store.open_store_variable(variable.name, variable)
        return xr.Dataset(seen, attrs=self.attributes)


def path_of(variable: netCDF4.Variable) -> str:
    """Name of a variable with its groups, as netCDF4 and h5py find it in the file."""
    return f"{variable.group().path.rstrip('/')}/{variable.name}".lstrip("/")


def scope_of(file: netCDF4.Dataset, config: RadarNetworkConfig) -> Scope:
    """Find the configured variable, which may be ``group/name``, and what it sees.

    Raises
    ------
    DataError
        If the file has no such variable.
    """
    *groups, name = config.variable.strip("/").split("/")
    levels = [file]
    for group in groups:
        if group not in levels[-1].groups:
            raise _no_variable(file, config)
        levels.append(levels[-1].groups[group])
    if name not in levels[-1].variables:
        raise _no_variable(file, config)
    variables: dict[str, netCDF4.Variable] = {}
    dimensions: dict[str, netCDF4.Dimension] = {}
    for level in levels:
        variables.update(level.variables)
        dimensions.update(level.dimensions)
    if len(levels) > 1:  # a group may have another dimension of the same name as its parents
        variables = {
            key: variable
            for key, variable in variables.items()
            if all(
                dim.group().path == dimensions[dim.name].group().path for dim in variable.get_dims()
            )
        }
    for key in (config.time_variable, config.start_variable):
        if key is not None and "/" in key and key in (paths := dict(_all_variables(file))):
            variables[key] = paths[key]
    return Scope(variables[name], variables, tuple(levels))


def _all_variables(group: netCDF4.Dataset) -> Iterator[tuple[str, netCDF4.Variable]]:
    for variable in group.variables.values():
        yield path_of(variable), variable
    for child in group.groups.values():
        yield from _all_variables(child)


def _no_variable(file: netCDF4.Dataset, config: RadarNetworkConfig) -> DataError:
    paths = [path for path, _ in _all_variables(file)]
    names = ", ".join(paths[:MAX_NAMES]) or "none at all"
    more = f" and {len(paths) - MAX_NAMES} more" if len(paths) > MAX_NAMES else ""
    return DataError(
        f"has no variable '{config.variable}'; it has {names}{more}; set 'variable' in the network "
        "configuration to one of them"
    )
