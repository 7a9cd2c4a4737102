"""Durations in configurations: written like ``5min``, never a bare number."""

from typing import Annotated, Any

import pandas as pd
from pydantic import BeforeValidator


def _duration(value: Any) -> pd.Timedelta:
    try:
        duration = pd.Timedelta(value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{value!r} is no duration; write it like 5min, 1h or 30s") from error
    if isinstance(value, (int, float)) or duration is pd.NaT:
        raise ValueError(f"{value!r} has no unit; write it like 5min, 1h or 30s")
    return duration


Duration = Annotated[Any, BeforeValidator(_duration)]
