"""The cascade: scale bands and their autoregressive processes."""

import pytest
import torch

from squall.convgru import RainScaling
from squall.convgru.heads.cascade import (
    BANDS,
    DOMAIN_WEIGHT,
    LOCAL_BANDS,
    MAX_RHO_1,
    _local_means,
    _share_with_power,
    band_processes,
    scale_bands,
)
from squall.convgru.heads.interface import Frame
from squall.convgru.heads.moving_frame import lagrangian_frame
from squall.convgru.motion import COARSE
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


def test_local_means_hold_a_share_of_the_mean_of_the_domain():
    moments = torch.zeros(1, BANDS, 48, 64)
    moments[..., 24, 10] = 48 * 64  # the mean of the domain is 1
    means = _local_means(moments, torch.full((1, BANDS, 1, 1), 0.2))
    far, near = means[0, :, 24, 50], means[0, :, 24, 10]
    assert torch.allclose(far[:4], torch.full((4,), 0.2))
    assert torch.allclose(means[0, 4:], torch.ones(BANDS - 4, 48, 64))
    peak = 48 * 64 / (2 * torch.pi * (32 / 8) ** 2)  # of a Gaussian of 32 pixels in cells of 8
    assert torch.allclose(near[:4], torch.full((4,), peak + 0.2), rtol=0.02)


def test_a_lone_shower_has_the_lifetime_of_the_showers_of_the_domain():
    """Its own few pixels tell little, and the dry pixels around it tell nothing."""
    torch.manual_seed(2)
    rain, known = torch.zeros(1, 4, 1, 512, 512), torch.ones(1, 4, 1, 512, 512)
    corners = [(row, column) for row in (40, 200, 360) for column in (60, 220, 380)]
    for row, column in corners:
        shower = torch.randn(4, 4)
        for step in range(4):
            shower = 0.8 * shower + 0.6 * torch.randn(4, 4)
            rain[0, step, 0, row : row + 4, column : column + 4] = shower
    processes = band_processes(Frame(rain, known, torch.zeros(1, 2, 64, 64)))
    *_, forecast = processes.forecasts(1)
    lifetimes = (1 - forecast.forgotten_BKhw[0, 0]).sqrt()
    kept = torch.stack(
        [lifetimes[(row + 2) // COARSE, (column + 2) // COARSE] for row, column in corners]
    )
    assert kept.std() < 0.03  # with the domain's mean as it is 0.05


def test_the_share_with_power_is_that_of_the_domain():
    power = torch.zeros(1, 2, 40, 50)
    power[:, 0] = 3e-4
    power[0, 1, :4] = 2.0
    assert _share_with_power(power).flatten().tolist() == pytest.approx([1, 0.1])
    assert _share_with_power(torch.zeros(1, 2, 4, 4)).flatten().tolist() == [1, 1]
    assert 0.01 < DOMAIN_WEIGHT < 0.06


def test_a_first_order_process_follows_from_any_pair_of_scans():
    torch.manual_seed(0)
    scans = [torch.randn(1, 1, 256, 256)]
    for _ in range(3):
        scans.append(0.8 * scans[-1] + 0.6 * torch.randn(1, 1, 256, 256))
    rain, still = torch.stack(scans, dim=1), torch.zeros(1, 2, 32, 32)
    for older in ([2], [1], [0], [0, 1], [0, 2], [1, 2], [0, 1, 2]):
        known = torch.zeros_like(rain)
        known[:, [*older, 3]] = 1
        processes = band_processes(Frame(rain * known, known, still))
        # the correlation at lag 3 with the last scan is 0.8 ** 3 for each band of white noise
        *_, forecast = processes.forecasts(3)
        kept = (1 - forecast.forgotten_BKhw[0, :4]).sqrt().mean().item()
        assert kept == pytest.approx(0.8**3, abs=0.04), older
        if 2 not in older:  # the last scan alone determines the forecast
            expected = 0.8**3 * scale_bands(rain[:, -1], known[:, -1]).sum(dim=1)
            assert (forecast.sum_B1HW[:, 0] - expected).abs().mean() < 0.1 * expected.abs().mean()


def test_the_second_order_needs_scans_that_follow_one_another():
    torch.manual_seed(0)
    scans = [torch.randn(1, 1, 256, 256), torch.randn(1, 1, 256, 256)]  # little in common
    scans.append(0.3 * scans[-1] + 0.95 * torch.randn(1, 1, 256, 256))
    scans.append(0.95 * scans[-1] + 0.3 * torch.randn(1, 1, 256, 256))  # long-lived since then
    rain, still = torch.stack(scans, dim=1), torch.zeros(1, 2, 32, 32)
    known = torch.ones_like(rain)
    known[:, 1] = 0  # two steps before the last scan
    without = band_processes(Frame(rain * known, known, still))
    assert without.phi_2_BKhw.abs().max() < 1e-4
    known[:, 1] = 1
    complete = band_processes(Frame(rain, known, still))
    assert complete.phi_2_BKhw[0, 0].abs().mean() > 0.01


def test_without_a_second_scan_the_bands_last():
    rain = torch.rand(1, 4, 1, 64, 64)
    known = torch.zeros_like(rain)
    known[:, -1] = 1
    processes = band_processes(Frame(rain * known, known, torch.zeros(1, 2, 8, 8)))
    *_, forecast = processes.forecasts(12)
    assert forecast.forgotten_BKhw.max() < 0.03
    assert torch.allclose(forecast.sum_B1HW, rain[:, -1], rtol=0.02, atol=1e-6)


def test_a_correlation_is_that_of_the_pixels_that_both_scans_know():
    torch.manual_seed(3)
    older = torch.rand(1, 1, 128, 192)
    rain = torch.stack([older, 0.7 * older + 0.3 * torch.rand(1, 1, 128, 192)], dim=1)
    known = torch.ones_like(rain)
    known[:, 0, :, :40], known[:, 1, :, :, 150:] = 0, 0
    processes = band_processes(Frame(rain * known, known, torch.zeros(1, 2, 16, 24)))
    x, y = (scale_bands(rain[:, scan], known[:, scan]) for scan in (1, 0))
    both = known[:, 0] * known[:, 1]
    xy, xx, yy = ((both * product).mean(dim=(0, 2, 3)) for product in (x * y, x * x, y * y))
    expected = xy / (xx * yy).sqrt()
    for band in range(LOCAL_BANDS, BANDS):  # of the whole domain
        phi = processes.phi_1_BKhw[0, band]
        assert torch.allclose(phi, expected[band].clamp(0, MAX_RHO_1).expand_as(phi), atol=1e-4)
