"""The table of scores is complete, and it is the only place where a score is added."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from squall.pipeline.report.page import Section, html_report
from squall.pipeline.report.tables import score_table
from squall.pipeline.scores.axes import AXES, BY_LEAD_TIME, BY_THRESHOLD
from squall.pipeline.scores.intervals import with_intervals
from squall.pipeline.scores.score import Score
from squall.pipeline.scores.sums import ScoreSums, score_sums_by_method
from squall.pipeline.scores.table import SCORES
from squall.pipeline.verify.output import write_scores
from tests.pipeline.scores.rain_examples import random_rain, settings_for

SUCCESS_RATIO = Score(
    name="success_ratio",
    label="Success ratio",
    long_name="forecast events that were observed",
    unit="1",
    dims=BY_THRESHOLD,
    direction="higher",
    of_sums=lambda s: s["hits"] / (s["hits"] + s["false_alarms"]),
    meaning="Share of the forecast events that were observed.",
    spec=".4f",
)
RAIN_RATIO = Score(
    name="rain_ratio",
    label="Rain ratio",
    short_label="ratio",
    long_name="forecast rain per observed rain",
    unit="1",
    dims=BY_LEAD_TIME,
    direction="nearer",
    ideal=1.0,
    in_ratios=True,
    of_sums=lambda s: s["forecast_rain"] / s["observed_rain"],
    meaning="Forecast rain / observed rain.",
)


def blocks() -> Sequence[ScoreSums]:
    return [
        score_sums_by_method(
            {"model": random_rain(seed), "persistence": random_rain(seed + 10)},
            random_rain(seed + 20),
            **settings_for(3),
        )
        for seed in range(3)
    ]


def test_a_score_in_the_table_is_in_all_files_and_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for score in (SUCCESS_RATIO, RAIN_RATIO):
        monkeypatch.setitem(SCORES, score.name, score)
    scores = with_intervals(blocks())
    plots = write_scores(scores, tmp_path)

    stored = xr.load_dataset(tmp_path / "scores.nc", decode_timedelta=True)
    table = pd.read_csv(tmp_path / "scores.csv")
    for score in (SUCCESS_RATIO, RAIN_RATIO):
        assert stored[score.name].dims == score.dims
        assert stored[score.name].attrs["long_name"] == score.long_name
        assert f"{score.name}_mean_high" in stored
        rows = table[table.score == score.name]
        assert len(rows) == stored[score.name].size
        assert rows[["value", "low", "high"]].notna().all(axis=None)
    np.testing.assert_allclose(stored["success_ratio"], 1 - stored["far"])
    assert plots["success_ratio"].name == "success_ratio.png"

    printed = score_table(scores)
    assert "\nSuccess ratio  ≥ 1 mm/h\n" in printed
    columns = printed.split("All rain rates")[1].splitlines()[0].split()
    assert columns[-1] == "ratio"

    page = html_report("T", [Section("S", scores, {})], facts={}, provenance={}, configuration="")
    assert "<caption>Success ratio</caption>" in page
    assert '<th scope="col">Rain ratio</th>' in page
    for score in (SUCCESS_RATIO, RAIN_RATIO):
        assert f"<dt>{score.label}</dt><dd>{score.meaning}</dd>" in page


def test_every_score_has_its_axes_and_scores_for_people_are_explained() -> None:
    axes = {axis.name for axis in AXES}
    for name, score in SCORES.items():
        assert name == score.name
        assert set(score.dims) <= axes
        assert score.label
        assert score.long_name
        assert bool(score.meaning) == (score.direction is not None)
        assert not score.in_tables or score.meaning
    assert not set(SCORES) & axes


def test_units_are_written_for_people() -> None:
    titles = {name: score.title for name, score in SCORES.items()}
    assert titles["csi"] == "CSI"
    assert titles["mae"] == "MAE [mm/h]"
    assert titles["b_mse"] == "B-MSE [mm²/h²]"
    assert titles["log_spectral_distance"] == "Log-spectral distance [dB]"


@pytest.mark.parametrize(
    ("name", "from_best_to_worst"),
    [
        ("csi", [1, 0.5, 0]),
        ("far", [0, 0.5, 1]),
        ("mean_error", [0, -0.1, 0.2]),
        ("frequency_bias", [1, 1.5, 0.5]),
    ],
)
def test_a_better_value_costs_less(name: str, from_best_to_worst: list[float]) -> None:
    costs = SCORES[name].cost(np.array([*from_best_to_worst, np.nan]))
    assert (np.diff(costs[:-1]) > 0).all()
    assert np.isnan(costs[-1])
