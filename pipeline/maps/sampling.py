"""As many pixels of a large grid as a picture shows.

Public: `sampled`, `sampled_forecast`, `sampled_axis`, `samples`, `SAMPLES_PER_DOT`.

A picture shows the nearest pixel at each of its dots. Pixels between the dots cost memory and time
and are not seen. Grids that have no more samples than a picture needs stay as they are.
"""

from __future__ import annotations

from functools import partial
from uuid import uuid4

import dask.array
import numpy as np
import xarray as xr
from numpy.typing import NDArray

SAMPLES_PER_DOT = 2  # on each side: a sample lies within a quarter of a dot of where it is drawn


def samples(size: int, inches: float, dpi: float) -> int:
    """How many of a side's pixels a map of this length needs; at most all of them."""
    return min(size, round(SAMPLES_PER_DOT * inches * dpi))


def sampled(values: NDArray, shape: tuple[int, int]) -> NDArray:
    """Values (…, y, x) at the pixels in the middle of equal parts of the grid, (…, *shape).

    The highest number of each field stays, at the sample nearest to it: a map must not say that
    there is no rain, where a shower lies between its dots.
    """
    if values.shape[-2:] == shape:
        return values
    rows, columns = (
        ((2 * np.arange(count) + 1) * size) // (2 * count)
        for size, count in zip(values.shape[-2:], shape, strict=True)
    )
    result = values[..., rows[:, None], columns]
    if values.dtype.kind == "f":
        for index in np.ndindex(values.shape[:-2]):
            field = values[index]
            highest = np.fmax.reduce(field, axis=None)
            if highest > np.fmax.reduce(result[index], axis=None, initial=-np.inf):
                row, column = np.unravel_index(int((field == highest).argmax()), field.shape)
                place = row * shape[0] // field.shape[0], column * shape[1] // field.shape[1]
                result[index][place] = highest
    return result


def sampled_axis(centres: NDArray, count: int) -> NDArray:
    """Centres of equal parts of an axis with even steps; its outer edges stay."""
    if count == centres.size:
        return centres
    step = (centres[-1] - centres[0]) / (centres.size - 1)
    width = step * centres.size / count
    return np.asarray(centres[0] - step / 2 + width * (np.arange(count) + 0.5))


def sampled_forecast(forecast: xr.Dataset, shape: tuple[int, int]) -> xr.Dataset:
    """The fields of a forecast `sampled`, and read one by one when they are used.

    Parameters
    ----------
    forecast : as `open_forecast` gives it.
    """
    if (forecast.sizes["y"], forecast.sizes["x"]) == shape:
        return forecast
    fields = {}
    for name, variable in forecast.data_vars.items():
        if variable.dims[-2:] != ("y", "x"):
            fields[name] = variable.variable
            continue
        one_by_one = dict.fromkeys(variable.dims[:-2], 1) | {"y": -1, "x": -1}
        blocks = variable.variable.chunk(one_by_one, name=f"{name}-{uuid4().hex}").data
        few = dask.array.map_blocks(
            partial(sampled, shape=shape),
            blocks,
            dtype=blocks.dtype,
            chunks=(*blocks.chunks[:-2], (shape[0],), (shape[1],)),
            meta=np.empty((0,) * blocks.ndim, blocks.dtype),
        )
        fields[name] = xr.Variable(variable.dims, few, variable.attrs)
    axes = {
        name: (name, sampled_axis(forecast[name].values, count), forecast[name].attrs)
        for name, count in zip(("y", "x"), shape, strict=True)
    }
    others = {name: c for name, c in forecast.coords.items() if not {"y", "x"} & {*c.dims}}
    return xr.Dataset(fields, coords={**others, **axes}, attrs=forecast.attrs)
