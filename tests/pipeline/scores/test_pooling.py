"""Sums of archives with different steps and grids are brought to common axes and pooled."""

import numpy as np
import pytest

from squall.pipeline.report.tables import score_table
from squall.pipeline.scores.pooling import on_common_axes, scales_of_grid
from squall.pipeline.scores.skill import scores_from_sums
from squall.pipeline.scores.sums import score_sums_by_method


def sums(step_minutes, leads, pixel_km=1.0, scales=(1.0, 8.0), rate=1.0):
    """Rain is forecast everywhere; one more pixel has observed rain at each lead time."""
    observed = np.zeros((leads, 8, 8))
    for lead in range(leads):
        observed[lead].flat[: lead + 1] = rate
    return score_sums_by_method(
        {"wet": np.full_like(observed, rate)},
        observed,
        lead_times=np.arange(1, leads + 1) * np.timedelta64(step_minutes, "m"),
        thresholds_mm_h=[0.5],
        scales_km=scales_of_grid(scales, pixel_km),
        pixel_km=pixel_km,
    )


def minutes(sums):
    return (sums.data["lead_time"].values / np.timedelta64(1, "m")).tolist()


def test_of_scales_with_equal_windows_the_nearest_is_kept():
    # pixels of 2 km: 1 and 2 km are both one pixel, 2 km wide; 4 km are three
    assert scales_of_grid((1.0, 2.0, 4.0), 2.0) == (2.0, 4.0)
    assert scales_of_grid((1.0, 2.0, 4.0), 1.0) == (1.0, 2.0, 4.0)
    assert scales_of_grid((1.0,), 2.0) == (1.0,)
    assert scales_of_grid((2.0, 3.0), 2.0) == (2.0,)


def test_equal_lead_times_stay_and_common_scales_have_the_requested_labels():
    first, second = sums(5, 3), sums(5, 3, pixel_km=0.5)
    aligned = on_common_axes([first, second], [(1.0, 8.0), (1.0, 8.0)])
    pooled = aligned[0] + aligned[1]
    assert pooled.data["scale"].values.tolist() == [1.0, 8.0]
    assert minutes(pooled) == [5, 10, 15]
    assert pooled.data["hits"].values.ravel().tolist() == [2, 4, 6]
    only_one = on_common_axes([first, sums(5, 3, scales=(8.0,))], [(1.0, 8.0), (8.0,)])
    assert (only_one[0] + only_one[1]).data["scale"].values.tolist() == [8.0]


def test_different_steps_are_pooled_in_bins_that_all_archives_fill():
    step_5, step_6 = sums(5, 6), sums(6, 4)
    five, six = on_common_axes([step_5, step_6], [(1.0, 8.0)] * 2)
    # Steps of 6 min reach 24 min, so bins end at 10 and 20 min. They hold 5, 10 | 15, 20 min and
    # 6 | 12, 18 min.
    assert minutes(five) == minutes(six) == [10, 20]
    assert five.data["hits"].values.ravel().tolist() == [1 + 2, 3 + 4]
    assert six.data["hits"].values.ravel().tolist() == [1, 2 + 3]
    assert five.data["n_cases"].values.ravel().tolist() == [1, 1]
    assert five.data["fss_observed2"].dims == step_5.data["fss_observed2"].dims
    scores = scores_from_sums(five + six)
    comment = "ends of bins of 10 min, because the archives have different time steps."
    assert f"Lead times are {comment}" in score_table(scores)
    # 64 pixels have forecast rain at 5, 10 and 6 min; 1, 2 and 1 pixels have observed rain
    assert float(scores["csi"].isel(lead_time=0).squeeze()) == pytest.approx(4 / (3 * 64))


def test_long_steps_make_wider_bins():
    aligned = on_common_axes([sums(5, 6), sums(15, 2)], [(1.0, 8.0)] * 2)
    assert minutes(aligned[0]) == minutes(aligned[1]) == [15, 30]
    assert aligned[0].data["hits"].values.ravel().tolist() == [1 + 2 + 3, 4 + 5 + 6]


def test_a_horizon_shorter_than_a_bin_is_one_bin():
    aligned = on_common_axes([sums(5, 2), sums(6, 1)], [(1.0, 8.0)] * 2)
    assert minutes(aligned[0]) == minutes(aligned[1]) == [6]
    # 5 min and 6 min are pooled; 10 min of the first archive is past the end of the second
    assert [part.data["hits"].item() for part in aligned] == [1, 1]
    # without a common lead time nothing may be pooled; `make_plan` refuses this before any work
    with pytest.raises(ValueError, match="no common lead time"):
        on_common_axes([sums(5, 1), sums(10, 1)], [(1.0, 8.0)] * 2)
