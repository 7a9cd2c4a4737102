"""A map of one scan with coastlines, on which a flipped or shifted grid can be seen."""

from __future__ import annotations

from pathlib import Path

from squall.pipeline.init.summary import Scan
from squall.pipeline.maps.basemap import basemap_for_grid
from squall.pipeline.maps.cities import CREDIT, largest_cities
from squall.pipeline.maps.drawing import Caption, draw_map
from squall.pipeline.maps.projection import grid_extent
from squall.pipeline.pictures import image_of
from squall.pipeline.provenance import atomic_path

SUFFIXES = (".png",)


def draw_scan(scan: Scan, title: str, source: str, path: Path) -> None:
    """Write a map of a scan as PNG.

    Raises
    ------
    DataError
        If the grid cannot be drawn.
    """
    grid = scan.grid
    basemap = basemap_for_grid(grid.crs_wkt, grid_extent(grid.x, grid.y))
    assumed = f"; assumed: {', '.join(scan.assumed)}" if scan.assumed else ""
    caption = Caption(
        kind="observed",
        title=title,
        valid=scan.time,
        reference=scan.time,
        origin=f"{source}{assumed}",
        footer=(f"coastlines: {basemap.credit}", CREDIT),
        has_forecast=False,
    )
    figure = draw_map(scan.rain_rate_mm_h, basemap, caption, places=largest_cities(basemap))
    with atomic_path(path) as temporary:
        image_of(figure).save(temporary, "png")
