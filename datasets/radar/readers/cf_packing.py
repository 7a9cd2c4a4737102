"""How a netCDF variable packs its numbers, by CF 8.1 (packing) and 2.5.1 (missing data).

Owns the attributes of one variable; reads none of its values.
"""

from typing import Any

import netCDF4
import numpy as np

from squall.datasets.errors import DataError
from squall.datasets.radar.product import Packing


def packing_of(variable: netCDF4.Variable) -> tuple[Packing, np.dtype[Any] | None]:
    """Read the packing of a variable from its attributes.

    Returns
    -------
    The packing, and the type to read the numbers as if its sign differs from the variable's
    (``_Unsigned``).

    Raises
    ------
    DataError
        If the variable does not hold numbers, or its attributes cannot be used.
    """
    return _Attributes(variable).packing()


class _Attributes:
    """The attributes of a variable, read as numbers."""

    def __init__(self, variable: netCDF4.Variable) -> None:
        self._variable = variable.name
        self._values: dict[str, Any] = {key: variable.getncattr(key) for key in variable.ncattrs()}
        self._dtype = np.dtype(variable.dtype).newbyteorder("=")
        if self._dtype.kind not in "iuf":
            raise DataError(f"variable '{variable.name}' holds {self._dtype}, no numbers")
        self._stored_as = _other_sign(self._dtype, str(self._values.get("_Unsigned", "")))

    def packing(self) -> tuple[Packing, np.dtype[Any] | None]:
        scale, offset = self._scale_and_offset()
        lowest, highest = self._limits(scale, offset)
        packing = Packing(
            units=str(self._values.get("units", "")),
            scale=scale,
            offset=offset,
            missing=self._numbers("_FillValue")
            + self._numbers("missing_value")
            + self._default_fill(),
            lowest=lowest,
            highest=highest,
        )
        return packing, self._stored_as

    def _numbers(self, name: str) -> tuple[float, ...]:
        """An attribute's numbers; none if the variable does not have it."""
        values = np.atleast_1d(self._values.get(name, ()))
        if values.dtype.kind not in "iuf":
            raise DataError(
                f"variable '{self._variable}' has {name} {self._values[name]!r}, expected numbers"
            )
        if self._stored_as is not None and values.dtype.kind in "iu":
            values = values.astype(self._dtype).view(self._stored_as)
        return tuple(float(value) for value in values)

    def _scale_and_offset(self) -> tuple[float, float]:
        scale = float(self._values.get("scale_factor", 1.0))
        offset = float(self._values.get("add_offset", 0.0))
        if not (np.isfinite([scale, offset]).all() and scale != 0):
            raise DataError(
                f"variable '{self._variable}' has scale_factor {scale:g} and add_offset "
                f"{offset:g}, with which nothing can be unpacked"
            )
        return scale, offset

    def _limits(self, scale: float, offset: float) -> tuple[float | None, float | None]:
        """Lowest and highest valid stored number; None = no limit.

        Limits are packed numbers if the variable is packed. But floating-point limits of packed
        integers can only be unpacked values (NetCDF User Guide).
        """
        valid_range = self._numbers("valid_range") or (None, None)
        if len(valid_range) != 2:
            raise DataError(
                f"variable '{self._variable}' has valid_range {valid_range}, expected two"
            )
        low = (self._numbers("valid_min") or valid_range[:1])[0]
        high = (self._numbers("valid_max") or valid_range[1:])[0]
        limits = [self._values.get(name) for name in ("valid_range", "valid_min", "valid_max")]
        are_unpacked = any(np.asarray(limit).dtype.kind == "f" for limit in limits)
        if self._dtype.kind in "iu" and are_unpacked:
            low, high = (None if v is None else (v - offset) / scale for v in (low, high))
            if scale < 0:
                low, high = high, low
        # a limit may differ from its packed number by a rounding error
        is_packed = "scale_factor" in self._values and self._dtype.kind in "iu"
        slack = 0.5 if is_packed else 0.0
        return None if low is None else low - slack, None if high is None else high + slack

    def _default_fill(self) -> tuple[float, ...]:
        """The number that netCDF stores where nothing was written, if no fill value is declared.

        Bytes have none: all their numbers may be data (NetCDF User Guide).
        """
        if "_FillValue" in self._values or self._dtype.kind not in "iu" or self._dtype.itemsize < 2:
            return ()
        fill = np.array(netCDF4.default_fillvals[self._dtype.str[1:]], self._dtype)
        return (float(fill.view(self._stored_as or self._dtype)),)


def _other_sign(dtype: np.dtype[Any], unsigned: str) -> np.dtype[Any] | None:
    """The type that ``_Unsigned`` declares for integers; None if it is the variable's own."""
    if (unsigned.lower(), dtype.kind) == ("true", "i"):
        return np.dtype(f"u{dtype.itemsize}")
    if (unsigned.lower(), dtype.kind) == ("false", "u"):
        return np.dtype(f"i{dtype.itemsize}")
    return None
