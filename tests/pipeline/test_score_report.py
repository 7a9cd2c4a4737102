"""The long table, the printed table and the figure of known scores."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure

from pipeline.score_report import CSV_COLUMNS, plot, table, write_csv
from pipeline.skill import SCORES, score_sums, score_sums_by_method, scores_from_sums

LEADS = np.array([5, 10, 15], "m8[m]")


def rain(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).gamma(0.5, 4.0, (3, 12, 15)).astype(np.float32)


def make_scores(observed: np.ndarray, **changes: object) -> xr.Dataset:
    settings: dict = {"thresholds_mm_h": [0.5, 4.0], "scales_km": [1, 5, 9], "pixel_km": 1.0}
    return scores_from_sums(
        score_sums_by_method(
            {"squall": observed, "persistence": rain(1)},
            observed,
            lead_times=LEADS,
            **{**settings, **changes},
        )
    )


@pytest.fixture
def scores() -> xr.Dataset:
    return make_scores(rain(0))


@pytest.fixture
def undefined_scores() -> xr.Dataset:
    return make_scores(np.full((3, 12, 15), np.nan, np.float32))


def test_csv_holds_every_value_once(scores: xr.Dataset, tmp_path: Path) -> None:
    write_csv(scores, tmp_path / "scores.csv")
    frame = pd.read_csv(tmp_path / "scores.csv")
    assert tuple(frame.columns) == CSV_COLUMNS
    assert len(frame) == sum(scores[name].size for name in SCORES)
    assert not frame.duplicated(list(CSV_COLUMNS[:-1])).any()
    for row in frame.to_dict("records"):
        lead_time = row["lead_time_min"] * np.timedelta64(1, "m")
        labels: dict = {"method": row["method"], "lead_time": lead_time}
        for dim, column in {"threshold": "threshold_mm_h", "scale": "scale_km"}.items():
            if not pd.isna(row[column]):
                labels[dim] = row[column]
        value = scores[row["score"]].sel({k: labels[k] for k in scores[row["score"]].dims})
        assert row["value"] == pytest.approx(float(value), rel=1e-11)


def test_csv_leaves_undefined_values_empty(undefined_scores: xr.Dataset, tmp_path: Path) -> None:
    write_csv(undefined_scores, tmp_path / "scores.csv")
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert "squall,5,0.5,,csi," in lines
    assert "squall,5,0.5,9,fss," in lines
    assert "persistence,15,,,n_pixels,0" in lines


def test_table_shows_means_over_lead_times(scores: xr.Dataset) -> None:
    lines = table(scores).splitlines()
    assert lines[0] == "Mean over 3 lead times (5 to 15 min) of the scores of 1 pooled case."
    assert all(len(line) <= 100 for line in lines)
    head, squall, persistence = (line.split() for line in lines[4:7])
    assert head[:7] == ["threshold", "observed", "method", "CSI", "POD", "FAR", "bias"]
    assert head[7:] == ["FSS", "1", "km", "FSS", "9", "km"]
    assert squall[:2] == ["0.5", "mm/h"]
    assert squall[4:] == ["squall", "1.000", "1.000", "0.000", "1.00", "1.000", "1.000"]
    means = scores.sel({"method": "persistence", "threshold": 0.5}).mean("lead_time")
    assert persistence == [
        "persistence",
        *(f"{float(means[name]):.3f}" for name in ("csi", "pod", "far")),
        f"{float(means['frequency_bias']):.2f}",
        *(f"{float(means['fss'].sel(scale=scale)):.3f}" for scale in (1, 9)),
    ]
    assert lines[-3].split() == ["all", "rates", "[mm/h]", "method", "MAE", "RMSE", "mean", "error"]
    assert lines[-2].split() == ["squall", "0.000", "0.000", "0.000"]


def test_table_columns_line_up(scores: xr.Dataset) -> None:
    lines = table(scores).splitlines()
    for block in (lines[4:9], lines[-3:]):
        assert len({len(line) for line in block}) == 1  # the last column is flush right


def test_table_leaves_out_lead_times_without_a_score(scores: xr.Dataset) -> None:
    scores["csi"][:, :, 0] = np.nan
    row = table(scores).splitlines()[6].split()
    mean = scores["csi"].sel({"method": "persistence", "threshold": 0.5})[1:].mean()
    assert row[1] == f"{float(mean):.3f}"


def test_table_of_undefined_scores_has_dashes(undefined_scores: xr.Dataset) -> None:
    lines = table(undefined_scores).splitlines()
    assert "of 0 pooled cases" in lines[0]
    assert lines[5].split() == ["0.5", "mm/h", "–", "%", "squall", *"––––––"]


def test_one_forecast_needs_no_method() -> None:
    single = scores_from_sums(
        score_sums(
            rain(0),
            rain(1),
            lead_times=LEADS,
            thresholds_mm_h=[1.0],
            scales_km=[3],
            pixel_km=1.0,
        )
    )
    assert "forecast" in table(single)
    assert plot(single).axes


def test_plot_panels_and_lines(scores: xr.Dataset) -> None:
    figure = plot(scores)
    assert isinstance(figure, Figure)
    assert [ax.get_title() for ax in figure.axes[:3]] == ["≥ 0.5 mm/h", "≥ 4 mm/h", "all rates"]
    csi, _, mae, fss, _, _ = figure.axes
    assert len(csi.lines) == len(mae.lines) == 2
    assert len(fss.lines) == 4  # methods x (smallest, largest scale)
    squall, persistence = csi.lines
    assert np.asarray(squall.get_xdata()).tolist() == [5, 10, 15]
    assert np.array_equal(squall.get_ydata(), scores["csi"].sel({"method": "squall"})[0])
    assert persistence.get_linestyle() == "--"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["squall", "persistence", "FSS 9 km", "FSS 1 km"]


@pytest.mark.parametrize("scales_km", [[], [3]])
def test_few_scales(scales_km: list[float]) -> None:
    scores = make_scores(rain(0), scales_km=scales_km)
    assert table(scores).splitlines()[4].count("FSS") == len(scales_km)
    assert len(plot(scores).axes[3].lines) == 2 * len(scales_km)


def test_undefined_scores_can_be_drawn(undefined_scores: xr.Dataset, tmp_path: Path) -> None:
    plot(undefined_scores).savefig(tmp_path / "scores.png")
    assert (tmp_path / "scores.png").stat().st_size > 0
