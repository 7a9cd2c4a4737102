"""Size and times of the small stores that the tests write."""

import pandas as pd

SCANS, HEIGHT, WIDTH = 12, 20, 30
TIMES = pd.date_range("2024-06-01", periods=SCANS, freq="5min")
