"""The report page needs no other file, escapes all texts, and has the right values in bold."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pyproj
import pytest
from PIL import Image

from squall.datasets.grid import Grid
from squall.pipeline.pictures import RAIN_SCALE
from squall.pipeline.report.case_figure import ForecastCase
from squall.pipeline.report.page import Section, html_report
from squall.pipeline.verify.output import write_scores
from tests.pipeline.scores.score_examples import METHODS, example_scores

NASTY = "<script>alert('&')</script>"
VOID = {"meta", "img", "link", "br"}


class Page(HTMLParser):
    """A parsed page: tags with attributes, text by tag, and the tags that are still open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append((self.open[-1], data.strip()))

    def all_text(self, tag: str) -> list[str]:
        return [text for where, text in self.text if where == tag]


def case() -> ForecastCase:
    """A single pixel of extreme rain among light rain."""
    crs_wkt = pyproj.CRS("EPSG:32631").to_wkt()
    grid = Grid(x=4e5 + 1e3 * np.arange(40), y=5.8e6 - 1e3 * np.arange(40), crs_wkt=crs_wkt)
    rain = np.full((1, 40, 40), 0.3, np.float32)
    rain[0, 20, 20] = 120
    leads = np.array([15], "m8[m]")
    reference_time = pd.Timestamp("2020-06-01")
    return ForecastCase(f"case {NASTY}", reference_time, leads, rain, {"s-prog": rain}, grid)


def report(*sections: Section, **changes: object) -> str:
    arguments: dict = {
        "facts": {"Pixels": "observed & known"},
        "provenance": {"Squall": "1.2.3"},
        "configuration": '{"archive": "<a>"}',
    }
    return html_report("Verification", sections, **{**arguments, **changes})


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> str:
    scores, of_nasty = example_scores(), example_scores(("a " + NASTY, "b"), (1.0,))
    scores["csi"][:, 0] = np.array([[0.61], [0.55], [0.40]])
    plots, plots_of_nasty = (
        write_scores(of_section, tmp_path_factory.mktemp("plots"))
        for of_section in (scores, of_nasty)
    )
    pooled = Section("All", scores, {"Cases": "9 (2 left out)"}, plots)
    nasty = Section(NASTY, of_nasty, {"K": NASTY}, plots_of_nasty, [case()])
    return report(pooled, nasty, cautions=[f"1 case failed: {NASTY}"])


def test_page_is_complete_and_needs_no_other_file(full: str) -> None:
    page = Page(full)
    assert not page.open
    assert full.startswith("<!doctype html>")
    assert "script" not in {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        for name in ("src", "href"):
            target = attributes.get(name) or "#"
            assert target.startswith(("#", "data:image/"))
    assert not re.search(r"https?://|url\(|@import", full)
    anchors = {attributes.get("id") for _, attributes in page.tags}
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert len(links) == 4
    assert {str(link)[1:] for link in links} <= anchors


def test_all_texts_are_escaped(full: str) -> None:
    page = Page(full)
    assert NASTY in page.all_text("h2")
    assert NASTY in page.all_text("dd")
    assert f"a {NASTY}" in page.all_text("th")
    assert f"1 case failed: {NASTY}" in page.all_text("li")
    assert '{"archive": "<a>"}' in page.all_text("pre")
    assert f"case {NASTY}" in [attributes.get("alt") for _, attributes in page.tags]


def test_tables_have_means_with_intervals_and_the_best_in_bold(full: str) -> None:
    page = Page(full)
    first = full.split("<tbody>")[1].split("</tbody>")[0]
    assert re.findall(r"</span>([^<]+)</th><td>(?:<strong>)?([\d.]+)", first) == list(
        zip(METHODS, ("0.610", "0.550", "0.400"), strict=True)
    )
    assert "<strong>0.610</strong>" in first
    assert "<strong>0.550</strong>" not in first
    mean_low = float(example_scores()["mae_mean_low"][0])
    mean_high = float(example_scores()["mae_mean_high"][0])
    assert f"{mean_low:.3f} to {mean_high:.3f}" in page.all_text("small")
    assert page.all_text("caption")[:5] == [
        "CSI", "Frequency bias", "FSS, neighbourhoods of 4 km", "FSS, neighbourhoods of 16 km",
        "All rain rates",
    ]  # fmt: skip
    assert "12 345 at each lead time" in page.all_text("dd")
    assert "9 (2 left out)" in page.all_text("dd")


def test_pictures_are_embedded_and_keep_rare_colours(full: str) -> None:
    sources = [str(attributes["src"]) for tag, attributes in Page(full).tags if tag == "img"]
    assert len(sources) == 6 + 6 + 1
    images = [
        Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB")
        for source in sources
    ]
    assert min(image.width for image in images) > 300
    # The colour of one pixel of heavy rain must not be replaced by a frequent colour.
    heaviest = RAIN_SCALE.rgba(np.array([120.0]))[0, :3].astype(int)
    near = np.abs(np.asarray(images[-1]).astype(int) - heaviest).sum(-1) < 30
    legend = near[int(0.85 * len(near)) :].sum()
    assert near.sum() > legend > 0


def test_every_score_shown_is_explained(full: str) -> None:
    meanings = Page(full).all_text("dt")
    for label in ("CSI", "FSS", "Log-spectral distance [dB]", "MAE [mm/h]", "B-MSE [mm²/h²]"):
        assert label in meanings


def test_without_intervals_and_optional_scores() -> None:
    scores = example_scores(("model",), (1.0,), intervals=False)
    core = ["csi", "frequency_bias", "base_rate", "mae", "rmse", "n_pixels", "n_cases"]
    page = report(Section("Only", scores[core], {}))
    assert "<small>" not in page
    assert "bootstrap" not in page
    assert "B-MAE" not in page
    assert "<strong>" not in page  # a single method is never the best
    assert Page(page).all_text("caption") == ["CSI", "Frequency bias", "All rain rates"]
