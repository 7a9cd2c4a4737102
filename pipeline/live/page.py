"""The page for people: static files that the build of the package makes from the folder ``web``.

Public: `page_files`, `MISSING_PAGE`.
"""

from __future__ import annotations

from importlib.resources import files

MISSING_PAGE = (
    "the web page is not part of this installation, because it could not be built; install Squall "
    "again where the npm registry can be reached (pip install --force-reinstall --no-deps …)"
)
START = "index.html"  # of the page


def page_files() -> dict[str, bytes]:
    """Name and content of each file; empty if the package was built without the page.

    The page itself comes last, so that what it loads is there before it.
    """
    folder = files("squall.pipeline.live").joinpath("web", "dist")
    if not folder.joinpath(START).is_file():
        return {}
    names = sorted((entry.name for entry in folder.iterdir()), key=lambda name: name == START)
    return {name: folder.joinpath(name).read_bytes() for name in names if name[0] != "."}
