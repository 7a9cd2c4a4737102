"""Scores of members: against the library `scores`, brute force, and numbers worked out by hand."""

from functools import reduce
from operator import add

import numpy as np
import pytest
import xarray as xr
from scores.plotdata import relative_economic_value
from scores.probability import (
    brier_score_for_ensemble,
    crps_for_ensemble,
    isotonic_fit,
    rank_histogram,
    roc_auc,
    tail_tw_crps_for_ensemble,
)

from squall.pipeline.scores.skill import scores_from_sums
from squall.pipeline.scores.sums import ScoreSums, score_sums_by_method
from tests.pipeline.scores.rain_examples import NAN, settings_for

THRESHOLDS = [0.7, 2.0]  # 0.7 is larger in 64 bits than in 32 bits
CLOSE = {"rel": 1e-6, "abs": 1e-9}


def rain(seed, members, shape=(2, 20, 30)):
    """Observed rain, and members that have a part of it in common with the observation."""
    rng = np.random.default_rng(seed)
    common = rng.gamma(0.6, 2.0, (shape[0], 1, *shape[1:]))
    own = rng.gamma(0.6, 2.0, (shape[0], members + 1, *shape[1:]))
    values = np.round((common + own - 2) * 5) / 5  # with ties, many of them at 0
    values = np.maximum(values, 0).astype(np.float32)
    values[values == np.float32(0.6)] = np.float32(0.7)
    return values[:, 0], values[:, 1:]


def sums(observed, members, **changes):
    """Sums of an ensemble, and of its first member as a deterministic forecast."""
    return score_sums_by_method(
        {"ensemble": np.nanmean(members, axis=1), "one": members[:, 0]},
        observed,
        ensembles={"ensemble": iter(members)},
        **settings_for(len(observed), thresholds_mm_h=THRESHOLDS, **changes),
    )


@pytest.fixture(scope="module")
def example():
    observed, members = rain(1, 9)
    scores = scores_from_sums(sums(observed, members))
    fields = {
        "fcst": xr.DataArray(members[0].astype(float), dims=("m", "y", "x")),
        "obs": xr.DataArray(observed[0].astype(float), dims=("y", "x")),
    }
    return scores.isel(lead_time=0), fields


def test_crps_is_that_of_the_library(example):
    scores, fields = example
    for name, method in (("crps", "ecdf"), ("fair_crps", "fair")):
        expected = crps_for_ensemble(**fields, ensemble_member_dim="m", method=method)
        assert float(scores[name].sel({"method": "ensemble"})) == pytest.approx(
            float(expected), **CLOSE
        )
    for t, threshold in enumerate(THRESHOLDS):
        expected = tail_tw_crps_for_ensemble(
            **fields, ensemble_member_dim="m", threshold=threshold, method="fair"
        )
        of_ensemble = scores.tw_crps.sel({"method": "ensemble"}).isel(threshold=t)
        assert float(of_ensemble) == pytest.approx(float(expected), **CLOSE)


def test_crps_is_that_of_all_pairs(example):
    scores, fields = example
    x, y = fields["fcst"].values, fields["obs"].values
    pairs = np.abs(x[:, None] - x[None]).sum(axis=(0, 1)) / (9 * 8)
    expected = (np.abs(x - y).mean(axis=0) - pairs / 2).mean()
    assert float(scores.fair_crps.sel({"method": "ensemble"})) == pytest.approx(expected, **CLOSE)


def test_scores_of_chances_are_those_of_the_library(example):
    scores, fields = example
    of_ensemble = scores.sel({"method": "ensemble"})
    thresholds = [float(np.float32(threshold)) for threshold in THRESHOLDS]
    brier = brier_score_for_ensemble(**fields, ensemble_member_dim="m", event_thresholds=thresholds)
    np.testing.assert_allclose(of_ensemble.fair_brier, brier, rtol=1e-6)
    for t, threshold in enumerate(thresholds):
        chance = (fields["fcst"] >= threshold).mean("m")
        event = (fields["obs"] >= threshold).astype(float)
        at = of_ensemble.isel(threshold=t)
        assert float(at.roc_area) == pytest.approx(float(roc_auc(chance, event)), **CLOSE)
        fitted = isotonic_fit(chance.values.ravel(), event.values.ravel())
        calibrated = np.interp(chance.values, fitted["fcst_sorted"], fitted["regression_values"])
        brier_score = float(((chance - event) ** 2).mean())
        recalibrated = ((calibrated - event) ** 2).mean()
        assert float(at.miscalibration) == pytest.approx(brier_score - float(recalibrated), **CLOSE)
        total = float(at.miscalibration - at.discrimination + at.uncertainty)
        assert total == pytest.approx(brier_score, **CLOSE)


