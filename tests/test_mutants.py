"""The mutation run of `scripts/mutants.py`: it changes what runs, and sees what a test notices."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "mutants.py"
MODULE = '''"""A module with 1 number in its docstring."""
LIMIT: int = 3


def is_short(words: list[str]) -> bool:
    return len(words) < LIMIT and not words[0] == "long"
'''


@pytest.fixture(scope="module")
def mutants():
    spec = importlib.util.spec_from_file_location("mutants", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutants"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["mutants"]


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "convgru").mkdir()
    (tmp_path / "convgru" / "words.py").write_text(MODULE)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "squall").symlink_to("..")
    (tmp_path / "__init__.py").touch()
    (tmp_path / "convgru" / "__init__.py").touch()
    (tmp_path / "tests" / "convgru").mkdir(parents=True)
    (tmp_path / "tests" / "convgru" / "test_words.py").write_text(
        "from squall.convgru.words import is_short\n\n\n"
        "def test_two_words_are_short():\n"
        "    assert is_short(['a', 'b'])\n"
    )
    return tmp_path


def test_each_kind_of_expression_is_changed(mutants, repository):
    changed = mutants.mutants_of(repository / "convgru" / "words.py", repository)
    assert {(mutant.line, mutant.new) for mutant in changed} == {
        (2, "4"),
        (6, "((len(words) < LIMIT) or (not words[0] == 'long'))"),
        (6, "(len(words) <= LIMIT)"),
        (6, "(words[0] == 'long')"),
        (6, "(words[0] != 'long')"),
        (6, "1"),
    }
    for mutant in changed:
        ast.parse(mutant.applied_to(MODULE.encode()))


def test_a_mutant_is_killed_where_a_test_fails_and_the_module_is_put_back(mutants, repository):
    module = repository / "convgru" / "words.py"
    killers = {
        mutant.new: mutants.killer_of(mutant, repository)
        for mutant in mutants.mutants_of(module, repository)
        if mutant.new in {"4", "(words[0] == 'long')"}
    }
    assert killers == {
        "4": None,
        "(words[0] == 'long')": "tests/convgru/test_words.py::test_two_words_are_short",
    }
    assert module.read_text() == MODULE


def test_the_tests_of_a_module_come_before_those_of_its_room(mutants):
    files = mutants.files_with_tests_of(mutants.ROOT / "convgru" / "motion.py", mutants.ROOT)
    assert files[0] == "tests/convgru/test_motion.py"
    assert "tests/convgru/test_cell.py" in files
    assert "tests/pipeline/cli/test_main.py" not in files
