"""What `squall train` is asked for: an experiment, a run folder, a new run or the same again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from squall.pipeline.config import NoOption, Option
from squall.pipeline.outputs import OutputPath

if TYPE_CHECKING:
    from squall.pipeline.train.experiment import ExperimentConfig


def _default_folder(values: dict[str, Any]) -> Path:
    return Path("runs") / values["experiment"].name


class TrainConfig(BaseModel):
    """One training run.

    `ExperimentConfig` imports torch, and `squall train --help` must not wait for it. So this
    class names it without importing it, and `pipeline.train.experiment` completes this class.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    experiment: Annotated["ExperimentConfig", NoOption("EXPERIMENT.yaml and a.b=value hold it")]
    out: Annotated[OutputPath, Option(metavar="DIR")] = Field(
        default_factory=_default_folder,
        description="run folder (default: runs/NAME of the experiment)",
    )
    resume: bool = Field(default=False, description="continue the run in the folder")
