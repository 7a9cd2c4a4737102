"""How the samples of one split are drawn: the settings of `SampleSource`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Variant(NamedTuple):
    """One way to sample an archive: as it is, or with longer steps and larger pixels."""

    archive: int
    speed: int
    coarsen: int


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the samples of one split are drawn.

    Parameters
    ----------
    split : "training" or "validation".
    seed : of all random choices.
    length : scans of a window.
    crop : pixels of a sample's side.
    samples : number of samples in an epoch. With 0 no window is needed.
    per_read : samples that are cut from one read of the archive.
    rain_preference : see `RainSampler`.
    weights : share of the samples for each archive. None: by the number of windows.
    variants : for each archive the pairs (speed, coarsen) that are drawn: every ``speed``-th scan,
        means over ``coarsen`` × ``coarsen`` pixels. A pair that is named twice is drawn twice as
        often. A pair is left out if the archive is too short or its grid too small for it.
        None: (1, 1) for all archives.
    augment : whether samples are rotated and mirrored.
    intensity : the rain rates of a sample are multiplied by a factor that is log-uniform between
        ``1 / intensity`` and ``intensity``.
    droppable_scans : number of scans at the start of a window that may be dropped.
    drop_scan : probability that such a scan is dropped.
    most_windows : samples are drawn from at most so many windows of each variant, which are drawn
        once with the preference for rain. None: from all.
    """

    split: str
    seed: int
    length: int
    crop: int
    samples: int
    per_read: int
    rain_preference: float
    weights: tuple[float, ...] | None = None
    variants: tuple[tuple[tuple[int, int], ...], ...] | None = None
    augment: bool = False
    intensity: float = 1.0
    droppable_scans: int = 0
    drop_scan: float = 0.0
    most_windows: int | None = None

    def variants_of(self, archive: int) -> tuple[tuple[int, int], ...]:
        """The pairs (speed, coarsen) of the archive with this number."""
        return ((1, 1),) if self.variants is None else self.variants[archive]
