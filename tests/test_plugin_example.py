"""The package of `docs/plugins.md`: it is installed as written there, and ingests its files."""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from squall.datasets.archive.archive import Archive
from squall.datasets.coding import RAIN_CODE
from squall.datasets.radar import formats
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.pipeline.ingest.config import IngestConfig
from squall.pipeline.ingest.run import ingest

PAGE = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text(encoding="utf-8")


def block(name: str) -> str:
    """The content of a file that the page shows."""
    found = re.search(rf"`{re.escape(name)}`:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def forget_plugins() -> None:
    formats._plugin_names.cache_clear()
    formats._plugin.cache_clear()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package, in a folder of its own as pip would put it."""
    project = tomllib.loads(block("pyproject.toml"))["project"]
    (points,) = project["entry-points"].items()
    folder = tmp_path / "site"
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    lines = [f"[{points[0]}]", *(f"{name} = {value}" for name, value in points[1].items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    (info / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    (folder / "squall_plainradar.py").write_text(block("squall_plainradar.py"))
    monkeypatch.syspath_prepend(folder)
    forget_plugins()
    yield
    forget_plugins()
    sys.modules.pop("squall_plainradar", None)


def test_the_example_of_the_page_ingests_its_files(installed: None, tmp_path: Path) -> None:
    pixels = np.arange(12_000, dtype=np.uint64).reshape(120, 100) % 120
    pixels[:10], pixels[10:20] = 255, 0
    files = tmp_path / "radar"
    files.mkdir()
    for minute in (0, 5):
        head = f"PLAINRADAR 2024060112{minute:02d} 120 100\n".encode()
        (files / f"{minute}.bin").write_bytes(
            head + np.roll(pixels, minute, 1).astype(np.uint8).tobytes()
        )
    (files / "cut.bin").write_bytes(b"PLAINRADAR 202406011210 120 100\n12")
    network = RadarNetworkConfig(**yaml.safe_load(block("plain.yaml")))
    report = ingest(
        IngestConfig(
            source=network, archive=str(tmp_path / "a"), files=(f"{files}/*.bin",), workers=0
        )
    )
    assert report.ingested == 2
    assert "has 2 pixels instead of (120, 100); fetch it again" in report.rejected[0].reason
    archive = Archive.open(tmp_path / "a")
    rate = (10 ** ((pixels * 0.5 - 32) / 10) / 200) ** (1 / 1.6)
    expected = RAIN_CODE.encode(rate.astype(np.float32))
    expected[:10], expected[10:20] = 255, 0
    difference = archive.codes[0].astype(int) - expected
    assert np.abs(difference).max() <= 1  # float32 here, float64 there
    assert (archive.codes[0][:10] == 255).all()
    assert (archive.codes[0][10:20] == 0).all()
    assert archive.grid.shape == (120, 100)
    assert (archive.grid.x[0], archive.grid.y[0]) == (4_000_500, 2_999_500)
