"""Durations in configurations: with a unit, or not at all."""

from typing import Any

import pandas as pd
import pytest
from pydantic import BaseModel, ValidationError

from squall.datasets.times import Duration


class Configured(BaseModel):
    step: Duration


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
