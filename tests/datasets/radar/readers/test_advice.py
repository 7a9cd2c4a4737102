"""Advice of messages: its examples are accepted by the configuration, and they help."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from squall.datasets.radar.radar_file import read_file
from tests.datasets.radar.radar_files import NOON, RATE, Write, config, rejection_of


def settings_in(reason: str) -> Iterator[dict[str, Any]]:
    """The examples ``'key: value'`` of a message, as settings."""
    for key, value in re.findall(r"'([a-z_]+): ([^']+)'", reason):
        yield {key: value}


@pytest.mark.parametrize(
    ("changes", "time"),
    [
        ({"units": "furlongs"}, NOON),
        ({"units": "kg m-2"}, NOON),
        ({"grid_mapping": None}, NOON),
        ({"coordinate_units": None}, NOON),
        ({}, NOON + pd.Timedelta("100s")),
    ],
)
def test_the_examples_of_a_message_help(
    tmp_path: Path, write_radar: Write, changes: dict[str, Any], time: pd.Timestamp
) -> None:
    path = write_radar(tmp_path / "a.nc", RATE, times=(time.isoformat(),), **changes)
    reason = rejection_of(path)
    examples = list(settings_in(reason))
    assert examples, reason
    for example in examples:
        assert len(read_file(path, config(**example)).scans) == 1, (reason, example)


@pytest.mark.parametrize("format", ["netcdf", "odim", "knmi", "grib"])
def test_a_file_of_another_format_is_told_apart(
    tmp_path: Path, write_odim: Any, write_radar: Write, format: str
) -> None:
    if format == "grib":
        pytest.importorskip("eccodes", exc_type=ImportError)
    odim = write_odim(tmp_path / "a.h5", np.ones((12, 16), np.uint16))
    netcdf = write_radar(tmp_path / "a.nc", RATE)
    path, looks_like = (netcdf, "netcdf") if format == "odim" else (odim, "odim")
    reason = rejection_of(path, config(format=format))
    assert {"format": looks_like} in list(settings_in(reason))


@pytest.mark.parametrize("content", [b"Radar 12" + bytes(500), b"<html>", bytes(5000)])
def test_a_file_of_no_known_format_names_those_that_are_read(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    reason = rejection_of(str(path))
    assert f"its format is not recognised by its first bytes {content[:8]!r}" in reason
    assert "netcdf, odim, knmi, hdf5" in reason


def test_odim_messages_name_what_the_file_has(write_odim: Any, tmp_path: Path) -> None:
    path = write_odim(tmp_path / "a.h5", np.ones((12, 16), np.uint16), quantity="DBZH")
    reason = rejection_of(path, config(format="odim", variable="RATE"))
    assert "'variable: DBZH'" in reason
    (example,) = settings_in(reason)
    assert len(read_file(path, config(format="odim", **example)).scans) == 1


def test_quality_is_not_proposed_as_rain(write_odim: Any, tmp_path: Path) -> None:
    path = write_odim(tmp_path / "a.h5", np.ones((12, 16), np.uint16))
    with h5py.File(path, "a") as root:
        root.copy("dataset1/data1", "dataset1/data2")
        what = root["dataset1/data2"].require_group("what")
        what.attrs["quantity"] = np.bytes_(b"QIND")
    assert "'variable: RATE'" in rejection_of(path, config(format="odim", variable="ACRR"))
