"""Configuration of the training data: what is accepted, and what each error names."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from squall.datasets.errors import ConfigError, DataError
from squall.datasets.training.config import ArchiveShare, DataConfig
from squall.datasets.training.epoch_plan import SPAN
from tests.datasets.training.data_modules import config, module


def test_an_archive_is_an_address_or_says_more() -> None:
    text = "[a, s3://bucket/b, {address: c, snapshot: ABC}]"
    shares = DataConfig(archives=yaml.safe_load(text)).archives
    assert shares == (
        ArchiveShare(address="a"),
        ArchiveShare(address="s3://bucket/b"),
        ArchiveShare(address="c", snapshot="ABC"),
    )
    weighted = DataConfig(archives=({"address": Path("a"), "weight": 2},))
    assert weighted.archives == (ArchiveShare(address="a", weight=2.0),)
    assert DataConfig(**weighted.model_dump(mode="json")) == weighted


@pytest.mark.parametrize(
    "changes",
    [
        {"context": 0},
        {"lead_times": 0},
        {"crop": -1},
        {"batch_size": 0},
        {"samples_per_epoch": 0},
        {"crops_per_read": 0},
        {"drop_scan": 1.0},
        {"speeds": []},
        {"speeds": [1, 0]},
        {"coarsen": [-1]},
        {"intensity": 0.9},
        {"rain_preference": -1},
        {"rain_preference": float("inf")},
        {"workers": -1},
        {"cropp": 64},
        {"archives": [{"address": "a", "weight": 0}]},
        {"archives": [{"weight": 1}]},
    ],
)
def test_wrong_values_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(changes))):
        DataConfig(**changes)


@pytest.mark.parametrize("workers", [5, 7, 9, 48])
def test_workers_share_the_batches_evenly(workers: int) -> None:
    with pytest.raises(ValidationError, match=f"workers {workers}: give a divisor of {SPAN}"):
        config(workers=workers)


def test_weights_are_for_all_archives_or_for_none() -> None:
    with pytest.raises(
        ValidationError, match="b has a weight and a, c has none; give all of them a weight or none"
    ):
        config("a", {"address": "b", "weight": 1}, "c")


def test_no_archive(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no archive to train on"):
        module()
    with pytest.raises(DataError, match="absent: there is no archive"):
        module(tmp_path / "absent")


def test_an_unknown_snapshot(rain_archive: Path) -> None:
    with pytest.raises(DataError, match="has no snapshot 'NOWHERE'"):
        module({"address": rain_archive, "snapshot": "NOWHERE"})


def test_a_weight_of_an_archive_without_a_window(rain_archive: Path, dry_archive: Path) -> None:
    shares = [{"address": rain_archive, "weight": 1}, {"address": dry_archive, "weight": 3}]
    with pytest.raises(DataError, match=f"no training window in {dry_archive}"):
        module(*shares, context=7)
