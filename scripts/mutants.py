"""How well the tests bite: change the code at random places and count what the tests notice.

    .venv/bin/python scripts/mutants.py convgru datasets --count 200 --jobs 2 --json mutants.json

A mutant is a copy of the repository with one changed expression: a comparison, an operator, a
number, a condition. The tests of its module's room run on it; the mutant is killed if one fails
or if they take too long. A mutant that survives is a line that no test holds, or a change
that makes no difference; someone has to look at it. The same seed gives the same mutants.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).resolve().parents[1]
LONGEST_TEST_RUN = 600  # s
SWAPPED = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.In: "not in", ast.NotIn: "in", ast.Is: "is not", ast.IsNot: "is",
    ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "*",
    ast.BitAnd: "|", ast.BitOr: "&", ast.And: "or", ast.Or: "and",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One changed expression; `start` and `end` are offsets in bytes of the module's text."""

    module: str
    line: int
    start: int
    end: int
    old: str
    new: str

    def applied_to(self, text: bytes) -> bytes:
        return text[: self.start] + self.new.encode() + text[self.end :]


def mutants_of(module: Path, root: Path = ROOT) -> list[Mutant]:
    """All mutants of a module, in the order of its text."""
    text = module.read_bytes()
    line_starts = [0]
    for line in text.splitlines(keepends=True):
        line_starts.append(line_starts[-1] + len(line))
    found = []
    for node, new in _changes(ast.parse(text)):
        start = line_starts[node.lineno - 1] + node.col_offset
        end = line_starts[node.end_lineno - 1] + node.end_col_offset
        old = text[start:end].decode()
        if old != new:
            found.append(Mutant(str(module.relative_to(root)), node.lineno, start, end, old, new))
    return sorted(found, key=lambda mutant: (mutant.start, mutant.end, mutant.new))


def _changes(tree: ast.Module) -> Iterator[tuple[ast.expr, str]]:
    """Expressions and what they are replaced with."""
    skipped = set(_not_run(tree))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            left, right = ast.unparse(node.left), ast.unparse(node.comparators[0])
            yield node, f"({left} {SWAPPED[type(node.ops[0])]} {right})"
        elif isinstance(node, ast.BinOp) and type(node.op) in SWAPPED:
            if not isinstance(node.left, ast.Constant) or not isinstance(node.left.value, str):
                left, right = ast.unparse(node.left), ast.unparse(node.right)
                yield node, f"(({left}) {SWAPPED[type(node.op)]} ({right}))"
        elif isinstance(node, ast.BoolOp):
            values = f" {SWAPPED[type(node.op)]} ".join(f"({ast.unparse(v)})" for v in node.values)
            yield node, f"({values})"
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
            yield node, f"({ast.unparse(node.operand)})"
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield node, str(not node.value)
        elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            yield node, repr(node.value + 1)
        elif isinstance(node, ast.IfExp | ast.If):
            yield node.test, f"(not ({ast.unparse(node.test)}))"


def _not_run(tree: ast.Module) -> Iterator[ast.AST]:
    """Nodes that no test can notice: annotations, imports for type checkers, texts of f-strings."""
    for node in ast.walk(tree):
        unseen: list[ast.AST | None] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            unseen = [node.returns]
        elif isinstance(node, ast.arg | ast.AnnAssign):
            unseen = [node.annotation]
        elif isinstance(node, ast.JoinedStr) or _is_for_type_checkers(node):
            unseen = [node]
        for part in unseen:
            if part is not None:
                yield from ast.walk(part)


def _is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def files_with_tests_of(module: Path, root: Path = ROOT) -> list[str]:
    """Test files of a module: of its own name first, then those that import it, then its room's."""
    name = ".".join(["squall", *module.relative_to(root).with_suffix("").parts])
    files = sorted((root / "tests").rglob("test_*.py"))
    room = root / "tests" / module.relative_to(root).parent
    ranks = {
        test: 0 if test.stem == f"test_{module.stem}" and test.is_relative_to(room)
        else 1 if name in test.read_text()
        else 2 if test.parent == room
        else 3
        for test in files
    }  # fmt: skip
    return [
        str(test.relative_to(root))
        for test in sorted(files, key=lambda test: (ranks[test], test))
        if ranks[test] < 3
    ]


def killer_of(mutant: Mutant, copy: Path) -> str | None:
    """First test in a copy of the repository that notices a mutant; None if no test does."""
    module = copy / mutant.module
    original = module.read_bytes()
    module.write_bytes(mutant.applied_to(original))
    try:
        return first_failure(files_with_tests_of(module, copy), copy)
    finally:
        module.write_bytes(original)


def first_failure(tests: list[str], copy: Path) -> str | None:
    """First of the tests that fails; None if all pass."""
    environment = os.environ | {
        "PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "-p", "no:cacheprovider"]
    try:
        run = subprocess.run(
            [*command, *tests],
            cwd=copy, env=environment, timeout=LONGEST_TEST_RUN, capture_output=True, text=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "time limit"
    failures = re.findall(r"^(?:FAILED|ERROR) (\S+)", run.stdout, re.MULTILINE)
    return (failures or [f"exit code {run.returncode}"])[0] if run.returncode else None


def copy_of_repository(folder: Path) -> Path:
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    for name in filter(None, files):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target, follow_symlinks=False)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", help="folders whose modules are changed")
    parser.add_argument("--count", type=int, default=200, help="number of mutants (200)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="mutants tested at the same time (1)")
    parser.add_argument("--json", type=Path, help="file for the same numbers")
    options = parser.parse_args()
    modules = [m for folder in options.folders for m in sorted((ROOT / folder).rglob("*.py"))]
    everything = [mutant for module in modules for mutant in mutants_of(module)]
    sample = random.Random(options.seed).sample(everything, min(options.count, len(everything)))
    killers: dict[Mutant, str | None] = {}
    with tempfile.TemporaryDirectory() as scratch:
        copies: Queue[Path] = Queue()
        for number in range(options.jobs):
            copies.put(copy_of_repository(Path(scratch) / f"copy{number}" / "squall"))

        def tested(mutant: Mutant) -> tuple[Mutant, str | None]:
            copy = copies.get()
            try:
                return mutant, killer_of(mutant, copy)
            finally:
                copies.put(copy)

        with ThreadPoolExecutor(options.jobs) as threads:
            for mutant, killer in threads.map(tested, sample):
                killers[mutant] = killer
                change = f"{mutant.module}:{mutant.line}  {mutant.old!r} -> {mutant.new!r}"
                print(
                    f"killed    {change}  {killer}" if killer else f"SURVIVED  {change}", flush=True
                )
                if options.json:
                    rows = [asdict(m) | {"killed_by": killer} for m, killer in killers.items()]
                    options.json.write_text(json.dumps(rows, indent=1))
        tests = sorted(
            {killer.partition("[")[0] for killer in killers.values() if killer and "::" in killer}
        )
        if tests and (failure := first_failure(tests, copies.get())):
            raise SystemExit(
                f"{failure} fails without a mutant, too: what it killed does not count"
            )
    killed = sum(killer is not None for killer in killers.values())
    print(f"killed {killed} of {len(killers)} (of {len(everything)} possible)")


if __name__ == "__main__":
    main()
