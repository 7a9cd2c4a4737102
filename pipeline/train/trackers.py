"""Sends numbers and pictures of a training run to files in the run folder, MLflow and W&B.

Uses the network only if the configuration names a remote address or W&B's mode `online`. To add a
tracker, write a configuration class and a function that makes its Lightning logger, and call the
function in `trackers`.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from pytorch_lightning.loggers import (
    CSVLogger,
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from squall.datasets.errors import ConfigError
from squall.pipeline.provenance import atomic_path

RUNS_FILE = "tracker_runs.json"
SQLITE = "sqlite:///"


class MlflowConfig(BaseModel):
    """Tracking with MLflow."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tracking_uri: str | None = Field(
        default=None,
        description="server (http…) or database (sqlite:///…); default: mlflow.db in the run",
    )
    experiment: str = Field(default="squall", description="name of the experiment in MLflow")


class WandbConfig(BaseModel):
    """Tracking with Weights & Biases."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    project: str = Field(default="squall", description="name of the project in W&B")
    entity: str | None = Field(default=None, description="user or team; default: the user's own")
    mode: Literal["offline", "online"] = Field(
        default="offline", description="offline: files for a later `wandb sync`"
    )


class TrackersConfig(BaseModel):
    """The trackers of losses, scores and pictures; metrics.csv is always written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tensorboard: bool = Field(default=True, description="write TensorBoard files")
    mlflow: MlflowConfig | None = None
    wandb: WandbConfig | None = None

    @property
    def show_pictures(self) -> bool:
        """Whether any of them shows pictures."""
        return self.tensorboard or self.mlflow is not None or self.wandb is not None


def trackers(config: TrackersConfig, out: Path, run_name: str) -> list[Logger]:
    """Return Lightning's loggers for a run folder, the file loggers first.

    A resumed run continues its own MLflow and W&B runs. Their identifiers are in
    ``tracker_runs.json``.

    Parameters
    ----------
    out : run folder; ``log/version_N/metrics.csv``, ``tensorboard/``, ``mlflow.db`` with
        ``mlflow-artifacts/``, and ``wandb/`` are written there.
    run_name : name of the run in the lists of MLflow and W&B.

    Raises
    ------
    ConfigError
        If a package is not installed, or a tracking server or database cannot be used.
    """
    loggers: list[Logger] = [CSVLogger(out, name="log")]
    if config.tensorboard:
        loggers.append(
            TensorBoardLogger(out, name="tensorboard", version="", default_hp_metric=False)
        )
    if getattr(rank_zero_only, "rank", 0) == 0:  # the loggers begin their runs at once
        if config.mlflow is not None:
            loggers.append(_mlflow(config.mlflow, out, run_name))
        if config.wandb is not None:
            loggers.append(_wandb(config.wandb, out, run_name))
    return loggers


@rank_zero_only
def log_picture(
    loggers: Sequence[Logger], name: str, picture: NDArray[np.uint8], step: int
) -> None:
    """Give an RGB picture, (H, W, 3), to the trackers that show pictures."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, picture, step, dataformats="HWC")
        elif isinstance(logger, WandbLogger):
            logger.log_image(name, [picture], step=step)
        elif isinstance(logger, MLFlowLogger):
            file = f"{name}/step_{step:08d}.png"
            logger.experiment.log_image(logger.run_id, picture, artifact_file=file)


def _mlflow(config: MlflowConfig, out: Path, run_name: str) -> MLFlowLogger:
    # MLflow reports its use to its makers; it reads this variable when it is imported
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # so that a server that does not answer is an error in seconds, not minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    try:
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise _not_installed("mlflow", error) from error
    uri = config.tracking_uri or f"{SQLITE}{out.resolve() / 'mlflow.db'}"
    artifacts = None  # a server has its own place for them
    if uri.startswith(SQLITE):
        folder = Path(uri.removeprefix(SQLITE)).resolve().parent
        folder.mkdir(parents=True, exist_ok=True)
        artifacts = (folder / "mlflow-artifacts").as_uri()
    try:
        logger = MLFlowLogger(
            experiment_name=config.experiment,
            run_name=run_name,
            tracking_uri=uri,
            artifact_location=artifacts,
            run_id=_run_begun(out, "mlflow"),
        )
        run = logger.run_id
    except ImportError as error:  # a package for the database is missing
        raise _not_installed("mlflow", error) from error
    except MlflowException as error:
        raise ConfigError(
            f"trackers.mlflow: {uri.rpartition('@')[2]} cannot be used: {error}; give a server "
            f"(http…) or a database (sqlite:///…) that holds the run of {out / RUNS_FILE}, if "
            "there is one"
        ) from error
    assert run is not None
    _keep_run(out, "mlflow", run)
    return logger


def _wandb(config: WandbConfig, out: Path, run_name: str) -> WandbLogger:
    if config.mode == "offline":
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        import wandb
    except ImportError as error:
        raise _not_installed("wandb", error) from error
    run = _run_begun(out, "wandb") or secrets.token_hex(4)
    out.mkdir(parents=True, exist_ok=True)
    logger = WandbLogger(
        name=run_name,
        save_dir=out,
        version=run,
        project=config.project,
        entity=config.entity,
        offline=config.mode == "offline",
    )
    try:
        logger.experiment  # noqa: B018 - begins the run, so that an error comes now
    except wandb.Error as error:
        raise ConfigError(
            f"trackers.wandb: project '{config.project}' cannot be used: {error}; log in with "
            "`wandb login` or set trackers.wandb.mode=offline"
        ) from error
    _keep_run(out, "wandb", run)
    return logger


def _not_installed(package: str, error: ImportError) -> ConfigError:
    return ConfigError(
        f"trackers.{package} needs packages that are not installed ({error}); "
        f"run: pip install 'squall[{package}]'"
    )


def _runs(out: Path) -> dict[str, str]:
    try:
        runs = json.loads((out / RUNS_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ConfigError(
            f"{out / RUNS_FILE}: is not JSON ({error}); remove it to begin new runs in the trackers"
        ) from error
    return dict(runs)


def _run_begun(out: Path, tracker: str) -> str | None:
    return _runs(out).get(tracker)


def _keep_run(out: Path, tracker: str, run: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    runs = _runs(out) | {tracker: run}
    with atomic_path(out / RUNS_FILE) as temporary:
        temporary.write_text(json.dumps(runs), encoding="utf-8")
