"""What may change when a run is resumed takes effect and is recorded; the rest is refused."""

import csv
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
import yaml

from squall.datasets.errors import ConfigError
from squall.pipeline.interrupts import Terminated
from squall.pipeline.train import run as run_module
from squall.pipeline.train import trainer as trainer_module
from squall.pipeline.train import watch as watch_module
from squall.pipeline.train.experiment import ExperimentConfig, TrainConfig
from squall.pipeline.train.resume import (
    MAY_CHANGE,
    MAY_CHANGE_BETWEEN_EPOCHS,
    Position,
    changed_settings,
)

BATCHES = 4  # of an epoch


def train(experiment, out, resume=False):
    return run_module.train(TrainConfig(experiment=experiment, out=out, resume=resume))


def provenance(run):
    return torch.load(run / "last.ckpt", weights_only=True)["squall"]["provenance"]


def logged(run, column):
    """Values of all sessions."""
    values = []
    for file in sorted((run / "log").glob("*/metrics.csv")):
        with file.open() as lines:
            values += [float(row[column]) for row in csv.DictReader(lines) if row.get(column)]
    return values


@pytest.fixture
def stopped(chain, make_experiment, tmp_path):
    """A run that has trained the first of its epochs."""
    train(make_experiment(chain.archive, trainer__max_epochs=1), tmp_path / "run")
    return tmp_path / "run"


def key_by_key(model, prefix=""):
    """Keys of an experiment: sections are taken apart."""
    for name, field in model.model_fields.items():
        if name in ("network", "optimiser", "data", "trainer", "trackers"):
            yield from key_by_key(field.annotation, f"{name}.")
        else:
            yield prefix + name


KEYS = sorted(key_by_key(ExperimentConfig))


def test_the_tables_name_keys_that_exist():
    assert set(KEYS) >= MAY_CHANGE | MAY_CHANGE_BETWEEN_EPOCHS
    assert not MAY_CHANGE & MAY_CHANGE_BETWEEN_EPOCHS


@pytest.mark.filterwarnings("ignore:.*Pydantic serializer warnings")
@pytest.mark.parametrize("key", sorted(set(KEYS) - {"data.archives"}))
def test_a_key_that_no_table_names_is_refused(chain, make_experiment, key):
    experiment = make_experiment(chain.archive)
    position = Position(
        Path("last.ckpt"), 4, 1.0, False, {"experiment": experiment.model_dump_json()}
    )
    assert changed_settings(position, experiment) == {}
    section, _, name = key.rpartition(".")
    if section:
        changed_section = getattr(experiment, section).model_copy(update={name: "other"})
        changed = experiment.model_copy(update={section: changed_section})
    else:
        changed = experiment.model_copy(update={name: "other"})
    if key in MAY_CHANGE | MAY_CHANGE_BETWEEN_EPOCHS and key not in ("data.speeds", "data.coarsen"):
        assert list(changed_settings(position, changed)) == [key]
        return
    with pytest.raises(ConfigError, match=f"{key} was .*, is other.*start a new run"):
        changed_settings(position, changed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "other"}, "name was tiny, is other"),
        ({"seed": 2}, "seed was 1, is 2"),
        ({"loss": {"mse": 2.0}}, "loss was .*'mse': 1.0.*, is .*'mse': 2.0"),
        ({"data__context": 4}, "data.context was 3, is 4"),
        ({"data__validation_samples": 4}, "data.validation_samples was 8, is 4"),
        ({"data__rain_preference": 1.0}, "data.rain_preference was 5.0, is 1.0"),
        ({"data__crop": 16}, "data.crop was 32, is 16"),
        ({"data__speeds": [2, 1]}, r"data.speeds was \[1\], is \[2, 1\]"),
        ({"data__split": {"validation_fraction": 0.3}}, "data.split was"),
    ],
)
def test_a_refused_change_is_named_and_the_run_stays(
    chain, make_experiment, stopped, changes, message
):
    before = {path: path.read_bytes() for path in stopped.iterdir() if path.is_file()}
    with pytest.raises(ConfigError, match=message):
        train(make_experiment(chain.archive, **changes), stopped, resume=True)
    assert {path: path.read_bytes() for path in stopped.iterdir() if path.is_file()} == before


