"""How a netCDF variable packs its numbers, by CF 8.1 (packing) and 2.5.1 (missing data).

Owns the attributes of one variable; reads none of its values.
"""

from typing import Any

import netCDF4
import numpy as np

from squall.datasets.errors import DataError
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import Limits, Packing
from squall.datasets.radar.readers.markers import (
    any_held,
    held_by,
    list_missing,
    scale_in_use,
    wrapped_to,
)

# flag_values are numbers with a meaning in words, such as "no coverage"
_MISSING = ("_FillValue", "missing_value", "flag_values")
PACKING_ATTRIBUTES = (*_MISSING, "scale_factor", "add_offset", "_Unsigned")
_LIST_THEM = (
    "list the unpacked values that mean not observed under 'missing_values' in the network "
    "configuration"
)


def packing_of(
    variable: netCDF4.Variable, config: RadarNetworkConfig
) -> tuple[Packing, np.dtype[Any] | None]:
    """Read the packing of a variable from its attributes.

    Returns
    -------
    The packing, and the type to read the numbers as if its sign differs from the variable's
    (``_Unsigned``).

    Raises
    ------
    DataError
        If the variable does not hold numbers, or its attributes cannot be used. Attributes for
        missing values that cannot be used are ignored if the configuration has ``missing_values``.
    """
    return _Attributes(variable, config).packing()


