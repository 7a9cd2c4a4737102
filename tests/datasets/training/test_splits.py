"""Splits of the time axis: periods, blocks of days, and the guard time between splits."""

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from squall.datasets.training.splits import DayBlocks, Period, Regions, SplitConfig
from squall.datasets.training.windows import window_span, window_starts


def times(count: int, step: str = "5min", start: str = "2024-06-01") -> pd.DatetimeIndex:
    return pd.date_range(start, periods=count, freq=step)


def all_of(axis: pd.DatetimeIndex) -> np.ndarray:
    return np.ones(axis.size, dtype=bool)


# --- periods -----------------------------------------------------------------------------------


def test_a_period_starts_inclusive_and_ends_exclusive() -> None:
    period = Period(start="2024-06-01T00:05", end="2024-06-01T00:15")
    assert period.contains(times(5)).tolist() == [False, True, True, False, False]


@pytest.mark.parametrize("start", ["2024-06-01T00:05Z", "2024-06-01T02:05+02:00"])
def test_a_period_may_name_its_time_zone(start: str) -> None:
    period = Period(start=start, end="2024-06-01T00:15")
    assert period.contains(times(5)).tolist() == [False, True, True, False, False]


def test_a_period_takes_the_dates_that_yaml_makes() -> None:
    written = yaml.safe_load("{start: 2024-06-01, end: 2024-06-02}")
    assert written["start"] == date(2024, 6, 1)
    period = Period(**written)
    assert period.contains(times(4, "8h", "2024-05-31T20:00")).tolist() == [False, True, True, True]


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ("2024-06-02", "2024-06-01", "must be before end"),
        ("2024-06-01", "2024-06-01", "must be before end"),
        ("yesterday evening", "2024-06-01", "is no time"),
        ("", "2024-06-01", "is no time"),
    ],
)
def test_wrong_periods_are_refused(start: str, end: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Period(start=start, end=end)


# --- no split touches another ------------------------------------------------------------------


@st.composite
def archives(draw: st.DrawFn) -> tuple[pd.DatetimeIndex, np.ndarray]:
    """A time axis of some days, and which times have a good scan: runs with gaps."""
    step = draw(st.sampled_from(["5min", "10min"]))
    start = pd.Timestamp("2023-12-30") + draw(st.integers(0, 400)) * pd.Timedelta("37min")
    stretches = draw(st.lists(st.tuples(st.booleans(), st.integers(1, 300)), max_size=8))
    ok = [good for good, count in stretches for _ in range(count)]
    return pd.date_range(start, periods=len(ok), freq=step), np.array(ok, dtype=bool)


@st.composite
def splits(draw: st.DrawFn) -> SplitConfig:
    guard = {"guard_minutes": draw(st.sampled_from([0.0, 0.1, 7.0, 30.0, 600.0]))}
    if draw(st.booleans()):
        validation = draw(st.floats(0.05, 0.6))
        days = DayBlocks(
            days=draw(st.integers(1, 3)), validation=validation, test=draw(st.floats(0, 0.35))
        )
        return SplitConfig(days=days, **guard)
    origin = pd.Timestamp("2023-12-30")

    def period(edges: tuple[int, int]) -> Period:
        start = origin + edges[0] * pd.Timedelta("11min")
        return Period(start=str(start), end=str(start + edges[1] * pd.Timedelta("11min")))

    periods = st.lists(st.tuples(st.integers(0, 900), st.integers(1, 200)).map(period), max_size=3)
    return SplitConfig(
        validation=draw(periods),
        test=draw(periods),
        validation_fraction=draw(st.floats(0.05, 0.95)),
        **guard,
    )


@given(archives(), splits(), st.integers(1, 20), st.integers(1, 4))
def test_no_window_of_a_split_touches_one_of_another(
    archive: tuple[pd.DatetimeIndex, np.ndarray], split: SplitConfig, length: int, speed: int
) -> None:
    """Also not the times between the scans of a window that skips scans."""
    axis, ok = archive
    regions = split.regions(axis, ok)
    window_times: dict[str, set[pd.Timestamp]] = {}
    for name, region in regions._asdict().items():
        indices = {
            start + step
            for start in window_starts(region & ok, window_span(length, speed)).tolist()
            for step in range(window_span(length, speed))
        }
        assert all(ok[list(indices)])
        window_times[name] = {axis[index] for index in indices}
    assert not window_times["training"] & window_times["validation"]
    assert not window_times["training"] & window_times["test"]
    assert not window_times["validation"] & window_times["test"]
    # training keeps the guard time from all times of the other splits
    kept_out = axis[regions.validation | regions.test]
    guard = pd.Timedelta(minutes=split.guard_minutes)
    for time in sorted(window_times["training"])[:: max(1, len(window_times["training"]) // 50)]:
        assert (abs(kept_out - time) > guard).all()


@given(archives(), splits())
def test_only_guard_times_are_in_no_split(
    archive: tuple[pd.DatetimeIndex, np.ndarray], split: SplitConfig
) -> None:
    axis, ok = archive
    regions = split.regions(axis, ok)
    kept_out = axis[regions.validation | regions.test]
    guard = pd.Timedelta(minutes=split.guard_minutes)
    step = axis[1] - axis[0] if axis.size > 1 else pd.Timedelta(0)
    for time in axis[~(regions.training | regions.validation | regions.test)]:
        assert (abs(kept_out - time) < guard + step).any()


def test_the_guard_by_hand() -> None:
    # two steps of ten minutes cover 15 minutes; validation is 04 to 05
    split = SplitConfig(
        validation=(Period(start="2024-06-01T00:40", end="2024-06-01T01:00"),), guard_minutes=15
    )
    axis = times(12, "10min")
    regions = split.regions(axis, all_of(axis))
    assert np.flatnonzero(regions.validation).tolist() == [4, 5]
    assert np.flatnonzero(regions.training).tolist() == [0, 1, 8, 9, 10, 11]


# --- periods and the last share ----------------------------------------------------------------


def periods_only(**changes: Any) -> SplitConfig:
    return SplitConfig(guard_minutes=0, **changes)


def test_periods_of_validation_and_test() -> None:
    split = periods_only(
        validation=(Period(start="2024-06-01T00:10", end="2024-06-01T00:25"),),
        test=(Period(start="2024-06-01T00:20", end="2024-06-01T00:30"),),
    )
    training, validation, test = split.regions(times(8), all_of(times(8)))
    # 00:20 is in both: test wins
    assert np.flatnonzero(validation).tolist() == [2, 3]
    assert np.flatnonzero(test).tolist() == [4, 5]
    assert np.flatnonzero(training).tolist() == [0, 1, 6, 7]


def test_the_last_share_validates_if_the_archive_has_no_period() -> None:
    ok = all_of(times(20))
    ok[2:12] = False  # shares are counted in good scans: 10 of them, the last 3 validate
    split = periods_only(
        validation=(Period(start="1999-01-01", end="1999-01-02"),), validation_fraction=0.3
    )
    regions = split.regions(times(20), ok)
    assert np.flatnonzero(regions.validation).tolist() == [17, 18, 19]
    assert regions.training.sum() == 17
    assert not regions.test.any()


def test_the_last_share_does_not_change_the_test_period() -> None:
    split = periods_only(
        test=(Period(start="2024-06-01T01:00", end="2024-06-02"),), validation_fraction=0.5
    )
    training, validation, _ = split.regions(times(20), all_of(times(20)))
    assert np.flatnonzero(training).tolist() == list(range(6))
    assert np.flatnonzero(validation).tolist() == list(range(6, 12))


@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.parametrize("split", [SplitConfig(), SplitConfig(days=DayBlocks())])
def test_a_split_of_no_scan(split: SplitConfig, count: int) -> None:
    regions = split.regions(times(count), np.zeros(count, dtype=bool))
    assert all(region.shape == (count,) and region.dtype == bool for region in regions)
    if split.days is None:
        assert regions.training.all()
        assert not regions.validation.any()


@pytest.mark.parametrize(
    ("split", "validates"),
    [
        (SplitConfig(), True),
        (periods_only(validation_fraction=0), False),
        (periods_only(validation_fraction=0, test=(Period(start="2024-06", end="2025"),)), False),
        (
            periods_only(validation_fraction=0, validation=(Period(start="1999", end="2000"),)),
            True,
        ),
        (SplitConfig(days=DayBlocks(validation=0)), False),
        (SplitConfig(days=DayBlocks()), True),
    ],
)
def test_whether_a_split_validates(split: SplitConfig, validates: bool) -> None:
    assert split.validates == validates
    if not validates:
        training, validation, test = split.regions(times(600), all_of(times(600)))
        assert not validation.any()
        assert (training | split._near(test, times(600))).all()  # no other scan is excluded


# --- blocks of days ----------------------------------------------------------------------------


def dealt(days: DayBlocks, axis: pd.DatetimeIndex) -> Regions:
    return SplitConfig(days=days, guard_minutes=0).regions(axis, all_of(axis))


@pytest.mark.parametrize("days", [1, 2, 5])
@pytest.mark.parametrize("shares", [(0.1, 0.1), (0.25, 0.05), (0.2, 0.0)])
def test_shares_of_blocks_are_exact_over_years(days: int, shares: tuple[float, float]) -> None:
    axis = times(4 * 365 * 4, "6h", "2020-03-07")
    regions = dealt(DayBlocks(days=days, validation=shares[0], test=shares[1]), axis)
    assert regions.validation.mean() == pytest.approx(shares[0], abs=0.01)
    assert regions.test.mean() == pytest.approx(shares[1], abs=0.01)
    assert regions.training.mean() == pytest.approx(1 - sum(shares), abs=0.01)
    months = pd.Series(regions.validation).groupby(axis.month).mean()
    assert (months > shares[0] / 3).all()  # every season validates


@given(st.integers(1, 4), st.integers(-3000, 30000), st.integers(2, 40))
def test_whole_blocks_of_days_from_midnight(days: int, first: int, count: int) -> None:
    axis = times(count, "4h", str(pd.Timestamp(0) + pd.Timedelta(days=first)))
    regions = dealt(DayBlocks(days=days, validation=0.4, test=0.3), axis)
    block = [(time - pd.Timestamp(0)).days // days for time in axis]
    for region in regions:
        assert (pd.Series(region).groupby(block).nunique() == 1).all()
    assert (sum(region.astype(int) for region in regions) == 1).all()


@given(st.integers(0, 700), st.integers(0, 700), st.integers(1, 3))
def test_a_day_stays_in_its_split_while_the_archive_grows(
    before: int, after: int, days: int
) -> None:
    settings = DayBlocks(days=days, validation=0.3, test=0.2)
    axis = times(300, "10min", "2024-06-03T05:20")
    grown = pd.date_range(axis[0] - before * axis.freq, periods=before + 300 + after, freq="10min")
    regions, grown_regions = dealt(settings, axis), dealt(settings, grown)
    for region, again in zip(regions, grown_regions, strict=True):
        np.testing.assert_array_equal(region, again[before : before + 300])


def test_archives_of_other_steps_share_their_days() -> None:
    # the first one starts at 03:10 and has two scans where the other has one
    fine = times(14 * 288, "5min", "2024-06-01T03:10")
    coarse = times(14 * 144, "10min", "2024-06-01T03:10")
    split = SplitConfig(days=DayBlocks(validation=0.3, test=0.2), guard_minutes=30)
    for region, again in zip(
        split.regions(fine, all_of(fine)), split.regions(coarse, all_of(coarse)), strict=True
    ):
        np.testing.assert_array_equal(region[::2], again)


# --- borders -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"validation_fraction": -0.1}, "validation_fraction"),
        ({"validation_fraction": 1}, "validation_fraction"),
        ({"guard_minutes": -1}, "guard_minutes"),
        ({"guard_minutes": float("inf")}, "guard_minutes"),
        ({"guard_minutes": 1e300}, "guard_minutes"),
        ({"days": {"days": 0}}, "days.days"),
        ({"days": {"validation": -0.1}}, "days.validation"),
        (
            {"days": {"validation": 0.6, "test": 0.5}},
            "validation 0.6 and test 0.5 leave nothing to train on",
        ),
        (
            {"days": {}, "test": [{"start": "2024-06-01", "end": "2024-06-02"}]},
            "give either days or periods of validation and test, not both",
        ),
        (
            {"days": {}, "validation": [{"start": "2024-06-01", "end": "2024-06-02"}]},
            "give either days or periods of validation and test, not both",
        ),
    ],
)
def test_wrong_splits_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SplitConfig(**changes)
