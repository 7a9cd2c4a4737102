"""Scores of chances that methods say: against brute force, and beside shares of members."""

from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from scores.probability import isotonic_fit, roc_auc

from squall.pipeline.scores.chance_sums import CHANCES, NARROW_CHANCES, Chances
from squall.pipeline.scores.intervals import with_intervals
from squall.pipeline.scores.skill import scores_from_sums
from squall.pipeline.scores.sums import score_sums_by_method
from tests.pipeline.scores.rain_examples import NAN, settings_for

THRESHOLDS = [0.5, 2.0, 5.0]
SAID = (0.5, 5.0)  # the method has no chances of 2 mm/h
CLOSE = {"rel": 1e-6, "abs": 1e-9}


def rain(seed, shape=(2, 20, 30)):
    """Observed rain, and chances of `SAID` that are related to it, (threshold, lead_time, y, x)."""
    rng = np.random.default_rng(seed)
    observed = np.round(rng.gamma(0.5, 5.0, shape), 2).astype(np.float32)
    noise = rng.uniform(0, 1, shape)
    chances = [
        0.6 * noise * np.clip(observed / level, 0, 1) + 0.3 * noise**2 for level in reversed(SAID)
    ]
    return observed, np.sort(chances, axis=0)[::-1].astype(np.float32)


def sums(observed, chances, **changes):
    """Sums of a method that says chances, and of a forecast without them."""
    said = Chances(SAID, list(np.moveaxis(chances, 1, 0)))
    settings = settings_for(len(observed), thresholds_mm_h=THRESHOLDS, **changes)
    forecasts = {"network": np.nan_to_num(observed[::-1]), "persistence": chances[0]}
    return score_sums_by_method(forecasts, observed, chances={"network": said}, **settings)


def test_brier_score_and_roc_area_are_those_of_the_pixels():
    observed, chances = rain(1)
    in_hundredths = np.round(chances, 2)  # each has a range of its own
    scores = scores_from_sums(sums(observed, in_hundredths)).sel({"method": "network"})
    for k, level in enumerate(SAID):
        for lead in range(2):
            event = (observed[lead] >= level).astype(float)
            chance = in_hundredths[k, lead].astype(float)
            at = scores.sel(threshold=level).isel(lead_time=lead)
            brier = ((chance - event) ** 2).mean()
            assert float(at.brier) == float(at.fair_brier) == pytest.approx(brier, **CLOSE)
            area = roc_auc(
                *(xr.DataArray(field.ravel(), dims="pixel") for field in (chance, event))
            )
            assert float(at.roc_area) == pytest.approx(float(area), **CLOSE)
            fitted = isotonic_fit(chance.ravel(), event.ravel())
            fit = np.interp(chance, fitted["fcst_sorted"], fitted["regression_values"])
            recalibrated = ((fit - event) ** 2).mean()
            assert float(at.miscalibration) == pytest.approx(brier - recalibrated, **CLOSE)
            total = at.miscalibration - at.discrimination + at.uncertainty
            assert float(total) == pytest.approx(brier, **CLOSE)


def test_ranges_of_chances_change_the_brier_score_by_nothing_and_its_parts_hardly():
    observed, chances = rain(2, shape=(1, 200, 300))
    scores = scores_from_sums(sums(observed, chances)).sel({"method": "network"}).isel(lead_time=0)
    for k, level in enumerate(SAID):
        event, chance = (observed[0] >= level).astype(float), chances[k, 0].astype(float)
        at = scores.sel(threshold=level)
        brier = ((chance - event) ** 2).mean()
        assert float(at.brier) == pytest.approx(brier, **CLOSE)
        fitted = isotonic_fit(chance.ravel(), event.ravel())
        fit = np.interp(chance, fitted["fcst_sorted"], fitted["regression_values"])
        exact = brier - ((fit - event) ** 2).mean()
        # isotonic regression of single chances also fits noise
        assert float(at.miscalibration) == pytest.approx(exact, abs=3e-4)
        assert float(at.miscalibration) < exact


def test_reliability_and_economic_value_by_brute_force():
    observed, chances = rain(3)
    scores = scores_from_sums(sums(observed, chances)).sel({"method": "network"})
    edges = [*CHANCES[:-1], 1, 2]
    for k, level in enumerate(SAID):
        event, chance = observed >= level, chances[k].astype(float)
        at = scores.sel(threshold=level)
        for low, high in pairwise(edges):
            inside = (chance >= low - 1e-6) & (chance < high - 1e-6)
            in_range = at.sel(chance=low)
            assert int(in_range.n_of_chance) == inside.sum()
            if inside.any():
                assert float(in_range.mean_chance) == pytest.approx(chance[inside].mean(), **CLOSE)
                frequency = event[inside].mean()
                assert float(in_range.observed_frequency) == pytest.approx(frequency, **CLOSE)
            above = chance >= low - 1e-6
            assert float(in_range.hit_rate) == pytest.approx(above[event].mean(), **CLOSE)
            assert float(in_range.false_alarm_rate) == pytest.approx(above[~event].mean(), **CLOSE)
        for ratio in (0.01, 0.1, 0.3):
            protects = chance >= ratio
            expense = np.where(protects, ratio, event).mean()
            climate = min(ratio, event.mean())
            value = (climate - expense) / (climate - ratio * event.mean())
            assert float(at.economic_value.sel(cost_loss=ratio)) == pytest.approx(value, **CLOSE)


