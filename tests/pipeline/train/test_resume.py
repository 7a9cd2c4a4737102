"""A run that was stopped and resumed ends like a run that was never stopped."""

import csv
import os
import signal

import pytest
import torch

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.writer import ArchiveWriter, StoredScan
from squall.datasets.errors import ConfigError, DataError
from squall.pipeline.interrupts import Terminated
from squall.pipeline.train import run as run_module
from squall.pipeline.train import trainer as trainer_module
from squall.pipeline.train.experiment import TrainConfig

BATCHES = 4  # of an epoch


def train(experiment, out, resume=False):
    return run_module.train(TrainConfig(experiment=experiment, out=out, resume=resume))


def checkpoint(run):
    return torch.load(run / "last.ckpt", weights_only=True)


def assert_same_run(run, whole):
    """Compare averaged weights, weights in training, optimiser and counters."""
    saved, expected = checkpoint(run), checkpoint(whole)
    for weights_key in ("state_dict", "current_model_state"):
        assert saved[weights_key].keys() == expected[weights_key].keys()
        assert all(
            torch.equal(value, expected[weights_key][name])
            for name, value in saved[weights_key].items()
        )
    optimiser_state, expected_state = (c["optimizer_states"][0]["state"] for c in (saved, expected))
    assert all(
        torch.equal(optimiser_state[i]["exp_avg_sq"], expected_state[i]["exp_avg_sq"])
        for i in expected_state
    )
    assert saved["global_step"] == expected["global_step"]
    assert saved["lr_schedulers"][0]["last_epoch"] == expected["lr_schedulers"][0]["last_epoch"]


def logged_losses(run, name="val_loss"):
    """Losses of the epochs of the last session."""
    version = max((run / "log").iterdir(), key=lambda path: int(path.name.split("_")[1]))
    with (version / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row[name]]


def signal_in_step(monkeypatch, at, number=signal.SIGTERM):
    """Send the process a signal in training step ``at``, counted from 0."""

    class Signals(trainer_module.EpochLines):
        def on_train_batch_start(self, trainer, *_):
            if trainer.fit_loop.epoch_loop.total_batch_idx == at:
                os.kill(os.getpid(), number)

    monkeypatch.setattr(trainer_module, "EpochLines", Signals)


@pytest.fixture(scope="module")
def ensemble(chain, make_experiment):
    """Three epochs of an ensemble; its noise must not depend on when the run was stopped."""
    return make_experiment(
        chain.archive,
        trainer__max_epochs=3,
        network__noise_channels=2,
        loss={"kind": "crps", "members": 2},
        data__drop_scan=0.3,
    )


