"""Synthetic radar as files: from a time, and as it comes."""

from pathlib import Path

import pandas as pd
import pytest

from squall.datasets.synthetic.config import SyntheticConfig
from squall.pipeline.synth.config import SynthConfig
from squall.pipeline.synth.run import synth

NOW = pd.Timestamp("2024-06-20T12:03:20")
RADAR = SyntheticConfig(hours=0.25, size=32, missing_fraction=0.0)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that sleeping moves; returns how long was slept."""
    slept: list[float] = []
    for place in ("squall.datasets.times.now", "squall.pipeline.synth.run.now"):
        monkeypatch.setattr(place, lambda: NOW + pd.Timedelta(seconds=sum(slept)))
    monkeypatch.setattr("squall.pipeline.synth.run.time.sleep", slept.append)
    return slept


@pytest.mark.parametrize(
    ("start", "first"),
    [
        ("now", "2024-06-20T12:00"),
        ("10min", "2024-06-20T11:50"),
        ("2024-06-20T12:03", "2024-06-20T12:03"),
        (None, "2024-06-01"),
    ],
)
def test_the_first_scan_is_on_a_step_of_now(tmp_path: Path, start: str | None, first: str) -> None:
    config = SynthConfig(out=tmp_path, radar=RADAR, start=start)
    names = [path.name for path in synth(config)]
    times = pd.date_range(first, periods=3, freq="5min")
    assert names == [f"synthetic_{time:%Y%m%dT%H%M}.nc" for time in times]


def test_a_live_radar_waits_for_the_time_of_each_scan(tmp_path: Path, clock: list[float]) -> None:
    synth(SynthConfig(out=tmp_path / "live", radar=RADAR, start="5min", live=True))
    assert clock == [0, 0, 100]  # 11:55, 12:00, 12:05
    synth(SynthConfig(out=tmp_path / "once", radar=RADAR, start="now"))
    assert len(clock) == 3