def test_an_archive_keeps_its_share_and_its_snapshot(chain, make_experiment, stopped):
    share = {"address": str(chain.archive), "weight": 2.0}
    with pytest.raises(ConfigError, match=r"archive synthetic differs .*weight was None, is 2\.0"):
        train(make_experiment(data__archives=[share]), stopped, resume=True)


def test_a_respelled_archive_keeps_its_snapshot(
    chain, make_experiment, stopped, monkeypatch, tmp_path
):
    monkeypatch.chdir(chain.archive.parent)
    link = tmp_path / "link"
    link.symlink_to(chain.archive)
    for address in (
        chain.archive.name,
        f"../{chain.archive.parent.name}/{chain.archive.name}",
        str(link),
    ):
        train(make_experiment(address), stopped, resume=True)
        (archive,) = provenance(stopped)["archives"]
        assert archive["snapshot"]
        (share,) = yaml.safe_load((stopped / "config.yaml").read_text())["data"]["archives"]
        assert share["snapshot"] == archive["snapshot"]


def test_changes_take_effect(chain, make_experiment, stopped, monkeypatch):
    seen = {}

    class Seen(trainer_module.EpochLines):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            (group,) = trainer.optimizers[0].param_groups
            seen.setdefault("rates", []).append(group["lr"])
            seen["weight_decay"] = group["weight_decay"]
            seen["patience"] = trainer.early_stopping_callback.patience
            seen["clip"] = trainer.gradient_clip_val
            seen["every"] = [
                callback._every_n_train_steps
                for callback in trainer.checkpoint_callbacks
                if isinstance(callback, trainer_module.LastCheckpoint)
            ]

    monkeypatch.setattr(trainer_module, "EpochLines", Seen)
    changed = make_experiment(
        chain.archive,
        optimiser={"learning_rate": 0.5, "weight_decay": 0.25, "warmup_fraction": 0.6},
        trainer__patience=3,
        trainer__gradient_clip=7.0,
        trainer__save_every_steps=2,
    )
    train(changed, stopped, resume=True)
    # 8 steps, 5 of them warm-up; the second epoch begins at step 4
    assert seen["rates"] == pytest.approx([0.5, 0.5, 0.375, 0.125])
    assert seen["weight_decay"] == 0.25
    assert (seen["patience"], seen["clip"], seen["every"]) == (3, 7.0, [0, 2])
    (group,) = torch.load(stopped / "last.ckpt", weights_only=True)["optimizer_states"][0][
        "param_groups"
    ]
    assert group["initial_lr"] == 0.5


def test_the_record_says_what_was_true_when(chain, make_experiment, stopped):
    changed = make_experiment(chain.archive, optimiser={"learning_rate": 0.5})
    train(changed, stopped, resume=True)
    first, second = provenance(stopped)["sessions"]
    assert (first["from_step"], first["changed"]) == (0, {})
    assert second["from_step"] == BATCHES
    assert second["changed"] == {
        "optimiser.learning_rate": [0.002, 0.5],
        "trainer.max_epochs": [1, 2],
    }
    comments = [
        line for line in (stopped / "config.yaml").read_text().splitlines() if line[0] == "#"
    ]
    assert len(comments) == 2
    assert "from step 4" in comments[1]
    assert "optimiser.learning_rate was 0.002, is 0.5" in comments[1]