@pytest.fixture(scope="module")
def whole(ensemble, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    train(ensemble, out)
    return out


@pytest.mark.parametrize("at", [0, 2, 3, 5, 3 * BATCHES - 2])
def test_sigterm_in_any_step_changes_nothing(ensemble, whole, monkeypatch, tmp_path, at):
    with monkeypatch.context() as patch:
        signal_in_step(patch, at)
        with pytest.raises(Terminated):
            train(ensemble, tmp_path / "run")
    # a signal in the last step of an epoch stops the run one step after the validation
    done = at + 2 if at % BATCHES == BATCHES - 1 else at + 1
    assert checkpoint(tmp_path / "run")["global_step"] == done
    train(ensemble, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", whole)
    # also the means over the epochs that the session has completed
    losses, expected = (logged_losses(r, "train_loss") for r in (tmp_path / "run", whole))
    assert losses == pytest.approx(expected[-len(losses) :], rel=1e-6)


def test_ctrl_c_saves_and_raises_keyboard_interrupt(ensemble, monkeypatch, tmp_path):
    signal_in_step(monkeypatch, 1, signal.SIGINT)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(ensemble, tmp_path / "run")
    assert not isinstance(caught.value, Terminated)
    assert checkpoint(tmp_path / "run")["global_step"] == 2
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_signal_waits_for_the_end_of_an_accumulated_step(
    chain, make_experiment, monkeypatch, tmp_path
):
    experiment = make_experiment(chain.archive, trainer__accumulate=2)
    train(experiment, tmp_path / "whole")
    with monkeypatch.context() as patch:
        signal_in_step(patch, 4)  # the first batch of the two in a step
        with pytest.raises(Terminated):
            train(experiment, tmp_path / "run")
    assert checkpoint(tmp_path / "run")["global_step"] == 3
    train(experiment, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


class Killed(BaseException):
    """Ends the trainer without a chance to save."""


def kill_in_step(monkeypatch, *, step, validating=False):
    """End a run at the start of a step, or in the validation after ``step`` steps."""

    class Kill(trainer_module.EpochLines):
        def on_train_batch_start(self, trainer, *_):
            if trainer.global_step == step and not validating:
                raise Killed

        def on_validation_batch_start(self, trainer, *_):
            if trainer.global_step == step and validating:
                raise Killed

    monkeypatch.setattr(trainer_module, "EpochLines", Kill)


@pytest.mark.parametrize("interval", [1, 3, BATCHES])
def test_a_killed_run_repeats_the_steps_since_the_last_save(
    chain, make_experiment, monkeypatch, tmp_path, interval
):
    """The run is killed twice: in the validation of an epoch, and within the next epoch."""
    experiment = make_experiment(
        chain.archive, trainer__save_every_steps=interval, trainer__max_epochs=3
    )
    train(experiment, tmp_path / "whole")
    run = tmp_path / "run"
    for resume, death in ((False, (BATCHES, True)), (True, (2 * BATCHES - 1, False))):
        with monkeypatch.context() as patch:
            kill_in_step(patch, step=death[0], validating=death[1])
            if not resume and interval == BATCHES:  # nothing was saved before the validation
                with pytest.raises(Killed):
                    train(experiment, run)
                assert not (run / "last.ckpt").exists()
                continue
            with pytest.raises(Killed):
                train(experiment, run, resume=(run / "last.ckpt").exists())
    assert checkpoint(run)["global_step"] == {1: 7, 3: 6, BATCHES: BATCHES}[interval]
    train(experiment, run, resume=True)
    assert_same_run(run, tmp_path / "whole")


def test_a_run_that_reaches_its_time_limit_saves_validates_and_can_be_resumed(
    chain, make_experiment, monkeypatch, tmp_path
):
    train(make_experiment(chain.archive), tmp_path / "whole")
    run = tmp_path / "run"
    result = train(make_experiment(chain.archive, trainer__max_minutes=1e-9), run)
    assert checkpoint(run)["global_step"] == 1
    assert result.best.is_file()
    again = train(make_experiment(chain.archive), run, resume=True)
    assert_same_run(run, tmp_path / "whole")
    assert again.epochs == 2


def test_sigterm_before_the_first_step_ends_at_once(chain, make_experiment, monkeypatch, tmp_path):
    class Signals(trainer_module.EpochLines):
        def setup(self, *_, **__):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(trainer_module, "EpochLines", Signals)
    with pytest.raises(Terminated):
        train(make_experiment(chain.archive), tmp_path / "run")
    assert not (tmp_path / "run" / "last.ckpt").exists()


def test_a_run_folder_that_was_moved_keeps_its_best_score(chain, make_experiment, tmp_path):
    train(make_experiment(chain.archive, trainer__max_epochs=1), tmp_path / "run")
    best = (tmp_path / "run" / "best.ckpt").read_bytes()
    (tmp_path / "run").rename(tmp_path / "moved")
    # a learning rate of 10 makes the next loss larger
    worse = make_experiment(chain.archive, trainer__max_epochs=2, optimiser={"learning_rate": 10.0})
    result = train(worse, tmp_path / "moved", resume=True)
    assert result.best_val_loss < 1
    assert logged_losses(tmp_path / "moved")[-1] > result.best_val_loss
    assert (tmp_path / "moved" / "best.ckpt").read_bytes() == best
    assert not (tmp_path / "run").exists()


def test_a_moving_average_cannot_be_removed_from_a_run(chain, make_experiment, tmp_path):
    train(make_experiment(chain.archive, trainer__max_epochs=1), tmp_path / "run")
    without = make_experiment(chain.archive, trainer__ema_decay=None)
    with pytest.raises(ConfigError, match="was written with a moving average"):
        train(without, tmp_path / "run", resume=True)


@pytest.mark.parametrize("is_stopping", [False, True])
def test_a_failed_save_raises_and_keeps_the_last_checkpoint(
    chain, make_experiment, monkeypatch, tmp_path, is_stopping
):
    train(make_experiment(chain.archive, trainer__max_epochs=1), tmp_path / "run")
    before = (tmp_path / "run" / "last.ckpt").read_bytes()

    def full(checkpoint, path):
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    if is_stopping:
        signal_in_step(monkeypatch, BATCHES + 1)
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="no space left"):
        train(make_experiment(chain.archive), tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "last.ckpt").read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "run").glob("*.ckpt")) == [
        "best.ckpt", "last.ckpt",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__batch_size": 2}, "batch on all devices was 4, is 2"),
        ({"seed": 5}, "seed was 1, is 5"),
        ({"data__crop": 16}, "crop was 32, is 16"),
        ({"data__speeds": [1, 2]}, r"speeds was \[\(1,\)\], is \[\(1, 2\)\]"),
    ],
)
def test_samples_cannot_change_within_an_epoch(
    chain, make_experiment, monkeypatch, tmp_path, changes, message
):
    experiment = make_experiment(chain.archive)
    with monkeypatch.context() as patch:
        signal_in_step(patch, 1)
        with pytest.raises(Terminated):
            train(experiment, tmp_path / "run")
    before = (tmp_path / "run" / "last.ckpt").read_bytes()
    with pytest.raises(ConfigError, match=message):
        train(make_experiment(chain.archive, **changes), tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "last.ckpt").read_bytes() == before


