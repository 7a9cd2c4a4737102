"""Cuts, bias and reliability from counts of logits."""

import numpy as np
import pytest
import torch

from squall.convgru.calibration import (
    Calibration,
    calibrated,
    count_logits,
    reliability_curve,
    skill_of_cuts,
)
from squall.convgru.thresholds import THRESHOLDS_MM_H

COUNT = len(THRESHOLDS_MM_H)


def sample(pixels=400_000, intercept=0.0, slope=1.0, seed=0):
    """Logits (1, K, H, W) and rain (1, 1, H, W); true logits are intercept + slope × logit."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-1, 2, pixels)
    level = rng.logistic(size=pixels) + intercept + slope * logit  # above 0: an event
    # the same event at all thresholds: rain far above the last, or none
    rain = np.where(level > 0, 50.0, 0.0)
    logits = np.repeat(logit[None], COUNT, axis=0)
    return (
        torch.from_numpy(logits).float().view(1, COUNT, 1, pixels),
        torch.from_numpy(rain).float().view(1, 1, 1, pixels),
    )


def counts_of(logits, rain, valid=None):
    valid = torch.ones_like(rain, dtype=torch.bool) if valid is None else valid
    return count_logits(logits, rain, valid).double().numpy()[None]


def calibration_of(counts, minutes=(10.0,)):
    return calibrated(counts, minutes, archive="radar", grid="grid", source={})


def test_counts_are_of_valid_pixels_only():
    logits, rain = sample(1000)
    valid = torch.ones_like(rain, dtype=torch.bool)
    valid[..., 200:] = False
    counts = counts_of(logits, rain, valid)
    assert counts.shape[1:3] == (COUNT, 2)
    assert (counts.sum(axis=(2, 3)) == 200).all()
    assert counts[0, 0, 1].sum() == int((rain[..., :200] >= 0.2).sum())


def test_a_pixel_counts_as_an_event_from_the_threshold_on():
    logits = torch.zeros(1, COUNT, 1, 3)
    rain = torch.tensor([0.49, 0.5, 2.0]).view(1, 1, 1, 3)
    counts = counts_of(logits, rain)
    assert counts[0, :, 1].sum(axis=-1).tolist() == [3, 2, 1, 0, 0, 0]


def test_skill_of_a_cut_is_that_of_its_contingency_table():
    logits, rain = sample(5000)
    skill = skill_of_cuts(counts_of(logits, rain))
    forecast, event = logits[0, 2].flatten() >= 0.5, rain.flatten() >= 2
    number = round((0.5 + 12) / 0.1)
    hits, either = int((forecast & event).sum()), int((forecast | event).sum())
    assert skill.csi[0, 2, number] == pytest.approx(hits / either)
    assert skill.bias[0, 2, number] == pytest.approx(int(forecast.sum()) / int(event.sum()))


def test_the_best_cut_has_the_highest_csi_and_the_unbiased_cut_no_bias():
    counts = counts_of(*sample())
    calibration, skill = calibration_of(counts), skill_of_cuts(counts)
    edge = round((calibration.best_cuts[0][1] + 12) / 0.1)
    assert skill.csi[0, 1, edge] == skill.csi[0, 1].max()
    edge = round((calibration.unbiased_cuts[0][1] + 12) / 0.1)
    assert skill.bias[0, 1, edge] == pytest.approx(1, abs=0.05)
    # a forecast that is unsure has the highest CSI where it forecasts more than is observed
    assert calibration.best_cuts[0][1] < calibration.unbiased_cuts[0][1]
    assert 1 < calibration.bias[0] <= 1.3


def test_the_bias_of_the_order_is_the_root_of_that_with_the_highest_csi():
    counts = counts_of(*sample())
    skill = skill_of_cuts(counts)
    best = skill.csi[0].argmax(axis=-1)
    highest = [skill.bias[0, k, best[k]] for k in (1, 2, 3, 4)]  # 0.5 to 10 mm/h
    expected = np.prod(highest) ** (1 / 8)
    assert expected > 1.02
    assert calibration_of(counts).bias[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("intercept", "slope"), [(0.0, 1.0), (-0.7, 0.6), (0.5, 1.4)])
def test_reliability_finds_how_far_chances_are_off(intercept, slope):
    counts = counts_of(*sample(intercept=intercept, slope=slope))
    calibration = calibration_of(counts)
    assert calibration.intercepts[0][0] == pytest.approx(intercept, abs=0.04)
    assert calibration.slopes[0][0] == pytest.approx(slope, abs=0.04)
    line = calibration.intercepts[0][0], calibration.slopes[0][0]
    chance, frequency, pixels = reliability_curve(counts[0, 0], line)
    assert np.abs(chance - frequency)[pixels > 1000].max() < 0.03
    assert pixels.sum() == 400_000


def test_a_threshold_that_was_hardly_reached_takes_the_cut_below_it():
    logits, rain = sample()
    rain = rain.clamp(max=15.0)  # never 20 mm/h
    calibration = calibration_of(counts_of(logits, rain))
    assert calibration.best_cuts[0][5] == calibration.best_cuts[0][4]
    assert (calibration.intercepts[0][5], calibration.slopes[0][5]) == (0.0, 1.0)


def test_a_calibration_without_any_rain_changes_nothing():
    logits, rain = sample(1000)
    calibration = calibration_of(counts_of(logits, torch.zeros_like(rain)))
    assert calibration.bias == (1.0,)
    assert calibration.slopes[0] == (1.0,) * COUNT


def test_between_lead_times_the_values_are_interpolated():
    row = (0.0,) * COUNT
    calibration = Calibration(
        archive="radar", grid="grid", source={}, minutes=(10.0, 20.0), bias=(1.0, 1.2),
        best_cuts=(row, (1.0,) * COUNT), unbiased_cuts=(row, row), intercepts=(row, row),
        slopes=(row, row),
    )  # fmt: skip
    assert calibration.at(15).bias == pytest.approx(1.1)
    assert calibration.at(15).best_cuts == pytest.approx([0.5] * COUNT)
    assert (calibration.at(5).bias, calibration.at(90).bias) == (1.0, 1.2)
    assert Calibration.model_validate(calibration.model_dump(mode="json")) == calibration


def test_one_lead_time_is_enough():
    calibration = calibration_of(counts_of(*sample(20_000)), minutes=(5.0,))
    assert calibration.at(5) == calibration.at(60)
