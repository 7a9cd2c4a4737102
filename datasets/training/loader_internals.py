"""Private names of torch's data loader: the only place of this room that uses any.

`tests/datasets/training/test_loader_internals.py` fails if an upgrade of torch changes them.
"""

from __future__ import annotations

from typing import Any

from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter


def end_workers(loader: DataLoader[Any]) -> None:
    """End a loader's persistent worker processes and wait for them; the next pass starts new ones.

    Torch ends them only once nothing refers to its iterator, and then with SIGTERM, which the
    workers of `BatchLoader` ignore. A traceback that is kept would hold the iterator forever.
    """
    iterator = loader._iterator
    if isinstance(iterator, _MultiProcessingDataLoaderIter):
        iterator._shutdown_workers()
        loader._iterator = None
