"""Numbers that mark pixels as missing or dry, as the type of the pixels holds them.

Owns the check that a type can hold a marker: 8 bits cannot hold -1, a producer stores 255 in its
place, and these pixels would count as rain.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from squall.datasets.errors import DataError
from squall.datasets.radar.network_config import RadarNetworkConfig

ROUNDING = 1e-3  # of a whole number, of which an attribute in single precision differs


def fault(name: str, marker: float | None, dtype: np.dtype[Any]) -> str:
    """What is wrong with a marker that a type cannot hold, after "has"."""
    return (
        f"no {name}" if marker is None else f"{name} {marker:.15g}, which {dtype.name} cannot hold"
    )


def list_missing(dtype: np.dtype[Any], scale: float, offset: float) -> str:
    """Advice to name the missing values in the configuration, with an example that is stored."""
    highest = float(np.iinfo(dtype).max) * scale + offset if dtype.kind in "iu" else -9999.0
    return (
        "list the unpacked values that mean not observed under 'missing_values' in the network "
        f"configuration, for example 'missing_values: [{highest:.10g}]'"
        + (f" for pixels stored as {np.iinfo(dtype).max}" if dtype.kind in "iu" else "")
        + "; if no pixel is missing, list a value that no pixel has"
    )


def check_has_nan(pixels: npt.NDArray[Any], fault: str) -> None:
    """Refuse a scan (y, x) of floating-point numbers in which no pixel is NaN, not observed.

    Raises
    ------
    DataError
        It says ``fault``, and which key of the configuration helps.
    """
    if not np.isnan(pixels).any():
        raise DataError(
            f"{fault}, so pixels outside radar coverage cannot be told from dry or wet ones; "
            + list_missing(pixels.dtype, 1.0, 0.0)
        )


def held_by(dtype: np.dtype[Any], marker: float | None) -> tuple[float, ...]:
    """The numbers of a type that a marker means; none if there is no marker, or it fits none.

    An attribute may have more or fewer digits than floating-point pixels.
    """
    if marker is None:
        return ()
    if dtype.kind == "f":
        if math.isnan(marker):
            return (math.nan,)
        with np.errstate(over="ignore"):
            single = np.float32(marker)
            numbers = [float(np.array(marker).astype(dtype))]
        if dtype.itemsize > 4 and float(single) == marker and math.isfinite(marker):
            numbers.append(float(str(single)))
        return tuple(dict.fromkeys(numbers))
    if not math.isfinite(marker) or abs(marker - round(marker)) > ROUNDING:
        return ()
    limits, number = np.iinfo(dtype), float(round(marker))
    return (number,) if float(limits.min) <= number <= float(limits.max) else ()


def wrapped_to(dtype: np.dtype[Any], marker: float) -> tuple[float, ...]:
    """The number that an integer type stores in place of one that it cannot hold.

    None for numbers that no integer holds: what is stored for them depends on the machine.
    """
    if dtype.kind == "f" or not abs(marker) < 2**63:
        return ()
    bits = 8 * dtype.itemsize
    number = int(marker) % 2**bits
    is_negative = dtype.kind == "i" and number >= 2 ** (bits - 1)
    return (float(number - 2**bits if is_negative else number),)


def scale_in_use(config: RadarNetworkConfig, scale: float, offset: float) -> tuple[float, float]:
    """Scale and offset that unpack the numbers: the configuration's precede those of a file."""
    return (
        scale if config.scale is None else config.scale,
        offset if config.offset is None else config.offset,
    )


def any_held(dtype: np.dtype[Any], values: tuple[float, ...], scale: float, offset: float) -> bool:
    """Whether pixels of a type can have any of the unpacked values."""
    if dtype.kind == "f":
        return bool(values)
    return any(held_by(dtype, (value - offset) / scale) for value in values)
