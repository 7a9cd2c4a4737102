"""Scores of the published forecasts against the scans that came since."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from squall.datasets.archive.archive import Archive
from squall.datasets.coding import RAIN_CODE
from squall.pipeline.forecast.config import ForecastConfig
from squall.pipeline.forecast.run import forecast
from squall.pipeline.live.config import LiveConfig
from squall.pipeline.live.member_check import MemberSample, RememberedMembers
from squall.pipeline.live.self_check import Remembered, RollingScores
from squall.pipeline.live.states import Order
from squall.pipeline.live.status import _scores
from squall.pipeline.live.work import Worker

NOON = pd.Timestamp("2024-06-01T12:00")
STEP = pd.Timedelta("5min")
THRESHOLDS = (1.0, 5.0)


def codes(*fields):
    """(lead_time, y, x) codes of rain rate."""
    return RAIN_CODE.encode(np.array(fields, np.float32))


def test_counts_by_hand():
    """
    observed        0  2  6  ?
    forecast        2  2  8  8     hits >= 1: 2 of 3 forecast, 2 observed
    extrapolation   0  0  8  8     hits >= 1: 1 of 1 forecast, 2 observed
    """
    remembered = Remembered(THRESHOLDS, 2)
    remembered.add(NOON, codes([[2, 2, 8, 8]], [[0, 0, 0, 0]]), codes([[0, 0, 8, 8]], [[9] * 4]))
    observed = np.array([[0, 2, 6, np.nan]], np.float32)
    counts = remembered.score(NOON + STEP, observed, STEP)
    assert counts.pixels.tolist() == [3, 0]
    assert counts.events[0].tolist() == [[[2, 3, 2], [1, 1, 2]], [[1, 1, 1], [1, 1, 1]]]
    assert counts.errors[0] == pytest.approx([4, 4], rel=0.05)
    assert not counts.events[1].any()
    second = remembered.score(NOON + 2 * STEP, observed, STEP)
    assert second.pixels.tolist() == [0, 3]
    assert second.events[1, 0].tolist() == [[0, 0, 2], [2, 3, 2]]
    assert remembered.scored_until == NOON + 2 * STEP
    # the forecast has no later lead time and is forgotten
    assert remembered.score(NOON + 3 * STEP, observed, STEP).pixels.tolist() == [0, 0]
    assert not remembered._fields


def test_pixels_that_one_forecast_does_not_know_do_not_count():
    remembered = Remembered(THRESHOLDS, 1)
    remembered.add(NOON, codes([[np.nan, 1]]), codes([[1, 1]]))
    counts = remembered.score(NOON + STEP, np.ones((1, 2), np.float32), STEP)
    assert counts.pixels.tolist() == [1]


def crps_of(members, extrapolated, observed):
    """Counts of a scan on a grid whose every fourth pixel has the given values."""
    remembered, ensembles = Remembered(THRESHOLDS, 2), RememberedMembers(2)
    sample = MemberSample()
    sample.take(spread(members))
    ensembles.add(NOON, sample, codes(spread(extrapolated), spread(extrapolated)))
    scan = spread(observed)
    counts = remembered.score(NOON + STEP, scan, STEP)
    return ensembles, ensembles.score(NOON + STEP, scan, STEP, counts)


def spread(values):
    """Values (…, pixel) on a grid (…, 1, 4 · pixel), with heavy rain on the pixels between."""
    values = np.asarray(values, np.float32)
    grid = np.full((*values.shape[:-1], 1, 4 * values.shape[-1]), 99, np.float32)
    grid[..., 0, ::4] = values
    return grid


def test_crps_by_hand():
    """
    observed          2    4    ?    1
    members         1 3  0 0  1 1  1 ?     fair CRPS: 1 - 2/2 = 0, and 4 - 0
    extrapolation     5    4    1    1     absolute error: 3, and 0
    """
    members = [[1, 0, 1, 1], [3, 0, 1, np.nan]]
    ensembles, counts = crps_of(members, [5, 4, 1, 1], [2, 4, np.nan, 1])
    assert counts.crps_pixels.tolist() == [2, 0]
    assert counts.crps[0] == pytest.approx([4, 3], abs=0.1)
    assert not counts.crps[1].any()
    # there is no member of the second lead time
    later = ensembles.score(NOON + 2 * STEP, spread([1, 1, 1, 1]), STEP, counts)
    assert not later.crps_pixels.any()
    assert not ensembles._kept


def test_crps_of_a_day_is_in_the_summary_and_the_metrics():
    scores = RollingScores(THRESHOLDS)
    members = [[1, 0, 1, 1], [3, 0, 1, np.nan]]
    _, counts = crps_of(members, [5, 4, 1, 1], [2, 4, np.nan, 1])
    for number in range(3):
        seen = counts._replace(pixels=np.array([9, 9]))  # the second has no ensemble
        scores.add(NOON + number * STEP, seen, STEP)
    first, second = RollingScores.from_text(scores.as_text(), THRESHOLDS).summary()["by_lead_time"]
    assert first["forecast"]["crps_mm_h"] == pytest.approx(2, abs=0.05)
    assert first["extrapolation"]["crps_mm_h"] == pytest.approx(1.5, abs=0.05)
    assert second["forecast"]["crps_mm_h"] is None
    lines = [line for line in _scores(scores.summary()) if "crps" in line]
    value = first["forecast"]["crps_mm_h"]
    assert lines[:2] == [
        "# TYPE squall_crps_mm_h gauge",
        f'squall_crps_mm_h{{method="forecast",lead_min="5"}} {value:.5f}',
    ]
    assert len(lines) == 3


def test_the_worker_scores_its_members(chain, tmp_path):
    values = {"publish_to": str(tmp_path / "site"), "minutes": 10, "members": 4}
    worker = Worker(LiveConfig.model_validate(values), str(chain.archive))
    at = pd.Timestamp("2024-06-01T04:00")
    for lead in range(2):
        worker.make(Order(at + lead * STEP, 2))
        ((_, counts, _),) = worker.check()
    file = tmp_path / "f.nc"
    forecast(
        ForecastConfig(
            archive=str(chain.archive),
            model="squall-base",
            at=at,
            lead_times=2,
            members=4,
            out=file,
        )
    )
    with xr.open_dataset(file) as opened:
        x = opened["rain_rate_member"].values[:, 0, ::4, ::4]
    archive = Archive.open(chain.archive)
    y = archive.read(archive.index_of(at) + 1, 1).values[0, ::4, ::4]
    spread_of_members = np.abs(x[:, None] - x).sum(axis=(0, 1)) / (2 * 4 * 3)
    expected = np.abs(x - y).mean(axis=0) - spread_of_members
    assert counts.crps_pixels[0] > 100
    assert counts.crps[0, 0] / counts.crps_pixels[0] == pytest.approx(
        np.nanmean(expected), rel=0.05
    )
    assert counts.crps_pixels[1] == 0


def counted(seed):
    generator = np.random.default_rng(seed)
    remembered = Remembered(THRESHOLDS, 2)
    fields = generator.uniform(0, 10, (2, 2, 5, 5))
    remembered.add(NOON, codes(*fields[0]), codes(*fields[1]))
    return remembered.score(NOON + STEP, generator.uniform(0, 10, (5, 5)).astype("f4"), STEP)


def test_a_day_is_added_up_and_older_hours_are_forgotten():
    scores = RollingScores(THRESHOLDS)
    assert scores.summary() is None
    for hour in range(30):
        scores.add(NOON + hour * pd.Timedelta("1h"), counted(hour), STEP)
    summary = scores.summary()
    assert summary["scans"] == 24
    assert summary["from"] == "2024-06-01T18:00:00Z"
    total = [counted(hour) for hour in range(6, 30)]
    hits, said, seen = sum(c.events[0, 0, 0] for c in total)
    (row,) = summary["by_lead_time"]
    assert row["lead_min"] == 5
    assert row["pixels"] == 24 * 25
    assert row["forecast"]["csi"][0] == pytest.approx(hits / (said + seen - hits), abs=1e-5)
    assert row["forecast"]["frequency_bias"][0] == pytest.approx(said / seen, abs=1e-5)
    errors = sum(c.errors[0, 1] for c in total)
    assert row["extrapolation"]["mean_absolute_error_mm_h"] == pytest.approx(errors / 600, abs=1e-5)


def test_scores_survive_a_restart():
    scores = RollingScores(THRESHOLDS)
    for hour in range(3):
        scores.add(NOON + hour * pd.Timedelta("1h"), counted(hour), STEP)
    again = RollingScores.from_text(scores.as_text(), THRESHOLDS)
    (row,), (expected,) = again.summary()["by_lead_time"], scores.summary()["by_lead_time"]
    assert row["forecast"]["csi"] == expected["forecast"]["csi"]
    assert row["forecast"]["mean_absolute_error_mm_h"] == pytest.approx(
        expected["forecast"]["mean_absolute_error_mm_h"], abs=1e-4
    )
    assert again.summary()["scans"] == 3
    assert RollingScores.from_text(scores.as_text(), (1.0,)).summary() is None
    with pytest.raises(ValueError, match="another version"):
        RollingScores.from_text("{}", THRESHOLDS)


def test_another_step_or_horizon_begins_anew():
    scores = RollingScores(THRESHOLDS)
    scores.add(NOON, counted(1), STEP)
    scores.add(NOON + STEP, counted(2), 2 * STEP)
    assert scores.summary()["scans"] == 1
    shorter = counted(3)
    shorter = type(shorter)(*(values[:1] for values in shorter))
    scores.add(NOON + 2 * STEP, shorter, 2 * STEP)
    assert scores.summary()["scans"] == 1


def test_metrics_name_method_threshold_and_lead_time():
    scores = RollingScores((1.0, 500.0))
    remembered = Remembered((1.0, 500.0), 1)
    remembered.add(NOON, codes([[2, 2]]), codes([[2, 0]]))
    counts = remembered.score(NOON + STEP, np.array([[2, 2]], np.float32), STEP)
    scores.add(NOON + STEP, counts, STEP)
    assert _scores(scores.summary()) == [
        "# TYPE squall_csi gauge",
        'squall_csi{method="forecast",threshold_mm_h="1",lead_min="5"} 1.0000',
        'squall_csi{method="extrapolation",threshold_mm_h="1",lead_min="5"} 0.5000',
    ]


def test_the_worker_scores_what_it_published(chain, tmp_path):
    config = LiveConfig(
        publish_to=str(tmp_path / "site"), minutes=10, model="extrapolation", usual_latency="2min"
    )
    worker = Worker(config, str(chain.archive))
    assert worker.check() == []
    at = pd.Timestamp("2024-06-01T04:00")
    worker.make(Order(at, 2))
    ((time, counts, step),) = worker.check()
    assert (time, step) == (at, STEP)
    assert not counts.pixels.any()  # nothing was published before
    assert worker.check() == []
    # two scans at once
    worker.make(Order(at + 2 * STEP, 2))
    (first, second) = worker.check()
    assert (first[0], second[0]) == (at + STEP, at + 2 * STEP)
    assert (first[1].pixels > 0).tolist() == [True, False]
    assert (second[1].pixels > 0).tolist() == [False, True]
    # the published forecast is the extrapolation itself, but its rates are rounded (KEEP_BITS)
    np.testing.assert_allclose(first[1].events[:, :, 0], first[1].events[:, :, 1], atol=2)
    archive = Archive.open(chain.archive)
    observed = archive.read(archive.index_of(at) + 1, 1).values[0]
    assert first[1].events[0, 0, 0, 2] <= (observed >= 0.5).sum()
    assert first[1].events[0, 0, 0, 2] > 0
