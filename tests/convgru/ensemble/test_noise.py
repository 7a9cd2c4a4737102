"""The noise of the scale bands: variance, memory, spectrum and place."""

import numpy as np
import pytest
import torch

from squall.convgru.ensemble.noise import NoiseProcess, NoiseState, noise_process
from squall.convgru.ensemble.random_numbers import RandomSource
from squall.convgru.ensemble.settings import EnsembleSettings
from squall.convgru.heads.cascade import band_processes
from squall.convgru.heads.interface import Frame
from squall.convgru.heads.processes import BandProcesses
from squall.convgru.scaling import RainScaling
from tests.convgru.ensemble.evolving_rain import TIME, evolving_rain, radial_spectrum_db

SOURCE = RandomSource(3, TIME)


def context(rain_HW: torch.Tensor, phi_1: float, phi_2: float) -> tuple[Frame, BandProcesses]:
    """The last scan at rest, with the same parameters for all bands."""
    frame = Frame(*RainScaling().normalise(rain_HW[None, None, None]), None)
    of_scan = band_processes(frame)
    phi = torch.ones_like(of_scan.phi_1_BKhw)
    return frame, of_scan._replace(
        previous=of_scan.as_previous(), phi_1_BKhw=phi_1 * phi, phi_2_BKhw=phi_2 * phi
    )


def noise_of(rain_HW: torch.Tensor, phi_1: float, phi_2: float, **settings) -> NoiseProcess:
    return noise_process(*context(rain_HW, phi_1, phi_2), EnsembleSettings(**settings), 1.0)


def whole_field(process: NoiseProcess, state: NoiseState) -> torch.Tensor:
    """The noise of all bands with their own standard deviations."""
    return process.field(state, [1.0] * len(process.bands))


def states(process: NoiseProcess, members: int, steps: int) -> list[list[torch.Tensor]]:
    """The noise of each band at each step."""
    state, noise = process.begin(members), []
    for step in range(1, steps + 1):
        spectrum = torch.stack([process.draw(SOURCE, m, step) for m in range(members)])
        state = process.advance(state, spectrum)
        noise.append([band.clone() for band in state.now])
    return noise


def test_the_variance_is_the_forgotten_share():
    """1 - rho(l)**2 of a process of first order, at each lead time and in each band."""
    rain = evolving_rain(1, 64)[0]
    _, processes = context(rain, 0.8, 0.0)
    noise = states(noise_of(rain, 0.8, 0.0), 48, 4)
    for forecast, bands in zip(processes.forecasts(4), noise, strict=True):
        forgotten = forecast.forgotten_BKhw[0, 0, 0, 0].item()
        for band in bands[:4]:
            assert band.var().item() == pytest.approx(forgotten, rel=0.06)


def test_the_variance_of_second_order_is_the_error_of_a_forecast_from_two_scans():
    phi_1, phi_2 = 1.2, -0.4
    psi = [1.0, phi_1]
    for _ in range(30):
        psi.append(phi_1 * psi[-1] + phi_2 * psi[-2])
    total = sum(weight**2 for weight in psi)
    noise = states(noise_of(evolving_rain(1, 64)[0], phi_1, phi_2), 48, 5)
    for lead, bands in enumerate(noise, start=1):
        expected = sum(weight**2 for weight in psi[:lead]) / total
        assert bands[1].var().item() == pytest.approx(expected, rel=0.06)


def test_the_memory_is_that_of_the_process():
    phi_1, phi_2 = 1.2, -0.4
    noise = states(noise_of(evolving_rain(1, 64)[0], phi_1, phi_2), 32, 14)
    for band in range(3):
        earlier, later = noise[-2][band].flatten(), noise[-1][band].flatten()
        rho = torch.corrcoef(torch.stack([earlier, later]))[0, 1].item()
        assert rho == pytest.approx(phi_1 / (1 - phi_2), abs=0.02)


@pytest.mark.parametrize("size", [(128, 128), (120, 88)])
def test_the_spectrum_is_that_of_the_last_scan(size):
    """Without memory the noise has the whole variance; unpadded and padded grids."""
    side = min(size)
    window = 1.0 if side == 128 else np.hanning(side)[:, None] * np.hanning(side)
    differences = []
    for seed in range(4):
        rain = evolving_rain(1, 128, seed=seed)[0][: size[0], : size[1]]
        process = noise_of(rain, 0.0, 0.0, deviation_floor=0.0)
        spectrum = torch.stack([process.draw(SOURCE, m, 1) for m in range(6)])
        field = whole_field(process, process.advance(process.begin(6), spectrum))
        observed = RainScaling().normalise(rain)[0]
        fields = [
            (x - x.mean(dim=(-2, -1), keepdim=True)).numpy()[..., :side, :side] * window
            for x in (field[..., : size[0], : size[1]], observed)
        ]
        differences.append(radial_spectrum_db(fields[0]) - radial_spectrum_db(fields[1]))
    assert np.abs(np.mean(differences, axis=0)).max() < 1.5


def test_the_mean_over_members_is_nothing():
    process = noise_of(evolving_rain(1, 64)[0], 0.8, 0.0)
    state = process.begin(100)
    spectrum = torch.stack([process.draw(SOURCE, m, 1) for m in range(100)])
    field = whole_field(process, process.advance(state, spectrum))
    standard_error = field.std(dim=0) / 10
    assert ((field.mean(dim=0).abs() / standard_error) < 3.5).float().mean() > 0.998
    assert field.std() > 0.01


def test_noise_is_where_the_rain_is():
    rain = evolving_rain(1, 128)[0]
    rain[:, 64:] = 0
    process = noise_of(rain, 0.0, 0.0, deviation_window_km=8.0)
    spectrum = torch.stack([process.draw(SOURCE, m, 1) for m in range(8)])
    field = whole_field(process, process.advance(process.begin(8), spectrum))
    assert field[:, :, 100:].std() < 0.4 * field[:, :, :40].std()


def test_a_field_without_variance_has_no_noise():
    process = noise_of(torch.full((40, 24), 3.0), 0.0, 0.0)
    spectrum = process.draw(SOURCE, 0, 1)[None]
    field = whole_field(process, process.advance(process.begin(1), spectrum))
    assert field.abs().max() < 1e-4


def test_a_band_whose_factor_is_0_is_not_in_the_field():
    process = noise_of(evolving_rain(1, 64)[0], 0.5, 0.0)
    spectrum = process.draw(SOURCE, 0, 1)[None]
    state = process.advance(process.begin(1), spectrum)
    bands = len(process.bands)
    parts = [
        process.field(state, [float(k == band) for k in range(bands)]) for band in range(bands)
    ]
    fields = [
        process.field(state, factors) for factors in ([0.0, *[1.0] * (bands - 1)], [1.0] * bands)
    ]
    torch.testing.assert_close(fields[0], sum(parts[1:]))
    torch.testing.assert_close(fields[1] - fields[0], parts[0], atol=1e-5, rtol=1e-4)
    assert parts[0].std() > 0.001


def test_the_noise_of_fine_bands_grows_less():
    settings = EnsembleSettings(noise=0.8, noise_after_an_hour=1.2, noise_growth_scale_km=4.0)
    factors = [settings.noise_factor(60, scale) for scale in (1, 2, 4, 32)]
    np.testing.assert_allclose(factors, [0.9, 1.0, 1.2, 1.2])
    assert [settings.noise_factor(0, scale) for scale in (1, 32)] == [0.8, 0.8]
    assert settings.noise_factor(240, 32) == settings.noise_factor(120, 32) == pytest.approx(1.6)
