"""The key ``source``: patterns without forecasts, and what else a pattern matches."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml

from squall.datasets.sources.find import find_files
from squall.pipeline.init.config import InitConfig
from squall.pipeline.init.names import numbered_glob
from squall.pipeline.init.run import InitResult, init

Write = Callable[..., str]
RAIN = np.ones((16, 16), np.float32)
FORECAST = {"long_name": "forecast time"}


def write_run(
    folder: Path, write_radar: Write, name: str = "rv_2024060112{:02d}_{:03d}.nc"
) -> None:
    """Two analyses (``_000``) and the two forecasts of each."""
    folder.mkdir(parents=True)
    for minute in (0, 5):
        for lead in (0, 5, 10):
            marked = {"time_attributes": FORECAST} if lead else {}
            path = folder / name.format(minute, lead)
            write_radar(path, RAIN, times=[f"2024-06-01T12:{minute + lead:02d}"], **marked)


def looked_at(*words: Path | str) -> tuple[InitResult, str, Any]:
    """The result, its text without line breaks, and its source."""
    result = init(InitConfig(files=tuple(map(str, words))))
    text = " ".join(line.removeprefix("#").strip() for line in result.text.splitlines())
    return result, text, yaml.safe_load(result.text)["source"]


def names_of(source: str) -> list[str]:
    return [file.name for file in find_files([source])]


ANALYSES = ["rv_202406011200_000.nc", "rv_202406011205_000.nc"]


def test_the_forecasts_in_a_folder_are_left_out(tmp_path: Path, write_radar: Write) -> None:
    write_run(tmp_path / "radar" / "06", write_radar)
    result, text, source = looked_at(tmp_path / "radar")
    assert result.is_complete, result
    assert source == f"{tmp_path}/radar/**/rv_*_000.nc"
    assert names_of(source) == ANALYSES
    assert "the pattern leaves out 4 files with forecasts, like rv_202406011200_005.nc" in text


@pytest.mark.parametrize("folder", ["", "run/"])
def test_the_forecasts_in_a_tar_file_are_left_out(
    tmp_path: Path, write_radar: Write, folder: str
) -> None:
    write_run(tmp_path / "radar", write_radar)
    path = tmp_path / "rv_202406011200.tar.bz2"
    with tarfile.open(path, "w:bz2") as packed:
        for file in sorted((tmp_path / "radar").iterdir()):
            packed.add(file, f"{folder}{file.name}")
    result, text, source = looked_at(path)
    assert result.is_complete, result
    spanning = "**/" if folder else ""
    assert source == f"tar://{spanning}rv_*_000.nc::{tmp_path}/rv_*.tar.bz2"
    assert names_of(source) == ANALYSES
    assert "matches 1 zip or tar file now" in text
    assert "leaves out 4 files with forecasts" in text


def test_forecasts_that_are_named_one_by_one(tmp_path: Path, write_radar: Write) -> None:
    write_run(tmp_path / "radar", write_radar)
    files = sorted((tmp_path / "radar").iterdir())
    result, _, source = looked_at(*files)
    assert result.is_complete, result
    assert source == f"{tmp_path}/radar/rv_*_000.nc"


def test_names_that_do_not_tell_forecasts_from_observations(
    tmp_path: Path, write_radar: Write
) -> None:
    write_run(tmp_path / "radar", write_radar, "rv_2024060112{:02d}_{:03d}00.nc")
    for path in (tmp_path / "radar").iterdir():
        reference = int(path.name[13:15])
        lead = int(path.name.split("_")[2][:3])
        path.rename(path.with_name(f"rv_2024060112{reference:02d}_{1200 + reference + lead}.nc"))
    result, text, source = looked_at(tmp_path / "radar")
    assert source == f"{tmp_path}/radar/**/*"
    # the analysis of 12:05 has a name like that of a forecast
    assert (
        "3 files with forecasts, like rv_202406011200_1210.nc, match too and are rejected" in text
    )
    assert not result.problems


def test_a_folder_of_forecasts_alone_is_refused(tmp_path: Path, write_radar: Write) -> None:
    write_run(tmp_path / "radar", write_radar)
    for name in ANALYSES:
        (tmp_path / "radar" / name).unlink()
    with pytest.raises(ValueError, match="is a forecast: its times are named 'forecast time'"):
        init(InitConfig(files=(str(tmp_path / "radar"),)))


@pytest.mark.parametrize(
    ("name", "glob"),
    [
        ("radar_0012.h5", "radar_*.h5"),
        ("radar12.h5", "radar*.h5"),
        ("12.tar.gz", "*.tar.gz"),
        ("rainfall_NW_2016_08.3.npz", "rainfall_NW_*_*.*.npz"),
        ("u1096_ng_bmr04_precip_2km", "u1096_ng_bmr04_precip_2km"),
        ("belgium.comp.hdf", "belgium.comp.hdf"),
        ("a[1]_2km.nc", "a[[]*]_2km.nc"),
    ],
)
def test_numbers_that_may_count_files(name: str, glob: str) -> None:
    assert numbered_glob(name) == glob


def test_files_that_match_and_look_different(tmp_path: Path, write_radar: Write) -> None:
    times = ["2024-06-01T12:00", "2024-06-01T12:05"]
    for name, side in (("radar_1.nc", 16), ("radar_2.nc", 16), ("radar_3.nc", 17)):
        write_radar(tmp_path / name, np.ones((2, side, side), np.float32), times=times)
    write_radar(tmp_path / "radar_4.nc", RAIN, variable="quality")
    with h5py.File(tmp_path / "radar_5.nc", "w") as root:
        root["rain_rate"] = RAIN
    _, text, source = looked_at(tmp_path / "radar_1.nc")
    assert source == f"{tmp_path}/radar_*.nc"
    assert "a guess: matches 5 files now; these look different" in text
    assert "radar_2.nc (" not in text
    assert "radar_3.nc (another grid)" in text
    assert "radar_4.nc (has no variable 'rain'" in text
    assert "radar_5.nc (plain HDF5)" in text


def test_a_name_without_a_number_is_a_pattern_of_its_own(
    tmp_path: Path, write_radar: Write
) -> None:
    write_radar(tmp_path / "other.nc", RAIN)
    _, text, source = looked_at(write_radar(tmp_path / "composite_2km.nc", RAIN))
    assert source == f"{tmp_path}/composite_2km.nc"
    assert "this file alone" in text
