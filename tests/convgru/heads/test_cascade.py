"""The cascade: scale bands and their autoregressive processes."""

import pytest
import torch

from squall.convgru import RainScaling
from squall.convgru.heads.advection import lagrangian_frame
from squall.convgru.heads.cascade import BANDS, band_processes, scale_bands
from squall.convgru.heads.interface import Frame
from tests.convgru.moving_rain import moving_texture

SCALING = RainScaling()


def test_bands_add_up_to_the_field_and_unknown_pixels_have_no_influence():
    torch.manual_seed(0)
    field = torch.rand(2, 1, 72, 56)
    known = (torch.rand(2, 1, 72, 56) > 0.2).float()
    bands = scale_bands(field, known)
    assert bands.shape == (2, BANDS, 72, 56)
    is_known = known.bool()
    assert torch.allclose(bands.sum(1, keepdim=True)[is_known], field[is_known], atol=1e-5)
    other = torch.where(is_known, field, 7.0)
    assert torch.allclose(scale_bands(other, known), bands, atol=1e-5)
    assert scale_bands(torch.full_like(field, 0.4), known)[:, :-1].abs().max() < 0.41


def test_long_lived_bands_are_kept_and_short_lived_bands_fade():
    torch.manual_seed(0)
    large = moving_texture(0, 0, 3)
    rain, observed = SCALING.normalise(large)
    lasting = band_processes(lagrangian_frame(rain, observed))
    kept = (lasting.phi_1_BKhw + lasting.phi_2_BKhw)[0, 2:]
    assert torch.allclose(kept, torch.ones_like(kept), atol=0.02)
    noise = torch.rand(1, 3, 1, 64, 64)
    still = lagrangian_frame(rain, observed)._replace(
        rain_BT1HW=noise, known_BT1HW=torch.ones_like(noise)
    )
    fleeting = band_processes(still)
    assert (fleeting.phi_1_BKhw + fleeting.phi_2_BKhw)[0, 0].abs().max() < 0.1
    *_, (_, forgotten_of_lasting) = lasting.forecasts(6)
    *_, (_, forgotten_of_fleeting) = fleeting.forecasts(6)
    assert forgotten_of_lasting[0, 2:].max() < 0.3 < 0.9 < forgotten_of_fleeting[0, 0].min()


def test_short_lived_showers_fade_beside_long_lived_rain():
    torch.manual_seed(0)
    rain = torch.rand(1, 1, 1, 256, 512).repeat(1, 3, 1, 1, 1)
    rain[..., 256:] = torch.rand(1, 3, 1, 256, 256)  # new in each scan
    still = torch.zeros(1, 2, 32, 64)
    processes = band_processes(Frame(rain, torch.ones_like(rain), still))
    kept = (processes.phi_1_BKhw + processes.phi_2_BKhw)[0, 0]
    assert kept.shape == (32, 64)
    assert kept[:, :8].min() > 0.8
    assert kept[:, -8:].max() < 0.4


def test_correlations_are_estimated_from_all_pairs_of_scans():
    torch.manual_seed(0)
    rain = torch.rand(1, 1, 1, 64, 64).repeat(1, 4, 1, 1, 1)
    still = torch.zeros(1, 2, 8, 8)
    kept = []
    for oldest in (rain[:, 0], torch.rand(1, 1, 64, 64)):
        scans = torch.cat([oldest[:, None], rain[:, 1:]], dim=1)
        processes = band_processes(Frame(scans, torch.ones_like(scans), still))
        kept.append((processes.phi_1_BKhw + processes.phi_2_BKhw)[0, 0].mean().item())
    # two of three pairs are equal: the correlation is 2/3; the last pairs alone would give 1
    assert kept[0] == pytest.approx(1, abs=0.01)
    assert kept[1] < 0.8
