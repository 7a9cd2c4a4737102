"""Whether the files of the repository agree on the version that is released; prints the version."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def problems(root: Path) -> list[str]:
    """What has to be done before a release, a sentence each."""
    version = version_of(root)
    found = []
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        found.append(f"src/squall/__init__.py: version {version} is not like 1.2.3")
    changelog = (root / "CHANGELOG.md").read_text()
    chapter = re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.M)
    if chapter is None:
        found.append(f"CHANGELOG.md: has no chapter '## [{version}] - YYYY-MM-DD'")
    cited = yaml.safe_load((root / "CITATION.cff").read_text())["version"]
    if cited != version:
        found.append(f"CITATION.cff: has version {cited}, expected {version}")
    for path in sorted((root / "configs" / "schedules").glob("*.yaml")):
        for image in re.findall(r"image: squall:(\S+)", path.read_text()):
            if image != version:
                found.append(f"{path.relative_to(root)}: names squall:{image}, expected {version}")
    return found


def version_of(root: Path) -> str:
    """The version in ``src/squall/__init__.py``."""
    text = (root / "src" / "squall" / "__init__.py").read_text()
    match = re.search(r'^__version__ = "(.+)"$', text, re.M)
    assert match is not None
    return match[1]


def main() -> int:
    """Print the version; returns 1 if something has to be done first."""
    found = problems(ROOT)
    print("\n".join(found) or version_of(ROOT), file=sys.stderr if found else sys.stdout)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
