"""Synthetic rain that moves and changes, with a lifetime for each scale."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from squall.convgru.ensemble import EnsembleRun, EnsembleSettings
from squall.convgru.ensemble import start as start_module
from squall.convgru.ensemble.settings import Growth

TIME = np.datetime64("2024-06-01T12:00")
NEVER = Growth(a=0, b=1)
ROUNDING = {"rtol": 1e-5, "atol": 1e-6, "equal_nan": True}
UNPERTURBED = EnsembleSettings(
    noise=0, noise_after_an_hour=0, along_km=NEVER, across_km=NEVER, amount=NEVER, new_rain=NEVER
)


def run(
    seed: int = 0, step_min: float = 5.0, time: np.datetime64 = TIME, **settings
) -> EnsembleRun:
    return EnsembleRun(step_min, 1.0, time, seed, EnsembleSettings(**settings))


def evolving_rain(
    scans: int = 4, side: int = 128, *, columns: int = 0, median_mm_h: float = 2.0, seed: int = 0
) -> torch.Tensor:
    """(T, side, side) mm/h, log-normal and periodic, moving right by ``columns`` in each step.

    Its logarithm has the power spectrum f**-2.7; the lifetime of waves is in proportion to their
    length, 20 steps for 40 pixels.
    """
    random = np.random.default_rng(seed)
    row, column = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)
    frequency = np.hypot(row, column)
    frequency[0, 0] = 1
    gain = frequency**-1.35
    gain[0, 0] = 0
    rho = np.exp(-2 * frequency)
    field = np.fft.rfft2(random.standard_normal((side, side)))
    fields = []
    for step in range(scans):
        if step:
            new = np.fft.rfft2(random.standard_normal((side, side)))
            field = rho * field + np.sqrt(1 - rho**2) * new
        moved = field * gain * np.exp(-2j * np.pi * column * columns * step)
        fields.append(np.fft.irfft2(moved, s=(side, side)))
    logarithm = np.stack(fields) / np.std(fields)
    return torch.from_numpy(median_mm_h * np.exp(0.9 * logarithm)).float()


def radial_spectrum_db(field: np.ndarray) -> np.ndarray:
    """Mean power [dB] of octaves of wavelengths from 4 pixels to a quarter of the side."""
    side = field.shape[-1]
    power = np.abs(np.fft.fft2(field - field.mean(axis=(-1, -2), keepdims=True))) ** 2
    if power.ndim == 3:
        power = power.mean(axis=0)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side))
    edges = [1 / 4 / 2**n for n in range(int(np.log2(side)) - 3)]
    octaves = [(frequency <= edge) & (frequency > edge / 2) for edge in edges]
    return 10 * np.log10([power[octave].mean() for octave in octaves])


def check_that_a_member_does_not_depend_on_the_number(
    members_of: Callable[[torch.Tensor, int, int], torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Member 3 of 10 is member 3 of 50, also if other groups of members are computed at once.

    Up to rounding: the last bit of a logarithm or of a product of matrices depends on a number's
    place in its array. So two pixels of almost equal rank may swap places.

    Parameters
    ----------
    members_of : gives (L, M, H, W) from scans, number of lead times and number of members.
    """
    scans = evolving_rain(side=64, columns=2)
    six = members_of(scans, 3, 6)
    assert six.shape == (3, 6, 64, 64)
    assert six.dtype == torch.float32
    for count in (1, 5):
        check_equal_up_to_rounding(members_of(scans, 3, count), six[:, :count])
    monkeypatch.setattr(start_module, "GROUP", 3)
    check_equal_up_to_rounding(members_of(scans, 3, 6), six)
    assert (six[2].std(dim=0).nan_to_num(0) > 0.01).float().mean() > 0.8


def check_equal_up_to_rounding(some: torch.Tensor, others: torch.Tensor) -> None:
    """All but one pixel in a thousand are equal to rounding, and the same are known."""
    assert torch.equal(some.isnan(), others.isnan())
    is_close = torch.isclose(some, others, **ROUNDING)
    assert (~is_close).double().mean() < 1e-3
