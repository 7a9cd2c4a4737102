"""Dependencies point one way: pipeline -> datasets, convgru; those two know nobody."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "convgru": {"datasets", "pipeline"},
    "datasets": {"convgru", "pipeline"},
    "pipeline": set(),
}


def imported(module: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", FORBIDDEN)
def test_package_imports_in_the_allowed_direction(package):
    modules = list((ROOT / package).rglob("*.py"))
    assert modules
    for module in modules:
        assert not imported(module) & FORBIDDEN[package], module


def test_the_model_needs_pytorch_and_little_else():
    allowed = {"torch", "pytorch_lightning", "pydantic", "numpy", "cv2", "safetensors", "convgru"}
    for module in (ROOT / "convgru").rglob("*.py"):
        assert imported(module) <= allowed | sys.stdlib_module_names, module
