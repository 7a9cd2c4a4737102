"""Every command checks where it writes before it reads, computes or writes anything.

The inputs of the commands exist and are unusable: a command that starts its work fails on them,
and its message does not name the output.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from squall.datasets.errors import ConfigError
from squall.pipeline.cli.main import COMMANDS, main
from squall.pipeline.outputs import check_output_file, check_output_folder, output_path

ROOT = Path(__file__).parents[2]
FILE, FOLDER = "file", "folder"
# command: words before the output, and what the output is
OUTPUTS = {
    "synth": (["synth", "--hours", "1", "--out"], FOLDER),
    "init": (["init", "TEXT", "--out"], FILE),
    "init --plot": (["init", "TEXT", "--plot"], FILE),
    "ingest --report": (["ingest", "CONFIG", "--archive", "NEW", "--report"], FILE),
    "status --plot": (["status", "EMPTY", "--plot"], FILE),
    "export": (["export", "EMPTY"], FOLDER),
    "export of weights": (["export", "TEXT"], FILE),
    "train": (["train", "EXPERIMENT", "--archive", "EMPTY", "--out"], FOLDER),
    "calibrate": (["calibrate", "--archive", "EMPTY", "--model", "TEXT", "--out"], FILE),
    "calibrate --plot": (
        ["calibrate", "--archive", "EMPTY", "--model", "TEXT", "--out", "w.safetensors", "--plot"],
        FILE,
    ),
    "forecast": (["forecast", "--archive", "EMPTY", "--model", "persistence", "--out"], FILE),
    "forecast as Zarr": (
        ["forecast", "--archive", "EMPTY", "--model", "persistence", "--out"],
        FOLDER,
    ),
    "verify": (["verify", "--archive", "EMPTY", "--model", "persistence", "--out"], FOLDER),
    "maps": (["maps", "TEXT", "--out"], FOLDER),
    "point --plot": (["point", "TEXT", "--at", "52,5", "--plot"], FILE),
}
SUFFIXES = {
    "init": ".yaml",
    "init --plot": ".png",
    "ingest --report": ".json",
    "status --plot": ".png",
    "export of weights": ".safetensors",
    "calibrate": ".safetensors",
    "calibrate --plot": ".png",
    "forecast": ".nc",
    "point --plot": ".png",
    "forecast as Zarr": ".zarr",
}
commands = pytest.mark.parametrize("command", OUTPUTS)


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str, Path], str]:
    """Run a command with an output; returns its message after exit code 2."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("not what is expected")
    words = {
        "EMPTY": str(tmp_path / "empty"),
        "TEXT": str(tmp_path / "text"),
        "NEW": str(tmp_path / "new.icechunk"),
        "CONFIG": str(ROOT / "configs/archives/knmi.yaml"),
        "EXPERIMENT": str(ROOT / "configs/experiments/small.yaml"),
    }

    def message(command: str, out: Path | str) -> str:
        before = {*tmp_path.rglob("*")}
        arguments = [words.get(word, word) for word in OUTPUTS[command][0]]
        assert main([*arguments, str(out)]) == 2
        assert {*tmp_path.rglob("*")} == before
        return capsys.readouterr().err

    return message


@commands
def test_a_folder_for_a_file_or_a_file_for_a_folder_is_refused(
    run: Callable[[str, Path], str], command: str, tmp_path: Path
) -> None:
    out = tmp_path / f"out{SUFFIXES.get(command, '')}"
    if OUTPUTS[command][1] == FILE:
        out.mkdir()
        assert f"{out}: is a folder" in run(command, out)
    else:
        out.write_text("mine")
        assert f"{out}: is a file" in run(command, out)
        assert out.read_text() == "mine"


@commands
def test_an_output_below_a_file_or_a_dead_link_is_refused(
    run: Callable[[str, Path], str], command: str, tmp_path: Path
) -> None:
    name = f"a/b/out{SUFFIXES.get(command, '')}"
    (tmp_path / "plain").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    assert f"{tmp_path / 'plain'}: is a file" in run(command, tmp_path / "plain" / name)
    assert f"{tmp_path / 'link'}: is a link to nothing" in run(command, tmp_path / "link" / name)


@commands
def test_a_folder_without_permission_is_refused(
    run: Callable[[str, Path], str], command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    original = tempfile.TemporaryFile

    def refused(*, dir: Path) -> object:  # root may write everywhere
        if dir == locked:
            raise PermissionError(13, "Permission denied", str(dir))
        return original(dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    message = run(command, locked / f"out{SUFFIXES.get(command, '')}")
    assert f"{locked}: nothing can be written there (Permission denied); give this user" in message


@pytest.mark.parametrize(
    "command", [c for c in SUFFIXES if c not in ("ingest --report", "export of weights")]
)
def test_an_unknown_ending_is_refused(
    run: Callable[[str, Path], str], command: str, tmp_path: Path
) -> None:
    assert "must end in" in run(command, tmp_path / "out.xyz")
    assert "must end in" in run(command, tmp_path / "out")


@pytest.mark.parametrize("command", [c for c in OUTPUTS if c != "export"])
def test_an_address_is_no_local_path(run: Callable[[str, str], str], command: str) -> None:
    assert "is an address" in run(command, f"s3://bucket/out{SUFFIXES.get(command, '')}")


def test_every_output_of_every_command_is_in_the_table() -> None:
    """Options and arguments whose name or value is an output."""
    import importlib

    outputs = set()
    for command in COMMANDS:
        parser = argparse.ArgumentParser()
        importlib.import_module(f"squall.pipeline.cli.{command}").add_arguments(parser)
        for action in parser._actions:
            if action.dest in ("out", "plot", "report"):
                name = "" if action.dest == "out" else f" --{action.dest}"
                outputs.add(f"{command}{name}")
            else:
                assert not any(word in (action.help or "") for word in ("to write", "folder for"))
    assert outputs == set(OUTPUTS) - {"export of weights", "forecast as Zarr"}


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc here")
def test_a_folder_that_permits_writing_and_cannot_be_written_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"/proc: nothing can be written there \(No such file"):
        check_output_folder(Path("/proc/site"), "--out")


def test_missing_folders_are_created_with_the_output(tmp_path: Path) -> None:
    check_output_file(tmp_path / "a" / "b.nc", "--out", (".nc",))
    check_output_folder(tmp_path / "a" / "b", "--out")
    assert not list(tmp_path.iterdir())


def test_devices_and_long_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no regular file"):
        check_output_file(Path("/dev/null"), "--out")
    for name in ("x" * 240, "x" * 4000):
        with pytest.raises(ConfigError, match=r"too long|cannot be written"):
            check_output_file(tmp_path / name, "--out")
        with pytest.raises(ConfigError, match=r"too long|cannot be written"):
            check_output_folder(tmp_path / name, "--out")


def test_home_and_file_addresses_are_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert output_path("~/maps") == Path("/home/ada/maps")
    assert output_path("file:///data/maps") == Path("/data/maps")
    assert output_path(Path("maps")) == Path("maps")
    for wrong in ("s3://bucket/maps", Path("gs://bucket/maps"), "", "a\0b", None, 5):
        with pytest.raises(ConfigError):
            output_path(wrong)
