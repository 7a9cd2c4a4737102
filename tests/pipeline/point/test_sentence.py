"""The sentence about the rain at a place."""

import pandas as pd
import pytest

from squall.pipeline.point.sentence import RainTimes, sentence

NOW = pd.Timestamp("2024-06-01T14:00")


def at(minutes):
    return None if minutes is None else NOW + pd.Timedelta(minutes=minutes)


def said(chance, begin, end, *, has_chances=True, is_cut=False, horizon=60, reference=NOW):
    rain = RainTimes(reference, at(horizon), 0.2, chance, at(begin), at(end), has_chances, is_cut)
    return sentence(rain)


@pytest.mark.parametrize(
    ("chance", "begin", "end", "text"),
    [
        (0.7, 25, 65, "rain from 14:25, 70 %, until about 15:05"),
        (0.7, 25, None, "rain from 14:25, 70 %, until after 15:00"),
        (0.3, 25, 40, "probably dry; if not, rain from 14:25, 30 %, until about 14:40"),
        (0.05, None, None, "probably dry until 15:00, rain 5 %"),
        (0.6, None, None, "rain 60 % until 15:00, too few members to say when"),
        (0.005, None, None, "probably dry until 15:00, rain below 1 %"),
        (0.995, 5, 10, "rain from 14:05, above 99 %, until about 14:10"),
        (0.0, None, None, "dry until 15:00, in all members"),
        (1.0, 0, 20, "raining already, until about 14:20"),
        (1.0, 0, None, "raining already, until after 15:00"),
        (1.0, 12.5, 17.6, "rain from 14:12, 100 %, until about 14:18"),
    ],
)
def test_of_an_ensemble(chance, begin, end, text):
    assert said(chance, begin, end) == text


@pytest.mark.parametrize(
    ("chance", "begin", "end", "text"),
    [
        (1.0, 25, 40, "rain from 14:25, until about 14:40"),
        (1.0, 25, None, "rain from 14:25, until after 15:00"),
        (1.0, 0, None, "raining already, until after 15:00"),
        (0.0, None, None, "dry until 15:00"),
    ],
)
def test_of_one_forecast(chance, begin, end, text):
    assert said(chance, begin, end, has_chances=False) == text


@pytest.mark.parametrize(
    ("chance", "begin", "has_chances", "start"),
    [
        (0.7, 5, True, "rain from 14:05, 70 %"),
        (0.4, 5, True, "probably dry; if not, rain from 14:05, 40 %"),
        (1.0, 0, True, "raining already"),
        (1.0, 5, False, "rain from 14:05"),
        (1.0, 0, False, "raining already"),
    ],
)
def test_rain_that_comes_again(chance, begin, has_chances, start):
    rain = RainTimes(
        NOW, at(60), 0.2, chance, at(begin), at(20), has_chances, again=at(40), again_chance=0.5
    )
    text = f"{start}, until about 14:20, again from about 14:40"
    assert sentence(rain) == (f"{text}, 50 %" if has_chances else text)


def test_a_place_that_is_known_for_some_time_only():
    text = said(0.0, None, None, is_cut=True, horizon=20)
    assert text == "dry until 14:20, in all members; not known after 14:20"


def test_another_day_is_named():
    rain = RainTimes(
        pd.Timestamp("2024-06-01T23:30"), pd.Timestamp("2024-06-02T00:30"), 0.2, 0.6,
        pd.Timestamp("2024-06-01T23:50"), pd.Timestamp("2024-06-02T00:10"), True,
    )  # fmt: skip
    assert sentence(rain) == "rain from 23:50, 60 %, until about 02 Jun 00:10"


def test_a_place_that_is_not_known():
    assert sentence(None).startswith("not known: the radar did not observe")