@pytest.mark.parametrize("larger", [1, 2])
def test_the_schedule_ends_with_the_run_although_its_epochs_get_other_lengths(
    chain, make_experiment, stopped, monkeypatch, larger
):
    rates = []

    class Rates(trainer_module.EpochLines):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"] / 0.002)

    monkeypatch.setattr(trainer_module, "EpochLines", Rates)
    # 2 or 8 batches of an epoch instead of 4
    batch = {1: 8, 2: 2}[larger]
    changed = make_experiment(chain.archive, data__batch_size=batch)
    train(changed, stopped, resume=True)
    steps = 16 // batch
    assert len(rates) == steps
    assert rates[0] == pytest.approx(0.5, abs=0.3)  # half of the epochs are over
    assert rates == sorted(rates, reverse=True)
    (schedule,) = torch.load(stopped / "last.ckpt", weights_only=True)["lr_schedulers"]
    assert schedule["_last_lr"] == pytest.approx([0.0], abs=1e-9)


# --- the time limit ------------------------------------------------------------------------------


class Clock:
    """A clock on which each step takes a second; notes the learning rate of each step."""

    def __init__(self, monkeypatch):
        self.now_s, self.rates, self.stop_in_step = 1000.0, [], None
        monkeypatch.setattr(watch_module.time, "monotonic", lambda: self.now_s)
        clock = self

        class Ticks(trainer_module.EpochLines):
            def on_train_batch_start(self, trainer, module, batch, batch_idx):
                clock.rates.append(trainer.optimizers[0].param_groups[0]["lr"] / 0.002)
                clock.now_s += 1
                if trainer.global_step == clock.stop_in_step:
                    os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(trainer_module, "EpochLines", Ticks)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_a_time_limited_run_completes_its_schedule(chain, make_experiment, clock, tmp_path):
    limited = make_experiment(chain.archive, trainer__max_epochs=1000, trainer__max_minutes=20 / 60)
    train(limited, tmp_path / "run")
    assert 20 <= len(clock.rates) <= 22
    assert max(clock.rates) > 0.95
    top = clock.rates.index(max(clock.rates))
    assert top <= 3
    assert clock.rates[top:] == sorted(clock.rates[top:], reverse=True)
    assert clock.rates[-1] < 0.03


def test_a_time_limit_that_is_never_reached_changes_nothing(
    chain, make_experiment, clock, tmp_path
):
    train(make_experiment(chain.archive), tmp_path / "free")
    free, clock.rates = clock.rates, []
    train(make_experiment(chain.archive, trainer__max_minutes=60), tmp_path / "limited")
    assert clock.rates == free


def test_the_time_of_all_sessions_counts(chain, make_experiment, clock, tmp_path):
    limited = make_experiment(chain.archive, trainer__max_epochs=1000, trainer__max_minutes=20 / 60)
    train(limited, tmp_path / "whole")
    whole, clock.rates = clock.rates, []
    clock.stop_in_step = 9
    with pytest.raises(Terminated):
        train(limited, tmp_path / "run")
    clock.now_s += 10_000  # between two sessions
    train(limited, tmp_path / "run", resume=True)
    assert clock.rates == pytest.approx(whole, abs=0.2)  # a step follows the time of the last one
    assert clock.rates[-1] < 0.03


def test_a_run_whose_time_is_up_needs_more_minutes(chain, make_experiment, clock, tmp_path):
    limit = {"trainer__max_epochs": 1000, "trainer__max_minutes": 8 / 60}
    limited = make_experiment(chain.archive, **limit)
    train(limited, tmp_path / "run")
    shutil.copy(tmp_path / "run" / "last.ckpt", tmp_path / "before.ckpt")
    with pytest.raises(ConfigError, match=r"already trained for .* minutes, and trainer\.max_min"):
        train(limited, tmp_path / "run", resume=True)
    assert (tmp_path / "before.ckpt").read_bytes() == (tmp_path / "run/last.ckpt").read_bytes()
    clock.rates = []
    limit["trainer__max_minutes"] = 16 / 60
    train(make_experiment(chain.archive, **limit), tmp_path / "run", resume=True)
    assert 7 <= len(clock.rates) <= 9
    assert clock.rates[0] == pytest.approx(0.5, abs=0.2)  # half of the time is over
    assert clock.rates[-1] < 0.1
