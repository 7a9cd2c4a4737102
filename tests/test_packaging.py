"""What is installed: one import package, in a wheel, from an sdist, editable, beside others."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import squall
from squall.pipeline.live.page import page_files

ROOT = Path(__file__).parents[1]
SOURCES = (
    *("src", "convgru", "datasets", "pipeline"),
    *("pyproject.toml", "README.md", "setup.py", "MANIFEST.in", "LICENSE", "THIRD_PARTY.md"),
)
PAGE = "pipeline/live/web/"


def build(project: Path, kind: str, out: Path) -> Path:
    """Build a ``wheel`` or ``sdist`` of a project with the installed setuptools, offline."""
    out.mkdir(exist_ok=True)
    code = f"import setuptools.build_meta as b; print(b.build_{kind}({str(out)!r}))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    )
    return out / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, its links as links, so that a build leaves nothing behind."""
    folder = tmp_path_factory.mktemp("project")
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info", "node_modules", ".tests")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=unwanted)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(project, "wheel", tmp_path_factory.mktemp("wheel"))


def files_of(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_wheel_has_squall_at_its_top_and_nothing_else(wheel):
    assert {name.split("/")[0] for name in files_of(wheel)} == {"squall"}
    assert wheel.name.startswith(f"squall-{squall.__version__}-py3")


def test_the_wheel_holds_every_file_that_the_code_reads(wheel):
    sources = {
        f"squall/{path.relative_to(ROOT).as_posix()}"
        for folder in ("convgru", "datasets", "pipeline")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
        if not path.relative_to(ROOT).as_posix().startswith(PAGE)
    }
    sources |= {f"squall/{PAGE}dist/{name}" for name in page_files()}
    assert files_of(wheel) == sources | {
        "squall/__init__.py",
        "squall/__init__.pyi",
        "squall/py.typed",
    }


def test_a_wheel_from_the_sdist_is_the_same(project, wheel, tmp_path):
    sdist = build(project, "sdist", tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.glob("squall-*")
    assert files_of(build(unpacked, "wheel", tmp_path / "again")) == files_of(wheel)


def test_wheel_and_sdist_hold_the_page_with_its_licences(project, wheel, tmp_path):
    if not page_files():
        pytest.skip("the page was not built: the npm registry could not be reached")
    assert {f"squall/{PAGE}dist/{name}" for name in ("index.html", "LICENSES.txt")} <= files_of(
        wheel
    )
    with tarfile.open(build(project, "sdist", tmp_path / "sdist")) as archive:
        names = archive.getnames()
    assert not [name for name in names if "node_modules" in name]
    for name in ("package-lock.json", "src/main.ts", "dist/index.html", "dist/LICENSES.txt"):
        assert any(entry.endswith(f"src/squall/{PAGE}{name}") for entry in names), name


def test_wheel_and_sdist_pass_the_checks_of_a_package_index(project, wheel, tmp_path):
    sdist = build(project, "sdist", tmp_path / "sdist")
    for words in (["twine", "check", "--strict", wheel, sdist], ["check_wheel_contents", wheel]):
        done = subprocess.run(
            [sys.executable, "-m", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_package_without_the_page_can_be_built(project, tmp_path):
    copy = tmp_path / "project"
    unwanted = shutil.ignore_patterns("build", "dist", "*.egg-info")
    shutil.copytree(project, copy, symlinks=True, ignore=unwanted)
    (copy / PAGE / "package-lock.json").write_text("{}")  # npm refuses it
    names = files_of(build(copy, "wheel", tmp_path / "out"))
    assert not [name for name in names if PAGE in name]
    assert "squall/pipeline/live/page.py" in names


def has_pip() -> bool:
    """Whether pip is installed. Looking for the module would switch setuptools' distutils off."""
    return any(importlib.metadata.distributions(name="pip"))


@pytest.fixture(scope="module")
def other_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of other people with the import name ``datasets``, as Hugging Face's has it."""
    path = tmp_path_factory.mktemp("other") / "other-1.0-py3-none-any.whl"
    record = "datasets/__init__.py,,\nother-1.0.dist-info/METADATA,,\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("datasets/__init__.py", "NAME = 'other'\n")
        info = "other-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", f"{record}{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


@pytest.mark.skipif(not has_pip(), reason="installs with pip")
@pytest.mark.parametrize("squall_first", [True, False], ids=["squall first", "squall last"])
def test_another_package_named_datasets_can_be_installed_too(
    wheel, other_wheel, tmp_path, squall_first
):
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-index"]
    for package in (wheel, other_wheel) if squall_first else (other_wheel, wheel):
        subprocess.run([*pip, "--quiet", "--no-deps", str(package)], check=True)
    code = (
        "import datasets, squall.datasets.archive.records as ours;"
        "assert datasets.NAME == 'other'; print(ours.__file__)"
    )
    # the libraries that squall needs; the editable squall beside them is not on this path
    environment = os.environ | {"PYTHONPATH": sysconfig.get_path("purelib")}
    done = subprocess.run(
        [python, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not has_pip(), reason="installs with pip")
def test_the_installed_wheel_makes_a_forecast(wheel, tmp_path):
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    install = ["-m", "pip", "--python", str(python), "install", "--no-index", "--no-deps"]
    subprocess.run([sys.executable, *install, "--quiet", str(wheel)], check=True)
    shutil.copy(ROOT / "configs" / "archives" / "synthetic.yaml", tmp_path)
    for line in (
        "synth --out synthetic --hours 1 --size 64",
        "ingest synthetic.yaml --archive a.icechunk",
        "forecast --archive a.icechunk --model squall-base --lead-times 2 --out forecast.nc",
        "point forecast.nc --at 55.6,10.9",
    ):
        done = subprocess.run(
            [python, tmp_path / "env" / "bin" / "squall", *line.split()],
            cwd=tmp_path,
            # the libraries that squall needs, without the editable squall beside them
            env=os.environ | {"PYTHONPATH": sysconfig.get_path("purelib")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"


def test_the_folders_of_the_repository_are_linked():
    for name in ("convgru", "datasets", "pipeline"):
        link = ROOT / "src" / "squall" / name
        assert link.is_symlink()
        assert link.readlink() == Path("..", "..", name)


def test_a_type_checker_elsewhere_understands_the_installed_package(tmp_path):
    """The editable install is a path to ``src``, which static tools follow (decision 16)."""
    # what is found is skipped, what is not found or has no py.typed is an error
    command = ["-m", "mypy", "--config-file=", "--follow-imports=skip", "--cache-dir", tmp_path]
    code = "import squall\nfrom squall.datasets.times import parse_time"
    checked = {
        name: subprocess.run(
            [sys.executable, *command, "-c", text],
            cwd=tmp_path,
            env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        for name, text in {"ours": code, "missing": "import squall_that_is_not_there"}.items()
    }
    assert "Success" in checked["ours"], checked["ours"]
    assert "import-not-found" in checked["missing"]


def test_help_reads_as_a_table_of_contents():
    text = squall.__doc__
    for name in squall.__all__:
        assert name in text, name
        assert getattr(squall, name) is not None
