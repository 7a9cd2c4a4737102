"""Normal scores: mean 0 and variance 1 at each pixel and lead time, whatever the rain."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d, max_pool2d

from squall.convgru.ensemble.normal_scores import NormalScores, pair_correlations
from squall.convgru.ensemble.start import start_of_ensemble
from tests.convgru.ensemble.evolving_rain import evolving_rain, run

MEMBERS = 1500


def scores_of(scans: torch.Tensor, steps: int, members: int = MEMBERS, **options) -> torch.Tensor:
    """(steps, M, H, W) of the noise's grid."""
    ensemble = run(**options)
    noise = start_of_ensemble(scans, ensemble).noise
    scores, state, results = NormalScores(noise), noise.begin(members), []
    with ThreadPoolExecutor(1) as threads:
        for step in range(1, steps + 1):
            minutes = step * ensemble.step_min
            bands = range(len(noise.bands))
            scores.advance([ensemble.settings.score_weight(band, minutes, 1.0) for band in bands])
            source = ensemble.random_source()
            spectrum = noise.draw_group(source, range(members), step, threads)
            state = noise.advance(state, spectrum)
            results.append(scores.of_noise(state))
    return torch.stack(results)


def showers(side: int = 64) -> torch.Tensor:
    """Rain in a part of the domain, moving; a part of the domain is not observed."""
    rain = evolving_rain(side=side, columns=2)
    rain = torch.where(rain > 3, rain, 0.0)
    rain[:, :, side // 2 :] = 0
    rain[:, side // 2 + 8 :, : side // 4] = torch.nan
    return rain


@pytest.mark.parametrize(
    "scans", [evolving_rain(side=64), showers(), showers()[:, :61, :43], torch.zeros(4, 40, 64)],
    ids=["rain", "showers", "odd sides", "dry"],
)  # fmt: skip
def test_scores_are_standard_normal_at_each_pixel(scans):
    for scores in scores_of(scans, 4):
        standard_error = MEMBERS**-0.5
        mean, variance = scores.mean(dim=0), scores.var(dim=0)
        assert mean.abs().max() < 5 * standard_error
        assert variance.mean().item() == pytest.approx(1, abs=0.02)
        sides = [variance[0], variance[-1], variance[:, 0], variance[:, -1]]
        for edge in [*sides, variance[::8, ::8], variance[3::8, 4::8]]:  # centres and middles
            assert edge.mean().item() == pytest.approx(1, abs=0.04)
        assert (variance - 1).abs().max() < 0.05 + 5 * 2**0.5 * standard_error
        for limit, share in ((0.0, 0.5), (1.0, 0.1587), (2.0, 0.02275)):
            assert (scores > limit).float().mean().item() == pytest.approx(share, rel=0.05)


def test_the_correlations_of_pairs_are_those_of_the_noise():
    ensemble = run()
    noise = start_of_ensemble(showers(), ensemble).noise
    pairs = pair_correlations(noise)
    assert len(pairs) > len(noise.bands)
    with ThreadPoolExecutor(1) as threads:
        spectrum = noise.draw_group(ensemble.random_source(), range(MEMBERS), 1, threads)
    fields = []
    for band in noise.bands:
        field = band.white(spectrum)[:, None]
        for _ in range(band.level):
            field = torch.nn.functional.interpolate(
                field, scale_factor=2, mode="bilinear", align_corners=False
            )
        fields.append(field[:, 0])
    for (j, k), correlation in pairs.items():
        measured = (fields[j] * fields[k]).mean(dim=0)
        assert (
            measured - correlation.in_rows(slice(None))
        ).abs().max() < 5 * 2**0.5 * MEMBERS**-0.5, (j, k)
    assert pairs[0, 0].table.numel() == 1
    assert pairs[2, 2].table.float().std() > 0.02  # smoother between the centres of cells


def test_scores_remember_and_large_scales_remember_longer():
    first, *_, last = scores_of(evolving_rain(side=64), 12, 100)
    second = scores_of(evolving_rain(side=64), 2, 100)[1]
    at_once, later = ((first * other).mean().item() for other in (second, last))
    assert 0.2 < at_once < 0.95
    assert -0.05 < later < 0.6 * at_once


def test_scores_become_smoother_with_the_lead_time():
    scores = scores_of(evolving_rain(side=64), 12, 60)

    def neighbours(field: torch.Tensor) -> float:
        return float((field[:, :, 4:] * field[:, :, :-4]).mean())

    assert neighbours(scores[11]) > neighbours(scores[1]) + 0.1


def test_far_from_rain_what_begins_is_no_single_pixel():
    """High scores there come in groups; the chance of one within a distance is so much lower."""
    rain = evolving_rain(side=128)
    rain[:, :, 32:] = 0

    def around_per_pixel(floor_scale_km: float) -> float:
        options = {"deviation_window_km": 8.0, "floor_scale_km": floor_scale_km}
        is_high = (scores_of(rain, 2, 100, **options)[1][:, :, 80:] > 2).float()
        return float(max_pool2d(is_high, 11, 1, 5).mean() / is_high.mean())

    everywhere = around_per_pixel(1.0)
    assert around_per_pixel(run().settings.floor_scale_km) < 0.5 * everywhere


def test_bands_of_a_fine_scale_have_less_of_the_floor():
    settings = run(floor_scale_km=8.0, deviation_floor=0.2).settings
    shares = [settings.floor_share(scale) for scale in (1, 2, 8, 32)]
    assert shares == pytest.approx([0.025, 0.05, 0.2, 0.2])


def test_weights_of_bands_grow_with_the_lead_time():
    settings = run(score_fall=0.0, fine_scores=()).settings
    early, late = ([settings.score_weight(band, t, 1.0) for band in range(4)] for t in (10, 60))
    np.testing.assert_allclose(early, [2 ** (-0.2 * band) for band in range(4)])
    np.testing.assert_allclose(late, [2 ** (0.25 * band) for band in range(4)])
    assert settings.score_weight(4, 5, 1.0) == settings.score_weight(4, 10, 1.0)
    assert settings.score_weight(4, 120, 1.0) == settings.score_weight(4, 60, 1.0)


def test_weights_of_bands_beyond_a_scale_fall_with_it():
    options = {"score_slope": (0.0, 0.0), "fine_scores": (), "score_fall_scale_km": 4.0}
    settings = run(score_fall=0.5, **options).settings
    for spacing_km, first in ((1.0, 2), (0.5, 3)):
        weights = [settings.score_weight(band, 30, spacing_km) for band in range(7)]
        falls = [min(1.0, 2 ** (-0.5 * (band - first))) for band in range(7)]
        np.testing.assert_allclose(weights, falls)


def test_the_finest_bands_have_less_weight():
    plain = run(fine_scores=()).settings
    settings = run(fine_scores=(0.3, 0.9)).settings
    for band, factor in enumerate((0.3, 0.9, 1.0, 1.0)):
        expected = factor * plain.score_weight(band, 30, 1.0)
        assert settings.score_weight(band, 30, 1.0) == pytest.approx(expected)


def test_means_over_areas_differ_less_if_coarse_bands_have_less_weight():
    def deviation_of_means(score_fall: float) -> float:
        scores = scores_of(
            evolving_rain(side=64), 6, 60, score_fall=score_fall, score_fall_scale_km=4.0
        )[-1]
        assert scores.std() == pytest.approx(1, abs=0.05)
        return float(avg_pool2d(scores, 16).std())

    assert deviation_of_means(1.0) < 0.8 * deviation_of_means(0.0)
