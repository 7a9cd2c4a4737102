"""The distribution of rain rate that chances describe."""

import math

import pytest
import torch
from torch.special import ndtri

from squall.convgru.distribution import HEAVIEST_MM_H, RainDistribution, chances_of_reaching
from squall.convgru.thresholds import THRESHOLDS_MM_H

CHANCES = (0.8, 0.6, 0.3, 0.1, 0.04, 0.005)
ASKED = (0.05, 0.1, *THRESHOLDS_MM_H, 0.3, 1.0, 7.0, 15.0, 40.0, 150.0)


def pixels(*rows: tuple[float, ...]) -> torch.Tensor:
    """(K, 1, pixels)"""
    return torch.tensor(rows).T[:, None]


def rain_at_scores(chances: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    return RainDistribution.of(chances).rain_at_scores(scores)


def scores_of_ranks(count: int) -> torch.Tensor:
    """(M, 1, 1): scores whose ranks are evenly spread."""
    return ndtri((torch.arange(count) + 0.5) / count)[:, None, None]


def test_as_much_rain_reaches_a_threshold_as_its_chance_says():
    rain = rain_at_scores(pixels(CHANCES), scores_of_ranks(100_000))
    expected = chances_of_reaching(pixels(CHANCES), ASKED)[:, 0, 0]
    for threshold, chance in zip(ASKED, expected.tolist(), strict=True):
        share = (rain >= threshold).double().mean().item()
        assert share == pytest.approx(chance, abs=2e-5), threshold


def test_chances_of_the_networks_thresholds_are_unchanged():
    chances = chances_of_reaching(pixels(CHANCES), THRESHOLDS_MM_H)
    assert torch.equal(chances, pixels(CHANCES))


def test_between_thresholds_the_logit_is_linear_in_the_logarithm():
    middle = math.sqrt(2.0 * 5.0)
    logits = [math.log(p / (1 - p)) for p in (0.3, 0.1)]
    expected = 1 / (1 + math.exp(-sum(logits) / 2))
    chance = chances_of_reaching(pixels(CHANCES), [middle]).item()
    assert chance == pytest.approx(expected, rel=1e-5)
    score = ndtri(torch.tensor(1 - expected)).view(1, 1, 1)
    assert rain_at_scores(pixels(CHANCES), score).item() == pytest.approx(middle, rel=1e-4)


def test_below_the_first_threshold_it_is_dry():
    rain = rain_at_scores(pixels(CHANCES), scores_of_ranks(5000))
    assert ((rain == 0) | (rain >= torch.tensor(THRESHOLDS_MM_H[0]))).all()
    assert (rain == 0).double().mean().item() == pytest.approx(0.2, abs=1e-3)


def test_beyond_the_last_threshold_the_chance_falls_by_a_power_of_the_rain():
    chances = chances_of_reaching(pixels(CHANCES), [20.0, 40.0])[:, 0, 0]
    odds = chances / (1 - chances)
    assert (odds[1] / odds[0]).item() == pytest.approx(2**-2.7, rel=1e-4)
    assert chances_of_reaching(pixels(CHANCES), [206.0]).item() == 0
    heaviest = rain_at_scores(pixels(CHANCES), torch.full((1, 1, 1), 12.0)).item()
    assert heaviest == pytest.approx(HEAVIEST_MM_H)


def test_certain_and_impossible_rain():
    surely_dry, surely_heavy, half = (0.0,) * 6, (1.0,) * 6, (1.0, 1.0, 0.5, 0.0, 0.0, 0.0)
    chances = pixels(surely_dry, surely_heavy, half, (math.nan,) * 6)
    scores = torch.tensor([-9.0, -0.1, 0.1, 9.0])[:, None, None].expand(4, 1, 4)
    dry, heavy, even, unknown = rain_at_scores(chances, scores)[:, 0].unbind(1)
    assert (dry == 0).all()
    assert (heavy >= 20).all()
    assert (even >= 0.5).all()
    assert (even < 5).all()
    assert (even >= 2).tolist() == [False, False, True, True]
    assert unknown.isnan().all()
    between = chances_of_reaching(chances, ASKED)[:, 0]
    assert (between[:, 0] == 0).all()
    assert between[:, 3].isnan().all()
    assert between[-4:, 2].tolist() == [0, 0, 0, 0]


def test_more_score_is_never_less_rain():
    random = torch.Generator().manual_seed(2)
    rows = torch.rand(6, 1, 500, generator=random).sort(dim=0, descending=True).values
    rows[:, :, :100] **= 8
    scores = torch.linspace(-5, 5, 200)[:, None, None].expand(200, 1, 500)
    rain = rain_at_scores(rows, scores)
    assert (rain.diff(dim=0) >= -1e-5).all()
    assert rain.isfinite().all()
    for number, threshold in enumerate(THRESHOLDS_MM_H):
        reached = scores >= -ndtri(rows[number])
        assert torch.equal(rain >= threshold, reached), threshold
