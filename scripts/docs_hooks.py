"""Hooks of MkDocs: what the site has beside the files of ``docs/`` (see mkdocs.yml).

They add the reference pages that are made from the code, the notebooks as pages, the decisions in
the order of their numbers, pages from the top of the repository like the changelog, and the icon.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from docs_reference import CONFIGURATIONS, TITLES, pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from squall.pipeline.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
FROM_TOP = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "third_party.md": "THIRD_PARTY.md",
}
ICON = ROOT / "pipeline" / "live" / "web" / "icon.svg"
DECISIONS = "decisions/index.md"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Complete the navigation."""
    assert config.nav is not None
    for section in config.nav:
        if "Reference" in section:
            section["Reference"] = [*_generated(), *section["Reference"]]
        if "Tutorials" in section:
            section["Tutorials"].append({"Notebooks": [_page_of(path) for path in notebooks()]})
    config.nav += [
        {"Decisions": [DECISIONS, *map(_decision, decisions())]},
        {"Project": [*FROM_TOP]},
    ]
    return config


def _generated() -> list[Any]:
    commands = [{f"squall {name}": f"reference/commands/{name}.md"} for name in COMMANDS]
    keys = [{TITLES[name]: f"reference/configuration/{name}.md"} for name in CONFIGURATIONS]
    return [
        {"Command line": ["reference/commands/index.md", *commands]},
        {"Configuration files": keys},
    ]


def _decision(path: Path) -> dict[str, str]:
    return {f"{number_of(path)} {title_of(path)}": f"decisions/{path.name}"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no files of ``docs/``, and the icon."""
    contents = pages() | {DECISIONS: decisions_page()}
    contents |= {_page_of(path): notebook_page(path) for path in notebooks()}
    contents |= {name: from_top((ROOT / source).read_text()) for name, source in FROM_TOP.items()}
    for path, content in contents.items():
        files.append(File.generated(config, path, content=content))
    files.append(File.generated(config, "assets/icon.svg", content=ICON.read_text()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let links to a notebook lead to its page; on the disk they lead to its file."""
    return re.sub(r"\]\(\.\./notebooks/(\w+)\.ipynb\)", r"](../notebooks/\1.md)", markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Mark the words of command lines that a browser would split at a hyphen, like flags."""
    return re.sub(
        r'(<div class="[^"]*language-bash.*?<code>)(.*?)(</code>)',
        lambda block: block[1] + _with_whole_words(block[2]) + block[3],
        html,
        flags=re.DOTALL,
    )


def _with_whole_words(code: str) -> str:
    parts = re.split(r"(<[^>]*>)", code)  # text and tags in turn
    parts[::2] = [re.sub(r"\S*-\S+", r'<span class="word">\g<0></span>', p) for p in parts[::2]]
    return "".join(parts)


def notebooks() -> list[Path]:
    """The notebooks, by name."""
    return sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def _page_of(notebook: Path) -> str:
    return f"notebooks/{notebook.stem}.md"


def notebook_page(path: Path) -> str:
    """The cells of a notebook as a page, with a link to the file; notebooks have no outputs."""
    heading, *cells = [
        "".join(cell["source"])
        if cell["cell_type"] == "markdown"
        else "```python\n" + "".join(cell["source"]) + "\n```"
        for cell in json.loads(path.read_text())["cells"]
    ]
    title, _, rest = heading.partition("\n")
    link = f"*A notebook: [{path.name}]({path.name}). To run it: `jupyter lab docs/notebooks`.*"
    return "\n\n".join([title, link, rest.strip(), *cells]) + "\n"


def decisions() -> list[Path]:
    """The decisions in the order of their numbers."""
    return sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))


def decisions_page() -> str:
    """A list of the decisions."""
    lines = [f"| {number_of(path)} | [{title_of(path)}]({path.name}) |" for path in decisions()]
    head = "# Decisions\n\nWhy things are as they are, and what was tried: half a page for each "
    head += "decision that someone may want to undo.\n\n| | decision |\n| --- | --- |\n"
    return head + "\n".join(lines) + "\n"


def number_of(path: Path) -> int:
    """The number of a decision, which its file's name begins with."""
    return int(path.name.partition("-")[0])


def title_of(path: Path) -> str:
    """The title of a decision without its number."""
    first = path.read_text().partition("\n")[0]
    return re.sub(r"^# \d+\.? ", "", first)


def from_top(content: str) -> str:
    """A page from the top of the repository: its links to ``docs/`` begin in ``docs/``."""
    return content.replace("](docs/", "](")
