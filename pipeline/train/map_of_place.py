"""The map of the place of a network that is trained on one archive: its cells and its grid."""

from __future__ import annotations

from typing import Any

from squall.convgru import NetworkConfig
from squall.convgru.heads.place import MapGrid
from squall.datasets.training.datamodule import RainDataModule
from squall.pipeline.forecast.radar_network import MAP_OF, network_digest
from squall.pipeline.train.experiment import ExperimentConfig


def network_of(experiment: ExperimentConfig, data: RainDataModule) -> NetworkConfig:
    """The experiment's network, with the cells of its map, if it has one."""
    if not experiment.network.place_channels:
        return experiment.network
    (archive,), (coarsen,) = data.archives, {v.coarsen for v in data.training.variants}
    height, width = (side // coarsen for side in archive.grid.shape)
    grid = MapGrid.over((height, width), archive.grid.pixel_size_m / 1000 * coarsen)
    return experiment.network.model_copy(update={"place_grid": grid})


def map_provenance(experiment: ExperimentConfig, data: RainDataModule) -> dict[str, Any]:
    """What a checkpoint says of the radar network that its map belongs to; empty without a map."""
    if not experiment.network.place_channels:
        return {}
    (archive,) = data.archives
    return {MAP_OF: network_digest(archive)}
