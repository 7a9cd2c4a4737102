"""Numbers that mean not observed, or no echo."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from squall.pipeline.init.config import InitConfig
from squall.pipeline.init.run import init

Keys = Callable[[np.ndarray], dict[str, object]]


@pytest.fixture
def keys_of(tmp_path: Path) -> Keys:
    """Function that gives the keys that are written for numbers without a unit."""

    def keys(numbers: np.ndarray) -> dict[str, object]:
        path = tmp_path / "radar_202406011200.h5"
        with h5py.File(path, "w") as root:
            root["rain_rate"] = numbers
        text = init(InitConfig(files=(str(path),))).text
        return {key: value for key, value in yaml.safe_load(text).items() if "_values" in key}

    return keys


@pytest.fixture
def numbers() -> np.ndarray:
    """(y, x): columns beyond the radars, a marker around the rain, rain that all differs."""
    values = np.full((40, 40), -9998.0, np.float32)
    values[:, :10] = -9999
    values[10:20, 15:35] = 1 + 0.1 * np.arange(200).reshape(10, 20)
    return values


def test_a_marker_around_rain_means_no_echo(keys_of: Keys, numbers: np.ndarray) -> None:
    assert keys_of(numbers) == {"missing_values": [-9999], "dry_values": [-9998]}


def test_two_markers_stay_missing_where_another_number_is_dry(
    keys_of: Keys, numbers: np.ndarray
) -> None:
    numbers[10:20, 15:25] = 0
    assert keys_of(numbers) == {"missing_values": [-9999, -9998]}


def test_two_markers_stay_missing_where_both_lie_beside_rain(
    keys_of: Keys, numbers: np.ndarray
) -> None:
    numbers[:10] = -9999
    assert keys_of(numbers) == {"missing_values": [-9999, -9998]}


def test_the_only_number_below_zero_is_missing(keys_of: Keys, numbers: np.ndarray) -> None:
    numbers[numbers < -9998] = -1
    numbers[numbers < -1] = 0
    assert keys_of(numbers) == {"missing_values": [-1]}
    numbers[0, 0] = -2
    assert keys_of(numbers) == {"missing_values": "???"}
