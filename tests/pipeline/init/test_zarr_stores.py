"""`squall init` on Zarr stores: the array that looks like rain, its scans, chunks never written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.pipeline.config import load_config
from squall.pipeline.init.config import InitConfig
from squall.pipeline.init.run import init, try_configuration

Write = Callable[..., str]
pytestmark = pytest.mark.filterwarnings("ignore:Consolidated metadata is currently")


def test_a_zarr_store(tmp_path: Path, write_radar: Write) -> None:
    times = [f"2024-06-01T12:{minute:02d}" for minute in range(0, 50, 5)]
    numbers = np.arange(10 * 256, dtype=np.uint16).reshape(10, 16, 16) % 200
    path = write_radar(tmp_path / "a.nc", numbers, times=times, fill=np.uint16(65535))
    with xr.open_dataset(path, mask_and_scale=False) as file:
        file["rain"].encoding = {"chunks": (1, 16, 16)}
        file.to_zarr(tmp_path / "radar.zarr")
    result = init(InitConfig(files=(str(tmp_path / "radar.zarr"),)))
    assert result.is_complete, result
    (tmp_path / "written.yaml").write_text(result.text)
    written = load_config(tmp_path / "written.yaml", RadarNetworkConfig)
    assert written.step == pd.Timedelta("5min")
    assert written.source == (str(tmp_path / "radar.zarr"),)
    assert (written.variable, written.time_in_name) == ("rain", None)
    assert "# format: Zarr, by its address" in result.text
    tried = try_configuration(InitConfig(config=tmp_path / "written.yaml"))
    assert tried.startswith("radar.zarr#0000000, read with")
    assert "2024-06-01 12:00:00 UTC" in tried


def test_chunks_that_were_never_written_are_asked_for(tmp_path: Path, write_radar: Write) -> None:
    numbers = np.zeros((2, 16, 16), np.uint16)
    numbers[0, :4] = 7
    times = ["2024-06-01T12:00", "2024-06-01T12:05"]
    path = write_radar(tmp_path / "a.nc", numbers, times=times)
    with xr.open_dataset(path, mask_and_scale=False) as file:
        file["rain"].encoding = {"chunks": (1, 16, 16)}
        file.to_zarr(tmp_path / "radar.zarr", write_empty_chunks=False)
    result = init(InitConfig(files=(str(tmp_path / "radar.zarr"),)))
    assert result.missing == ("dry_values",)
    assert "dry_values: ???  # [0] if chunks that were never written" in result.text
    (tmp_path / "a.yaml").write_text(result.text.replace("dry_values: ???", "dry_values: 0"))
    assert "% dry" in try_configuration(InitConfig(config=tmp_path / "a.yaml"))
