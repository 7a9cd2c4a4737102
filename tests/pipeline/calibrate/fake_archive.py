"""An archive in memory, of as much as the calibration of ensembles reads."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pandas as pd

from squall.datasets.archive.records import OK

STEP = pd.Timedelta("10min")


@dataclass
class FakeArchive:
    """Scans (time, y, x), mm/h, one in `step`."""

    rain: np.ndarray
    step: pd.Timedelta = STEP
    start: str = "2024-06-01T00:00"
    address: str = "fake"
    snapshot: str = "one"
    status: np.ndarray = field(init=False)

    def __post_init__(self):
        self.status = np.full(len(self.rain), OK)

    @property
    def times(self):
        return pd.date_range(self.start, periods=len(self.rain), freq=self.step)

    @property
    def grid(self):
        return SimpleNamespace(pixel_size_m=1000.0)

    def read(self, first, count):
        return SimpleNamespace(values=self.rain[first : first + count])

    def mean_rain(self, where):
        return np.where(where, self.rain.mean(axis=(1, 2)), 0)
