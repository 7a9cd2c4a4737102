"""The moving average of the weights: by hand, in checkpoints, and in validation."""

from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from squall.pipeline.train.moving_average import MovingAverage


class OneWeight(pl.LightningModule):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([value]))
        self.register_buffer("constant", torch.tensor([7.0]))


def set_weight(module: OneWeight, value: float) -> None:
    with torch.no_grad():
        module.weight.fill_(value)


def averaging(values: list[float], decay: float) -> tuple[MovingAverage, OneWeight]:
    """The callback after steps that gave the weight these values."""
    callback, module = MovingAverage(decay), OneWeight(-1.0)
    trainer: Any = SimpleNamespace(global_step=0)
    callback.setup(trainer, module, "fit")
    callback.on_fit_start(trainer, module)
    for step, value in enumerate(values, start=1):
        set_weight(module, value)
        trainer.global_step = step
        for batch in range(2):  # the second batch has no step of its own
            callback.on_train_batch_end(trainer, module, None, None, batch)
    return callback, module


def saved(callback: MovingAverage, module: OneWeight) -> dict[str, Any]:
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
    callback.on_save_checkpoint(SimpleNamespace(), module, checkpoint)  # type: ignore[arg-type]
    return checkpoint


def test_the_average_by_hand() -> None:
    # d_1 = 0 and d_2 = 1/11: a_1 = 2, a_2 = 2/11 + 10/11 * 4; then d_3 = min(0.1, 2/12)
    second = 2 / 11 + 40 / 11
    for values, expected in (
        ([2.0], 2.0),
        ([2.0, 4.0], second),
        ([2.0, 4.0, 8.0], 0.1 * second + 0.9 * 8),
    ):
        checkpoint = saved(*averaging(values, decay=0.1))
        assert checkpoint["state_dict"]["weight"].item() == pytest.approx(expected)
        assert checkpoint["current_model_state"]["weight"].item() == values[-1]
        assert checkpoint["averaging_state"]["n_averaged"] == len(values)
        assert checkpoint["state_dict"]["constant"].item() == 7


def test_validation_uses_the_average_and_training_the_weights() -> None:
    callback, module = averaging([2.0, 4.0], decay=0.1)
    trainer: Any = SimpleNamespace()
    before = saved(callback, module)
    callback.on_validation_epoch_start(trainer, module)
    assert module.weight.item() == pytest.approx(42 / 11)
    callback.on_validation_epoch_end(trainer, module)
    assert module.weight.item() == 4
    assert torch.equal(
        saved(callback, module)["state_dict"]["weight"], before["state_dict"]["weight"]
    )
    callback.on_train_end(trainer, module)
    assert module.weight.item() == pytest.approx(42 / 11)


def test_a_resumed_average_equals_an_uninterrupted_one() -> None:
    whole = saved(*averaging([2.0, 4.0, 8.0], decay=0.1))
    callback, module = averaging([2.0, 4.0], decay=0.1)
    checkpoint, state = saved(callback, module), callback.state_dict()
    resumed, trainer = MovingAverage(0.1), SimpleNamespace(global_step=2)
    again = OneWeight(0.0)
    resumed.setup(trainer, again, "fit")  # type: ignore[arg-type]
    resumed.load_state_dict(state)
    resumed.on_load_checkpoint(trainer, again, checkpoint)  # type: ignore[arg-type]
    assert again.weight.item() == 4
    set_weight(again, 8.0)
    trainer.global_step = 3
    resumed.on_train_batch_end(trainer, again, None, None, 0)  # type: ignore[arg-type]
    for weights_key in ("state_dict", "current_model_state"):
        assert torch.equal(
            saved(resumed, again)[weights_key]["weight"], whole[weights_key]["weight"]
        )
    assert saved(resumed, again)["averaging_state"] == whole["averaging_state"]
