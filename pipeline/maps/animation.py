"""An animation of maps, GIF or WebP.

Public: `Animation`.
"""

from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgba_array
from PIL import Image

from squall.pipeline.pictures import BADGE_COLOURS, MAP_STYLE, RainScale
from squall.pipeline.provenance import atomic_path

_LAST_FRAME_MS = 2500


class Animation:
    """Frames with one common palette, which contains every rain colour exactly.

    The other colours of the palette are those of the first frame.
    """

    def __init__(self, scale: RainScale) -> None:
        unknown = (scale.no_radar, scale.no_forecast)
        colours = (*scale.colours, *unknown, MAP_STYLE.land, MAP_STYLE.water, "white")
        exact = to_rgba_array([*colours, *BADGE_COLOURS.values()])[:, :3]
        self._exact_colours = np.round(exact * 255).astype(np.uint8).ravel().tolist()
        self._palette: Image.Image | None = None
        self._frames: list[Image.Image] = []
        self._durations_ms: list[int] = []

    def add(self, image: Image.Image, duration_ms: int) -> None:
        """Append a frame; all frames must have the same size."""
        if self._palette is None:
            free = 256 - len(self._exact_colours) // 3
            others = image.quantize(free, dither=Image.Dither.NONE).getpalette() or []
            self._palette = Image.new("P", (1, 1))
            self._palette.putpalette(self._exact_colours + others[: 3 * free])
        self._frames.append(image.quantize(palette=self._palette, dither=Image.Dither.NONE))
        self._durations_ms.append(duration_ms)

    def save(self, path: Path) -> None:
        """Write GIF or WebP, by the suffix; the last frame stays longer, then it repeats."""
        first, *others = self._frames
        if path.suffix == ".webp":
            first, *others = (frame.convert("RGB") for frame in self._frames)
        durations = [*self._durations_ms[:-1], _LAST_FRAME_MS]
        with atomic_path(path) as temporary_path:
            first.save(
                temporary_path,
                path.suffix[1:],
                save_all=True,
                append_images=others,
                duration=durations,
                loop=0,
                **({"lossless": True, "method": 2} if path.suffix == ".webp" else {}),
            )
