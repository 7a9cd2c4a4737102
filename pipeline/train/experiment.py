"""The configuration of an experiment: everything that a training run depends on."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from squall.convgru import (
    BalancedLossConfig,
    CrpsConfig,
    ExceedanceLossConfig,
    LossConfig,
    NetworkConfig,
    OptimiserConfig,
)
from squall.datasets.names import FileName
from squall.datasets.training.config import DataConfig
from squall.pipeline.config import Rising
from squall.pipeline.forecast.names import METHODS
from squall.pipeline.train.config import TrainConfig
from squall.pipeline.train.trackers import TrackersConfig

Part = Literal["encoder", "forecaster", "head", "map"]  # of a network, for `freeze`


class TrainerConfig(BaseModel):
    """Duration, devices, precision, and when to save and to stop."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_epochs: int = Field(default=30, gt=0, description="most epochs of the run")
    max_minutes: float | None = Field(
        default=None,
        gt=0,
        description="time limit of the run over all its sessions, also within an epoch; the "
        "learning rate falls to 0 by then [min]",
    )
    patience: int = Field(
        default=8, gt=0, description="epochs without a better validation loss before stopping"
    )
    gradient_clip: float = Field(default=1.0, gt=0, description="largest norm of the gradient")
    accumulate: int = Field(
        default=1, gt=0, description="batches whose gradients add up to one optimiser step"
    )
    ema_decay: float | None = Field(
        default=0.999,
        gt=0,
        lt=1,
        description="decay of the moving average of the weights, which validates and is saved; the "
        "decay is smaller in the first steps; null: no average",
    )
    save_every_steps: int = Field(
        default=500, gt=0, description="optimiser steps between two writes of last.ckpt"
    )
    accelerator: Literal["auto", "cpu", "gpu"] = Field(
        default="auto", description="auto: a GPU, if there is one"
    )
    devices: int | Literal["auto"] = Field(
        default="auto", description="how many devices to use on each node"
    )
    num_nodes: int = Field(default=1, gt=0, description="machines that train together")
    precision: Literal["auto", "32-true", "bf16-mixed"] = Field(
        default="auto", description="auto: bf16 on a GPU that supports it, otherwise 32 bits"
    )
    compile: bool = Field(
        default=False, description="torch.compile the network; takes minutes before the first step"
    )

    @field_validator("devices")
    @classmethod
    def _some(cls, devices: int | str) -> int | str:
        if isinstance(devices, int) and devices < 1:
            raise ValueError("must be 1 or more, or auto")
        return devices


class TrialConfig(BaseModel):
    """What `squall train` does with the trained model at the end.

    It is calibrated on the validation days, if it forecasts chances, and scored on the test days.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    compare: tuple[str, ...] = Field(
        default=("s-prog", "squall-base"), description="methods to score beside the model"
    )
    forecasts: int | None = Field(
        default=None,
        gt=0,
        description="most forecasts to calibrate on and most to score, evenly over their days "
        "(default: 150 and 100; a number above 150 changes the scores alone)",
    )
    thresholds_mm_h: Rising = Field(
        default=(0.5, 2.0, 5.0, 10.0), min_length=1, description="rain rates that define events"
    )


class ExperimentConfig(BaseModel):
    """Everything that a training run depends on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: FileName = Field(description="name of the model, on maps and in tables")
    seed: int = Field(
        default=1, ge=0, description="decides the first weights, the samples and the noise"
    )
    init: str | None = Field(
        default=None,
        description="model whose weights the run begins with, as far as they fit: a checkpoint, "
        "exported weights, or the name of a packaged model",
    )
    freeze: tuple[Part, ...] = Field(
        default=(), description="parts of the network that keep the weights of init"
    )
    network: NetworkConfig = NetworkConfig()
    loss: LossConfig = BalancedLossConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    data: DataConfig = DataConfig()
    trainer: TrainerConfig = TrainerConfig()
    trackers: TrackersConfig = TrackersConfig()
    trial: TrialConfig | None = Field(
        default=None, description="score the model at the end of the training; null: do not"
    )

    @model_validator(mode="after")
    def _consistent(self) -> ExperimentConfig:
        if self.name in METHODS:
            raise ValueError(f"name '{self.name}' belongs to a forecast method")
        if self.freeze and self.init is None:
            raise ValueError("freeze without init would keep random weights; set init, too")
        if "map" in self.freeze and not self.network.place_channels:
            raise ValueError("freeze names the map, and network.place_channels is 0: there is none")
        parts = set(get_args(Part)) - (set() if self.network.place_channels else {"map"})
        if parts == set(self.freeze):
            raise ValueError("freeze names all parts, so nothing would be trained")
        stride = self.network.total_stride
        if self.data.crop % stride:
            raise ValueError(
                f"data.crop {self.data.crop} must be a multiple of {stride}, the product of the "
                "network's strides"
            )
        chances = self.network.head == "exceedance"
        if chances != isinstance(self.loss, ExceedanceLossConfig):
            raise ValueError(
                f"loss.kind {self.loss.kind} with network.head {self.network.head}: chances need "
                "both network.head exceedance and loss.kind exceedance"
            )
        if chances and self.trainer.compile:
            raise ValueError(
                "trainer.compile does not reach network.head exceedance yet; set it to false"
            )
        if self.network.place_channels:
            _check_one_place(self.network, self.data)
        ensemble = self.network.noise_channels > 0
        if isinstance(self.loss, CrpsConfig) != ensemble:
            raise ValueError(
                f"loss.kind {self.loss.kind} with network.noise_channels "
                f"{self.network.noise_channels}: an ensemble needs loss.kind crps and "
                "noise_channels of 1 or more, a single forecast neither"
            )
        return self


def _check_one_place(network: NetworkConfig, data: DataConfig) -> None:
    """Check that a map of the place always means the same place."""
    setting = f"network.place_channels {network.place_channels}, a map of the place"
    if network.place_grid is not None:
        raise ValueError("network.place_grid is found by the training; leave it out")
    if data.augment:
        raise ValueError(
            f"data.augment with {setting}: a turned or mirrored crop has no place on the map; set "
            "data.augment to false"
        )
    if len(data.archives) > 1:
        raise ValueError(
            f"{len(data.archives)} data.archives with {setting}: it belongs to one radar network; "
            "give one archive, or set network.place_channels to 0"
        )
    for name in ("speeds", "coarsen"):
        values = {*getattr(data, name)}
        for share in data.archives:
            values = {*(getattr(share, name) or values)}
        if len(values) > 1:
            raise ValueError(
                f"data.{name} {sorted(values)} with {setting}: it belongs to one time step and "
                "grid spacing; give one value"
            )


TrainConfig.model_rebuild(_types_namespace={"ExperimentConfig": ExperimentConfig})
