"""An output names Squall's own commit, and never that of a repository around it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from squall import __version__
from squall.pipeline import provenance
from squall.pipeline.provenance import code_version, commit_of

SQUALL = '[project]\nname = "squall"\n'
WHO = ("-c", "user.name=A", "-c", "user.email=a@b.c")


def git(folder: Path, *words: str) -> str:
    run = subprocess.run(
        ["git", "-C", str(folder), *WHO, *words], capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


def repository(folder: Path, pyproject: str, *, package: str = "") -> Path:
    """A repository with one commit; returns the path of this module's copy in it."""
    module = folder / package / "pipeline" / "provenance.py"
    module.parent.mkdir(parents=True)
    shutil.copy(provenance.__file__, module)
    (folder / "pyproject.toml").write_text(pyproject)
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return module


@pytest.fixture
def module(tmp_path: Path) -> Path:
    return repository(tmp_path / "squall", SQUALL)


def test_a_checkout_of_squall_has_its_commit(module: Path) -> None:
    assert commit_of(module) == git(module.parent, "rev-parse", "--short", "HEAD")


def test_a_tag_does_not_hide_the_commit(module: Path) -> None:
    git(module.parent, "tag", "-a", "v9", "-m", "v9")
    assert commit_of(module) == git(module.parent, "rev-parse", "--short", "HEAD")


@pytest.mark.parametrize("changed", ["pyproject.toml", "pipeline/new.py", "pipeline/provenance.py"])
def test_a_changed_checkout_is_dirty(module: Path, changed: str) -> None:
    with (module.parents[1] / changed).open("a") as file:
        file.write("# new\n")
    assert commit_of(module) == git(module.parent, "rev-parse", "--short", "HEAD") + "-dirty"


def test_outputs_in_a_checkout_do_not_make_it_dirty(module: Path) -> None:
    (module.parents[1] / "runs").mkdir()
    (module.parents[1] / "runs" / "last.ckpt").write_text("")
    assert not str(commit_of(module)).endswith("-dirty")


def test_a_virtual_environment_has_no_commit(module: Path) -> None:
    """The environment may lie in another repository, or in a checkout of Squall."""
    for name, pyproject in (("other", '[project]\nname = "mine"\n'), ("squall2", SQUALL)):
        root = repository(module.parents[2] / name, pyproject).parents[1]
        installed = root / ".venv/lib/python3/site-packages/squall/pipeline/provenance.py"
        installed.parent.mkdir(parents=True)
        shutil.copy(module, installed)
        assert commit_of(installed) is None
        git(root, "add", "-f", ".")
        git(root, "commit", "-q", "-m", "with the environment")
        assert commit_of(installed) is None


@pytest.mark.parametrize("pyproject", ['[project]\nname = "mine"\n', "[tool.x]\n", "no TOML ["])
def test_another_project_with_the_same_paths_has_no_commit(tmp_path: Path, pyproject: str) -> None:
    assert commit_of(repository(tmp_path / "mine", pyproject)) is None


def test_a_copy_in_a_folder_of_another_repository_has_no_commit(tmp_path: Path) -> None:
    assert commit_of(repository(tmp_path / "mine", SQUALL, package="vendor/squall")) is None


def test_an_unpacked_release_in_another_repository_has_no_commit(
    module: Path, tmp_path: Path
) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "README").write_text("mine")
    git(tmp_path, "add", "README")
    git(tmp_path, "commit", "-q", "-m", "mine")
    shutil.rmtree(module.parents[1] / ".git")
    assert commit_of(module) is None


def test_a_hook_of_another_repository_changes_nothing(
    module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = commit_of(module)
    other = repository(tmp_path / "other", SQUALL).parents[1]
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert commit_of(module) == expected


def test_without_git_there_is_the_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(module) is None
    code_version.cache_clear()
    assert code_version() == __version__
    code_version.cache_clear()
