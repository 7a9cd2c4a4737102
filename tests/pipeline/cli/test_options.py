"""Flags come from the configurations of the stages, and messages name the flags."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, Field

from squall.datasets.errors import ConfigError
from squall.datasets.synthetic.config import SyntheticConfig
from squall.pipeline.cli.main import main, parse
from squall.pipeline.cli.options import add_options, configured
from squall.pipeline.config import NoOption, Option
from squall.pipeline.export.config import ExportConfig, WeightsConfig
from squall.pipeline.forecast.config import ForecastConfig
from squall.pipeline.forecast.period_config import PeriodConfig
from squall.pipeline.ingest.config import IngestConfig
from squall.pipeline.init.config import InitConfig
from squall.pipeline.maps.config import MapsConfig
from squall.pipeline.serve.config import ServeConfig
from squall.pipeline.synth.config import SynthConfig
from squall.pipeline.train.config import TrainConfig
from squall.pipeline.verify.config import VerifyConfig

EXPORT = ["export", "a.icechunk", "out"]
VERIFY = ["verify", "--archive", "s3://a", "--model", "extrapolation", "--out", "x"]

# A command line that sets every field, and the fields that the command line does not set.
STAGES = [
    (
        SynthConfig,
        ["synth", "--out", "x", "--hours", "1", "--seed", "2", "--size", "32",
         "--episode-hours", "2", "--start", "2024-06-02", "--live"],
        {"radar.step_minutes", "radar.start", "radar.missing_fraction", "radar.radar_faults"},
    ),
    (
        InitConfig,
        ["init", "a.nc", "s3://b/c.nc", "--out", "n.yaml", "--force", "--plot", "p.png",
         "--config", "c.yaml", "--anonymous"],
        set(),
    ),
    (
        IngestConfig,
        ["ingest", "c.yaml", "--archive", "a", "--files", "*.nc", "--since", "2D", "--until",
         "2024-06-01", "--exclude", "*.tmp", "--dry-run", "--scheduler", "threads",
         "--workers", "2", "--wait", "1",
         "--reread"],
        {"source"},
    ),
    (
        ExportConfig,
        [*EXPORT, "--convention", "mlcast", "--start", "2024-06-01", "--end", "2024-06-02",
         "--license", "MIT", "--creator", "A <a@b.org>", "--identifier", "NL-KNMI-radar",
         "--created-with", "https://github.com/mlcast-community/mlcast-dataset-a-b@v1",
         "--workers", "1"],
        {"archive"},  # the positional argument may be a checkpoint, too
    ),
    (WeightsConfig, EXPORT, {"checkpoint"}),
    (TrainConfig, ["train", "c.yaml", "--out", "x", "--resume"], {"experiment"}),
    (
        ForecastConfig,
        ["forecast", "--archive", "s3://a", "--model", "steps", "--out", "f.nc", "--at", "latest",
         "--lead-times", "3", "--max-age", "20min", "--members", "5", "--thresholds", "1",
         "--percentiles", "50", "--products", "median", "--codes", "--raw-chances",
         "--keep-bits", "7"],
        {"minutes"},  # excludes --lead-times
    ),
    (
        PeriodConfig,
        ["forecast", "--archive", "s3://a", "--model", "steps", "--out", "f.zarr", "--at", "latest",
         "--lead-times", "3", "--max-age", "20min", "--members", "5", "--thresholds", "1",
         "--percentiles", "50", "--products", "median", "--codes", "--raw-chances",
         "--keep-bits", "7", "--period", "a/b", "--every", "5", "--workers", "2", "--scheduler",
         "tcp://a:1", "--fresh"],
        {"minutes"},  # excludes --lead-times
    ),
    (
        VerifyConfig,
        [*VERIFY, "--forecasts", "f.nc",
         "--start", "2024-06-01", "--end", "2024-06-02", "--period", "a/b", "--every",
         "15", "--include-training", "--incomplete-contexts", "--lead-times", "3", "--thresholds",
         "1", "2", "--scales", "4",
         "--pixels", "observed", "--block", "30", "--members", "5", "--reference",
         "extrapolation", "--cases", "1", "--workers", "2", "--scheduler", "tcp://a:1", "--fresh"],
        {"minutes"},  # excludes --lead-times; tested below
    ),
    (
        MapsConfig,
        ["maps", "f.nc", "--out", "x", "--animate", "--animation-format", "webp", "--accumulation",
         "--extent", "3", "8", "50", "54", "--levels", "1", "2", "--timezone", "Europe/Rome",
         "--places", "f.nc", "--dpi", "80", "--thresholds", "1"],
        set(),
    ),
    (
        ServeConfig,
        ["serve", "s3://a", "--host", "::", "--port", "80", "--public-url", "https://a.org",
         "--trusted-proxies", "10.0.0.1", "--requests-per-minute", "0", "--connections", "9",
         "--area-values", "1", "--past", "1h", "--check-s", "2"],
        set(),
    ),
]  # fmt: skip


@pytest.fixture(autouse=True)
def empty_files(tmp_path, monkeypatch):
    """A folder with the files that command lines name."""
    monkeypatch.chdir(tmp_path)
    for name in ("c.yaml", "f.nc"):
        Path(name).touch()


def fields(model: type[BaseModel]) -> set[str]:
    names = set(model.model_fields)
    if model is SynthConfig:
        names = names - {"radar"} | {f"radar.{name}" for name in SyntheticConfig.model_fields}
    return names


@pytest.mark.parametrize(
    ("model", "words", "no_option"), STAGES, ids=[model.__name__ for model, _, _ in STAGES]
)
def test_every_field_is_an_option_or_listed_here(model, words, no_option):
    arguments = parse(words)
    assert fields(model) - set(vars(arguments)) == no_option
    assert len(fields(model)) > len(no_option)


def test_unset_options_keep_the_defaults_of_the_model():
    config = configured(VerifyConfig, parse([*VERIFY, "--minutes", "30"]))
    expected = VerifyConfig(archives=("s3://a",), models=("extrapolation",), out="x", minutes=30)
    assert config == expected
    assert configured(SynthConfig, parse(["synth", "--out", "x"])) == SynthConfig(out="x")


def test_several_values_and_repeated_flags_add_up():
    more = ["--model", "steps", "linda", "--archive", "s3://b", "--model", "s-prog"]
    config = configured(VerifyConfig, parse([*VERIFY, *more]))
    assert config.models == ("extrapolation", "steps", "linda", "s-prog")
    assert config.archives == ("s3://a", "s3://b")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["synth", "--out", "x", "--hours", "many"], "squall: --hours: Input should be a valid n"),
        (["synth", "--out", "x", "--size", "8"], "squall: --size: Input should be greater than"),
        (
            ["synth", "--out", "x", "--episode-hours", "0.01"],
            "squall: episode_hours 0.01 is shorter than two scans",
        ),
        ([*VERIFY, "--every", "0"], "squall: --every: Input should be greater than 0"),
        ([*VERIFY, "--thresholds", "1", "x"], "squall: --thresholds: Input should be a valid num"),
        ([*VERIFY, "--start", "soon"], "squall: --start: 'soon' is no time; write it like"),
        ([*VERIFY, "--period", "a"], "squall: --period: 'a' is no period; write it START/END\n"),
        (
            ["forecast", "--archive", "s3://a", "--model", "steps", "--out", "f.nc", "--at", "6h"],
            "squall: --at: '6h' is no time",
        ),
        ([*EXPORT, "--end", "2024-13-01"], "squall: --end: '2024-13-01' is no time"),
        (
            ["export", "c.yaml", "out", "--workers", "2"],
            "squall: --workers is for archives, c.yaml is a checkpoint; leave it out",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_messages_name_the_flag_that_was_typed(words, message, capsys):
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_flags_that_exclude_each_other(capsys):
    with pytest.raises(SystemExit):
        parse([*VERIFY, "--minutes", "30", "--lead-times", "3"])
    assert "--lead-times: not allowed with argument --minutes" in capsys.readouterr().err


class Example(BaseModel):
    rate: Annotated[float, Option(flag="--rain")] = Field(default=0.5, description="rate [mm/h]")
    share: int = Field(default=7, description="share, 50 % say")
    hidden: Annotated[int, NoOption("for the test")] = 3


def test_the_help_says_unit_and_default(capsys):
    parser = argparse.ArgumentParser()
    add_options(parser, Example)
    parser.print_help()
    printed = capsys.readouterr().out
    assert "--rain MM/H  rate [mm/h] (default: 0.5)" in printed
    assert "--share N    share, 50 % say (default: 7)" in printed
    assert "hidden" not in printed
    with pytest.raises(ConfigError, match=r"^--rain: Input should be a valid number"):
        configured(Example, parser.parse_args(["--rain", "heavy"]))


def loaded_modules(*words: str) -> set[str]:
    code = (
        "import json, sys\n"
        "from squall.pipeline.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print(json.dumps(list(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


HEAVY = {"torch", "pytorch_lightning", "cartopy", "icechunk", "zarr", "matplotlib", "dask"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["synth", "init", "ingest", "export", "train", "forecast", "verify"]
)
def test_the_help_of_a_command_waits_for_no_heavy_library(name):
    assert not HEAVY & loaded_modules(name, "--help")


@pytest.mark.parametrize("words", [["--help"], ["--version"]])
def test_the_help_of_squall_needs_the_standard_library_alone(words):
    assert not (HEAVY | {"pandas", "numpy", "pydantic"}) & loaded_modules(*words)
