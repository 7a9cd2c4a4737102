"""Any file of an archive may be damaged: every command ends, and an error is one sentence."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from squall.datasets.archive.snapshots import tag
from squall.datasets.archive.writer import ArchiveWriter
from squall.datasets.errors import DataError
from squall.datasets.grid import Grid
from squall.pipeline.cli.main import main
from tests.datasets.archive.archive_store import NOON, STEP, Codes, Scans

DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "random": lambda content: np.random.default_rng(1).bytes(len(content)),
    "gone": lambda content: None,
}
COMMANDS = [
    ["status"],
    ["archive", "history"],
    ["archive", "tag", "new"],
    ["archive", "expire", "--older-than", "0s"],
    ["archive", "check"],
]
KINDS = ["config.yaml", "refs/branch.main", "refs/tag.old", "snapshots", "manifests", "chunks"]


@pytest.fixture(scope="module")
def sound(
    tmp_path_factory: pytest.TempPathFactory, grid: Grid, rain_codes: Codes, scans_of: Scans
) -> Path:
    """An archive of two commits, the first with a tag. Read only."""
    path = tmp_path_factory.mktemp("archives") / "sound.icechunk"
    writer = ArchiveWriter(path, STEP, {"name": "radar"})
    writer.commit(grid, scans_of(rain_codes(3), NOON), [], "first")
    tag(path, "old")
    writer.commit(grid, scans_of(rain_codes(1, 2), NOON + 3 * STEP, source="more"), [], "second")
    return path


def arguments(command: list[str], path: Path) -> list[str]:
    words = 2 if command[0] == "archive" else 1
    return [*command[:words], str(path), *command[words:], "--quiet"]


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file(
    sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, damage: str
) -> None:
    file = max(p for p in (sound / kind).rglob("*") if p.is_file()) if kind[0] != "c" else None
    name = "config.yaml" if kind == "config.yaml" else None
    chosen = sound / name if name else file or max((sound / kind).iterdir())
    for command in COMMANDS:
        path = tmp_path / "damaged.icechunk"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(sound, path)
        content = DAMAGE[damage](chosen.read_bytes())
        target = path / chosen.relative_to(sound)
        target.unlink() if content is None else target.write_bytes(content)
        code = main(arguments(command, path))
        printed = capsys.readouterr().err
        assert code in (0, 1, 2), command
        assert "Traceback" not in printed
        assert len(printed.splitlines()) <= 1, printed
        if kind == "refs/branch.main" and damage != "gone":
            assert "cannot be opened as an archive" in printed


def test_a_plain_file_in_place_of_an_archive(
    tmp_path: Path, grid: Grid, rain_codes: Codes, scans_of: Scans
) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("five years of work")
    writer = ArchiveWriter(path, STEP, {"name": "radar"})
    assert writer.archive() is None
    with pytest.raises(DataError, match="is a file, and an archive needs a folder"):
        writer.commit(grid, scans_of(rain_codes(1), NOON), [], "never")
    inside = ArchiveWriter(path / "a.icechunk", STEP, {"name": "radar"})
    with pytest.raises(DataError, match=r"a\.icechunk: .*(cannot|may not) be"):
        inside.commit(grid, scans_of(rain_codes(1), NOON), [], "never")
    for command in COMMANDS:
        assert main(arguments(command, path)) in (1, 2)
    assert path.read_text() == "five years of work"


@pytest.mark.parametrize("address", ["file://{}", "file://localhost{}", "{}"])
def test_every_way_to_write_a_local_address(
    sound: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in COMMANDS[:2]:
        words = arguments(command, sound)
        words[words.index(str(sound))] = address.format(sound)
        assert main(words) == 0
        assert capsys.readouterr().out


def test_an_archive_cannot_lie_on_a_web_server(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["archive", "history", "https://example.org/knmi.icechunk"]
    assert main(words) == 2
    assert "an archive cannot be read or written over http; copy it" in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_no_error(sound: Path) -> None:
    """As `squall archive history … | head -1`: no message, and the code of SIGPIPE."""
    program = "import sys; from squall.pipeline.cli.main import script; script()"
    command = [sys.executable, "-c", program, "archive", "history", str(sound)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        printed = process.stderr.read()
    assert (process.returncode, printed) == (141, b"")