def test_the_data_may_change_between_epochs(chain, make_experiment, tmp_path):
    train(make_experiment(chain.archive, trainer__max_epochs=1), tmp_path / "run")
    wider = make_experiment(chain.archive, trainer__max_epochs=2, data__batch_size=2)
    train(wider, tmp_path / "run", resume=True)
    assert checkpoint(tmp_path / "run")["global_step"] == BATCHES + 8


@pytest.fixture
def growing(chain, tmp_path):
    """A copy of the archive without its last scan, and a function that commits this scan."""
    source = Archive.open(chain.archive)
    good = source.status == 1
    scans = [
        StoredScan(time, codes, f"{time}.nc", f"{i:032d}")
        for i, (time, codes) in enumerate(
            zip(source.times[good], source.codes[:][good], strict=True)
        )
    ]
    writer = ArchiveWriter(tmp_path / "growing", source.step, {"name": "synthetic"})
    writer.commit(source.grid, scans[:-1], [], "first")
    return tmp_path / "growing", lambda: writer.commit(source.grid, scans[-1:], [], "one more")


def test_a_resumed_run_keeps_its_snapshots(growing, make_experiment, monkeypatch, tmp_path):
    archive, grow = growing
    experiment = make_experiment(archive)
    train(experiment, tmp_path / "whole")
    with monkeypatch.context() as patch:
        signal_in_step(patch, 5)
        with pytest.raises(Terminated):
            train(experiment, tmp_path / "run")
    grow()
    train(experiment, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_deleted_snapshot_is_named(growing, make_experiment, tmp_path):
    archive, _ = growing
    train(make_experiment(archive, trainer__max_epochs=1), tmp_path / "run")
    deleted = [{"address": str(archive), "snapshot": "ZZZZZZZZZZZZZZZZZZZ0"}]
    with pytest.raises(DataError, match="has no snapshot"):
        train(make_experiment(data__archives=deleted), tmp_path / "run", resume=True)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", "cut"])
def test_a_corrupt_checkpoint_is_named_and_kept(chain, make_experiment, tmp_path, content):
    experiment = make_experiment(chain.archive, trainer__max_epochs=1)
    train(experiment, tmp_path / "run")
    last = tmp_path / "run" / "last.ckpt"
    content = last.read_bytes()[:-500] if content == "cut" else content
    last.write_bytes(content)
    with pytest.raises(DataError, match=r"last\.ckpt: cannot be read as a .* copy best\.ckpt"):
        train(experiment, tmp_path / "run", resume=True)
    assert last.read_bytes() == content


def test_a_run_can_be_resumed_from_a_copy_of_best_ckpt(
    chain, make_experiment, monkeypatch, tmp_path
):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        signal_in_step(patch, BATCHES + 1)
        with pytest.raises(Terminated):
            train(make_experiment(chain.archive), run)
    (run / "last.ckpt").write_bytes((run / "best.ckpt").read_bytes())
    train(make_experiment(chain.archive), run, resume=True)
    assert_same_run(run, chain.run)


def test_a_checkpoint_of_another_network_is_refused_and_kept(chain, make_experiment):
    before = (chain.run / "config.yaml").read_bytes()
    with pytest.raises(ConfigError, match=r"has another network \(channels \(4, 6, 8\)\)"):
        train(make_experiment(chain.archive, network__channels=[4, 4, 4]), chain.run, resume=True)
    assert (chain.run / "config.yaml").read_bytes() == before
