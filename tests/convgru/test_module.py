"""Training, validation, checkpoints, and the nowcaster that is rebuilt from them."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from squall.convgru import (
    BalancedLossConfig,
    CheckpointError,
    EncoderForecaster,
    NetworkConfig,
    Nowcaster,
    NowcastModule,
    OptimiserConfig,
    RainScaling,
    load_nowcaster,
)
from tests.convgru.training_runs import Batches, RainBatch, fit, trainer

NAN = math.nan
SMALL = NetworkConfig(channels=(8, 8, 8), strides=(2, 2, 1))
STEPS = 150


def moving_blobs() -> RainBatch:
    """Four windows with a blob that moves two pixels a scan; one corner was never observed."""
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    windows = []
    for row, column in [(6, 4), (10, 5), (14, 3), (18, 6)]:
        scans = [
            20 * torch.exp(-((y - row) ** 2 + (x - column - 2 * t) ** 2) / 12) for t in range(7)
        ]
        windows.append(torch.stack(scans)[:, None])
    rain = torch.stack(windows)
    rain[..., :4, -4:] = NAN
    return RainBatch(rain[:, :4], rain[:, 4:])


def untrained(**options: Any) -> NowcastModule:
    torch.manual_seed(3)
    return NowcastModule(
        SMALL, BalancedLossConfig(), OptimiserConfig(learning_rate=5e-3), **options
    )


def save_checkpoint(module: NowcastModule, folder: Path) -> Path:
    """The checkpoint that the trainer writes after one step."""
    fitted = fit(module, trainer(folder, max_steps=1), [moving_blobs()])
    fitted.save_checkpoint(folder / "model.ckpt")
    return folder / "model.ckpt"


def nowcaster(*, trained: bool = False) -> Nowcaster:
    torch.manual_seed(4)
    network = EncoderForecaster(SMALL)
    if trained:
        torch.nn.init.normal_(network.head.out.weight, std=0.3)
    return Nowcaster(network, RainScaling()).eval()


class Losses(pl.Callback):
    """The loss of each step; the step returns a scalar with its gradient, not with its value."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(module, NowcastModule)
        self.values.append(float(module.step_sums[0]))


# Training


def test_one_batch_is_learnt(tmp_path: Path) -> None:
    batch, losses, module = moving_blobs(), Losses(), untrained()
    fitted = trainer(tmp_path, max_steps=STEPS, callbacks=[losses], gradient_clip_val=1.0)
    fit(module, fitted, [batch] * STEPS)
    assert len(losses.values) == STEPS
    assert losses.values[-1] < 0.2 * losses.values[0]

    forecast = Nowcaster(module.network, module.scaling).eval()(batch.context, 3)
    persistence = batch.context[:, -1:].expand_as(batch.target)
    known = ~batch.target.isnan()
    error, persistence_error = (
        (rain - batch.target)[known].square().mean().sqrt() for rain in (forecast, persistence)
    )
    assert error < 0.6 * persistence_error

    fitted.save_checkpoint(tmp_path / "model.ckpt")
    rebuilt, _ = load_nowcaster(tmp_path / "model.ckpt")
    torch.testing.assert_close(rebuilt(batch.context, 3), forecast, equal_nan=True, rtol=0, atol=0)


