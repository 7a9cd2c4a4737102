"""What an archive's configuration may say, and each thing that it may not."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from pydantic import ValidationError

from datasets.archive_config import ArchiveConfig
from datasets.harmonise import ZRRelation

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "archives").glob("*.yaml"))


def config(**changes: Any) -> ArchiveConfig:
    return ArchiveConfig(**{"name": "radar", "step": "5min", "variable": "rain", **changes})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_configurations_that_come_along_are_valid(path: Path) -> None:
    loaded = ArchiveConfig(**yaml.safe_load(path.read_text(encoding="utf-8")))
    assert loaded.name == path.stem
    assert loaded.files
    assert loaded.time_in_name


def test_defaults() -> None:
    plain = config()
    assert plain.step == pd.Timedelta("5min")
    assert plain.snap_tolerance == pd.Timedelta("30s")
    assert plain.z_r == ZRRelation(200, 1.6)
    assert plain.time_marks == "end"
    assert config(accumulation=None).accumulation is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": "soon"}, "no duration; write it like 5min"),
        ({"step": 5}, "has no unit; write it like 5min"),
        ({"step": None}, "has no unit"),
        ({"step": "5"}, "whole number of seconds"),
        ({"step": "0s"}, "whole number of seconds"),
        ({"step": "-5min"}, "whole number of seconds"),
        ({"step": "1500ms"}, "whole number of seconds"),
        ({"snap_tolerance": "150s"}, "less than half the step"),
        ({"snap_tolerance": "-1s"}, "less than half the step"),
        ({"step": "1min"}, "snap_tolerance .*less than half the step"),
        ({"tiem_variable": "time"}, "tiem_variable"),
        ({"units": "parsec"}, "no rain unit"),
        ({"crs": "EPSG:nothing"}, "PROJ does not know this CRS"),
        ({"name": "my radar/2"}, "letters, digits"),
        ({"accumulation": "0min"}, "accumulation .*must be positive"),
        ({"accumulation": "-10min"}, "accumulation .*must be positive"),
        ({"accumulation": "long"}, "no duration"),
        ({"time_marks": "middle"}, "'end' or 'start'"),
        ({"time_marks": "start"}, "'start' needs 'accumulation'"),
        ({"time_in_name": "%Y%b%d"}, "%b is not known here; use %Y"),
        ({"time_in_name": "radar_%Y%"}, "% is not known here"),
        ({"time_in_name": "%Y/%Y%m%d"}, "may come once"),
        ({"missing_values": ["none"]}, "missing_values"),
        ({"z_r": {"a": 200, "c": 1.6}}, "z_r"),
        ({"variable": None}, "variable"),
    ],
)
def test_what_cannot_work_is_refused_with_a_reason(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**changes)


def test_it_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        config().step = pd.Timedelta("10min")
