"""The choice of reference times."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from squall.datasets.archive.records import MISSING, OK
from squall.datasets.errors import ConfigError
from squall.pipeline.forecast.reference_times import ReferencePeriod
from squall.pipeline.verify.cases import (
    choose_cases,
    others_trained_then,
    rainiest,
    training_times,
)

ALL_TIMES = (ReferencePeriod(),)
NOON = pd.Timestamp("2024-06-01T12:00")


def archive(statuses):
    return SimpleNamespace(
        address="a.icechunk",
        name="radar",
        step=pd.Timedelta("5min"),
        times=pd.date_range(NOON, periods=len(statuses), freq="5min"),
        status=np.array(statuses, dtype=np.uint8),
    )


def chosen(
    statuses, *, periods=ALL_TIMES, interval=None, excluded=(), used=(0, 1), lead_times=2, **more
):
    mask = np.zeros(len(statuses), dtype=bool)
    mask[list(excluded)] = True
    return choose_cases(
        archive(statuses),
        used=used,
        lead_times=lead_times,
        periods=periods,
        interval=interval,
        excluded=mask,
        **more,
    )


def at(index):
    return NOON + index * pd.Timedelta("5min")


def test_scans_before_and_any_scan_after_are_needed():
    # index 0 has too few scans before it; index 7 has no scan after it
    assert chosen([OK] * 8).indices == (1, 2, 3, 4, 5, 6)
    assert chosen([OK] * 8).gaps == 1
    # without scan 3, indices 3 and 4 are left out: 4 needs scan 3 as context
    with_gap = chosen([OK, OK, OK, MISSING, OK, OK, OK, OK])
    assert with_gap.indices == (1, 2, 5, 6)
    assert with_gap.gaps == 2
    # if scans 3 and 4 are missing, index 2 has no observation
    assert chosen([OK, OK, OK, MISSING, MISSING, OK, OK, OK]).indices == (1, 6)


def test_scans_that_no_method_uses_may_be_missing():
    """Every third scan is used, as by a network for a step three times as long."""
    statuses = [OK] * 12
    statuses[5] = MISSING
    cases = chosen(statuses, used=(0, 3, 6))
    # 8 and 11 would use scan 5; 5 itself has no scan
    assert cases.indices == (6, 7, 9, 10)
    assert (cases.gaps, cases.missing_scans) == (7 - 1, (0, 0, 0, 0))


def test_incomplete_contexts_are_kept_on_request_and_their_missing_scans_are_counted():
    statuses = [OK, OK, OK, MISSING, OK, OK, MISSING, OK, OK]
    cases = chosen(statuses, used=(0, 1, 2), incomplete=True)
    assert cases.indices == (0, 1, 2, 4, 5, 7)
    assert cases.missing_scans == (2, 1, 0, 1, 1, 1)
    assert cases.gaps == 0
    # a window that begins before the archive may hold training times, too
    assert chosen([OK] * 6, used=(0, 1, 2), incomplete=True, excluded=[0]).indices == (3, 4)


def test_windows_with_training_times_are_left_out():
    cases = chosen([OK] * 10, excluded=[4])
    # windows reach from one scan before to two after
    assert cases.indices == (1, 6, 7, 8)
    assert cases.trained_on == 4


def test_every_counts_from_the_start_of_each_period():
    periods = (ReferencePeriod(at(1), at(6)), ReferencePeriod(at(8), at(12)))
    cases = chosen([OK] * 16, periods=periods, interval=pd.Timedelta("15min"))
    assert cases.indices == (1, 4, 8, 11)
    with pytest.raises(ConfigError, match="--every 7 min is no multiple of the step"):
        chosen([OK] * 4, interval=pd.Timedelta("7min"))


def test_a_period_includes_both_its_ends():
    assert chosen([OK] * 12, periods=(ReferencePeriod(at(3), at(5)),)).indices == (3, 4, 5)
    assert chosen([OK] * 12, periods=(ReferencePeriod(at(4), at(4)),)).indices == (4,)


def test_training_times_are_those_of_the_same_archive():
    periods = {"training_periods": [["2024-06-01T12:00", "2024-06-01T12:10"]]}
    periods["validation_periods"] = [["2024-06-01T12:20", "2024-06-01T12:25"]]
    provenances = [
        {"archives": [{"name": "radar", **periods}]},
        {"archives": [{"name": "other", **periods}]},
    ]
    is_training = training_times(archive([OK] * 6), provenances)
    assert np.flatnonzero(is_training).tolist() == [0, 1, 4]
    assert not training_times(archive([OK] * 6), provenances[1:]).any()


def test_another_archive_that_was_trained_on_at_the_same_times_is_named():
    """The same radars may have another name in the archive that is scored."""
    periods = {"training_periods": [["2024-06-01T12:00", "2024-06-01T12:10"]]}
    periods["validation_periods"] = []
    provenances = [
        {"archives": [{"name": name, **periods} for name in ("radar", "other")]},
        {"archives": [], "init": {"archives": [{"name": "first", **periods}]}},
    ]
    radar = archive([OK] * 6)
    assert others_trained_then(radar, provenances, (1, 4)) == ["first", "other"]
    assert others_trained_then(radar, provenances, (3, 4)) == []


def test_the_rainiest_cases_lie_an_hour_apart():
    radar = archive([OK] * 40)
    rain = np.zeros(40)
    rain[[10, 11, 30]] = [5, 4, 3]
    radar.mean_rain = lambda where: np.where(where, rain, 0)
    # 9 has 5 + 4 after it; 10 is too near to it; 28 and 29 both have 3, the earlier is taken
    assert rainiest(radar, range(1, 38), 2, 2) == [9, 28]
    assert rainiest(radar, range(1, 38), 2, 0) == []
    # exactly an hour is far enough
    assert rainiest(radar, (9, 21, 20), 2, 2) == [9, 21]
