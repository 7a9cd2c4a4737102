"""The CSV table and the printed table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from squall.pipeline.report.tables import CSV_COLUMNS, score_table, write_csv
from squall.pipeline.scores.skill import scores_from_sums
from squall.pipeline.scores.sums import score_sums_by_method
from tests.pipeline.scores.score_examples import METHODS, example_scores


def row(text: str, block: str, method: str) -> list[str]:
    """Cells of a method's row in the block whose first line starts with `block`."""
    lines = text.split(f"\n{block}", 1)[1].splitlines()
    return next(line for line in lines if line.startswith(method)).split()[1:]


def test_csv_holds_every_value_once(tmp_path: Path) -> None:
    scores = example_scores()
    write_csv(scores, tmp_path / "scores.csv")
    frame = pd.read_csv(tmp_path / "scores.csv")
    assert tuple(frame.columns) == CSV_COLUMNS
    names = [name for name in scores if not str(name).endswith(("_low", "_high"))]
    assert len(frame) == sum(scores[name].size for name in names)
    assert not frame.duplicated(list(CSV_COLUMNS[:-3])).any()
    columns = {"method": "method", "threshold": "threshold_mm_h", "scale": "scale_km"}
    columns["wavelength"] = "wavelength_km"
    for cells in frame.to_dict("records"):
        labels: dict = {dim: cells[c] for dim, c in columns.items() if not pd.isna(cells[c])}
        if not pd.isna(cells["lead_time_min"]):
            labels["lead_time"] = cells["lead_time_min"] * np.timedelta64(1, "m")
        name = cells["score"]
        assert set(labels) == set(scores[name].dims)
        assert cells["value"] == pytest.approx(float(scores[name].sel(labels)), rel=1e-11)
        for bound in ("low", "high"):
            if f"{name}_{bound}" in scores:
                expected = float(scores[f"{name}_{bound}"].sel(labels))
                assert cells[bound] == pytest.approx(expected, rel=1e-11)
            else:
                assert pd.isna(cells[bound])


def test_csv_leaves_undefined_values_empty(tmp_path: Path) -> None:
    scores = example_scores(intervals=False)
    scores["csi"][0, 1, 0] = np.nan
    write_csv(scores, tmp_path / "scores.csv")
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert lines[0].startswith("method,lead_time_min,threshold_mm_h,scale_km,wavelength_km,")
    assert "squall-base,5,0.5,,,,,,,,csi,,," in lines
    assert "persistence,60,,,,,,,,,n_pixels,12345,," in lines
    assert ",5,,,4,,,,,,power_observed,16,," in lines


def test_table_shows_means_over_lead_times_and_marks_the_best() -> None:
    scores = example_scores()
    scores["csi"][:, 3] = np.array([[0.2, 0.4, 0.6, 0.8], [0.1] * 4, [0.50004] * 4])
    text = score_table(scores)
    assert text.startswith("Mean over 4 lead times (5 to 60 min) of the scores of 7 pooled cases;")
    # 0.500 and 0.50004 have the same text, so both are the best.
    assert [row(text, "CSI", method)[3] for method in METHODS] == ["0.500*", "0.100", "0.500*"]
    fss = float(scores["fss"].sel({"method": "s-prog", "threshold": 5, "scale": 16}).mean())
    assert row(text, "FSS, 16 km", "s-prog")[4].rstrip("*") == f"{fss:.3f}"
    mae = float(scores["mae"].sel({"method": "persistence"}).mean())
    last = row(text, "All rain rates", "persistence")
    assert last[0].rstrip("*") == f"{mae:.3f}"
    assert [row(text, "All rain rates", m)[-1] for m in METHODS] == ["0.50*", "4.25", "8.00"]
    assert row(text, "CSI", "observed")[-8:] == ["20"] * 8


def test_table_fits_a_terminal() -> None:
    methods = ("squall-base", "persistence", "extrapolation", "pysteps-extrapolation", "s-prog")
    lines = score_table(example_scores((*methods, "steps"))).splitlines()
    assert max(map(len, lines)) <= 100
    headings = [line.split("  ")[0] for line in lines if "mm/h" in line]
    assert headings == ["CSI", "Frequency bias", "FSS, 4 km", "FSS, 16 km", ""]


def test_table_of_few_scores() -> None:
    fields = np.random.default_rng(0).gamma(0.5, 4.0, (2, 3, 12, 15)).astype(np.float32)
    sums = score_sums_by_method(
        {"squall": fields[0], "persistence": fields[1]},
        fields[0],
        lead_times=np.array([5, 10, 15], "m8[m]"),
        thresholds_mm_h=[0.5, 4.0],
        scales_km=[],
        pixel_km=1.0,
    )
    scores = scores_from_sums(sums)
    text = score_table(scores[["csi", "frequency_bias", "base_rate", "mae", "n_cases"]])
    assert "FSS" not in text
    assert "of 1 pooled case;" in text
    assert row(text, "CSI", "squall") == ["1.000*", "1.000*"]
    assert row(text, "All rain rates", "squall") == ["0.000*"]
    alone = score_table(scores.sel({"method": ["squall"]}))
    assert row(alone, "CSI", "squall") == ["1.000", "1.000"]


def test_table_of_undefined_scores_has_dashes() -> None:
    scores = example_scores(intervals=False)
    undefined = xr.Dataset(
        {name: scores[name] * np.nan for name in scores if name != "n_cases"}
    ).assign(n_cases=scores["n_cases"] * 0)
    text = score_table(undefined)
    assert "of 0 pooled cases" in text
    assert row(text, "CSI", "s-prog") == ["–"] * 8
    assert set(row(text, "All rain rates", "s-prog")) == {"–"}
