"""Checks configuration and data of a training run; trains and writes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from squall.convgru import (
    CrpsConfig,
    EncoderForecaster,
    ExceedanceLossConfig,
    NetworkConfig,
    RainScaling,
    chances_loss,
    forecast_loss,
)
from squall.datasets.archive.records import OK
from squall.datasets.training.batches import MovingBatch, Places
from squall.datasets.training.datamodule import RainDataModule
from squall.datasets.training.windows import window_starts
from squall.pipeline.forecast.radar_network import MAP_OF
from squall.pipeline.train.experiment import ExperimentConfig
from squall.pipeline.train.first_weights import begin
from squall.pipeline.train.map_of_place import map_provenance, network_of
from squall.pipeline.train.memory_estimate import MemoryEstimate, training_memory
from squall.pipeline.train.moving_windows import moving_frame_of
from squall.pipeline.train.trainer import device_count, precision

NO_PLACES = Places.from_table(torch.empty(0, len(Places._fields), dtype=torch.int64))


def check_training(experiment: ExperimentConfig) -> str:
    """Validate configuration and data, and describe the run and its memory.

    Raises
    ------
    ConfigError, DataError
        As `squall.pipeline.train.run.train`.
    """
    config = experiment.data
    moving_frame = moving_frame_of(experiment, Path("RUN"))
    data = RainDataModule(config, seed=experiment.seed, moving_frame=moving_frame)
    length = config.context + config.lead_times
    lines = [f"experiment  {experiment.name}, seed {experiment.seed}"]
    for number, (archive, regions) in enumerate(zip(data.archives, data.regions, strict=True)):
        ok = archive.status == OK
        height, width = archive.grid.shape
        kept = window_starts(regions.test & ok, length).size
        lines += [
            f"archive     {archive.address}, snapshot {archive.snapshot}",
            f"            {np.count_nonzero(ok)} scans of {height} × {width} pixels, one every "
            f"{archive.step.total_seconds() / 60:g} min",
            f"            windows of {config.context} + {config.lead_times} scans, "
            f"{config.lead_times * archive.step.total_seconds() / 60:g} min ahead: "
            f"{data.training.counts[number]} training, {data.validation.counts[number]} "
            f"validation, {kept} test",
        ]
    trainer = experiment.trainer
    devices = device_count(trainer) * trainer.num_nodes
    batches = data.training.count_batches(config.batch_size, devices)
    steps = -(-batches // trainer.accumulate)
    network = EncoderForecaster(network_of(experiment, data))
    map_of = map_provenance(experiment, data).get(MAP_OF)
    begin(network, experiment, resumed=False, map_of=map_of)
    weights = sum(parameter.numel() for parameter in network.parameters())
    lines += [
        f"epoch       {config.samples_per_epoch} samples: {batches} batches of "
        f"{config.batch_size} on each of {devices} device{'s' * (devices > 1)}, {steps} optimiser "
        f"steps; {data.validation.samples} validation samples",
        f"run         at most {trainer.max_epochs} epochs, {trainer.max_epochs * steps} steps"
        + (f", {trainer.max_minutes:g} min" if trainer.max_minutes else ""),
        f"network     {experiment.network.cell}, channels "
        f"{', '.join(map(str, experiment.network.channels))}: {weights:,} weights"
        + _described_map(network.config),
        f"loss        {experiment.loss.kind}"
        + (
            f", {experiment.loss.members} members"
            if isinstance(experiment.loss, CrpsConfig)
            else ""
        ),
    ]
    stores = data.kept_windows()
    if stores:
        lines.append(
            f"kept        {sum(store.shape[0] for store in stores)} windows beside the run, "
            f"computed once: at most {_size(sum(store.nbytes for store in stores))}"
        )
    memory = step_memory(experiment, network)
    lines.append(
        f"memory      about {_size(memory.total)} on each device, {precision(trainer)}: "
        f"activations {_size(memory.activations)}, batch {_size(memory.batch)}, weights, "
        f"gradients and optimiser {_size(memory.total - memory.batch - memory.activations)}"
    )
    return "\n".join(lines)


def step_memory(experiment: ExperimentConfig, network: EncoderForecaster) -> MemoryEstimate:
    """Estimate the memory of a training step of the experiment on each device."""
    config, trainer = experiment.data, experiment.trainer
    return training_memory(
        network,
        lambda network, context, target: _loss(network, context, target, experiment),
        batch_size=config.batch_size,
        context=config.context,
        lead_times=config.lead_times,
        crop=config.crop,
        bf16=precision(trainer) == "bf16-mixed",
        averaged=trainer.ema_decay is not None,
    )


def _loss(
    network: nn.Module, context: Tensor, target: Tensor, experiment: ExperimentConfig
) -> Tensor:
    assert isinstance(network, EncoderForecaster)
    if isinstance(experiment.loss, ExceedanceLossConfig):
        resolution = torch.empty(context.shape[0], 2)
        staying = torch.empty_like(target).expand(-1, -1, 3, -1, -1)
        smoothed = torch.empty_like(target)
        paths = torch.empty(*target.shape[:2], 2, 1, 1)
        corner = torch.empty(context.shape[0], 2)
        fields = context, smoothed, staying, target, resolution
        batch = MovingBatch(*fields, NO_PLACES, paths, corner)
        count = min(experiment.loss.lead_times_per_step, target.shape[1])
        leads = list(range(target.shape[1] - count + 1, target.shape[1] + 1))
        some = (slice(None, None, experiment.loss.pixel_spacing),) * 2
        sums, _ = chances_loss(network, RainScaling(), experiment.loss, batch, leads, some)
        return sums.value()
    noise = None
    if isinstance(experiment.loss, CrpsConfig):
        noise = [
            torch.empty(context.shape[0], experiment.loss.members, *shape)
            for shape in network.noise_shapes(*context.shape[-2:])
        ]
    sums, _ = forecast_loss(network, RainScaling(), experiment.loss, context, target, noise)
    return sums.value()


def _described_map(config: NetworkConfig) -> str:
    grid = config.place_grid
    if grid is None:
        return ""
    return f", {config.place_channels} × {grid.rows} × {grid.columns} of them a map of the place"


def _size(bytes: int) -> str:
    return f"{bytes / 1e9:.1f} GB" if bytes >= 1e9 else f"{bytes / 1e6:.0f} MB"
