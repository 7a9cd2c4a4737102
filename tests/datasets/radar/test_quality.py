"""Quality rules, each tested at its limit."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pydantic import ValidationError

from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.radar import quality as rules
from squall.datasets.radar.quality import QualityConfig, QualityError

NOON = pd.Timestamp("2024-06-01T12:00")
NOT_OBSERVED = RAIN_CODE.NOT_OBSERVED


def rule_of(refusing: Any, *arguments: Any) -> str:
    with pytest.raises(QualityError) as caught:
        refusing(*arguments)
    return caught.value.rule


@pytest.mark.parametrize(
    "changes",
    [
        {"highest_mm_h": 0},
        {"highest_mm_h": -5},
        {"highest_share": 0},
        {"highest_share": 1.5},
        {"least_observed_share": -0.1},
        {"least_observed_share": 1.1},
        {"name_tolerance": 3},
        {"name_tolerance": "soon"},
        {"lowest_mm_h": 1},
        {"clutter_mask": 5},
    ],
)
def test_invalid_limits_are_rejected(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        QualityConfig(**changes)


def test_a_quality_error_can_be_pickled() -> None:
    again = pickle.loads(pickle.dumps(QualityError("off the step", "91 s off")))
    assert (again.rule, str(again)) == ("off the step", "91 s off")
    assert isinstance(again, DataError)


@pytest.mark.parametrize("time", ["1974-12-31T23:55", "1970-01-01", "2262-04-11", "1677-09-22"])
def test_impossible_times_are_rejected(time: str) -> None:
    assert rule_of(rules.check_time, pd.Timestamp(time)) == rules.IMPOSSIBLE_TIME


def test_a_clock_some_hours_ahead_is_accepted() -> None:
    now = pd.Timestamp.now("UTC").tz_localize(None)
    rules.check_time(now + pd.Timedelta("23h"))
    assert rule_of(rules.check_time, now + pd.Timedelta("25h")) == rules.IMPOSSIBLE_TIME
    rules.check_time(pd.Timestamp("1975-01-01"))


@pytest.mark.parametrize(
    ("named_h", "kept"),
    [(-3, True), (-3.01, False), (0, True), (24, True), (27, True), (27.01, False)],
)
def test_the_time_in_the_name_may_differ_by_the_tolerance(named_h: float, kept: bool) -> None:
    named = NOON + pd.Timedelta(hours=named_h)
    arguments = (NOON, NOON + pd.Timedelta("1D"), named, QualityConfig())
    if kept:
        rules.check_time_in_name(*arguments)
    else:
        assert rule_of(rules.check_time_in_name, *arguments) == rules.NAME_AND_TIME
    wide = QualityConfig(name_tolerance="4h")
    rules.check_time_in_name(*arguments[:3], wide)


def test_a_file_without_a_time_in_its_name_is_accepted() -> None:
    rules.check_time_in_name(NOON, NOON, None, QualityConfig())


def test_the_observed_share_at_its_limit() -> None:
    codes = np.zeros((10, 10), np.uint8)
    codes[0] = NOT_OBSERVED
    rules.check_observed_share(codes, QualityConfig(least_observed_share=0.9))
    wanted = QualityConfig(least_observed_share=0.91)
    assert rule_of(rules.check_observed_share, codes, wanted) == rules.OBSERVED_SHARE
    with pytest.raises(QualityError, match=r"90.0% of the pixels are observed, at least 91.0%"):
        rules.check_observed_share(codes, wanted)
    rules.check_observed_share(np.full((2, 2), NOT_OBSERVED, np.uint8), QualityConfig())


def test_the_share_above_the_physical_range_at_its_limit() -> None:
    quality = QualityConfig(highest_mm_h=50)
    rules.check_physical_range(5, 500, quality)
    assert rule_of(rules.check_physical_range, 6, 500, quality) == rules.PHYSICAL_RANGE


def write_mask(path: Path, mask: Any, **coords: Any) -> Path:
    xr.Dataset({"clutter": (("y", "x"), np.asarray(mask))}, coords=coords).to_netcdf(path)
    return path


@pytest.mark.parametrize("rows_up", [False, True])
@pytest.mark.parametrize("columns_back", [False, True])
def test_the_clutter_mask_is_turned_north_up(
    tmp_path: Path, rows_up: bool, columns_back: bool
) -> None:
    mask = np.array([[1, 0, 0], [0, 0, np.nan]])
    x, y = np.arange(3) * 1000.0, np.array([1000.0, 0.0])
    stored = mask[:: -1 if rows_up else 1, :: -1 if columns_back else 1]
    path = write_mask(
        tmp_path / "mask.nc",
        stored,
        y=y[::-1] if rows_up else y,
        x=x[::-1] if columns_back else x,
    )
    codes = np.array([[5, 6, 7], [8, 9, NOT_OBSERVED]], np.uint8)
    assert rules.mask_clutter(codes, QualityConfig(clutter_mask=path)) == 1
    assert codes.tolist() == [[NOT_OBSERVED, 6, 7], [8, 9, NOT_OBSERVED]]


def test_only_pixels_that_the_mask_changes_are_counted(tmp_path: Path) -> None:
    path = write_mask(tmp_path / "mask.nc", np.ones((2, 2), np.int8))
    codes = np.array([[0, NOT_OBSERVED], [NOT_OBSERVED, 3]], np.uint8)
    assert rules.mask_clutter(codes, QualityConfig(clutter_mask=path)) == 2
    assert rules.mask_clutter(codes, QualityConfig(clutter_mask=path)) == 0
    assert rules.mask_clutter(codes, QualityConfig()) == 0


def test_a_mask_without_coordinates_is_not_turned(tmp_path: Path) -> None:
    path = write_mask(tmp_path / "mask.nc", [[0, 0, 1], [0, 0, 0]])
    assert rules.read_clutter_mask(path).tolist() == [[False, False, True], [False] * 3]


def test_a_mask_of_another_shape_rejects_the_scan(tmp_path: Path) -> None:
    path = write_mask(tmp_path / "mask.nc", np.ones((2, 2)))
    codes = np.zeros((3, 4), np.uint8)
    with pytest.raises(QualityError, match=r"mask has 2 × 2 pixels, the scan has 3 × 4") as caught:
        rules.mask_clutter(codes, QualityConfig(clutter_mask=path))
    assert caught.value.rule == rules.OTHER_GRID


def test_a_file_that_is_not_a_mask_is_a_configuration_error(tmp_path: Path) -> None:
    text = tmp_path / "text.nc"
    text.write_text("no mask")
    deep = tmp_path / "deep.nc"
    xr.Dataset({"clutter": (("t", "y", "x"), np.ones((1, 2, 2)))}).to_netcdf(deep)
    other = tmp_path / "other.nc"
    xr.Dataset({"mask": (("y", "x"), np.ones((2, 2)))}).to_netcdf(other)
    for path in (tmp_path / "absent.nc", text, deep, other):
        with pytest.raises(ConfigError, match=rf"{path.name}: .*clutter"):
            rules.mask_clutter(np.zeros((2, 2), np.uint8), QualityConfig(clutter_mask=path))
