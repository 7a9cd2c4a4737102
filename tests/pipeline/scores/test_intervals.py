"""Bootstrap intervals over blocks of time."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from squall.pipeline.scores.intervals import with_intervals
from squall.pipeline.scores.skill import lead_time_means, scores_from_sums
from squall.pipeline.scores.sums import ScoreSums, score_sums_by_method
from squall.pipeline.scores.table import SCORES

LEADS = np.array([5, 10], "m8[m]")
WITH_INTERVALS = [s.name for s in SCORES.values() if s.has_interval and not s.needs]


def block(seed: int, *, bias: float = 0.0) -> ScoreSums:
    rng = np.random.default_rng(seed)
    observed, first = rng.gamma(0.5, 4.0, (2, 2, 12, 15)).astype(np.float32)
    return score_sums_by_method(
        {"a": first, "b": observed + np.float32(bias)},
        observed,
        lead_times=LEADS,
        thresholds_mm_h=[0.5, 5.0],
        scales_km=[1, 5],
        pixel_km=1.0,
    )


def hits_and_misses(hits: int, misses: int, *, later_hits: int | None = None) -> ScoreSums:
    observed = np.ones((2, 1, 10), np.float32)
    observed[..., hits + misses :] = 0
    forecast = observed.copy()
    forecast[..., :misses] = 0
    if later_hits is not None:
        forecast[1] = np.arange(10) < later_hits
    return score_sums_by_method(
        {"a": forecast},
        observed,
        lead_times=LEADS,
        thresholds_mm_h=[1.0],
        scales_km=[1],
        pixel_km=1.0,
    )


def test_scores_are_those_of_all_blocks_pooled() -> None:
    blocks = [block(seed) for seed in range(4)]
    result = with_intervals(blocks)
    pooled = scores_from_sums(blocks[0] + blocks[1] + blocks[2] + blocks[3])
    xr.testing.assert_identical(result[list(pooled)], pooled)


def test_every_interval_has_axes_and_units_and_a_width() -> None:
    result = with_intervals([block(seed) for seed in range(6)])
    bounds = ("low", "high", "mean_low", "mean_high")
    extra = {f"{name}_{end}" for name in WITH_INTERVALS for end in bounds}
    expected = {s.name for s in SCORES.values() if not s.needs} - {"seconds"}
    assert set(result.data_vars) == expected | extra
    for name in WITH_INTERVALS:
        low, high = result[f"{name}_low"], result[f"{name}_high"]
        assert low.dims == high.dims == result[name].dims
        assert low.attrs["units"] == high.attrs["units"] == SCORES[name].unit
        assert low.attrs["long_name"] == f"{SCORES[name].long_name}, low end of the 90 % interval"
        assert not (low > high).any()
        method_a = {"method": "a"}
        assert (low.sel(method_a) < high.sel(method_a)).all(), name
        low, high = result[f"{name}_mean_low"], result[f"{name}_mean_high"]
        assert low.dims == tuple(dim for dim in result[name].dims if dim != "lead_time")
        assert low.attrs["long_name"].startswith(
            f"{SCORES[name].long_name}, mean over lead times, low"
        )
        assert (low.sel(method_a) < high.sel(method_a)).all(), name


def test_hand_worked_interval_of_two_blocks() -> None:
    # Draws of two blocks are AA, AB and BB with probabilities 1/4, 1/2 and 1/4. The 5 % and 95 %
    # quantiles are the scores of AA and BB. The 30 % and 70 % quantiles are the score of AB, which
    # is the pooled score.
    blocks = [hits_and_misses(1, 3), hits_and_misses(3, 1)]
    result = with_intervals(blocks)
    assert result["csi"].values.ravel() == pytest.approx(1 / 2)
    assert result["csi_low"].values.ravel() == pytest.approx(1 / 4)
    assert result["csi_high"].values.ravel() == pytest.approx(3 / 4)
    narrow = with_intervals(blocks, level=0.4)
    assert narrow["pod_low"].values.ravel() == pytest.approx(1 / 2)
    assert narrow["pod_high"].values.ravel() == pytest.approx(1 / 2)
    assert "40 % interval" in narrow["pod_high"].attrs["long_name"]


def test_hand_worked_interval_of_a_mean_over_lead_times() -> None:
    # A block with 1/4 at one lead time has 3/4 at the other: every draw and the pool have mean 1/2.
    blocks = [hits_and_misses(1, 3, later_hits=3), hits_and_misses(3, 1, later_hits=1)]
    result = with_intervals(blocks)
    assert result["csi_low"].values.ravel() == pytest.approx(1 / 4)
    for end in ("low", "high"):
        assert result[f"csi_mean_{end}"].values.ravel() == pytest.approx(1 / 2)
    alike = with_intervals([hits_and_misses(1, 3), hits_and_misses(3, 1)])
    assert alike["csi_mean_low"].values.ravel() == pytest.approx(1 / 4)
    assert alike["csi_mean_high"].values.ravel() == pytest.approx(3 / 4)


def test_interval_of_a_mean_is_as_wide_as_theory_says() -> None:
    biases = np.random.default_rng(5).normal(size=60)
    result = with_intervals([block(i, bias=float(b)) for i, b in enumerate(biases)])
    method_b = result.sel({"method": "b"}).isel(lead_time=0)
    width = float(method_b["mean_error_high"] - method_b["mean_error_low"])
    assert width == pytest.approx(2 * 1.645 * biases.std() / np.sqrt(60), rel=0.1)
    assert float(method_b["mean_error"]) == pytest.approx(biases.mean(), abs=1e-5)


def test_equal_blocks_have_no_spread() -> None:
    result = with_intervals([block(0)] * 5)
    for name in WITH_INTERVALS:
        xr.testing.assert_allclose(result[f"{name}_low"], result[f"{name}_high"], atol=1e-9)


def test_a_second_call_gives_the_same() -> None:
    blocks = [block(seed) for seed in range(3)]
    xr.testing.assert_identical(with_intervals(blocks), with_intervals(blocks))


def test_one_block_has_no_interval() -> None:
    result = with_intervals([block(0)])
    for name in WITH_INTERVALS:
        assert np.isnan(result[f"{name}_low"]).all(), name
        assert np.isnan(result[f"{name}_high"]).all(), name
    assert np.isfinite(result["csi"]).all()


def test_a_block_without_pixels_does_not_count_as_a_block() -> None:
    missing = np.full((2, 12, 15), np.nan, np.float32)
    empty = score_sums_by_method(
        {"a": missing, "b": missing},
        missing,
        lead_times=LEADS,
        thresholds_mm_h=[0.5, 5.0],
        scales_km=[1, 5],
        pixel_km=1.0,
    )
    assert np.isnan(with_intervals([block(0), empty])["mae_low"]).all()


def test_a_score_that_one_block_alone_has_gets_no_interval() -> None:
    # The block without events tells nothing about the CSI.
    result = with_intervals([hits_and_misses(0, 0), hits_and_misses(1, 3)])
    assert result["csi"].values.ravel() == pytest.approx(1 / 4)
    for name in ("csi_low", "csi_high", "csi_mean_low", "csi_mean_high"):
        assert np.isnan(result[name]).all()
    assert np.isfinite(result["mae_low"]).all()


def test_draws_without_an_event_are_left_out() -> None:
    # Of AAA to CCC, 26/27 have an event. The 5 % and 95 % quantiles are the scores of B and C.
    blocks = [hits_and_misses(0, 0), hits_and_misses(1, 3), hits_and_misses(3, 1)]
    result = with_intervals(blocks)
    assert result["csi_low"].values.ravel() == pytest.approx(1 / 4)
    assert result["csi_high"].values.ravel() == pytest.approx(3 / 4)


def test_a_mean_over_more_lead_times_than_its_interval_could_have_gets_none() -> None:
    """At the second lead time only one block has an observation."""
    blocks = [block(seed) for seed in range(4)]
    for later in blocks[1:]:
        for sums in later.data.values():
            sums.loc[{"lead_time": LEADS[1]}] = 0
    result = with_intervals(blocks)
    for name in WITH_INTERVALS:
        by_lead_time = np.isfinite(result[f"{name}_low"]).all(
            [dim for dim in result[name].dims if dim != "lead_time"]
        )
        assert by_lead_time.values.tolist() == [True, False], name
        assert np.isfinite(lead_time_means(result[[name, "base_rate"]])[name]).all()
        assert np.isnan(result[f"{name}_mean_low"]).all(), name


@st.composite
def uneven_blocks(draw: st.DrawFn) -> list[ScoreSums]:
    """Blocks of small fields, in which whole fields may be missing or dry, and rain is rare."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    wet_share = draw(st.sampled_from([0.02, 0.2, 0.9]))
    missing_share = draw(st.sampled_from([0.0, 0.3, 0.7]))
    blocks = []
    for _ in range(draw(st.integers(2, 7))):
        rain = random.gamma(0.3, 6.0, (3, 4, 6, 7)) * (random.random((3, 4, 6, 7)) < wet_share)
        rain[0, random.random(4) < missing_share] = np.nan
        observed, first, second = rain.astype(np.float32)
        blocks.append(
            score_sums_by_method(
                {"a": first, "b": observed + second * np.float32(0.3)},
                observed,
                lead_times=np.array([5, 10, 15, 20], "m8[m]"),
                thresholds_mm_h=[0.5, 5.0],
                scales_km=[3],
                pixel_km=1.0,
            )
        )
    return blocks


@settings(max_examples=8, deadline=None)
@given(uneven_blocks())
def test_a_score_and_a_mean_lie_inside_their_interval_or_have_none(blocks: list[ScoreSums]) -> None:
    result = with_intervals(blocks)
    means = lead_time_means(result[[*WITH_INTERVALS, "base_rate"]])
    for name in WITH_INTERVALS:
        for value, prefix in ((result[name], name), (means[name], f"{name}_mean")):
            low, high = result[f"{prefix}_low"], result[f"{prefix}_high"]
            xr.testing.assert_equal(low.isnull(), high.isnull())
            has_interval = low.notnull()
            assert (value.notnull() | ~has_interval).all(), prefix
            assert ((low <= value) & (value <= high) | ~has_interval).all(), prefix


def test_no_block_is_refused() -> None:
    with pytest.raises(ValueError, match="no sums to score, expected those of at least one block"):
        with_intervals([])


def test_blocks_with_other_axes_are_refused() -> None:
    with pytest.raises(ValueError, match="score sums with different method cannot be added"):
        with_intervals([block(0), hits_and_misses(1, 3)])
