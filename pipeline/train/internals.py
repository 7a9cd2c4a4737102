"""Private names of PyTorch and Lightning: the only place of this room that uses any.

`tests/pipeline/train/test_internals.py` has a test for each use, which fails if an upgrade
changes what is relied on here.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import pytorch_lightning as pl
from torch._subclasses.fake_tensor import FakeTensorMode


def tensors_without_data() -> AbstractContextManager[Any]:
    """Return a context in which tensors have a shape, a type and a device, but no data.

    PyTorch has no public way to this. Tensors on the device "meta" do not do: operations on them
    do not follow a device's rules of mixed precision.
    """
    return FakeTensorMode()


def skip_sigterm_broadcast(trainer: pl.Trainer) -> None:
    """Switch off Lightning's broadcast before each batch, which asks whether rank 0 got SIGTERM.

    All ranks wait for the answer. `Watch` shares this with the sums of the step instead.
    """
    vars(trainer.fit_loop.epoch_loop)["_broadcast_sigterm_tensor"] = lambda: None
