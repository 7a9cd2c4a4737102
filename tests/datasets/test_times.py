"""Times and durations: each row of the grammar, and what is refused."""

from datetime import date, datetime, timedelta, timezone
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from squall.datasets.times import (
    Duration,
    EndTime,
    Time,
    duration_text,
    is_date,
    parse_age,
    parse_duration,
    parse_end,
    parse_time,
    parse_time_or_age,
)


class Configured(BaseModel):
    step: Duration = pd.Timedelta("5min")
    start: Time = None
    end: EndTime = None


@pytest.mark.parametrize("text", ["5min", "300s", "0h 5min", "00:05:00", pd.Timedelta("5min")])
def test_five_minutes(text: Any) -> None:
    assert Configured(step=text).step == pd.Timedelta("5min")


@pytest.mark.parametrize("value", [5, 5.0, None, "", "NaT", float("nan")])
def test_without_a_unit(value: Any) -> None:
    with pytest.raises(ValidationError, match="has no unit; write it like 5min"):
        Configured(step=value)


@pytest.mark.parametrize("value", ["soon", True, "5 fortnights", [5], {"min": 5}])
def test_no_durations(value: Any) -> None:
    with pytest.raises(ValidationError, match=r"is no duration; write it like 5min"):
        Configured(step=value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5 min", "0 days 00:05:00"),
        ("1h 30min", "0 days 01:30:00"),
        ("1h30min", "0 days 01:30:00"),
        ("2.5h", "0 days 02:30:00"),
        ("90 seconds", "0 days 00:01:30"),
        ("2D", "2 days"),
        ("2 days", "2 days"),
        ("1W", "7 days"),
        ("36H", "1 days 12:00:00"),
        ("-5min", "-1 days +23:55:00"),
        ("PT5M", "0 days 00:05:00"),
        ("P1DT2H3M4S", "1 days 02:03:04"),
        ("36:00:00", "1 days 12:00:00"),
        ("1D 00:05:00", "1 days 00:05:00"),
        (" 5min ", "0 days 00:05:00"),
    ],
)
def test_durations(text: str, expected: str) -> None:
    assert parse_duration(text) == pd.Timedelta(expected)


@pytest.mark.parametrize("text", ["12", "-3", "0.5", " 7 "])
def test_a_number_has_no_unit(text: str) -> None:
    with pytest.raises(ValueError, match="has no unit"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["1 M", "1M", "5min later", "P", "PT", "5:00", "h", "99999999W"])
def test_text_that_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no duration; write it like 5min, 1h or 30s"):
        parse_duration(text)


@given(st.integers(0, 10**9))
def test_durations_survive_pandas_own_text_and_iso_8601(seconds: int) -> None:
    duration = pd.Timedelta(seconds=seconds)
    assert parse_duration(str(duration)) == duration
    assert parse_duration(duration.isoformat()) == duration
    assert parse_duration(f"{seconds}s") == duration


@given(
    st.dictionaries(st.sampled_from(["W", "D", "h", "min", "s"]), st.integers(0, 999), min_size=1)
)
def test_a_sum_of_amounts_is_their_sum(amounts: dict[str, int]) -> None:
    expected = sum(
        (pd.Timedelta(amount, unit) for unit, amount in amounts.items()), start=pd.Timedelta(0)
    )
    for space in ("", " "):
        text = space.join(f"{amount}{unit}" for unit, amount in amounts.items())
        assert parse_duration(text) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-06-01T12:00", "2024-06-01 12:00"),
        ("2024-06-01 12:00:30", "2024-06-01 12:00:30"),
        ("2024-06-01T12:00:30.25", "2024-06-01 12:00:30.25"),
        ("2024-06-01T12", "2024-06-01 12:00"),
        ("20240601T1200", "2024-06-01 12:00"),
        ("20240601T120030", "2024-06-01 12:00:30"),
        ("2024-06-01T12:00Z", "2024-06-01 12:00"),
        ("2024-06-01 12:00 UTC", "2024-06-01 12:00"),
        ("2024-06-01T12:00+02:00", "2024-06-01 10:00"),
        ("2024-06-01T12:00-0930", "2024-06-01 21:30"),
        (" 2024-06-01T12:00 ", "2024-06-01 12:00"),
        (datetime(2024, 6, 1, 12), "2024-06-01 12:00"),
        (datetime(2024, 6, 1, 12, tzinfo=timezone(timedelta(hours=2))), "2024-06-01 10:00"),
        (pd.Timestamp("2024-06-01T12:00", tz="UTC"), "2024-06-01 12:00"),
    ],
)
def test_times(value: Any, expected: str) -> None:
    """A time of day means the same as a start and as an end, and is naive UTC."""
    for read in (parse_time, parse_end):
        assert read(value) == pd.Timestamp(expected)
        assert read(value).tzinfo is None
    assert not is_date(value)


