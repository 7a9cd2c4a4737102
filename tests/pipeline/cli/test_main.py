"""The command line: its output and its exit codes."""

import json
import re
from pathlib import Path

import pytest
import xarray as xr
import yaml

from squall.pipeline.cli.main import main, parse

ROOT = Path(__file__).parents[3]
COMMANDS = (
    *("synth", "init", "ingest", "status", "archive", "export", "train", "calibrate", "forecast"),
    *("verify", "maps", "point"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_every_argument(command, capsys):
    with pytest.raises(SystemExit) as exit:
        main([command, "--help"])
    assert exit.value.code == 0
    text = capsys.readouterr().out
    assert f"squall {command}" in re.split("examples?:", text)[1]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["rain"],
        ["synth"],
        ["synth", "--out", "x", "--hours", "many"],
        ["synth", "--out", "x", "--hours", "-1"],
        ["synth", "--out", "x", "--hours", "inf"],
        ["synth", "--out", "x", "--episode-hours", "0"],
        ["synth", "--out", "x", "--size", "8"],
        ["status", "nowhere"],
        ["maps", "nowhere.nc", "--out", "x"],
        ["point", "nowhere.nc", "--at", "52,5"],
        ["point", "."],
        ["point", ".", "--at", "52"],
        ["forecast", "--archive", "x"],
        ["status", "x", "--yaml"],
        ["init"],
        ["init", "a.nc", "--out", "x.nc"],
        ["ingest", "nowhere.yaml", "--archive", "x"],
        ["train", "nowhere.yaml"],
        ["train", "nowhere.yaml", "--archive", "x", "a"],
    ],
    ids=" ".join,
)
def test_a_wrong_argument_gives_a_message_and_exit_code_2(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(arguments)
    except SystemExit as exit:
        code = exit.code
    assert code == 2
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    assert printed.strip()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a command is missing; `squall --help` lists the commands"),
        (["forcast", "--out", "x"], "'forcast' is not a command; did you mean 'forecast'?"),
        (["xyz"], "'xyz' is not a command; `squall --help` lists the commands"),
    ],
)
def test_a_missing_or_mistyped_command_is_named(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["forecast", "--achive", "x"], "--achive is not a flag; did you mean '--archive'?"),
        (["forecast", "--leadtimes=3"], "--leadtimes is not a flag; did you mean '--lead-times'?"),
        (["forecast", "--lead_times", "3"], "did you mean '--lead-times'?"),
        (["forecast", "-archive", "x"], "-archive is not a flag; did you mean '--archive'?"),
        (["forecast", "--Archive", "x"], "--Archive is not a flag; did you mean '--archive'?"),
        (["point", "f.nc", "--day", "1"], "--day is not a flag; `squall point --help` lists the"),
        (["train", "--innit", "m", "a.b=1"], "--innit is not a flag; did you mean '--init'?"),
        (["archive", "check", ".", "--repare"], "did you mean '--repair'? `squall archive check"),
    ],
)
def test_a_mistyped_flag_is_named_with_the_flag_that_is_meant(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["point", ".", "--at", "-37.8,145"],
        ["point", ".", "--at=-37.8,145"],
        ["synth", "--out", "x", "--quie"],
        ["forecast", "--archive", ".", "--model", "squall-base", "--out", "f", "--lead-time", "3"],
        ["status", "--", "--odd-name"],
    ],
    ids=" ".join,
)
def test_values_and_beginnings_of_flags_are_not_taken_for_mistyped_flags(
    words, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("--odd-name").mkdir()
    assert parse(words).command == words[0]


def test_help_is_printed_beside_a_mistyped_flag(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["forecast", "--achive", "x", "--help"])
    assert exit.value.code == 0
    assert "--archive" in capsys.readouterr().out


def test_data_problems_give_exit_code_1(capsys, tmp_path):
    assert main(["status", str(tmp_path)]) == 1
    assert "there is no archive; make one with `squall ingest`" in capsys.readouterr().err
    (tmp_path / "text.nc").write_text("hello")
    assert main(["maps", str(tmp_path / "text.nc"), "--out", str(tmp_path)]) == 1
    config = ROOT / "configs/archives/knmi.yaml"
    files = f"{tmp_path}/*.h5"
    arguments = ["ingest", str(config), "--archive", str(tmp_path / "a"), "--files", files]
    assert main(arguments) == 1
    assert f"no file matches {tmp_path}/*.h5" in capsys.readouterr().err


@pytest.mark.slow
def test_from_radar_files_to_maps(tmp_path, monkeypatch, capsys, experiment_values):
    """The commands of the whole chain, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    assert main(["synth", "--out", "radar", "--hours", "2", "--seed", "5", "--quiet"]) == 0
    count = int(re.search(r"(\d+) scans in radar", capsys.readouterr().out)[1])
    config = str(ROOT / "configs/archives/synthetic.yaml")
    ingest = ["ingest", config, "--archive", "a.icechunk", "--files", "radar/**/*.nc"]
    assert main(ingest) == 0
    (next((tmp_path / "radar").rglob("*.nc"))).write_bytes(b"broken")
    assert main(ingest) == 1

    assert main(["status", "a.icechunk", "--json"]) == 0
    out = capsys.readouterr().out
    summary = json.loads(out[out.index("{") :])
    assert (summary["present"], summary["step_minutes"], summary["height"]) == (count, 5.0, 256)
    assert main(["status", "a.icechunk"]) == 0
    assert f"{count} present" in capsys.readouterr().out

    experiment = experiment_values | {
        "data": experiment_values["data"] | {"split": {"validation_fraction": 0.4}}
    }
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(experiment))
    train = ["train", "e.yaml", "--archive", "a.icechunk", "trainer.max_epochs=1", "--out", "run"]
    assert main(train) == 0
    assert main(train) == 2
    assert "holds a run" in capsys.readouterr().err
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["trainer"]["max_epochs"] == 1

    model = ["--archive", "a.icechunk", "--model", "run/best.ckpt"]
    assert main(["forecast", *model, "--out", "f.nc"]) == 0
    with xr.open_dataset("f.nc") as forecast:
        assert forecast.rain_rate.shape == (4, 256, 256)
    verify = ["verify", *model, "--model", "extrapolation", "--out", "scores", "--every", "30"]
    options = ["--thresholds", "0.5", "2", "--scales", "4", "--cases", "1", "--block", "60"]
    assert main([*verify, *options, "--include-training", "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("extrapolation", "persistence", "scores/report.html"))
    written = {path.suffix for path in (tmp_path / "scores").iterdir() if path.is_file()}
    assert written == {".nc", ".csv", ".html", ".png", ".txt"}
    assert main(["maps", "f.nc", "--out", "maps", "--archive", "a.icechunk", "--animate"]) == 0
    assert len(list((tmp_path / "maps").glob("*min.png"))) == 4
    assert len(list((tmp_path / "maps").glob("*_overview.png"))) == 1
    assert len(list((tmp_path / "maps").glob("*_animation.*"))) == 1
