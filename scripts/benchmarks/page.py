"""Time and bytes until the page of a live service shows a picture, and to change its time."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
from argparse import ArgumentParser
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright
from tables import keep, parser, show

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
# the canvas of the rain has a pixel that is not clear
IS_DRAWN = """() => {
  const canvas = document.querySelector('#forecast-map .raster');
  if (!canvas || !canvas.width) return false;
  const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return data.some((value, i) => i % 4 === 3 && value === 255);
}"""
# milliseconds from a press on the button to the end of the drawing of the frame
CHANGE = """() => new Promise((done) => {
  const time = document.querySelector('#time b');
  const began = performance.now();
  new MutationObserver((_, observer) => {
    observer.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - began)));
  }).observe(time, {childList: true, characterData: true, subtree: true});
  document.querySelector('#forward').click();
})"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without a log."""

    def log_message(self, *_: object) -> None:
        pass


def served(folder: Path) -> str:
    """Serve a folder; returns its address."""
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"


def opened(browser: Browser, address: str, status: dict[str, Any]) -> tuple[Page, list[int]]:
    """A page that was never opened before, and the sizes of what it loads."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.clock.set_fixed_time(datetime.fromisoformat(status["machine_time"]))
    sizes: list[int] = []
    page.on("requestfinished", lambda request: sizes.append(request.sizes()["responseBodySize"]))
    page.goto(address, wait_until="commit")
    return page, sizes


def wait_until_quiet(page: Page, sizes: list[int]) -> None:
    """Wait until nothing large was loaded for two seconds; the status is read all the time."""
    loaded = -1
    while loaded != sum(size > 3000 for size in sizes):
        loaded = sum(size > 3000 for size in sizes)
        page.wait_for_timeout(2000)


def measure(site: Path, repeats: int) -> dict[str, Any]:
    """Open the page several times; medians."""
    status = json.loads((site / "status.json").read_text())
    address = served(site)
    first_s, first_mb, all_mb, change_ms = [], [], [], []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for _ in range(repeats):
            page, sizes = opened(chromium, address, status)
            page.wait_for_function(IS_DRAWN)
            first_s.append(page.evaluate("performance.now()") / 1000)
            first_mb.append(sum(sizes) / 1e6)
            for layer in page.locator("input[name=layer][value^=chance_at_pixel]").all()[:1]:
                layer.check()
            wait_until_quiet(page, sizes)
            all_mb.append(sum(sizes) / 1e6)
            change_ms += [page.evaluate(CHANGE) for _ in range(8)]
            page.close()
        chromium.close()
    return {
        "first_picture_s": round(median(first_s), 3),
        "first_picture_mb": round(median(first_mb), 3),
        "rain_and_chances_mb": round(median(all_mb), 3),
        "change_of_time_ms": round(median(change_ms), 1),
    }


def arguments() -> ArgumentParser:
    """The options."""
    result = parser(__doc__)
    result.add_argument("site", type=Path, help="folder that squall live published to")
    result.add_argument("--repeats", type=int, default=5)
    return result


if __name__ == "__main__":
    given = arguments().parse_args()
    row = measure(given.site, given.repeats)
    show([row])
    keep(given, {"page": row})