@pytest.mark.parametrize(
    ("value", "first", "following"),
    [
        ("2024-06-01", "2024-06-01", "2024-06-02"),
        ("20240601", "2024-06-01", "2024-06-02"),
        (date(2024, 6, 1), "2024-06-01", "2024-06-02"),
        (" 2024-02-29 ", "2024-02-29", "2024-03-01"),
        ("2024-02", "2024-02-01", "2024-03-01"),
        ("2024-12", "2024-12-01", "2025-01-01"),
        ("2024", "2024-01-01", "2025-01-01"),
    ],
)
def test_a_date_is_its_first_moment_as_a_start_and_its_last_as_an_end(
    value: Any, first: str, following: str
) -> None:
    assert is_date(value)
    assert parse_time(value) == pd.Timestamp(first)
    assert parse_end(value) == pd.Timestamp(following) - pd.Timedelta("1ns")
    period = Configured(start=value, end=value)
    assert period.start == pd.Timestamp(first)
    assert period.end == pd.Timestamp(following) - pd.Timedelta("1ns")


@pytest.mark.parametrize(
    "value",
    [
        "soon",
        "",
        None,
        5,
        2024,
        True,
        pd.NaT,
        "NaT",
        "now",
        "today",
        "2024-02-30",
        "2024-13-01",
        "2024-06-01T25:00",
        "0001-01-01",
        "12:00",
        "01/06/2024",
        "2024-06-01T12:00+1",
        "2024-06-01+02:00",
        ["2024-06-01"],
    ],
)
def test_values_that_are_no_time(value: Any) -> None:
    for read in (parse_time, parse_end):
        with pytest.raises(ValueError, match="is no time; write it like 2024-06-04"):
            read(value)


@pytest.mark.parametrize(
    ("text", "age"), [("12h", "12h"), ("2D", "2D"), ("1h 30min", "90min"), ("PT5M", "5min")]
)
def test_an_age_is_counted_back_from_now(
    text: str, age: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    noon = pd.Timestamp("2024-06-01T12:00")
    monkeypatch.setattr("squall.datasets.times.now", lambda: noon)
    for end in (False, True):
        assert parse_time_or_age(text, end=end) == noon - pd.Timedelta(age)


def test_a_time_where_an_age_may_stand() -> None:
    assert parse_time_or_age("2024-06-01") == pd.Timestamp("2024-06-01")
    last = pd.Timestamp("2024-06-02") - pd.Timedelta("1ns")
    assert parse_time_or_age("2024-06-01", end=True) == last
    assert parse_time_or_age("2024-06-01T12:00Z") == pd.Timestamp("2024-06-01T12:00")


@pytest.mark.parametrize("text", ["-12h", "-1D", "-PT5M"])
def test_a_negative_age_is_refused(text: str) -> None:
    """It would be a time in the future."""
    with pytest.raises(ValueError, match=f"'{text}' is negative"):
        parse_time_or_age(text)


@pytest.mark.parametrize("text", ["soon", "12", "1 M", "2024-02-30"])
def test_neither_a_time_nor_an_age(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is neither a time, .* nor a span before now"):
        parse_time_or_age(text)


@pytest.mark.parametrize("text", ["-1s", "-2D", "-00:05:00", "12", "month", "1e9D"])
def test_text_that_is_no_age(text: str) -> None:
    with pytest.raises(ValueError, match=r"like 2D, 36h or 30min|is negative; an age is"):
        parse_age(text)


def test_an_age_may_be_nothing() -> None:
    assert parse_age("0s") == pd.Timedelta(0)


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        ("0s", "0 s"),
        ("40.4s", "40 s"),
        ("89s", "89 s"),
        ("90s", "2 min"),
        ("21min", "21 min"),
        ("89min 29s", "89 min"),
        ("89min 30s", "1 h 30 min"),
        ("2h", "2 h"),
        ("5h 32min", "5 h 32 min"),
        ("47h 59min 20s", "47 h 59 min"),
        ("48h", "2 days"),
        ("729D 23h", "729 days"),
        ("731D", "2 years"),
        ("5850D", "16 years"),
    ],
)
def test_a_duration_for_people(duration: str, text: str) -> None:
    assert duration_text(pd.Timedelta(duration)) == text
