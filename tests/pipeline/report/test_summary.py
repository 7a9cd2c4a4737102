"""Means over lead times, the best method, and the lead times and scales that are shown."""

import numpy as np
import pytest

from squall.pipeline.report.summary import best, lead_means, shown_leads, shown_scales
from squall.pipeline.scores.table import SCORES
from tests.pipeline.scores.score_examples import example_scores


def test_means_leave_out_lead_times_without_an_observed_event() -> None:
    scores = example_scores()
    scores["base_rate"][:, -1, 2:] = 0
    # Without observed events, CSI is 0 after a false alarm and undefined otherwise. Neither counts.
    scores["csi"][:, -1] = np.array([[0.4, 0.2, 0, 0], [0.2, 0, np.nan, 0], [0.4, 0.4, 0, 0]])
    means = lead_means(scores)
    assert means["csi"][:, -1].values == pytest.approx([0.3, 0.1, 0.4])
    assert float(means["base_rate"][0, -1]) == pytest.approx(0.1)
    assert means["mae"].values == pytest.approx(scores["mae"].mean("lead_time").values)
    assert "power" not in means
    assert means["seconds"].values.tolist() == scores["seconds"].values.tolist()


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("csi", [0.3, 0.5, 0.4], [False, True, False]),
        ("mae", [0.3, 0.5, 0.4], [True, False, False]),
        ("mean_error", [-0.3, 0.1, 0.4], [False, True, False]),
        ("frequency_bias", [0.5, 1.7, 0.0], [False, True, False]),  # 0.5 is as bad as 2
        ("csi", [0.5001, 0.5, 0.4], [True, True, False]),  # same text
        ("csi", [0.0001, 0.0, np.nan], [False, False, False]),  # all have the same text
        ("csi", [0.5, np.nan, np.nan], [False, False, False]),  # no other value
        ("csi", [np.nan, np.nan, np.nan], [False, False, False]),
    ],
)
def test_best(name: str, values: list[float], expected: list[bool]) -> None:
    assert best(name, values).tolist() == expected


def test_text_of_undefined_is_a_dash() -> None:
    assert SCORES["csi"].text(np.nan) == "–"
    assert SCORES["fss"].text(-1e-9) == SCORES["fss"].text(0.0) == "0.000"
    assert SCORES["mean_error"].text(0.25) == "+0.250"
    assert SCORES["mae"].title == "MAE [mm/h]"


@pytest.mark.parametrize(
    ("lead_min", "expected"),
    [(range(5, 65, 5), [2, 5, 11]), (range(12, 72, 12), [0, 1, 4]), ([5, 10], [1]), ([5], [0])],
)
def test_shown_leads(lead_min: list[int], expected: list[int]) -> None:
    assert shown_leads(np.array(lead_min, "m8[m]")) == expected


def test_shown_scales() -> None:
    scores = example_scores()
    assert shown_scales(scores) == [4.0, 16.0]
    assert shown_scales(scores.isel(scale=[0])) == [1.0]
    assert shown_scales(scores.isel(scale=[])) == []
    assert shown_scales(scores.drop_dims("scale")) == []