def test_economic_value_is_that_of_the_library():
    observed, members = rain(2, 9, shape=(1, 20, 30))
    scores = scores_from_sums(sums(observed, members)).sel({"method": "ensemble"})
    for t, threshold in enumerate(np.float32(THRESHOLDS)):
        chance = xr.DataArray((members[0] >= threshold).mean(axis=0), dims=("y", "x"))
        event = xr.DataArray((observed[0] >= threshold).astype(float), dims=("y", "x"))
        for ratio in (0.05, 0.3, 0.6):
            expected = relative_economic_value(
                chance, event, cost_loss_ratios=[ratio], probability_thresholds=[ratio]
            )
            value = scores.economic_value.isel(threshold=t).sel(cost_loss=ratio)
            assert float(value) == pytest.approx(float(expected.squeeze()), **CLOSE)


def test_rank_histogram_deals_ties_evenly_as_the_library_does():
    observed, members = rain(3, 5, shape=(1, 20, 30))
    wet = (observed[0] > 0) | (members[0] > 0).any(axis=0)
    result = sums(observed, members)
    ranks = result.data.ranks.sel({"method": "ensemble"}).isel(lead_time=0)
    expected = rank_histogram(
        xr.DataArray(members[0][:, wet].astype(float), dims=("m", "pixel")),
        xr.DataArray(observed[0][wet].astype(float), dims="pixel"),
        "m",
    )
    np.testing.assert_allclose(ranks / wet.sum(), expected, atol=1e-9)
    assert int(result.data.n_dry.sel({"method": "ensemble"}).item()) == (~wet).sum()
    assert float(scores_from_sums(result).rank_histogram[0].mean()) == pytest.approx(1)


def test_ranks_by_hand():
    # Below 0.1 mm/h is dry. Pixels: all dry; tie of three at 0; observation above; between.
    observed = np.array([[[0.05, 0, 9, 2]]], np.float32)
    members = np.array([[[[0, 0, 1, 1]], [[0.09, 3, 2, 3]]]], np.float32)
    data = sums(observed, members).data.sel({"method": "ensemble"}).isel(lead_time=0)
    assert int(data.n_dry) == 1
    np.testing.assert_allclose(data.ranks, [0.5, 0.5 + 1, 1])


def test_a_deterministic_forecast_is_an_ensemble_of_one(example):
    scores, _ = example
    one = scores.sel({"method": "one"})
    assert float(one.crps) == float(one.fair_crps) == pytest.approx(float(one.mae), **CLOSE)
    wrong = one.base_rate * (1 - one.pod)  # misses; with the false alarms they are the Brier score
    wrong = wrong + one.base_rate * one.pod * one.far / (1 - one.far)
    np.testing.assert_allclose(one.fair_brier, wrong, rtol=1e-9)
    np.testing.assert_allclose(one.pfss, one.fss, rtol=1e-9)
    assert np.isnan(one.spread_error)


def test_spread_is_the_error_where_members_and_observation_are_alike():
    blocks = [sums(*rain(seed, 8)) for seed in range(6)]
    scores = scores_from_sums(reduce(add, blocks)).sel({"method": "ensemble"})
    np.testing.assert_allclose(scores.spread_error, 1, atol=0.06)


