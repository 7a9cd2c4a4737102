"""Real radar files beside the project, and how the tests read them; the folder may be absent."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.radar_file import FileReport, read_file

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
FORMATS = SHARED / "formats"

needs_real_files = pytest.mark.skipif(not FORMATS.is_dir(), reason=f"no real files at {FORMATS}")


def config_of(network: str, **changes: Any) -> RadarNetworkConfig:
    """The configuration of a network in the repository, with other values of some keys."""
    text = (ROOT / "configs" / "archives" / f"{network}.yaml").read_text(encoding="utf-8")
    return RadarNetworkConfig(**yaml.safe_load(text) | changes)


def read(path: Path, config: RadarNetworkConfig) -> FileReport:
    """Read a file of which no scan may be rejected."""
    report = read_file(str(path), config)
    assert report.rejected == []
    return report
