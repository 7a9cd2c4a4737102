"""Private names of PyTorch and Lightning still do what training relies on."""

import pytorch_lightning as pl
import torch

from squall.pipeline.train.internals import skip_sigterm_broadcast, tensors_without_data


def test_tensors_without_data_have_shapes_storages_and_mixed_precision() -> None:
    weight = torch.zeros(4, 4)
    with tensors_without_data():
        large = torch.empty(2**20, 2**20)  # 4 TB
        assert large.untyped_storage().nbytes() == 4 * 2**40
        # a view shares the storage, and a storage is one Python object: memory_estimate counts so
        assert large.untyped_storage() is large[1:].untyped_storage()
        assert large.untyped_storage() is not torch.empty(3).untyped_storage()
        with torch.autocast("cpu", torch.bfloat16):
            product = torch.empty(4, 4) @ torch.empty(4, 4)
        assert product.dtype == torch.bfloat16
        assert product.device.type == "cpu"
    assert torch.equal(weight, torch.zeros(4, 4))


def test_lightning_asks_for_the_broadcast_by_this_name_and_it_can_be_skipped() -> None:
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    loop = trainer.fit_loop.epoch_loop
    name = "_broadcast_sigterm_tensor"
    assert name in type(loop).advance.__code__.co_names
    assert callable(getattr(type(loop), name))
    skip_sigterm_broadcast(trainer)
    assert getattr(loop, name)() is None
    assert name in vars(loop)
