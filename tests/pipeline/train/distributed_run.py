"""One training run, which test_distributed.py starts in its own processes.

Lightning starts this file again for every further rank. Each rank writes which samples it got.
"""

import json
import sys
from pathlib import Path
from unittest.mock import patch

import torch

from squall.pipeline.cli import main as cli
from squall.pipeline.train import trainer as trainer_module

torch.set_num_threads(1)


def main(config: Path, out: Path, *more: str) -> int:
    class Seen(trainer_module.EpochLines):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            seen = {"epoch": trainer.current_epoch, "places": batch.places.table().tolist()}
            with (out / f"rank{trainer.global_rank}.jsonl").open("a") as file:
                file.write(json.dumps(seen) + "\n")

    with patch.object(trainer_module, "EpochLines", Seen):
        return cli.main(["train", str(config), "--out", str(out / "run"), *more])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
