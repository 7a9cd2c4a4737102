"""How much better a method is than the reference, with paired intervals."""

import numpy as np
import pytest
import xarray as xr

from squall.pipeline.scores.intervals import with_intervals
from squall.pipeline.scores.sums import ScoreSums, score_sums_by_method
from squall.pipeline.scores.table import SCORES

LEADS = np.array([5, 10], "m8[m]")


def sums(forecasts, observed):
    return score_sums_by_method(
        forecasts,
        observed,
        lead_times=LEADS,
        thresholds_mm_h=[0.5, 5.0],
        scales_km=[1, 5],
        pixel_km=1.0,
    )


def hard_and_easy_blocks() -> list[ScoreSums]:
    """Errors differ much from block to block; those of b are always about 10 % larger."""
    blocks = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        observed = rng.gamma(0.5, 4.0, (2, 12, 15)).astype(np.float32)
        error = (1 + seed) * rng.normal(size=observed.shape).astype(np.float32)
        larger = np.float32(1.1 + 0.01 * (seed % 3))
        blocks.append(sums({"a": observed + error, "b": observed + larger * error}, observed))
    return blocks


def test_paired_intervals_find_a_difference_that_the_intervals_of_both_scores_hide():
    scores = with_intervals(hard_and_easy_blocks(), reference="b")
    assert scores.attrs["reference"] == "b"
    of_a, of_b = (scores.sel({"method": m}) for m in "ab")
    assert float(of_a["mae_mean_high"]) > float(of_b["mae_mean_low"])  # they overlap
    gain, low, high = (float(of_a[f"mae_gain{end}"]) for end in ("", "_low", "_high"))
    assert 8 < low < gain < high < 11.5
    mean = {m: float(s["mae"].mean()) for m, s in (("a", of_a), ("b", of_b))}
    assert gain == pytest.approx(100 * (1 - mean["a"] / mean["b"]))
    assert float(of_b["mae_gain"]) == pytest.approx(0)
    assert scores["mae_gain"].attrs["units"] == "%"


def test_one_score_alone_has_the_numbers_that_it_has_among_all():
    blocks = hard_and_easy_blocks()
    csi = with_intervals(blocks, reference="b", names=("csi",))
    ends = ("", "_low", "_high")
    means = ("_mean_low", "_mean_high")
    names = {f"csi{end}" for end in (*ends, *means, *(f"_gain{end}" for end in ends))}
    assert set(csi) == names | {"base_rate"}
    xr.testing.assert_identical(csi, with_intervals(blocks, reference="b")[list(csi)])
    mean = csi["csi"].mean("lead_time")
    ratio = mean.sel({"method": "a"}) / mean.sel({"method": "b"})
    gain = csi["csi_gain"].sel({"method": "a"})
    np.testing.assert_allclose(gain, 100 * (ratio - 1), atol=1e-9)
    assert (gain > 0).all()


def test_every_score_with_an_interval_has_a_gain_and_signs_say_better():
    scores = with_intervals(hard_and_easy_blocks(), reference="b").sel({"method": "a"})
    for score in SCORES.values():
        if score.has_interval and score.name in scores:
            gain = scores[f"{score.name}_gain"]
            assert "lead_time" not in gain.dims
            low, high = scores[f"{score.name}_gain_low"], scores[f"{score.name}_gain_high"]
            assert not (low > gain).any()
            assert not (high < gain).any()
    for name in ("mae", "rmse", "b_mse", "correlation"):
        assert float(scores[f"{name}_gain"]) > 0


def test_without_a_reference_there_are_no_gains():
    scores = with_intervals(hard_and_easy_blocks())
    assert not [name for name in scores if "gain" in str(name)]
    assert "reference" not in scores.attrs


def test_gains_by_hand():
    def gain(name, value, reference):
        return float(SCORES[name].gain(xr.DataArray(value), xr.DataArray(reference)))

    assert gain("csi", 0.55, 0.5) == pytest.approx(10)
    assert gain("mae", 0.9, 1.0) == pytest.approx(10)
    assert gain("mae", 1.2, 1.0) == pytest.approx(-20)
    assert gain("mean_error", -0.1, 0.3) == pytest.approx(0.2)  # mm/h nearer to 0
    assert gain("frequency_bias", 2.0, 0.5) == pytest.approx(0)
    assert gain("frequency_bias", 0.9, 0.8) == pytest.approx(100 * np.log(0.9 / 0.8))
    assert np.isnan(gain("csi", 0.5, 0.0))  # a percentage of nothing
    assert np.isnan(gain("correlation", 0.5, -0.1))
    assert SCORES["mean_error"].gain_unit == "mm/h"


def test_a_gain_is_over_the_lead_times_at_which_both_have_the_score():
    """b has no forecast event at the second lead time, so its FAR is undefined there."""
    observed = np.ones((2, 1, 10), np.float32)
    observed[:, :, 5:] = 0
    first, second = np.ones_like(observed), np.ones_like(observed)
    first[1, :, 5:] = 0  # FAR of a: 0.5, then 0
    second[0, :, 8:] = 0  # FAR of b: 3/8, then undefined
    second[1] = 0
    scores = with_intervals([sums({"a": first, "b": second}, observed)] * 3, reference="b")
    gain = scores["far_gain"].sel({"method": "a", "threshold": 0.5})
    assert float(gain) == pytest.approx(100 * (1 - 0.5 / 0.375))
