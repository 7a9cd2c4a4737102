"""How a netCDF variable packs its numbers, by CF 8.1 (packing) and 2.5.1 (missing data).

Owns the attributes of one variable; reads none of its values.
"""

from typing import Any

import netCDF4
import numpy as np

from squall.datasets.errors import DataError
from squall.datasets.radar.product import Packing


def packing_of(variable: netCDF4.Variable) -> tuple[Packing, np.dtype[Any] | None]:
    """Packing of a variable, and the type of its numbers where their sign is not what theirs says.

    Limits are in packed numbers where the variable is packed, but floating-point limits of packed
    integers can only mean the unpacked values (NetCDF User Guide).

    Raises
    ------
    DataError
        If the variable holds no numbers, or its attributes say nothing that can be meant.
    """
    attributes: dict[str, Any] = {name: variable.getncattr(name) for name in variable.ncattrs()}
    dtype = np.dtype(variable.dtype).newbyteorder("=")
    if dtype.kind not in "iuf":
        raise DataError(f"variable '{variable.name}' holds {dtype}, no numbers")
    unsigned = str(attributes.get("_Unsigned", "")).lower()
    stored_as = None
    if (unsigned, dtype.kind) in (("true", "i"), ("false", "u")):
        stored_as = np.dtype(f"{'u' if unsigned == 'true' else 'i'}{dtype.itemsize}")

    def numbers(name: str) -> tuple[float, ...]:
        values = np.atleast_1d(attributes.get(name, ()))
        if values.dtype.kind not in "iuf":
            raise DataError(
                f"variable '{variable.name}' has {name} {attributes[name]!r}, expected numbers"
            )
        if stored_as is not None and values.dtype.kind in "iu":
            values = values.astype(dtype).view(stored_as)
        return tuple(float(value) for value in values)

    scale = float(attributes.get("scale_factor", 1.0))
    offset = float(attributes.get("add_offset", 0.0))
    if not (np.isfinite([scale, offset]).all() and scale != 0):
        raise DataError(
            f"variable '{variable.name}' has scale_factor {scale:g} and add_offset {offset:g}, "
            "with which nothing can be unpacked"
        )
    given_range = numbers("valid_range") or (None, None)
    if len(given_range) != 2:
        raise DataError(f"variable '{variable.name}' has valid_range {given_range}, expected two")
    low, high = given_range
    low, high = (numbers("valid_min") or (low,))[0], (numbers("valid_max") or (high,))[0]
    given = [n for n in ("valid_range", "valid_min", "valid_max") if n in attributes]
    unpacked = any(np.asarray(attributes[name]).dtype.kind == "f" for name in given)
    if dtype.kind in "iu" and unpacked:
        low, high = (None if v is None else (v - offset) / scale for v in (low, high))
        if scale < 0:
            low, high = high, low
    slack = 0.5 if "scale_factor" in attributes and dtype.kind in "iu" else 0.0
    unwritten: tuple[float, ...] = ()
    if "_FillValue" not in attributes and dtype.kind in "iu" and dtype.itemsize > 1:
        # what was never written; a byte has no number to spare for it (NetCDF User Guide)
        fill = np.array(netCDF4.default_fillvals[dtype.str[1:]], dtype)
        unwritten = (float(fill.view(stored_as or dtype)),)
    packing = Packing(
        units=str(attributes.get("units", "")),
        scale=scale,
        offset=offset,
        missing=numbers("_FillValue") + numbers("missing_value") + unwritten,
        lowest=None if low is None else low - slack,
        highest=None if high is None else high + slack,
    )
    return packing, stored_as
