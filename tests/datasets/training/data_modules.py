"""Small data modules over the fixture archives, for several test modules."""

from typing import Any

from squall.datasets.training.config import DataConfig
from squall.datasets.training.datamodule import RainDataModule
from squall.datasets.training.splits import SplitConfig

T_IN, T_OUT, CROP = 3, 2, 32


def config(*archives: Any, **changes: Any) -> DataConfig:
    settings: dict[str, Any] = {
        "archives": archives,
        "context": T_IN,
        "lead_times": T_OUT,
        "crop": CROP,
        "samples_per_epoch": 20,
        "validation_samples": 7,
        "split": SplitConfig(guard_minutes=0),
    }
    return DataConfig(**settings | changes)


def module(*archives: Any, seed: int = 1, **changes: Any) -> RainDataModule:
    return RainDataModule(config(*archives, **changes), seed=seed)
