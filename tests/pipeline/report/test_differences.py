"""The words that compare a method with the reference."""

import pytest
import xarray as xr

from squall.pipeline.report.differences import compared_methods, difference_rows
from squall.pipeline.report.tables import score_table
from tests.pipeline.scores.score_examples import example_scores


def with_gains(**gains):
    """Example scores; each gain is (value, low, high) of squall-base against s-prog."""
    scores = example_scores(thresholds=(1.0, 5.0))
    for name, ends in gains.items():
        mean = scores[name].isel(lead_time=0, drop=True)
        for suffix, value in zip(("", "_low", "_high"), ends, strict=True):
            scores[f"{name}_gain{suffix}"] = xr.full_like(mean, value)
    return scores.assign_attrs({"reference": "s-prog"})


@pytest.mark.parametrize(
    ("ends", "text", "verdict"),
    [
        ((1.24, 0.4, 2.0), "better by 1.2 % [0.4, 2.0]", "better"),
        ((-3.1, -4.2, -2.0), "worse by 3.1 % [2.0, 4.2]", "worse"),
        ((0.3, -0.5, 1.0), "+0.3 % [-0.5, +1.0]", "unclear"),
        ((0.3, float("nan"), float("nan")), "+0.3 %", ""),
    ],
)
def test_words_of_a_difference(ends, text, verdict):
    row = difference_rows(with_gains(csi=ends))[0]
    assert row.label == "CSI ≥ 1 mm/h"
    assert [(cell.text, cell.verdict) for cell in row.cells] == [(text, verdict)] * 2


def test_scores_with_scales_units_and_without_values():
    nan = float("nan")
    scores = with_gains(fss=(1.0, 0.5, 1.5), mean_error=(0.02, 0.01, 0.03), mae=(nan, nan, nan))
    rows = {row.label: row.cells[0].text for row in difference_rows(scores)}
    assert rows["FSS, 16 km ≥ 5 mm/h"] == "better by 1.0 % [0.5, 1.5]"
    assert rows["Mean error"] == "better by 0.020 mm/h [0.010, 0.030]"
    assert "MAE" not in rows
    assert compared_methods(scores) == ["squall-base", "persistence"]


def test_the_printed_table_compares_with_the_reference():
    text = score_table(with_gains(csi=(1.24, 0.4, 2.0)))
    assert "compares a method with s-prog on the same cases" in text
    assert "CSI ≥ 5 mm/h" in text
    assert "better by 1.2 % [0.4, 2.0]" in text
    assert "better by" not in score_table(example_scores())
