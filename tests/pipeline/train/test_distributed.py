"""Several processes train like a single process (gloo, on the CPU)."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
import torch
import yaml

from tests.pipeline.train import distributed_run

pytestmark = pytest.mark.slow


def write_experiment(experiment, folder):
    folder.mkdir()
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(experiment.model_dump(mode="json")))
    return path


def run_alone(experiment, folder):
    """Train on one device, in this process: a process of its own would import for seconds."""
    assert distributed_run.main(write_experiment(experiment, folder), folder) == 0
    return folder


def start(experiment, folder):
    """Start a process, which starts one for every further device."""
    path = write_experiment(experiment, folder)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for name in ("LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK"):
        environment.pop(name, None)
    return subprocess.Popen(
        [sys.executable, distributed_run.__file__, str(path), str(folder)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(experiment, folder):
    process = start(experiment, folder)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return folder


def samples_of(folder):
    """Samples of all ranks together, by epoch and batch."""
    batches = {}
    for file in sorted(folder.glob("rank*.jsonl")):
        for number, line in enumerate(file.read_text().splitlines()):
            batch = json.loads(line)
            places = [tuple(place) for place in batch["places"] if place[0] >= 0]
            batches.setdefault((batch["epoch"], number), Counter()).update(places)
    return batches


def logged(folder, name):
    with (folder / "run" / "log" / "version_0" / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row[name]]


def weights(folder):
    return torch.load(folder / "run" / "last.ckpt", weights_only=True)["current_model_state"]


def moments(folder):
    """The optimiser's state of each weight; after one step it is a multiple of the gradient."""
    saved = torch.load(folder / "run" / "last.ckpt", weights_only=True)
    return saved["optimizer_states"][0]["state"]


def test_two_processes_take_the_same_step_as_one(chain, make_experiment, tmp_path):
    """An epoch with a single optimiser step on eight samples."""
    settings = {"trainer__max_epochs": 1, "data__drop_scan": 0.3, "data__augment": True}
    one_process = make_experiment(
        chain.archive, **settings, data__batch_size=8, data__samples_per_epoch=8
    )
    two_processes = make_experiment(
        chain.archive, **settings, data__samples_per_epoch=8, trainer__devices=2
    )
    alone, together = run_alone(one_process, tmp_path / "one"), run(two_processes, tmp_path / "two")
    weights_alone, weights_together = weights(alone), weights(together)
    assert all(
        torch.allclose(weights_alone[name], weights_together[name], rtol=0, atol=1e-5)
        for name in weights_alone
    )
    assert any(not torch.equal(value, torch.zeros_like(value)) for value in weights_alone.values())
    assert samples_of(alone) == samples_of(together)
    assert len(list(together.glob("rank*.jsonl"))) == 2
    for name in ("train_loss", "val_loss"):
        assert logged(together, name) == pytest.approx(logged(alone, name), rel=1e-4)


@pytest.mark.parametrize(("head", "loss"), [("direct", "balanced"), ("exceedance", "exceedance")])
def test_two_processes_compute_the_same_gradient_as_one(
    chain, make_experiment, tmp_path, head, loss
):
    """The loss has ratios of sums; the gradient is not clipped."""
    settings = {
        "network__head": head,
        "loss": {"kind": loss},
        "trainer__max_epochs": 1,
        "trainer__gradient_clip": 1e6,
        "data__samples_per_epoch": 8,
    }
    one_process = make_experiment(chain.archive, **settings, data__batch_size=8)
    two_processes = make_experiment(chain.archive, **settings, trainer__devices=2)
    folders = run_alone(one_process, tmp_path / "one"), run(two_processes, tmp_path / "two")
    gradient_alone, gradient_together = (
        torch.cat([state["exp_avg"].ravel() for state in moments(folder).values()])
        for folder in folders
    )
    assert gradient_alone.norm() > 0
    assert (gradient_together - gradient_alone).norm() < 1e-3 * gradient_alone.norm()


def test_two_processes_use_the_same_samples_as_one(chain, make_experiment, tmp_path):
    settings = {"trainer__max_epochs": 2, "data__samples_per_epoch": 21}
    one_process = make_experiment(chain.archive, **settings)
    two_processes = make_experiment(
        chain.archive,
        **settings,
        data__batch_size=3,
        trainer__devices=2,
        trackers__tensorboard=True,
    )
    alone = samples_of(run_alone(one_process, tmp_path / "one"))
    folder = run(two_processes, tmp_path / "two")
    together = samples_of(folder)
    for epoch in (0, 1):
        samples_alone, samples_together = (
            sum((places for (e, _), places in batches.items() if e == epoch), Counter())
            for batches in (alone, together)
        )
        assert samples_alone == samples_together
        assert samples_alone.total() == 21
    # only rank 0 writes
    assert sorted(p.name for p in (folder / "run").iterdir()) == [
        "best.ckpt", "config.yaml", "last.ckpt", "log", "tensorboard",
    ]  # fmt: skip
    assert [p.name for p in (folder / "run" / "log").iterdir()] == ["version_0"]


def until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)


@pytest.mark.parametrize("to", ["one process", "all processes, the loaders' too"])
def test_sigterm_stops_all_ranks_with_the_same_step(chain, make_experiment, tmp_path, to):
    experiment = make_experiment(
        chain.archive,
        trainer__devices=2,
        trainer__max_epochs=1,
        trainer__accumulate=8,
        data__samples_per_epoch=4000,
        data__workers=1,
    )
    process = start(experiment, tmp_path / "run")
    ranks = [tmp_path / "run" / f"rank{rank}.jsonl" for rank in (0, 1)]
    until(lambda: all(rank.exists() for rank in ranks))
    if to == "one process":
        process.send_signal(signal.SIGTERM)
    else:
        os.killpg(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 143, errors
    assert errors.count("terminated; finished work is kept") == 1
    batches = [len(rank.read_text().splitlines()) for rank in ranks]
    assert batches[0] == batches[1] < 500
    saved = torch.load(tmp_path / "run" / "run" / "last.ckpt", weights_only=True)
    assert batches[0] == 8 * saved["global_step"]
