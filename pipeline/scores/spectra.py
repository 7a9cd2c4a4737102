"""Power spectra of rain fields: they show which wavelengths a forecast has blurred.

Fields are in dBR = 10 log10(R / 1 mm h-1). The logarithm needs a floor: rates below 0.1 mm/h and
pixels that do not count are at -15 dBR. The floor is that of pysteps (`dB_transform` with its
defaults), 5 dB below the weakest rain, so that spectra can be compared with those of pysteps.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.fft

RAIN_THRESHOLD_MM_H = 0.1
FLOOR_DBR = -15.0
# Power of white noise of 0.001 dB. Below this it is rounding error, and ratios of it are arbitrary.
_LEAST_POWER_DB2 = 1e-6

# Middles of the half-octave bins of mean spectra, 0.5 km to 2048 km. They are equal for all grids.
_HALF_OCTAVES = np.arange(-2, 23)
WAVELENGTHS_KM = np.round(2.0 ** (_HALF_OCTAVES / 2), 3)


def dbr(rate_mm_h: np.ndarray) -> np.ndarray:
    """Rain rate in dBR, at the floor where it is dry. NaN is not allowed."""
    wet = rate_mm_h >= np.float32(RAIN_THRESHOLD_MM_H)
    field = np.full(rate_mm_h.shape, FLOOR_DBR)
    field[wet] = 10 * np.log10(rate_mm_h[wet], dtype=np.float64)
    return field


def radial_power(field_HW: np.ndarray) -> np.ndarray:
    """Radially averaged power spectrum of one field, |FFT|² / pixels, in the field's unit².

    Wavenumber r = 1, 2, ... means r waves along the longer side L, so wavelength L / r. The power
    is averaged over the modes whose wavenumber rounds to r. Wavenumber 0 (the mean) and wavenumbers
    from L / 2 on are left out. No window is applied. On square fields the result equals that of
    `rapsd` of pysteps; on other fields, pysteps counts waves along each side by its own length.

    Returns
    -------
    (r,) the power of r = 1 ... (L - 1) // 2.
    """
    radius, weight, modes = _radial_modes(field_HW.shape)
    spectrum = scipy.fft.rfft2(field_HW)
    power = (spectrum.real**2 + spectrum.imag**2) * (weight / field_HW.size)
    return np.bincount(radius, power.ravel(), minlength=modes.size)[1 : modes.size] / modes[1:]


def rain_power(rate_HW: np.ndarray) -> np.ndarray | None:
    """Spectrum of a rain field [mm/h] in dBR; None without rain, and where no wave fits (2 pixels).

    NaN is not allowed.
    """
    if min(rate_HW.shape) < 3 or not (rate_HW >= np.float32(RAIN_THRESHOLD_MM_H)).any():
        return None
    return radial_power(dbr(rate_HW))


def log_spectral_distance(power: np.ndarray, power_observed: np.ndarray) -> float:
    """Distance of two radial spectra in dB: √mean over r of (10 log10(P / P_observed))²."""
    ratio = np.maximum(power, _LEAST_POWER_DB2) / np.maximum(power_observed, _LEAST_POWER_DB2)
    return float(np.sqrt(np.mean(np.square(10 * np.log10(ratio)))))


def by_wavelength(power: np.ndarray, longer_side_px: int, pixel_km: float) -> np.ndarray:
    """Radial spectrum averaged in the bins of `WAVELENGTHS_KM`; NaN in bins without a wavenumber.

    Wavelengths outside all bins are left out.
    """
    wavelength_km = longer_side_px * pixel_km / np.arange(1, power.size + 1)
    bins = np.round(2 * np.log2(wavelength_km)).astype(int) - _HALF_OCTAVES[0]
    inside = (bins >= 0) & (bins < WAVELENGTHS_KM.size)
    total = np.bincount(bins[inside], power[inside], minlength=WAVELENGTHS_KM.size)
    count = np.bincount(bins[inside], minlength=WAVELENGTHS_KM.size)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


@lru_cache(maxsize=4)
def _radial_modes(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Modes of `rfft2`: their radius, their weight by column, and the number of modes by radius.

    A mode has weight 2 where `rfft2` leaves out its mirror image.
    """
    height, width = shape
    longer = max(shape)
    waves_y = np.fft.fftfreq(height, 1 / longer)[:, None]  # number of waves along the longer side
    waves_x = np.fft.rfftfreq(width, 1 / longer)[None, :]
    radius = np.round(np.hypot(waves_y, waves_x)).astype(int).ravel()
    # Columns that are their own mirror image: the first and, if the width is even, the last.
    weight = np.full(width // 2 + 1, 2.0)
    weight[0] = 1
    if width % 2 == 0:
        weight[-1] = 1
    modes = np.bincount(radius, np.broadcast_to(weight, (height, weight.size)).ravel())
    return radius, weight, modes[: (longer - 1) // 2 + 1]
