"""`scripts/release`: what has to agree before a version is released."""

import re
import shutil
from pathlib import Path

import yaml

import squall
from tests.load_script import load_script

ROOT = Path(__file__).parents[1]
CHECKS = load_script("release_checks")
FILES = ("CHANGELOG.md", "CITATION.cff", "src/squall/__init__.py")


def copy_of_repository(folder: Path, version: str) -> Path:
    """The files that name the version, ready to release it."""
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "configs" / "schedules", folder / "configs" / "schedules")
    for path in (p for p in folder.rglob("*") if p.is_file()):
        path.write_text(path.read_text().replace(squall.__version__, version))
    log = folder / "CHANGELOG.md"
    head = f"## [Unreleased]\n\n## [{version}] - 2026-12-01"
    log.write_text(log.read_text().replace("## [Unreleased]", head, 1))
    return folder


def test_a_version_that_all_files_name_can_be_released(tmp_path):
    root = copy_of_repository(tmp_path, "7.8.9")
    assert CHECKS.version_of(root) == "7.8.9"
    assert CHECKS.problems(root) == []


def test_each_file_that_names_another_version_is_a_problem(tmp_path):
    root = copy_of_repository(tmp_path, "7.8.9")
    for name in ("CHANGELOG.md", "CITATION.cff", "configs/schedules/kubernetes-live.yaml"):
        path = root / name
        before = path.read_text()
        path.write_text(before.replace("7.8.9", "7.8.8"))
        (problem,) = CHECKS.problems(root)
        assert problem.startswith(f"{name}: ")
        path.write_text(before)


def test_version_and_licence_are_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == squall.__version__
    assert citation["license"] == "Apache-2.0"
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text()
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_third_party_notices_name_what_the_page_is_bundled_from():
    notices = (ROOT / "THIRD_PARTY.md").read_text().lower()
    package = yaml.safe_load((ROOT / "pipeline/live/web/package.json").read_text())
    names = {"ol": "openlayers"}
    for name in package["dependencies"]:
        assert re.search(rf"\b{names.get(name, name)}\b", notices), name


def test_hooks_run_tools_that_are_pinned():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    pins = (ROOT / "pyproject.toml").read_text()
    packages = {"lint-imports": "import-linter", "python": "pytest"}
    for repository in hooks["repos"]:
        assert repository["repo"] == "local"  # nothing is downloaded
        for hook in repository["hooks"]:
            tool = hook["entry"].split()[0].removeprefix(".venv/bin/")
            assert f'"{packages.get(tool, tool)}==' in pins, hook["id"]
