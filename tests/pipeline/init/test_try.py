"""`squall init --config`: a scan as it will be ingested, before it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from squall.pipeline.cli.main import main

Write = Callable[..., str]


@pytest.fixture
def network(
    tmp_path: Path, write_radar: Write, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> Path:
    """A configuration of `squall init`, with ``crs`` filled in; two files beside it."""
    monkeypatch.chdir(tmp_path)
    rain = np.zeros((48, 64), np.float32)
    for minute in ("00", "05"):
        rain[:24] += 4  # half of the pixels are wet
        write_radar(
            Path(f"radar_2024060112{minute}.nc"), rain, grid_mapping=None,
            times=[f"2024-06-01T12:{minute}"],
        )  # fmt: skip
    assert main(["init", "radar_202406011200.nc", "--out", "network.yaml"]) == 1
    printed = capsys.readouterr().out
    assert "then see a scan: squall init --config network.yaml --plot scan.png" in printed
    path = Path("network.yaml")
    assert "# See a scan: squall init --config network.yaml --plot scan.png" in path.read_text()
    path.write_text(path.read_text().replace("crs: ???", "crs: EPSG:3035"))
    return path


def test_a_scan_of_its_source(network: Path, capsys: Any) -> None:
    before = network.read_text()
    assert main(["init", "--config", "network.yaml", "--plot", "scan.png"]) == 0
    printed = capsys.readouterr().out
    assert "radar_202406011200.nc, read with network.yaml" in printed
    assert "50.0% dry, 50.0% wet, 0.0% not observed" in printed
    assert "wet pixels  median" in printed
    assert "south-west" in printed
    assert Path("scan.png").read_bytes().startswith(b"\x89PNG")
    assert network.read_text() == before


def test_a_scan_of_a_file(network: Path, capsys: Any) -> None:
    assert main(["init", "radar_202406011205.nc", "--config", "network.yaml"]) == 0
    assert "2024-06-01 12:05:00 UTC" in capsys.readouterr().out


def test_the_largest_file_that_is_not_excluded(network: Path, capsys: Any) -> None:
    Path("radar_202406011210.nc").write_bytes(10**6 * b"no radar")
    assert main(["init", "--config", "network.yaml"]) == 1
    assert "its scan is rejected: cannot be read: its format" in capsys.readouterr().err
    network.write_text(network.read_text() + "exclude: '*10.nc'\n")
    assert main(["init", "--config", "network.yaml"]) == 0


@pytest.mark.parametrize(
    ("change", "words", "code", "message"),
    [
        (("crs: EPSG:3035", "crs: ???"), [], 2, "network.yaml: 'crs' is still ???: EPSG code"),
        (("source:", "title:"), [], 2, "network.yaml: has no 'source'; name radar files"),
        (("radar_*", "rain_*"), [], 1, "no file matches rain_*.nc"),
        (("", ""), ["--out", "b.yaml"], 2, "--config writes no configuration; leave out --out"),
        (("", ""), ["--force"], 2, "--config writes no configuration"),
        (("", ""), ["--plot", "scan.gif"], 2, "--plot"),
    ],
)
def test_what_is_wrong_is_said(
    network: Path, capsys: Any, change: tuple[str, str], words: list[str], code: int, message: str
) -> None:
    network.write_text(network.read_text().replace(*change))
    assert main(["init", "--config", "network.yaml", *words]) == code
    assert message in capsys.readouterr().err


def test_without_file_and_configuration(capsys: Any) -> None:
    assert main(["init"]) == 2
    assert "squall: no FILE given; name radar files, or --config" in capsys.readouterr().err
