"""Neighbourhoods of the fractions skill score: their widths, and the sums over one field.

Counting events in square windows takes most of the time of a verification. Therefore the counts
come from the box filter of OpenCV, in 32 bits, and only from the part of the field that has events.
This module does not decide what an event is (`squall.pipeline.scores.sums`) and computes no score
(`squall.pipeline.scores.table`).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np


def fss_windows_px(scales_km: Sequence[float], pixel_km: float) -> tuple[int, ...]:
    """Width in pixels of the FSS neighbourhood of each scale: the nearest odd number.

    An odd window has a pixel in its middle. A width halfway between two odd numbers (10 pixels) is
    rounded up (11).

    Raises
    ------
    ValueError
        If a scale is not positive, or two scales have the same window.
    """
    if not pixel_km > 0:
        raise ValueError(f"pixel size is {pixel_km} km, expected a positive number.")
    windows: dict[int, float] = {}
    for scale in scales_km:
        if not scale > 0:
            raise ValueError(f"FSS scale is {scale} km, expected a positive number.")
        window = 2 * int(round(scale / pixel_km, 6) // 2) + 1
        if window in windows:
            raise ValueError(
                f"FSS scales {windows[window]} km and {scale} km are both windows of {window} "
                f"pixels of {pixel_km} km; leave one out."
            )
        windows[window] = scale
    return tuple(windows)


class Neighbourhoods:
    """Square windows of several widths around the counting pixels of one field.

    Parameters
    ----------
    known_HW : bool, the pixels that count.
    windows_px : odd widths.
    """

    def __init__(self, known_HW: np.ndarray, windows_px: Sequence[int]) -> None:
        self._windows_px = windows_px
        self._margin = max(windows_px, default=1) // 2
        # 1 / known pixels in the window; 0 where the middle of the window does not count.
        self._weights = [
            np.where(known_HW, 1 / np.maximum(_counts(known_HW, window), 1), np.float32(0))
            for window in windows_px
        ]

    def fss_sums(self, events: Sequence[np.ndarray]) -> np.ndarray:
        """Sums of (Pf - Po)², Pf², Po² as (3, method, scale).

        Parameters
        ----------
        events : (y, x) bool, of the observation and then of each forecast; False where not known.
            A forecast may also be the chance of an event, in 32 bits.

        Returns
        -------
        Sums in 64 bits. P, the share of events among the known pixels of a window, has the
        relative error of 32 bits, 6e-8.
        """
        sums = np.zeros((3, len(events) - 1, len(self._windows_px)))
        box = self._box(np.logical_or.reduce(events))
        if box is None:
            return sums
        observed, *forecasts = (event[box] for event in events)
        for s, (window, weight_HW) in enumerate(zip(self._windows_px, self._weights, strict=True)):
            weight = weight_HW[box]
            share_observed = _counts(observed, window) * weight
            sums[2, :, s] = cv2.norm(share_observed, cv2.NORM_L2SQR)
            for m, forecast in enumerate(forecasts):
                share = _counts(forecast, window) * weight
                sums[1, m, s] = cv2.norm(share, cv2.NORM_L2SQR)
                sums[0, m, s] = cv2.norm(share, share_observed, cv2.NORM_L2SQR)
        return sums

    def _box(self, any_event_HW: np.ndarray) -> tuple[slice, slice] | None:
        """Rows and columns that windows with an event cover; None without an event.

        All shares outside are 0.
        """
        rows, columns = (np.flatnonzero(any_event_HW.any(axis=axis)) for axis in (1, 0))
        if rows.size == 0:
            return None
        y, x = (
            slice(max(i[0] - self._margin, 0), i[-1] + self._margin + 1) for i in (rows, columns)
        )
        return y, x


def _counts(field_HW: np.ndarray, window: int) -> np.ndarray:
    """Sum of the window around each pixel, float32; 0 outside the field."""
    # Counts below 2**24 are exact in float32, that is for windows up to 4095 pixels wide.
    field_HW = np.ascontiguousarray(field_HW)
    return cv2.boxFilter(
        field_HW.view(np.uint8) if field_HW.dtype == bool else field_HW,
        cv2.CV_32F,
        (window, window),
        normalize=False,
        borderType=cv2.BORDER_CONSTANT,
    )
