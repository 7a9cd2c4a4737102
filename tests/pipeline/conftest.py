"""A small chain for all stages: synthetic files, their archive, a model trained for seconds."""

import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cartopy
import pytest
import yaml

from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.synthetic.config import SyntheticConfig
from squall.pipeline.config import load_config, validated
from squall.pipeline.ingest.config import IngestConfig
from squall.pipeline.ingest.run import ingest
from squall.pipeline.maps.basemap import basemap_for_grid
from squall.pipeline.scores import intervals
from squall.pipeline.synth.config import SynthConfig
from squall.pipeline.synth.run import synth
from squall.pipeline.train.experiment import ExperimentConfig, TrainConfig
from squall.pipeline.train.run import train

ROOT = Path(__file__).parents[2]
RADAR = SyntheticConfig(hours=5, size=64, seed=3, missing_fraction=0.0, radar_faults=False)
EXPERIMENT = {
    "name": "tiny",
    "network": {"channels": [4, 6, 8], "strides": [2, 2, 2]},
    "data": {
        "context": 3,
        "lead_times": 4,
        "crop": 32,
        "batch_size": 4,
        "samples_per_epoch": 16,
        "validation_samples": 8,
        "split": {
            "validation": [{"start": "2024-06-01T03:00", "end": "2024-06-01T04:00"}],
            "test": [{"start": "2024-06-01T04:00", "end": "2024-06-01T05:00"}],
            "guard_minutes": 0,
        },
    },
    "trainer": {"max_epochs": 2, "accelerator": "cpu", "devices": 1},
    # a tracker would get a picture in each validation, which takes longer than the training
    "trackers": {"tensorboard": False},
}


@dataclass(frozen=True)
class Chain:
    """Paths of the outputs of the stages."""

    files: Path
    archive: Path
    run: Path
    best_val_loss: float

    @property
    def model(self) -> Path:
        return self.run / "best.ckpt"


@pytest.fixture(scope="module", autouse=True)
def few_draws(request: pytest.FixtureRequest) -> Iterator[None]:
    """Bootstraps of 50 draws instead of 1000, except where the bootstrap itself is tested."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.parent.name != "scores":
            patch.setattr(intervals, "_DRAWS", 50)
        yield


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to the network fails the test."""

    def refuse(*_: object) -> None:
        raise AssertionError("a map used the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def gshhg_only(no_network: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network and no Natural Earth data, even if this machine has them."""
    for key in ("pre_existing_data_dir", "data_dir"):
        monkeypatch.setitem(cartopy.config, key, tmp_path / "no-geodata")
    basemap_for_grid.cache_clear()


@pytest.fixture(scope="session")
def synthetic_config() -> RadarNetworkConfig:
    return load_config(ROOT / "configs" / "archives" / "synthetic.yaml", RadarNetworkConfig)


@pytest.fixture(scope="session")
def synthetic_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 60 scans of 64×64 pixels."""
    folder = tmp_path_factory.mktemp("synthetic")
    synth(SynthConfig(out=folder, radar=RADAR))
    return folder


@pytest.fixture(scope="session")
def chain(
    synthetic_files: Path,
    synthetic_config: RadarNetworkConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> Chain:
    folder = tmp_path_factory.mktemp("chain")
    archive = folder / "synthetic.icechunk"
    ingest(
        IngestConfig(
            source=synthetic_config,
            archive=archive,
            files=(f"{synthetic_files}/**/*.nc",),
            workers=0,
        )
    )
    tracked = experiment(archive, trackers__tensorboard=True)
    result = train(TrainConfig(experiment=tracked, out=folder / "run"))
    return Chain(synthetic_files, archive, result.out, result.best_val_loss)


@pytest.fixture(scope="session")
def gappy_archive(synthetic_files, synthetic_config, tmp_path_factory):
    """An archive of 60 scans of 64 × 64 pixels, from midnight on, without the scan of 01:00."""
    folder = tmp_path_factory.mktemp("gappy")
    shutil.copytree(synthetic_files, folder / "files")
    (gap,) = (folder / "files").rglob("*20240601*0100*.nc")
    gap.unlink()
    ingest(
        IngestConfig(
            source=synthetic_config,
            archive=folder / "synthetic.icechunk",
            files=(f"{folder / 'files'}/**/*.nc",),
            workers=0,
        )
    )
    return folder / "synthetic.icechunk"


def experiment(*archives: Path, **changes: object) -> ExperimentConfig:
    values = yaml.safe_load(yaml.safe_dump(EXPERIMENT))
    values["data"]["archives"] = [str(path) for path in archives]
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            values[section][name] = value
        else:
            values[section] = value
    return validated(ExperimentConfig, values, "test")


@pytest.fixture(scope="session")
def make_experiment():
    """Function that returns the tiny experiment with changes such as ``trainer__max_epochs=3``."""
    return experiment


@pytest.fixture
def experiment_values():
    """The tiny experiment as plain values, to change and to write as YAML."""
    return yaml.safe_load(yaml.safe_dump(EXPERIMENT))
