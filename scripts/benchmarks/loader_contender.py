"""One loader of the benchmark in its own process, because each loader needs its own environment.

Started by ``loader.py`` as ``PYTHON loader_contender.py NAME OPTIONS`` (JSON). Prints
how long the first batch took. Then, for each number of seconds on standard input, it iterates for
that time and prints the rate and the number of samples. Only the function `squall` imports the
project, and only the function `mlcast` imports mlcast.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch.utils.data import ConcatDataset, DataLoader, Dataset

CONTEXT, LEAD_TIMES, CROP, BATCH = 12, 12, 256, 8
ENDLESS = 96_000  # samples of an epoch: more than the benchmark reads


class PlainWindows(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The obvious code of a user: `isel` of a random window, normalised with NumPy."""

    def __init__(self, store: str, samples: int) -> None:
        self._store, self._samples = store, samples
        self._field: xr.DataArray | None = None
        with xr.open_zarr(store) as dataset:
            self._shape = dataset["rainfall_rate"].shape

    def __len__(self) -> int:
        return self._samples

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        if self._field is None:  # opened in the worker: an open store does not work after a fork
            self._field = xr.open_zarr(self._store)["rainfall_rate"]
        rng = np.random.default_rng(index)
        sides = (CONTEXT + LEAD_TIMES, CROP, CROP)
        t, y, x = (
            int(rng.integers(whole - side + 1))
            for whole, side in zip(self._shape, sides, strict=True)
        )
        window = self._field.isel(
            time=slice(t, t + sides[0]), y=slice(y, y + CROP), x=slice(x, x + CROP)
        )
        rate = window.values
        decibel = 10 * np.log10(np.maximum(np.nan_to_num(rate), 0.1))
        rain = torch.from_numpy(np.rot90(decibel / 30, int(rng.integers(4)), (1, 2)).copy())
        return rain[:CONTEXT, None], rain[CONTEXT:, None]


def plain(options: dict[str, Any]) -> Iterator[Any]:
    """xarray over the same float stores as mlcast."""
    datasets: list[Dataset[Any]] = [
        PlainWindows(store, samples) for store, samples in _shares(options)
    ]
    return _endless(_torch_loader(datasets, options))


def mlcast(options: dict[str, Any]) -> Iterator[Any]:
    """mlcast's random windows, with the mask and augmentation of its training."""
    from mlcast.data.source_data_datasets import (  # type: ignore[import-not-found]
        SourceDataRandomSamplingDataset,
    )

    datasets = [
        SourceDataRandomSamplingDataset(
            store,
            ["rainfall_rate"],
            CONTEXT,
            LEAD_TIMES,
            return_mask=True,
            augment=True,
            width=CROP,
            height=CROP,
            epoch_size=samples,
        )
        for store, samples in _shares(options)
    ]
    return _endless(_torch_loader(datasets, options))


def squall(options: dict[str, Any]) -> Iterator[Any]:
    """Squall's training loader; with ``decoded`` this CPU turns and decodes the batches."""
    from squall.datasets.training.config import DataConfig
    from squall.datasets.training.datamodule import RainDataModule

    config = DataConfig(
        archives=tuple(options["archives"]),
        context=CONTEXT,
        lead_times=LEAD_TIMES,
        crop=CROP,
        batch_size=BATCH,
        samples_per_epoch=ENDLESS,
        workers=options["workers"],
        crops_per_read=options["crops_per_read"],
    )
    module = RainDataModule(config, seed=1)
    batches = _endless(module.train_dataloader())
    if options["decoded"]:
        return (module.on_after_batch_transfer(batch, 0) for batch in batches)
    return batches


def _shares(options: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """The stores with their shares of the samples, proportional to their numbers of scans."""
    whole = sum(options["scans"])
    for store, scans in zip(options["stores"], options["scans"], strict=True):
        yield store, ENDLESS * scans // whole


def _torch_loader(datasets: list[Dataset[Any]], options: dict[str, Any]) -> DataLoader[Any]:
    return DataLoader(
        ConcatDataset(datasets), batch_size=BATCH, shuffle=True, num_workers=options["workers"]
    )


def _endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


CONTENDERS: dict[str, Callable[[dict[str, Any]], Iterator[Any]]] = {
    "plain": plain,
    "mlcast": mlcast,
    "squall": squall,
}


def main() -> None:
    torch.set_num_threads(1)
    name, options = sys.argv[1], json.loads(sys.argv[2])
    began = time.perf_counter()
    batches = CONTENDERS[name](options)
    next(batches)
    print(json.dumps({"start [s]": time.perf_counter() - began}), flush=True)
    for line in sys.stdin:
        # skip the batches that were read during the turns of other loaders
        for _ in range(2 * options["workers"]):
            next(batches)
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < float(line):
            next(batches)
            count += 1
        seconds = time.perf_counter() - began
        result = {
            "samples/s": BATCH * count / seconds,
            "samples": BATCH * (count + 2 * options["workers"]),
        }
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