def test_the_fair_scores_do_not_depend_on_the_number_of_members():
    """Within the sampling error of the difference; the CRPS itself falls with more members."""
    results = {count: [] for count in (5, 20, 50)}
    for seed in range(24):
        observed, members = rain(seed, 50, shape=(1, 30, 30))
        for count, of_count in results.items():
            scores = scores_from_sums(sums(observed, members[:, :count]))
            of_count.append(scores.sel({"method": "ensemble"}).isel(lead_time=0))
    values = {count: xr.concat(scores, "seed") for count, scores in results.items()}
    for name in ("fair_crps", "fair_brier", "tw_crps", "means_crps"):
        for few in (5, 20):
            difference = values[few][name] - values[50][name]
            error = difference.std("seed", ddof=1) / np.sqrt(24)
            assert bool((abs(difference.mean("seed")) < 3 * error + 1e-9).all()), (name, few)
    crps = {count: float(scores.crps.mean()) for count, scores in values.items()}
    assert crps[5] > 1.05 * crps[50]


def test_neighbourhood_means_by_brute_force():
    observed, members = rain(4, 3, shape=(1, 20, 30))
    observed[0, :6, :6] = NAN
    data = sums(observed, members).data.sel({"method": "ensemble"}).isel(lead_time=0)
    known = ~np.isnan(observed[0])
    crps = count = 0
    for row in range(1, 20, 3):  # windows of 5 pixels every 3
        for column in range(1, 30, 3):
            if known[row, column]:
                box = np.s_[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
                y = observed[0][box][known[box]].mean(dtype=float)
                x = members[0][(slice(None), *box)][:, known[box]].mean(axis=1, dtype=float)
                pairs = sum(abs(a - b) for a in x for b in x) / 6
                crps, count = crps + np.abs(x - y).mean() - pairs / 2, count + 1
    assert int(data.n_means[0]) == count
    assert float(data.means_fair_crps[0]) == pytest.approx(crps, rel=1e-6)


def test_sums_of_parts_add_up_and_unknown_members_leave_a_pixel_out_for_all():
    observed, members = rain(5, 4)
    observed[1, 0, 0] = NAN
    members[0, 2, 3, 4] = NAN
    both = sums(observed, members)
    assert both.data.n_pixels.values.tolist() == [[599, 599]] * 2
    halves = [
        sums(np.where(np.arange(30) // 15 == half, observed, NAN), members) for half in (0, 1)
    ]
    added = (halves[0] + halves[1]).data
    for name in ("chance_events", "chance_others", "n_dry", "ranks", "crps", "tw_crps"):
        np.testing.assert_allclose(added[name], both.data[name], rtol=1e-9)
    assert int(both.data.chance_events.sum() + both.data.chance_others.sum()) == 2 * 2 * 2 * 599


def test_all_dry_and_unknown_cases_have_sums():
    observed, members = np.zeros((2, 6, 6), np.float32), np.zeros((2, 3, 6, 6), np.float32)
    observed[1] = NAN
    result = sums(observed, members)
    assert float(result.data.fair_crps.sum()) == 0
    assert result.data.n_dry.sel({"method": "ensemble"}).values.tolist() == [36, 0]
    scores = scores_from_sums(result)
    assert float(scores.fair_crps[0, 0]) == 0
    assert np.isnan(scores.fair_crps[0, 1])
    assert np.isnan(scores.roc_area).all()


def test_sums_survive_a_file(tmp_path):
    result = sums(*rain(6, 3))
    result.data.to_netcdf(tmp_path / "sums.nc")
    with xr.open_dataset(tmp_path / "sums.nc", decode_timedelta=True) as stored:
        again = (ScoreSums(stored.load()) + result).data
    np.testing.assert_array_equal(again.chance_events, 2 * result.data.chance_events)


def test_wrong_members_are_refused():
    observed, members = rain(7, 3)
    settings = settings_for(2)
    forecasts = {"a": observed, "b": observed}

    def made(**ensembles):
        return score_sums_by_method(forecasts, observed, ensembles=ensembles, **settings)

    with pytest.raises(ValueError, match="members of c, which has no forecast"):
        made(c=iter(members))
    with pytest.raises(ValueError, match="end after 1 of 2 lead times"):
        made(a=iter(members[:1]))
    with pytest.raises(ValueError, match="have shape"):
        made(a=iter(members[:, :, :5]))
    with pytest.raises(ValueError, match="all ensembles need the same number"):
        made(a=iter(members), b=iter(members[:, :2]))