def test_missing_targets_change_no_weights(tmp_path: Path) -> None:
    context, target = moving_blobs()
    target = torch.full_like(target, NAN)
    losses, module = Losses(), untrained()
    module.optimiser_config = OptimiserConfig(weight_decay=0.0)
    before = [p.clone() for p in module.network.parameters()]
    fit(
        module,
        trainer(tmp_path, max_steps=2, callbacks=[losses]),
        [RainBatch(context, target)] * 2,
    )
    assert losses.values == [0.0, 0.0]
    for a, b in zip(before, module.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_learning_rate_rises_and_falls_over_the_steps_of_the_run(tmp_path: Path) -> None:
    class Rates(pl.Callback):
        values: list[float]

        def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
            self.values.append(trainer.optimizers[0].param_groups[0]["lr"])

    rates = Rates()
    rates.values = []
    module = NowcastModule(
        SMALL, BalancedLossConfig(), OptimiserConfig(learning_rate=1.0, warmup_fraction=0.4)
    )
    fit(module, trainer(tmp_path, max_steps=10, callbacks=[rates]), [moving_blobs()] * 10)
    cosine = [0.5 * (1 + math.cos(math.pi * i / 6)) for i in range(6)]
    assert rates.values == pytest.approx([0.25, 0.5, 0.75, 1.0, *cosine])


def test_a_run_that_is_resumed_twice_with_other_epochs_keeps_its_place_in_the_schedule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # 6 epochs of 5 steps, then 7 epochs of 10 steps, are 100 steps and 13 epochs. In epochs of
    # 10 steps, that is place 130, moved by 30.
    module = untrained()
    module._state = {"step": 100, "moved": 30.0, "steps_per_epoch": 10}
    for steps_per_epoch, place in ((10, 130), (5, 65), (20, 260)):
        monkeypatch.setattr(module, "_steps_per_epoch", lambda steps=steps_per_epoch: steps)
        assert 100 + module._moved_steps() == place  # 13 epochs are over in any case


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_training_loss_of_an_epoch_is_the_mean_over_its_pixels(
    tmp_path: Path, accumulate: int
) -> None:
    """Weights that do not change: training and validation on the same batches agree."""
    context, target = moving_blobs()
    few = target.clone()
    few[..., 2:, :] = NAN  # few observed pixels, which count little
    batches = [
        RainBatch(context, target),
        RainBatch(context[:1] * 3, target[:1]),
        RainBatch(context * 0, few),
        RainBatch(context, torch.full_like(target, NAN)),
    ]
    module = untrained()
    module.optimiser_config = OptimiserConfig(learning_rate=1e-30, weight_decay=0)
    options = {"max_epochs": 2, "accumulate_grad_batches": accumulate}
    fitted = trainer(tmp_path, **options)
    fitted.fit(module, Batches(*batches), val_dataloaders=Batches(*batches))
    means = fitted.callback_metrics
    assert float(means["train_loss"]) == pytest.approx(float(means["val_loss"]), rel=1e-5)
    assert float(means["train_loss_step"]) == 0.0  # the last batch observed nothing


# Validation
#
# last scan   target of both leads   at 1 mm/h: hits, hits + misses + false alarms
#  2  0          3  2                  1, 2
#  2  NaN        0  5                  +0, +1   (the pixel without a last scan is left out)
# two lead times: 2, 6; a second, dry batch adds nothing: CSI of persistence 2 / 6


@pytest.mark.parametrize("order", [1, -1])
def test_skill_is_computed_from_all_batches_together(tmp_path: Path, order: int) -> None:
    last = torch.tensor([[2.0, 0.0], [2.0, NAN]])
    target = torch.tensor([[3.0, 2.0], [0.0, 5.0]])
    wet = RainBatch(last.expand(1, 3, 1, 2, 2), target.expand(1, 2, 1, 2, 2))
    dry = RainBatch(torch.zeros(1, 3, 1, 2, 2), torch.zeros(1, 2, 1, 2, 2))
    module = untrained(csi_threshold_mm_h=1.0)
    (scores,) = trainer(tmp_path).validate(module, Batches(*[wet, dry][::order]), verbose=False)
    assert scores["val_csi_persistence"] == pytest.approx(2 / 6)
    assert scores["val_csi"] == pytest.approx(2 / 6)  # untrained is persistence
    (repeated,) = trainer(tmp_path).validate(module, Batches(*[wet, dry][::order]), verbose=False)
    assert repeated == scores


def test_a_dry_validation_has_no_skill_and_no_error(tmp_path: Path) -> None:
    dry = RainBatch(torch.zeros(1, 3, 1, 8, 8), torch.zeros(1, 2, 1, 8, 8))
    (scores,) = trainer(tmp_path).validate(untrained(), Batches(dry), verbose=False)
    assert set(scores) >= {"val_loss", "val_csi", "val_csi_persistence", "val_csi_lead/02"}
    assert set(scores.values()) == {0.0}


# Checkpoints


def test_a_network_is_rebuilt_from_its_checkpoint_alone(tmp_path: Path) -> None:
    provenance = {"name": "blobs", "lead_times": 3, "archives": [{"path": "a", "periods": [1.5]}]}
    module = untrained(provenance=provenance)
    torch.nn.init.normal_(module.network.head.out.weight, std=0.3)
    module.scaling = RainScaling(floor_mm_h=0.1, ceiling_mm_h=150.0)
    path = save_checkpoint(module, tmp_path)
    torch.manual_seed(99)
    rebuilt, stored = load_nowcaster(path)
    assert stored == provenance
    assert not rebuilt.training
    assert rebuilt.network.config == SMALL
    assert rebuilt.scaling == module.scaling
    context = moving_blobs().context
    expected = Nowcaster(module.network, module.scaling).eval()(context, 4)
    assert torch.equal(rebuilt(context, 4).nan_to_num(-1), expected.nan_to_num(-1))


def edit(path: Path, change: dict[str, Any]) -> None:
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["squall"] |= change
    torch.save(checkpoint, path)


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.ckpt: no such checkpoint; give the best"):
        load_nowcaster(tmp_path / "none.ckpt")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_nowcaster(tmp_path)


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"PK\x03\x04" + b"\0" * 100])
def test_a_file_that_is_not_a_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.ckpt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"broken\.ckpt: cannot be read as a checkpoint"):
        load_nowcaster(path)


