"""A loader with worker processes, for scripts: without the slow import of a data module."""

from squall.datasets.open_archive import open_archive
from squall.datasets.training.batch_loader import BatchLoader
from squall.datasets.training.samples import SampleSource, rain_blocks
from squall.datasets.training.sampling import Sampling
from squall.datasets.training.window_reader import WindowReader

LENGTH, CROP = 5, 32


def loader(address: str, *, samples: int, batch_size: int = 4) -> BatchLoader:
    """Batches of training samples from two worker processes."""
    archive = open_archive(address)
    sampling = Sampling(
        split="training",
        seed=1,
        length=LENGTH,
        crop=CROP,
        samples=samples,
        per_read=4,
        rain_preference=3.0,
    )
    source = SampleSource([archive], [rain_blocks(archive)], [archive.status >= 0], sampling)
    reader = WindowReader([archive], LENGTH, CROP, batch_size=batch_size, workers=2)
    return BatchLoader(
        source, reader, None, batch_size=batch_size, workers=2, same_every_epoch=False
    )
