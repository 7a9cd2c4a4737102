"""The shape of the code: which way imports point, how long things are, what each room says.

import-linter (`.ci/run`) checks which room may import which; here is what it does not check.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("convgru", "datasets", "pipeline")
FORBIDDEN = {
    "convgru": {"squall.datasets", "squall.pipeline"},
    "datasets": {"squall.convgru", "squall.pipeline"},
    "pipeline": set(),
}
FUNCTION_LINES, MODULE_LINES = 80, 400


def modules(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def imported(module: Path) -> set[str]:
    """Names of the packages that a module imports, of ours with the second part of the name."""
    names: list[str] = []
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {
        ".".join(name.split(".")[:2]) if name.startswith("squall.") else name.split(".")[0]
        for name in names
    }


@pytest.mark.parametrize("package", FORBIDDEN)
def test_package_imports_in_the_allowed_direction(package):
    assert modules(package)
    for module in modules(package):
        assert not imported(module) & FORBIDDEN[package], module


def test_the_model_needs_pytorch_and_little_else():
    allowed = {"torch", "pytorch_lightning", "pydantic", "numpy", "cv2", "safetensors"}
    own_packages = {"squall.convgru", "lazy_loader"}
    for module in modules("convgru"):
        assert imported(module) <= allowed | own_packages | sys.stdlib_module_names, module


def test_code_is_imported_by_its_installed_name():
    """Folders of the repository are no packages: `datasets` may be Hugging Face's."""
    for module in modules(*PACKAGES, "scripts", "tests"):
        if module.name != "test_packaging.py":  # has another package of that name
            assert not imported(module) & set(PACKAGES), module


def functions(module: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def test_functions_and_modules_are_not_too_long():
    everything = modules(*PACKAGES, "scripts", "tests", "src")
    offenders = [
        f"{module.relative_to(ROOT)}: {count} lines"
        for module in everything
        if (count := len(module.read_text().splitlines())) > MODULE_LINES
    ] + [
        f"{module.relative_to(ROOT)}: {name} has {count} lines"
        for module in everything
        for name, count in functions(module)
        if count > FUNCTION_LINES
    ]
    assert not offenders, "\n".join(offenders)


def rooms() -> list[str]:
    folders = {module.parent for module in modules(*PACKAGES)}
    return sorted("squall." + ".".join(folder.relative_to(ROOT).parts) for folder in folders)


@pytest.mark.parametrize("room", rooms())
def test_a_room_has_a_docstring_and_its_names_can_be_imported(room):
    importlib.invalidate_caches()  # a folder listed before a file came would hide the file
    module = importlib.import_module(room)
    sentences = re.findall(r"[.:](?=\s|$)", module.__doc__ or "")
    assert len(sentences) >= 2, f"{room} does not say what it owns and where to start"
    for name in getattr(module, "__all__", []):
        assert getattr(module, name) is not None, f"{room}.{name}"
        folder = ROOT.joinpath(*room.split(".")[1:])
        same = folder / f"{name}.py"
        assert not same.exists(), f"{room}.{name} is a module and an exported name at once"
