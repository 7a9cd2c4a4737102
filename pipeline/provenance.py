"""Where an output comes from: version and time. Also files that are complete or do not exist."""

import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from squall import __version__


@cache
def code_version() -> str:
    """Version of Squall, with the commit if this code lies in a git checkout of Squall.

    ``-dirty`` follows the commit if a tracked file differs from it, or if one of the packages has
    a file that git neither tracks nor ignores.
    """
    commit = commit_of(Path(__file__).resolve())
    return f"{__version__}+{commit}" if commit else __version__


def commit_of(module: Path) -> str | None:
    """Commit of Squall's checkout that a copy of this module lies in; None if it lies in none.

    A virtual environment often lies in the repository of another project, or a copy of Squall in
    a folder of it. The commit of such a repository says nothing about Squall.
    """
    folder = module.parent
    if _git(folder, "ls-files", "--full-name", "--error-unmatch", module.name) != _MODULE:
        return None
    root = _git(folder, "rev-parse", "--show-toplevel")
    if root is None or _project_name(Path(root) / "pyproject.toml") != "squall":
        return None
    commit = _git(folder, "describe", "--always", "--dirty", "--exclude=*")
    new_files = _git(Path(root), "ls-files", "--others", "--exclude-standard", "--", *_PACKAGES)
    return f"{commit}-dirty" if commit and new_files and "-dirty" not in commit else commit


_PACKAGES = ("convgru", "datasets", "pipeline")
_MODULE = "pipeline/provenance.py"  # path of this module in the repository
# git sets these variables in hooks; they would name another repository than the module's
_NAMES_OF_A_REPOSITORY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR")


def _git(folder: Path, *words: str) -> str | None:
    """Output of a git command in a folder; None if it fails."""
    environment = {k: v for k, v in os.environ.items() if k not in _NAMES_OF_A_REPOSITORY}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        run = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip()


def _project_name(pyproject: Path) -> str | None:
    try:
        project = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError):
        return None
    return str(project.get("name"))


def now_utc() -> str:
    """The present moment, UTC, in ISO format, for history attributes."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; rename it to ``path`` if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; put it in place of ``path`` if the block succeeds.

    A folder that ``path`` names is replaced; for the moment of two renamings there is none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = (
        path.with_name(f".{path.stem}.{os.getpid()}.{word}{path.suffix}")
        for word in ("part", "old")
    )
    try:
        yield temporary
        if path.exists():
            path.rename(old)
        try:
            temporary.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
    finally:
        for rest in (temporary, old):
            shutil.rmtree(rest, ignore_errors=True)
