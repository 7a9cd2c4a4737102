"""The documentation site: its pages, what is made from the code, that it needs no network."""

from __future__ import annotations

import html
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from pydantic import BaseModel

from squall.pipeline.cli.main import COMMANDS, parse
from tests.load_script import load_script

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SOURCES = [
    ROOT / name
    for name in ("docs", "mkdocs.yml", "scripts", "convgru", "datasets", "pipeline", "src")
]
REFERENCE = load_script("docs_reference")
PAGES = REFERENCE.pages()
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


def pages_of(nav: object) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for entry in nav.values():
            yield from pages_of(entry)
    else:
        assert isinstance(nav, list)
        for entry in nav:
            yield from pages_of(entry)


def test_every_page_is_in_the_navigation_once():
    named = list(pages_of(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    # the hook adds the decisions, all of them
    written = [p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md")]
    assert sorted(named) == sorted(p for p in written if not p.startswith("decisions/"))


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: path.name)
def test_lists_and_tables_begin_after_an_empty_line(path):
    """Python-Markdown would otherwise make a paragraph of them."""
    is_code, before = False, ""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        begins = re.match(r"([-*]|\d+\.) |\|", line)
        goes_on = not before.strip() or re.match(r"([-*]|\d+\.) |\||\s", before)
        assert is_code or not begins or goes_on, f"{path.name}:{number}: {line}"
        before = line


def flags_in_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> set[str]:
    with pytest.raises(SystemExit):
        parse([*words, "--help"])
    return set(re.findall(r"^  (--[a-z][a-z-]*)", capsys.readouterr().out, re.MULTILINE))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_reference_names_every_flag_of_a_command(name, capsys):
    page = PAGES[f"reference/commands/{name}.md"]
    commands = [[name, action] for action in ("history", "tag", "expire", "check")]
    for words in commands if name == "archive" else [[name]]:
        flags = flags_in_help(words, capsys)
        assert flags >= {"--quiet", "--log-format"}
        for flag in flags:
            assert re.search(rf"^\| `{flag}\b", page, re.MULTILINE), flag


def keys_of(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield name
        for inner in REFERENCE.models_of(field.annotation):
            yield from keys_of(inner)


@pytest.mark.parametrize("name", REFERENCE.CONFIGURATIONS)
def test_the_reference_explains_every_key_of_a_configuration(name):
    page = PAGES[f"reference/configuration/{name}.md"]
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", page, re.MULTILINE)
    assert sorted(keys_of(REFERENCE.CONFIGURATIONS[name][0])) == sorted(key for key, _ in rows)
    assert not [key for key, meaning in rows if not meaning], "keys without a description"


def keys_in(values: object) -> Iterator[str]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield key
            yield from keys_in(value)
    elif isinstance(values, list):
        for value in values:
            yield from keys_in(value)


def test_the_reference_has_the_keys_of_the_example_experiments():
    page = PAGES["reference/configuration/experiment.md"]
    for path in (ROOT / "configs" / "experiments").glob("*.yaml"):
        for key in keys_in(yaml.safe_load(path.read_text())):
            assert f"| `{key}` |" in page, f"{path.name}: {key}"


def test_a_description_cannot_break_a_table():
    assert REFERENCE.text("a | b, *c* and `d | e_f` _g_") == (r"a \| b, \*c\* and `d \| e_f` \_g\_")


class Loads(HTMLParser):
    """Addresses that a page loads by itself; links that a reader follows are none of them."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if tag in LOADED and values.get("rel") not in ("canonical", "prev", "next"):
            self.addresses += [values[LOADED[tag]] or ""] if LOADED[tag] in values else []


def last_change(folder: Path) -> float:
    return max(path.stat().st_mtime for path in [folder, *folder.rglob("*")])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed")
    built = ROOT / "site" / "index.html"  # by .ci/run, a moment ago
    if built.exists() and built.stat().st_mtime > max(map(last_change, SOURCES)):
        return built.parent
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_the_site_loads_nothing_from_other_hosts(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 60
    for page in pages:
        loads = Loads()
        loads.feed(page.read_text())
        assert loads.addresses
        for address in loads.addresses:
            parts = urlsplit(address)
            assert not parts.netloc, f"{page.name} loads {address}"
            if page.name != "404.html":  # its addresses begin at the root of a server
                assert (page.parent / parts.path).is_file(), f"{page.name} loads {address}"
    for style in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", style.read_text()), style


@pytest.mark.slow
def test_the_search_finds_a_page_when_the_site_is_opened_as_a_file(site, chromium):
    asked: list[str] = []
    page = chromium.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.goto((site / "index.html").as_uri())
    page.click(".md-search__input")
    page.keyboard.type("CORP isotonic regression", delay=5)
    page.wait_for_selector(".md-search-result__link")
    links = page.query_selector_all(".md-search-result__link")
    results = [str(link.get_attribute("href")) for link in links]
    page.close()
    assert any("verification.html" in address for address in results), results
    assert asked
    assert not [address for address in asked if not address.startswith(("file:", "about:"))]


# Texts of a page with less contrast to their background than WCAG 2.1 asks for.
FAINT_TEXTS = r"""() => {
  const pixel = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = (colour) => {
    pixel.clearRect(0, 0, 1, 1);
    pixel.fillStyle = colour;
    pixel.fillRect(0, 0, 1, 1);
    return [...pixel.getImageData(0, 0, 1, 1).data];
  };
  const over = (top, below) =>
    [0, 1, 2].map((i) => below[i] + ((top[i] - below[i]) * top[3]) / 255);
  const linear = (v) => (v <= 10 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) =>
    0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) + 0.05;
  const lineage = (element) => (element ? [element, ...lineage(element.parentElement)] : []);
  const faint = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode.data.trim();
    const element = texts.currentNode.parentElement;
    const style = getComputedStyle(element);
    const opacity = lineage(element).reduce((o, e) => o * getComputedStyle(e).opacity, 1);
    const hidden = style.visibility === "hidden" || !element.getClientRects().length;
    if (!text || hidden || opacity < 0.05) continue; // links beside headings appear at the mouse
    const background = lineage(element)
      .map((e) => rgba(getComputedStyle(e).backgroundColor))
      .reduceRight((below, top) => over(top, below), [255, 255, 255]);
    const colour = rgba(style.color);
    const shown = over([...colour.slice(0, 3), colour[3] * opacity], background);
    const ratio = luminance(shown) / luminance(background);
    const contrast = Math.max(ratio, 1 / ratio);
    const large = parseFloat(style.fontSize) >= 24;
    if (contrast < (large ? 3 : 4.5)) faint.push(`${contrast.toFixed(2)}: ${text.slice(0, 40)}`);
  }
  return faint;
}"""


@pytest.mark.slow
@pytest.mark.parametrize(("system", "scheme"), [("dark", "slate"), ("light", "default")])
def test_pages_follow_the_colours_of_the_system_and_are_legible(site, chromium, system, scheme):
    page = chromium.new_page(color_scheme=system, viewport={"width": 1400, "height": 1000})
    for name in ("index", "tutorials/train", "reference/python/stages", "how-to/kubernetes"):
        page.goto((site / f"{name}.html").as_uri())
        page.wait_for_selector(f'body[data-md-color-scheme="{scheme}"]')
        assert page.evaluate(FAINT_TEXTS) == [], name
    page.close()


@pytest.mark.slow
def test_a_reader_chooses_colours_and_goes_back_to_those_of_the_system(site, chromium):
    page = chromium.new_page(color_scheme="dark")
    page.goto((site / "index.html").as_uri())
    for scheme in ("slate", "default", "slate", "slate"):  # system, light, dark, system
        page.wait_for_selector(f'body[data-md-color-scheme="{scheme}"]')
        page.click("[data-md-component=palette] label:not([hidden])")
    page.close()


@pytest.mark.slow
def test_no_flag_of_a_command_line_is_split_at_its_hyphens(site, chromium):
    page = chromium.new_page(viewport={"width": 400, "height": 800})
    page.goto((site / "tutorials" / "train.html").as_uri())
    heights = page.eval_on_selector_all(
        ".language-bash .word", "words => words.map((w) => w.getClientRects().length)"
    )
    assert len(heights) > 20
    assert set(heights) == {1}
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(DOCS.glob("notebooks/*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_can_be_read_and_downloaded(site, path):
    page = site / "notebooks" / f"{path.stem}.html"
    text = re.sub("<[^>]*>", "", page.read_text())
    for cell in json.loads(path.read_text())["cells"]:
        first = "".join(cell["source"]).splitlines()[0].lstrip("# ").replace("`", "")
        assert html.unescape(text).find(first.partition("[")[0]) > 0, first
    assert f'href="{path.name}"' in page.read_text()
    assert (page.parent / path.name).is_file()
    index = (site / "tutorials" / "index.html").read_text()
    assert f"notebooks/{page.name}" in index
    assert f"notebooks/{path.name}" not in index