class _Attributes:
    """The attributes of a variable, read as numbers."""

    def __init__(self, variable: netCDF4.Variable, config: RadarNetworkConfig) -> None:
        self._variable = variable.name
        self._values: dict[str, Any] = {key: variable.getncattr(key) for key in variable.ncattrs()}
        self._dtype = np.dtype(variable.dtype).newbyteorder("=")
        if self._dtype.kind not in "iuf":
            raise DataError(f"variable '{variable.name}' holds {self._dtype}, no numbers")
        self._stored_as = _other_sign(self._dtype, str(self._values.get("_Unsigned", "")))
        self._read_as = self._stored_as or self._dtype
        self._config = config

    def packing(self) -> tuple[Packing, np.dtype[Any] | None]:
        scale, offset = (
            self._single("scale_factor", 1.0),
            self._single("add_offset", 0.0),
        )
        if not (np.isfinite([scale, offset]).all() and scale != 0):
            raise DataError(
                f"variable '{self._variable}' has scale_factor {scale:g} and add_offset "
                f"{offset:g}, with which nothing can be unpacked"
            )
        limits, other_limits = self._limits(scale, offset)
        missing, doubtful = self._missing(scale, offset)
        packing = Packing(
            units=str(self._values.get("units", "")),
            scale=scale,
            offset=offset,
            missing=missing,
            doubtful=doubtful,
            lowest=limits[0],
            highest=limits[1],
            other_limits=other_limits,
        )
        return packing, self._stored_as

    def _numbers(self, name: str) -> tuple[float, ...]:
        """An attribute's numbers; none if the variable does not have it, or it is empty.

        Numbers that are written as text are read, too.
        """
        value = self._values.get(name, ())
        values = value.replace(",", " ").split() if isinstance(value, str) else value
        try:
            return tuple(float(number) for number in np.atleast_1d(values).ravel().tolist())
        except (TypeError, ValueError):
            raise DataError(
                f"variable '{self._variable}' has {name} {value!r}, expected numbers; "
                + (_LIST_THEM if name in _MISSING else f"correct or delete '{name}' in the file")
            ) from None

    def _single(self, name: str, default: float) -> float:
        numbers = self._numbers(name)
        if len(numbers) > 1:
            raise DataError(
                f"variable '{self._variable}' has {name} {numbers}, expected one number"
            )
        return numbers[0] if numbers else default

    def _missing(self, scale: float, offset: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Stored numbers that mean not observed, and those of markers that the type cannot hold."""
        missing: list[float] = []
        doubtful: list[float] = []
        useless: list[str] = []
        in_use = scale_in_use(self._config, scale, offset)
        is_listed = any_held(self._read_as, self._config.missing_values, *in_use)
        for name in _MISSING:
            try:
                for number in self._numbers(name):
                    stored = self._stored_numbers(name, number, scale, offset)
                    missing += stored
                    if not stored:
                        useless.append(f"{name} {number:.15g}")
                        doubtful += wrapped_to(self._read_as, number)
            except DataError:
                if not is_listed:
                    raise
        if useless and not missing and not is_listed:
            raise DataError(
                f"variable '{self._variable}' has {', '.join(useless)}, which {self._read_as.name} "
                f"cannot hold; {list_missing(self._read_as, *in_use)}"
            )
        all_missing = tuple(dict.fromkeys([*missing, *self._default_fill()]))
        return all_missing, () if is_listed else tuple(sorted({*doubtful} - {*all_missing}))

    def _stored_numbers(
        self, name: str, number: float, scale: float, offset: float
    ) -> tuple[float, ...]:
        """How a missing value is stored; nothing if the variable's type cannot hold it.

        It should be a packed number (CF 2.5.1). A floating-point value of packed integers may also
        be an unpacked value; it is taken for one if it cannot be a packed number.
        """
        if self._dtype.kind == "f":
            return held_by(self._dtype, number)
        packed = self._as_integer(number)
        if np.asarray(self._values[name]).dtype.kind != "f" or (scale, offset) == (1.0, 0.0):
            return packed
        unpacked = self._as_integer((number - offset) / scale)
        if packed and unpacked and packed != unpacked and "_FillValue" not in self._values:
            raise DataError(
                f"variable '{self._variable}' has {name} {number:g}, which may be the packed "
                f"number {packed[0]:g} or mean {unpacked[0]:g}; {_LIST_THEM}"
            )
        return packed or unpacked

    def _as_integer(self, number: float) -> tuple[float, ...]:
        """A number as the variable's type holds it, signed or unsigned; nothing if it cannot."""
        if not np.isfinite(number) or abs(number - round(number)) > 0.05:  # rounding
            return ()
        limits = np.iinfo(self._read_as)
        written = round(number)
        if not limits.min <= written <= limits.max and self._stored_as is not None:
            own = np.iinfo(self._dtype)
            if own.min <= written <= own.max:  # written with the sign of the variable's type
                written = int(np.array(written, self._dtype).view(self._stored_as))
        return (float(written),) if limits.min <= written <= limits.max else ()

    def _limits(self, scale: float, offset: float) -> tuple[Limits, Limits | None]:
        """Lowest and highest valid stored number, None = no limit; and those of another reading.

        Limits are packed numbers if the variable is packed. But floating-point limits of packed
        integers can only be unpacked values (NetCDF User Guide). Integer limits might be unpacked,
        too: that is the other reading.
        """
        valid_range = self._numbers("valid_range") or (None, None)
        if len(valid_range) != 2:
            raise DataError(
                f"variable '{self._variable}' has valid_range {valid_range}, expected two"
            )
        low = (self._numbers("valid_min") or valid_range[:1])[0]
        high = (self._numbers("valid_max") or valid_range[1:])[0]
        low, high = (None if v is None or np.isnan(v) else v for v in (low, high))
        is_packed = self._dtype.kind in "iu" and (scale, offset) != (1.0, 0.0)
        # a limit may differ from its packed number by a rounding error
        slack = 0.5 if "scale_factor" in self._values and self._dtype.kind in "iu" else 0.0
        if not is_packed or (low, high) == (None, None):
            return _widened((low, high), slack), None
        unpacked = [None if v is None else (v - offset) / scale for v in (low, high)]
        if scale < 0:
            unpacked.reverse()
        as_unpacked = _widened((unpacked[0], unpacked[1]), slack)
        limits = [self._values.get(name) for name in ("valid_range", "valid_min", "valid_max")]
        if any(np.asarray(limit).dtype.kind == "f" for limit in limits):
            return as_unpacked, None
        as_packed = tuple(self._with_sign(v) for v in (low, high))
        return _widened((as_packed[0], as_packed[1]), slack), as_unpacked

    def _with_sign(self, number: float | None) -> float | None:
        """A packed limit, which may be written with the sign of the variable's type."""
        if number is None or self._stored_as is None:
            return number
        return (self._as_integer(number) or (number,))[0]

    def _default_fill(self) -> tuple[float, ...]:
        """The number that netCDF stores where nothing was written, if no fill value is declared.

        Bytes have none: all their numbers may be data (NetCDF User Guide).
        """
        if "_FillValue" in self._values or self._dtype.kind not in "iu" or self._dtype.itemsize < 2:
            return ()
        fill = np.array(netCDF4.default_fillvals[self._dtype.str[1:]], self._dtype)
        return (float(fill.view(self._read_as)),)


def _widened(limits: Limits, slack: float) -> Limits:
    low, high = limits
    return None if low is None else low - slack, None if high is None else high + slack


def _other_sign(dtype: np.dtype[Any], unsigned: str) -> np.dtype[Any] | None:
    """The type that ``_Unsigned`` declares for integers; None if it is the variable's own."""
    if (unsigned.lower(), dtype.kind) == ("true", "i"):
        return np.dtype(f"u{dtype.itemsize}")
    if (unsigned.lower(), dtype.kind) == ("false", "u"):
        return np.dtype(f"i{dtype.itemsize}")
    return None
