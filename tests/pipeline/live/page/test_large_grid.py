"""The page of a large grid: overviews of the whole, single pixels when one looks closely."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from pyproj import Transformer

from squall.pipeline.live import overviews
from tests.pipeline.live.page.conftest import Site, publish


@pytest.fixture(scope="module")
def published(chain: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of `conftest.published`, as if their grid were large."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overviews, "MOST_PIXELS", 1100)  # of 4096 pixels
        publish(folder, chain)
    return folder


def asked_for(visitor: Any, folder: str) -> list[str]:
    return [address for address in visitor.asked if f"/{folder}/" in address]


def manifest_of(site: Site) -> dict[str, Any]:
    return site.json(f"runs/{site.latest}/manifest.json")


def zoomed_out(visitor: Any, site: Site) -> Page:
    """The page so far out that a pixel of an overview covers less than two of the screen.

    The grid of the tests is small, so the pixels of the screen are large ones.
    """
    left, bottom, right, top = manifest_of(site)["grid"]["extent"]
    middle = f"#map={(left + right) / 2},{(bottom + top) / 2},0"
    page: Page = visitor.open(middle, width=400, device_scale_factor=0.25)
    return page


def test_only_overviews_are_loaded_for_the_whole_grid(visitor, site):
    page = zoomed_out(visitor, site)
    factor = manifest_of(site)["overview_factor"]
    expect(page.locator("#forecast-badge")).to_contain_text(
        f"highest of {factor} × {factor} pixels"
    )
    page.wait_for_timeout(500)
    layers = {layer["name"]: layer for layer in manifest_of(site)["layers"]}
    wanted = {
        frame["overview"] for name in ("observed", "rain_rate") for frame in layers[name]["frames"]
    }
    assert wanted <= {address.split(f"{site.latest}/")[-1] for address in visitor.asked}
    assert not asked_for(visitor, "frames")


def test_single_pixels_are_loaded_when_one_looks_closely(visitor, site):
    page = visitor.open()
    expect(page.locator("#forecast-badge")).not_to_contain_text("highest of")
    page.wait_for_timeout(500)
    # the shown time alone: others are loaded when they are wanted
    assert len(asked_for(visitor, "frames")) == 1
    page.click("#forward")
    expect(page.locator("#time span")).to_contain_text("forecast +5 min")
    expect(page.locator("#forecast-badge")).not_to_contain_text("highest of")
    assert len(asked_for(visitor, "frames")) == 2


def test_zooming_in_loads_the_pixels_of_the_shown_time(visitor, site):
    page = zoomed_out(visitor, site)
    expect(page.locator("#forecast-badge")).to_contain_text("highest of")
    for _ in range(4):
        page.click("button.ol-zoom-in")
        page.clock.run_for(400)
    expect(page.locator("#forecast-badge")).not_to_contain_text("highest of")
    assert len(asked_for(visitor, "frames")) == 1


def test_a_place_has_the_values_of_its_own_pixel(visitor, site):
    manifest = manifest_of(site)
    layers = {layer["name"]: layer for layer in manifest["layers"]}
    rows, columns = manifest["grid"]["rows"], manifest["grid"]["columns"]
    code = manifest["codes"]["first_rain"]
    folder = site.folder / "runs" / site.latest
    first = layers["first_rain_0.5"]["frames"][0]
    whole = np.asarray(Image.open(folder / first["file"]))
    coarse = np.asarray(Image.open(folder / first["overview"]))
    factor = manifest["overview_factor"]
    spread = coarse.repeat(factor, 0).repeat(factor, 1)[:rows, :columns]
    # a pixel without rain in a block with rain
    row, column = np.argwhere((whole == code["dry"]) & (spread != code["dry"]) & (spread != 255))[0]
    left, bottom, right, top = manifest["grid"]["extent"]
    x = left + (column + 0.5) / columns * (right - left)
    y = top - (row + 0.5) / rows * (top - bottom)
    page = visitor.open(width=1200)
    to_lonlat = Transformer.from_crs(manifest["grid"]["crs_wkt"], 4326, always_xy=True)
    lon, lat = to_lonlat.transform(x, y)
    page.fill("#search input[name=place]", f"{lat:.6f}, {lon:.6f}")
    page.press("#search input[name=place]", "Enter")
    expect(page.locator("#point-sentence")).to_contain_text("No rain of at least")


def test_an_overview_that_cannot_be_read_is_hatched_and_told(visitor, site):
    site.missing.add("/overviews/")
    page = zoomed_out(visitor, site)
    expect(page.locator("#forecast-note")).to_contain_text("There is no picture of")