def test_a_threshold_without_chances_has_no_score_of_chances():
    blocks = [sums(*rain(seed)) for seed in range(3)]
    scores = with_intervals(blocks, reference="persistence")
    at = scores.sel({"method": "network", "threshold": 2.0})
    of_chances = ("fair_brier", "miscalibration", "discrimination", "roc_area", "pfss")
    curves = ("observed_frequency", "economic_value", "fair_brier_low", "fair_brier_gain")
    for name in (*of_chances, *curves):
        assert np.isnan(at[name]).all(), name
        assert np.isfinite(scores[name].sel({"method": "network", "threshold": 0.5})).any(), name
    assert np.isfinite(at.csi).all()
    assert "fair_crps" not in scores  # there are no members


def test_chances_that_a_method_says_count_and_not_the_shares_of_its_members():
    observed, chances = rain(4)
    members = np.stack([observed, 0 * observed], axis=1)
    settings = settings_for(2, thresholds_mm_h=THRESHOLDS)
    forecasts = {"network": observed, "stochastic": observed}
    scores = scores_from_sums(
        score_sums_by_method(
            forecasts, observed, **settings,
            ensembles={name: iter(members) for name in forecasts},
            chances={"network": Chances(SAID, list(np.moveaxis(chances, 1, 0)))},
        )
    )  # fmt: skip
    both = scores.fair_brier.sel(threshold=0.5)
    said = ((chances[0] - (observed >= 0.5)) ** 2).mean(axis=(1, 2))
    np.testing.assert_allclose(both.sel({"method": "network"}), said, rtol=1e-6)
    share = (observed >= 0.5) / 2
    fair = ((share - (observed >= 0.5)) ** 2 - share * (1 - share)).mean(axis=(1, 2))
    np.testing.assert_allclose(both.sel({"method": "stochastic"}), fair, atol=1e-9)
    crps = scores.fair_crps
    np.testing.assert_array_equal(*(crps.sel({"method": name}) for name in forecasts))


def test_pixels_without_a_chance_are_left_out_for_all_and_parts_add_up():
    observed, chances = rain(5)
    chances[0, 1, 2, 3] = NAN
    both = sums(observed, chances)
    assert both.data.n_pixels.values.tolist() == [[600, 599]] * 2
    halves = [
        sums(np.where(np.arange(30) // 15 == half, observed, NAN), chances) for half in (0, 1)
    ]
    added = (halves[0] + halves[1]).data
    for name in ("chance_events", "chance_others", "total_chance", "brier"):
        of_network = both.data[name].sel({"method": "network"})
        np.testing.assert_allclose(added[name].sel({"method": "network"}), of_network, rtol=1e-9)


def test_chances_of_32_bits_are_in_the_range_that_they_name():
    """0.7 in 32 bits is a little below 0.7."""
    chance = np.concatenate([NARROW_CHANCES, NARROW_CHANCES]).astype(np.float32).reshape(1, 2, -1)
    observed = np.ones_like(chance)
    said = {"a": Chances((0.5,), [chance])}
    data = score_sums_by_method(
        {"a": observed}, observed, chances=said, **settings_for(1, thresholds_mm_h=[0.5])
    ).data
    assert (data.chance_events == 2).all()


def test_wrong_chances_are_refused():
    observed, chances = rain(6)
    by_lead_time = list(np.moveaxis(chances, 1, 0))
    settings = settings_for(2, thresholds_mm_h=THRESHOLDS)

    def made(thresholds, fields, name="a"):
        said = {name: Chances(thresholds, fields)}
        return score_sums_by_method({"a": observed}, observed, chances=said, **settings)

    with pytest.raises(ValueError, match="chances of b, which has no forecast"):
        made(SAID, by_lead_time, name="b")
    with pytest.raises(ValueError, match="end after 1 of 2 lead times"):
        made(SAID, by_lead_time[:1])
    with pytest.raises(ValueError, match="have shape"):
        made((0.5,), by_lead_time)
    with pytest.raises(ValueError, match=r"\[0.2\] mm/h, which are not scored"):
        made((0.2, 5.0), by_lead_time)
    with pytest.raises(ValueError, match="lie between 0 and 30, expected 0 to 1"):
        made(SAID, [np.where(chances[:, 0] > 0.1, 30, 0), chances[:, 1]])
