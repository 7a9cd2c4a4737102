"""One training run, started by test_train_distributed in processes of its own.

Lightning starts this file again for every further rank. Each rank writes which samples it saw.
"""

import json
import sys
from pathlib import Path

import torch

from pipeline.config import load_config
from pipeline.experiment import ExperimentConfig, TrainConfig

torch.set_num_threads(1)
stage = __import__("pipeline.train", fromlist=["train"])


def main(config: Path, out: Path) -> None:
    class Seen(stage.EpochLines):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            seen = {"epoch": trainer.current_epoch, "places": batch.places.tolist()}
            with (out / f"rank{trainer.global_rank}.jsonl").open("a") as file:
                file.write(json.dumps(seen) + "\n")

    stage.EpochLines = Seen
    experiment = load_config(config, ExperimentConfig)
    stage.train(TrainConfig(experiment=experiment, out=out / "run"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
