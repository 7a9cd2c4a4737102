"""The page in a browser: what people do with it, and what it says when something is wrong."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from squall.pipeline.pictures import RAIN_SCALE


def valid_time(page: Page) -> str:
    return page.inner_text("#time b")


def colours_of_map(page: Page) -> set[tuple[int, int, int]]:
    """Colours on the canvas of the rain, as far as they are not clear."""
    page.wait_for_timeout(300)  # the map is drawn a moment after the time is shown
    values = page.evaluate(
        """() => {
          const canvas = document.querySelector('#forecast-map .raster');
          const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
          const seen = new Set();
          for (let i = 0; i < data.length; i += 4)
            if (data[i + 3] === 255) seen.add([data[i], data[i + 1], data[i + 2]].join());
          return [...seen];
        }"""
    )
    return {tuple(map(int, value.split(","))) for value in values}


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def test_the_first_view_is_the_scan_of_now_without_a_banner(visitor):
    page = visitor.open()
    # a replay says so; apart from that nothing is wrong
    assert page.inner_text("#banner") == "This is a replay of the past"
    assert valid_time(page) == "06:00 (04:00 UTC)"
    assert "observed" in page.inner_text("#time span")
    assert "3 members" in page.inner_text("#about")
    assert re.match(r"Middle: (it rains|rain|no rain|not known)", page.inner_text("#places"))


def test_the_map_shows_the_frame_in_the_colours_of_the_legend(visitor, site):
    page = visitor.open()
    manifest = site.json(f"runs/{site.latest}/manifest.json")
    (layer,) = (layer for layer in manifest["layers"] if layer["name"] == "observed")
    codes = np.asarray(Image.open(site.folder / "runs" / site.latest / layer["frames"][-1]["file"]))
    code = manifest["codes"]["rain_rate"]
    rates = code["lowest"] * (code["highest"] / code["lowest"]) ** ((codes - 1.0) / 253)
    known = rates[(codes > 0) & (codes < 255)]
    expected = {
        rgb(RAIN_SCALE.colours[np.searchsorted(RAIN_SCALE.levels_mm_h, rate, "right") - 1])
        for rate in known[known >= RAIN_SCALE.levels_mm_h[0]]
    }
    assert len(expected) > 2
    assert colours_of_map(page) == expected
    shown = page.locator("#legend li").all_inner_texts()
    assert shown == [f"{level:g}" for level in RAIN_SCALE.levels_mm_h]


@pytest.mark.parametrize("ratio", [1, 1.5, 2])
def test_rain_lies_where_it_belongs_on_each_kind_of_screen(visitor, ratio):
    """Phones have several pixels of the screen for each of the page, and so has a zoomed page."""
    page = visitor.open(device_scale_factor=ratio)
    page.wait_for_timeout(300)
    sizes = page.evaluate(
        """() => [...document.querySelectorAll('#forecast-map .ol-layers canvas')].map((canvas) => {
          const {x, y, width, height} = canvas.getBoundingClientRect();
          return [x, y, width, height].map(Math.round).join();
        })"""
    )
    assert len(sizes) == 3
    assert len(set(sizes)) == 1
    assert (
        sizes[0].split(",")[2] == f"{round(page.locator('#forecast-map').bounding_box()['width'])}"
    )


def test_the_legend_is_that_of_what_is_shown(visitor):
    page = visitor.open()
    expect(page.locator("#legend h2")).to_contain_text("Observed rain rate")
    page.check("input[value='chance_at_pixel_2']")  # goes to the first forecast
    expect(page.locator("#time span")).to_contain_text("forecast +5 min")
    expect(page.locator("#legend h2")).to_contain_text("Chance of ≥ 2 mm/h")
    page.click("#back")
    expect(page.locator("#legend h2")).to_contain_text("Observed rain rate")


def test_coasts_lie_over_the_rain_and_keep_their_colour(visitor):
    """The layers of the map lie exactly above each other, and only the rain becomes grey."""
    page = visitor.open()
    page.wait_for_timeout(300)
    boxes = page.evaluate(
        """() => [...document.querySelectorAll('#forecast-map .ol-layers canvas')].map((canvas) => {
          const {x, y, width, height} = canvas.getBoundingClientRect();
          return [canvas.className, [x, y, width, height].join()];
        })"""
    )
    assert [name for name, _ in boxes] == ["", "raster", ""]
    assert len({box for _, box in boxes}) == 1


def test_slider_buttons_and_keys_change_the_time(visitor):
    page = visitor.open()
    page.click("#forward")
    expect(page.locator("#time b")).to_have_text("06:05 (04:05 UTC)")
    expect(page.locator("#time span")).to_contain_text("forecast +5 min")
    page.keyboard.press("Escape")
    page.locator("#forward").blur()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#time b")).to_have_text("06:10 (04:10 UTC)")
    page.keyboard.press("n")
    expect(page.locator("#time b")).to_have_text("06:00 (04:00 UTC)")
    page.locator("#slider").fill("0")
    # the oldest is a scan of an earlier run
    assert "observed" in page.inner_text("#time span")
    expect(page.locator("#time b")).not_to_have_text("06:00 (04:00 UTC)")


def test_play_goes_through_the_times_and_pauses(visitor):
    page = visitor.open()
    page.click("#play")
    assert page.get_attribute("#play", "aria-label") == "Pause"
    seen = {valid_time(page)}
    for _ in range(6):
        page.clock.run_for(450)
        page.wait_for_timeout(60)
        seen.add(valid_time(page))
    assert len(seen) > 3
    page.click("#play")
    before = valid_time(page)
    page.clock.run_for(3000)
    assert valid_time(page) == before


@pytest.mark.parametrize(
    ("layer", "badge"),
    [
        ("chance_at_pixel_2", "Chance of ≥ 2 mm/h, forecast for 06:05"),
        ("chance_within_10km_0.5", "Chance of ≥ 0.5 mm/h within 10 km, forecast for 06:05"),
        ("chance_at_any_time_2", "Chance of ≥ 2 mm/h at any time, until 06:20"),
        ("amount", "Amount of 20 min, until 06:20"),
        ("first_rain_0.5", "First rain of ≥ 0.5 mm/h, until 06:20"),
    ],
)
def test_each_kind_of_layer_is_drawn_with_its_legend(visitor, site, layer, badge):
    page = visitor.open()
    page.check(f"input[value='{layer}']")
    expect(page.locator("#forecast-badge")).to_contain_text(badge)
    described = {
        entry["name"]: entry for entry in site.json(f"runs/{site.latest}/manifest.json")["layers"]
    }[layer]
    colours = site.json(f"runs/{site.latest}/manifest.json")["codes"][described["code"]]["colours"]
    assert colours_of_map(page) <= {rgb(colour) for colour in colours}
    legend = page.inner_text("#legend h2")
    units = {"chance": "[%]", "amount": "[mm]", "first_rain": "[from]"}
    assert (units | {"chance_at_any_time": "[%]"})[described["code"]] in legend


def test_a_click_shows_the_forecast_at_the_place(visitor, site):
    page = visitor.open()
    page.click("#forecast-map", position={"x": 420, "y": 330})
    page.clock.run_for(1000)  # a second click might follow
    expect(page.locator("#point h2")).to_have_text(re.compile(r"\d+\.\d\d° N, \d+\.\d\d° E"))
    expect(page.locator("#point-chart canvas")).to_be_visible()
    expect(page.locator("#point-sentence")).not_to_be_empty()
    labels = page.locator("#point .u-legend .u-label").all_inner_texts()
    assert {"observed", "median", "10 %", "90 %", "chance ≥ 0.5 mm/h"} <= set(labels)
    page.keyboard.press("Escape")
    expect(page.locator("#point")).to_be_hidden()


def test_a_click_says_the_chance_that_the_list_of_places_says(visitor, site):
    name, (lat, lon) = "Middle", (55.6, 10.9)
    path = site.folder / "runs" / site.latest / "points.json"
    chance = json.loads(path.read_text())[name]["chance_at_any_time"]
    assert chance > 0
    page = visitor.open()
    box = page.locator("#search input")
    box.fill(f"{lat} {lon}")
    box.press("Enter")
    percent = f"{round(round(200 * chance) / 2 + 1e-9)} %"
    expect(page.locator("#point-sentence")).to_contain_text(f"(chance {percent})")


def test_search_finds_places_and_coordinates(visitor):
    page = visitor.open()
    box = page.locator("#search input")
    box.fill("middle")
    box.press("Enter")
    expect(page.locator("#point h2")).to_have_text("Middle")
    box.fill("55.5, 10.8")
    box.press("Enter")
    expect(page.locator("#point h2")).to_have_text("55.50° N, 10.80° E")
    box.fill("55,5; 10,8")
    box.press("Enter")
    expect(page.locator("#point h2")).to_have_text("55.50° N, 10.80° E")
    box.fill("besancon")
    box.press("Enter")
    expect(page.locator("#point h2")).to_have_text("Besançon")
    box.fill("-30, 150")
    box.press("Enter")
    expect(page.locator("#point-sentence")).to_have_text("This place is outside the radar's grid.")
    box.fill("Atlantis")
    box.press("Enter")
    expect(page.locator("#search-note")).to_contain_text("No place “Atlantis”")


def test_an_alert_is_shown_until_it_ends(visitor, site):
    """The rule of the site, any chance of rain on the whole grid, is met."""
    page = visitor.open()
    (alert,) = site.json("alerts.json")["alerts"]
    expect(page.locator("#alerts")).to_contain_text(alert["subject"]["headline"])
    expect(page.locator("#alerts")).to_contain_text("%")
    unknown = "“rain at Besançon” is not known: the place lies outside the radar's grid"
    expect(page.locator("#alerts .doubtful")).to_have_text(unknown)
    alert["status"] = "ended"
    (site.folder / "alerts.json").write_text(json.dumps({"alerts": [alert]}))
    page.clock.run_for(15_000)
    expect(page.locator("#alerts li")).to_have_text([unknown])
    run = site.folder / "runs" / f"{site.latest}"
    (run / "rules.json").write_text(json.dumps({"outcomes": {}}))
    expect(visitor.open().locator("#alerts-box")).to_be_hidden()


def test_a_place_outside_the_grid_is_told(visitor, site):
    page = visitor.open()
    expect(page.locator("#places")).to_contain_text("Besançon: not known: outside the radar's grid")
    problems = site.json("status.json")["problems"]
    assert any("place 'Besançon' lies outside the radar's grid" in text for text in problems)
    page.click("#problems-box summary")
    expect(page.locator("#problems")).to_contain_text("place 'Besançon' lies outside")


def test_the_address_shows_the_same_again(visitor):
    page = visitor.open()
    page.check("input[value='chance_at_pixel_0.5']")
    page.click("#places button")
    expect(page.locator("#time b")).to_have_text("06:05 (04:05 UTC)")
    page.wait_for_timeout(600)  # the address is written a moment later
    fragment = page.evaluate("location.hash")
    again = visitor.open(fragment)
    expect(again.locator("#time b")).to_have_text("06:05 (04:05 UTC)")
    expect(again.locator("#point h2")).to_have_text(re.compile("55.60° N"))
    assert again.is_checked("input[value='chance_at_pixel_0.5']")


def test_a_past_forecast_beside_what_was_observed(visitor, site):
    page = visitor.open()
    page.select_option("#runs", site.json("runs.json")["runs"][0])
    expect(page.locator("#about")).to_contain_text("05:50 (03:50 UTC)")
    page.check("#beside")
    page.click("#forward")
    expect(page.locator("#forecast-badge")).to_contain_text("forecast for 05:55 (03:55 UTC)")
    expect(page.locator("#observed-badge")).to_have_text("observed 05:55 (03:55 UTC)")
    expect(page.locator("#observed-note")).to_be_hidden()
    for _ in range(3):
        page.click("#forward")
    expect(page.locator("#observed-note")).to_contain_text("no scan of this time")


def test_a_forecast_that_is_too_old_says_nothing_of_places(visitor):
    page = visitor.open()
    page.click("#places button")
    expect(page.locator("#point-sentence")).not_to_be_empty()
    page.clock.fast_forward(3_600_000)
    expect(page.locator("#places")).to_contain_text("not known any more")
    expect(page.locator("#point-sentence")).to_have_text(re.compile("not known any more"))
    expect(page.locator("#alerts")).to_contain_text("expired")


def test_a_run_that_cannot_be_read_is_not_hidden_by_the_one_before(visitor, site):
    latest, runs = site.json("latest.json"), site.json("runs.json")["runs"]
    older = latest | {"id": runs[0], "reference_time": "2024-06-01T03:50:00Z"}
    (site.folder / "latest.json").write_text(json.dumps(older))
    page = visitor.open()
    (site.folder / "latest.json").write_text(json.dumps(latest))
    site.missing.add(f"{latest['id']}/manifest.json")
    page.clock.run_for(15_000)
    expect(page.locator("#banner")).to_contain_text("newest forecast cannot be read")
    page.click("#forward")
    expect(page.locator("#banner")).to_contain_text("newest forecast cannot be read")


def test_an_earlier_forecast_says_so_with_its_date(visitor, site):
    page = visitor.open(f"#run={site.json('runs.json')['runs'][0]}")
    expect(page.locator("#banner")).to_contain_text("earlier forecast, of 2024-06-01 05:50")


def test_a_dead_service_shows_by_the_browser_s_clock(visitor):
    page = visitor.open(after_s=3600)
    expect(page.locator("#banner")).to_contain_text("has not answered for 1 h")
    expect(page.locator("#banner")).to_contain_text("does not mean that it is dry")
    assert page.get_attribute("body", "data-level") == "old"
    assert "grayscale" in page.evaluate(
        "getComputedStyle(document.querySelector('.raster')).filter"
    )


def test_the_page_grows_old_while_it_is_open(visitor):
    page = visitor.open()
    assert page.get_attribute("body", "data-level") == "note"
    page.clock.fast_forward(600_000)
    expect(page.locator("#banner")).to_contain_text("has not answered for 10 min")


def test_a_status_that_is_gone_is_not_trusted(visitor, site):
    site.missing.add("status.json")
    page = visitor.open()
    expect(page.locator("#banner")).to_contain_text("status of the service cannot be read")
    assert page.get_attribute("body", "data-level") == "old"


@pytest.mark.parametrize("kind", ["missing", "cut", "one bit", "of another size"])
def test_a_broken_frame_is_hatched_and_named(visitor, site, kind):
    folder = site.folder / "runs" / site.latest / "frames"
    (frame,) = folder.glob("rain_rate_20240601T0405.png")
    if kind == "missing":
        frame.unlink()
    elif kind == "cut":
        frame.write_bytes(frame.read_bytes()[:40])
    elif kind == "one bit":
        content = bytearray(frame.read_bytes())
        content[len(content) // 2] ^= 16
        frame.write_bytes(content)
    else:
        content = io.BytesIO()
        Image.new("L", (5, 5)).save(content, "png")
        frame.write_bytes(content.getvalue())
    page = visitor.open()
    page.click("#forward")
    expect(page.locator("#forecast-note")).to_contain_text("There is no picture of 06:05")
    assert not colours_of_map(page) & {rgb(colour) for colour in RAIN_SCALE.colours}
    page.click("#forward")
    expect(page.locator("#forecast-note")).to_be_hidden()


def test_a_new_run_is_shown_without_a_reload(visitor, site):
    latest, runs = site.json("latest.json"), site.json("runs.json")["runs"]
    older = latest | {"id": runs[0], "reference_time": "2024-06-01T03:50:00Z"}
    (site.folder / "latest.json").write_text(json.dumps(older))
    page = visitor.open()
    expect(page.locator("#about")).to_contain_text("05:50 (03:50 UTC)")
    (site.folder / "latest.json").write_text(json.dumps(latest))
    page.clock.run_for(15_000)
    expect(page.locator("#about")).to_contain_text("06:00 (04:00 UTC)")


def test_a_phone_shows_the_map_and_opens_the_panel(visitor):
    page = visitor.open(width=390)
    expect(page.locator("#panel")).to_be_hidden()
    expect(page.locator("#alerts")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    map_box = page.locator("#forecast-map").bounding_box()
    assert map_box["height"] > 300
    scale = page.locator("#forecast-map .ol-scale-line").bounding_box()
    assert scale["y"] + scale["height"] <= page.locator("#legend").bounding_box()["y"]
    page.click("#panel-button")
    expect(page.locator("#panel")).to_be_visible()
    assert page.get_attribute("#panel-button", "aria-expanded") == "true"


def test_light_and_dark(visitor):
    back = "getComputedStyle(document.body).backgroundColor"
    page = visitor.open(color_scheme="dark")
    dark = page.evaluate(back)
    page.click("#theme")
    assert page.evaluate(back) != dark
    page.reload()
    assert page.evaluate(back) != dark  # the choice is kept


def test_the_page_asks_no_other_server(visitor, site):
    visitor.open().click("#places button")
    assert len(visitor.asked) > 10
    assert all(address.startswith(site.address) for address in visitor.asked)
