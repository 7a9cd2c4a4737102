"""Step, phase and tolerance from the times of scans."""

import pandas as pd
import pytest

from squall.pipeline.init.axis import axis_of, short_text, tolerance_of

START = pd.Timestamp("2024-06-01")


def times(*minutes: float) -> list[pd.Timestamp]:
    return [START + pd.Timedelta(minutes=m) for m in minutes]


@pytest.mark.parametrize(
    ("minutes", "step", "phase", "tolerance"),
    [
        ((0, 5, 10, 25), "5min", "0s", None),  # with a gap
        ((2, 7, 12, 17), "5min", "2min", None),
        ((10, 70, 130), "1h", "10min", None),
        ((0, 2.05, 4.02, 5.98), "2min", "0s", None),  # seconds off
        ((0, 2.55, 4, 6, 8, 10), "2min", "0s", "59s"),
        ((0, 0.5, 1, 1.5), "30s", "0s", "8s"),
    ],
)
def test_the_axis_of_times(minutes, step, phase, tolerance) -> None:
    axis = axis_of(times(*minutes))
    assert axis is not None
    assert axis.step == pd.Timedelta(step)
    assert axis.phase == pd.Timedelta(phase)
    assert axis.tolerance == (None if tolerance is None else pd.Timedelta(tolerance))


def test_one_time_has_no_step() -> None:
    assert axis_of(times(5)) is None
    assert axis_of(times(5, 5)) is None


def test_the_tolerance_stays_below_half_a_step() -> None:
    found = tolerance_of(times(0, 6.9), pd.Timedelta("5min"), pd.Timedelta(0))
    assert found is not None
    assert pd.Timedelta("114s") <= found < pd.Timedelta("150s")


@pytest.mark.parametrize("text", ["5min", "1h", "90s", "1D", "15min"])
def test_durations_are_written_as_they_are_read(text: str) -> None:
    assert short_text(pd.Timedelta(text)) == text


def test_a_difference_that_no_day_is_a_multiple_of_is_a_gap() -> None:
    days = ("2021-02-02", "2021-02-06")
    times = [pd.Timestamp(f"{day}T{time}") for day in days for time in ("20:05", "22:00")]
    axis = axis_of(times)
    assert axis is not None
    assert (axis.step, axis.phase) == (pd.Timedelta("5min"), pd.Timedelta(0))
    assert axis.difference == pd.Timedelta("115min")
