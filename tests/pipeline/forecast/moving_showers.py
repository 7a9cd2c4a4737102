"""Showers that move at a known speed, and simple networks that forecast them."""

import numpy as np
import torch

from squall.convgru.motion import extrapolate
from squall.pipeline.forecast.resampling import Resampling

SIZE = 96  # pixels of 1 km
SPEED_KM_H = 36.0
BASE = {
    "name": "base",
    "context": 4,
    "lead_times": 12,
    "steps_s": [300, 360, 600],
    "spacings_m": [500.0, 1000.0, 2000.0],
}


def resampling(step_min=5.0, spacing_km=1.0, **provenance):
    return Resampling.for_archive(
        BASE | provenance, step_s=step_min * 60, spacing_m=spacing_km * 1000
    )


def scan_at(minutes, spacing_km=1.0, size_km=SIZE, peak=20.0):
    """Two Gaussian showers that move right and slightly down, as means over pixels."""
    fine = 4  # samples along the side of a pixel, whose mean is the pixel
    pixels = round(size_km / spacing_km)
    km = (np.arange(pixels * fine) + 0.5) * spacing_km / fine
    rain = np.zeros((pixels * fine, pixels * fine))
    for x, y, width in ((30.0, 40.0, 6.0), (48.0, 60.0, 9.0)):
        x, y = x + SPEED_KM_H * minutes / 60, y + 0.25 * SPEED_KM_H * minutes / 60
        distance = np.hypot(km[None, :] - x, km[:, None] - y)
        rain += peak * np.exp(-0.5 * (distance / width) ** 2)
    blocks = rain.reshape(pixels, fine, pixels, fine).mean(axis=(1, 3))
    return np.where(blocks < 0.08, 0.0, blocks).astype(np.float32)


def scans(count, step_min, spacing_km=1.0):
    """(count, y, x), the last one at minute 0."""
    return np.stack([scan_at(step_min * (i - count + 1), spacing_km) for i in range(count)])


def optical_flow(context, lead_times):
    tensor = torch.from_numpy(np.ascontiguousarray(context))[None, :, None]
    return extrapolate(tensor, lead_times)[0, :, 0].numpy()


def persistence(context, lead_times):
    return np.repeat(context[-1:], lead_times, axis=0)


def nowcast(chosen, network, context, lead_times):
    """(lead_time, y, x): the forecast of a network that gives rain only."""

    def rain_alone(network_context, network_lead_times, _motion):
        return network(network_context, network_lead_times)[:, None]

    return np.concatenate(list(chosen.leads(rain_alone, context, lead_times)))


def centre(rain):
    """(x, y) of the centre of mass of the rain, pixels."""
    rain = np.nan_to_num(rain)
    rows, columns = np.indices(rain.shape)
    return np.array([(columns * rain).sum(), (rows * rain).sum()]) / rain.sum()