def test_a_cut_off_checkpoint_is_refused(tmp_path: Path) -> None:
    path = save_checkpoint(untrained(), tmp_path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_nowcaster(path)


class Harmful:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a checkpoint ran code",))


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    path = tmp_path / "harmful.ckpt"
    torch.save({"squall": Harmful()}, path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_nowcaster(path)


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2], torch.zeros(3)])
def test_a_foreign_checkpoint_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "foreign.ckpt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"foreign\.ckpt: is not a checkpoint of `squall"):
        load_nowcaster(path)


@pytest.mark.parametrize(
    "change",
    [
        {"network": {"channels": [8, 8, 8], "strides": [2, 2, 1], "attention": True}},
        {"network": {"channels": [8, 16, 8], "strides": [2, 2, 1]}},
        {"scaling": {"gain": 2.0}},
        {"scaling": None},
    ],
)
def test_a_checkpoint_of_another_version_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = save_checkpoint(untrained(), tmp_path)
    edit(path, change)
    with pytest.raises(CheckpointError, match="does not fit this version of Squall"):
        load_nowcaster(path)


# Nowcaster


def test_pixels_that_no_scan_observed_have_no_forecast() -> None:
    context, _ = moving_blobs()
    context[:, 1:, :, 20:, :] = NAN  # the first scan observed it
    context[1, :, :, 10, 10] = NAN
    forecast = nowcaster(trained=True)(context, 5)
    assert forecast.shape == (4, 5, 1, 24, 24)
    expected = context.isnan().all(dim=1, keepdim=True).expand(-1, 5, -1, -1, -1)
    assert torch.equal(forecast.isnan(), expected)
    assert (forecast[~expected] >= 0).all()
    assert not forecast.requires_grad


def test_an_untrained_network_repeats_the_last_scan() -> None:
    context, _ = moving_blobs()
    forecast = nowcaster()(context, 2)
    last = context[:, -1:].expand(-1, 2, -1, -1, -1)
    expected = torch.where(last <= 0.08 * 10**0.1, 0.0, last)  # 1 dB above the floor
    torch.testing.assert_close(forecast, expected, equal_nan=True, rtol=1e-4, atol=0)


def test_dry_stays_dry() -> None:
    assert torch.equal(nowcaster()(torch.zeros(1, 3, 1, 9, 7), 2), torch.zeros(1, 2, 1, 9, 7))


def test_without_observations_there_is_no_forecast() -> None:
    for trained in (False, True):
        forecast = nowcaster(trained=trained)(torch.full((1, 3, 1, 9, 7), NAN), 2)
        assert forecast.isnan().all()


def test_a_network_that_fails_does_not_forecast_dry_weather() -> None:
    failing = nowcaster()
    with torch.no_grad():
        failing.network.head.out.bias.fill_(NAN)
    assert failing(torch.zeros(1, 3, 1, 8, 8), 1).isnan().all()


def test_all_scaling_constants_are_in_the_checkpoint(tmp_path: Path) -> None:
    path = save_checkpoint(untrained(), tmp_path)
    saved = torch.load(path, weights_only=True)["squall"]["scaling"]
    assert saved == dataclasses.asdict(RainScaling())
