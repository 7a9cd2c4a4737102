"""The fields of a forecast of chances, lead time by lead time.

Public: `next_fields`, `fields_of_leads`, `kept_fields`, `kept_chances`,
`fills_memory`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import Any

import dask.array
import numpy as np
import numpy.typing as npt
import torch

from squall.convgru.calibration import LeadCalibration
from squall.convgru.file_arrays import IN_MEMORY_BYTES
from squall.convgru.heads.exceedance import LeadChances
from squall.convgru.products import Product, exceedance, product_rain
from squall.convgru.thresholds import THRESHOLDS_MM_H
from squall.pipeline.forecast.chance_code import chance_codes
from squall.pipeline.forecast.field_file import FieldFile

Rates = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]
Size = tuple[int, int]


def fills_memory(shape: Size, lead_times: int) -> bool:
    """Whether the fields of a forecast are kept in a file, since the grid is large."""
    return prod(shape) * lead_times * (4 + len(THRESHOLDS_MM_H)) > IN_MEMORY_BYTES


def kept_fields(
    leads: Iterable[npt.NDArray[Any]], shape: Size, lead_times: int
) -> npt.NDArray[Any] | FieldFile:
    """The fields (y, x) of all lead times, by number; those of a large grid in a temporary file."""
    if not fills_memory(shape, lead_times):
        return np.stack(list(leads))
    fields = FieldFile()
    for field in leads:
        fields.append(field)
        del field  # before the next is made
    return fields


def kept_chances(
    leads: Iterator[Rates], shape: Size, lead_times: int
) -> npt.NDArray[Any] | FieldFile:
    """The chances (K, y, x) of all lead times, see `kept_fields`.

    Parameters
    ----------
    leads : of `ChanceMethod.leads_with_chances`.
    """

    def without_rain() -> Iterator[Rates]:
        for fields in leads:
            yield fields[1:]
            del fields  # before the next are made

    return kept_fields(without_rain(), shape, lead_times)


@torch.inference_mode()
def next_fields(
    leads: Iterator[LeadChances],
    product: Product,
    calibration: LeadCalibration | None,
    are_chances_raw: bool,
    chosen: Sequence[int],
    size: Size,
) -> Rates:
    """(1 + K, y, x) of the next lead time: rain rate [mm/h], and the chances of some thresholds.

    Parameters
    ----------
    calibration : of the network on this radar.
    are_chances_raw : whether it is left out for the chances.
    chosen : numbers of the thresholds in `THRESHOLDS_MM_H`, rising.
    size : rows and columns; the moving frame may be larger.
    """
    height, width = size
    lead = next(leads)
    fields = np.empty((1 + len(chosen), height, width), np.float32)
    rain = product_rain(lead, product, calibration)
    fields[0] = rain[0, 0, :height, :width].cpu().numpy()
    del rain
    if chosen:
        for rows, chances in exceedance(lead, None if are_chances_raw else calibration, chosen):
            inside = fields[1:, rows]
            inside[:] = chances[0, :, : inside.shape[1], :width].cpu().numpy()
    return fields


def fields_of_leads(
    leads: Iterator[Rates], shape: Size, lead_times: int
) -> tuple[Rates | dask.array.Array, Codes | dask.array.Array]:
    """Rain rate (lead_time, y, x), mm/h, and the codes of the chances (threshold, lead_time, y, x).

    Those of a large grid are kept in a temporary file, and read when they are used. Chances become
    bytes lead time by lead time: as numbers they would need four times the memory.

    Parameters
    ----------
    leads : of `ChanceMethod.leads_with_chances`, for all `THRESHOLDS_MM_H`.
    """
    if fills_memory(shape, lead_times):
        rain_file, code_file = FieldFile(), FieldFile()
        for _ in range(lead_times):
            fields = next(leads)
            rain_file.append(fields[0])
            code_file.append(chance_codes(fields[1:]))
            del fields  # before the next are made
        return rain_file.stacked(axis=0), code_file.stacked(axis=1)
    rain_rate = np.empty((lead_times, *shape), np.float32)
    codes = np.empty((len(THRESHOLDS_MM_H), *rain_rate.shape), np.uint8)
    for number, fields in zip(range(lead_times), leads, strict=True):
        rain_rate[number] = fields[0]
        codes[:, number] = chance_codes(fields[1:])
    return rain_rate, codes
