"""Every option that takes a time or an age: what it accepts, and how it refuses the rest."""

import argparse
from datetime import timedelta

import pandas as pd
import pytest

from squall.datasets.archive import snapshots
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.pipeline.calibrate.config import CalibrateConfig
from squall.pipeline.cli import main as cli
from squall.pipeline.cli.options import configured
from squall.pipeline.export.config import ExportConfig
from squall.pipeline.forecast.config import ForecastConfig
from squall.pipeline.forecast.period_config import PeriodConfig
from squall.pipeline.ingest.config import IngestConfig
from squall.pipeline.live.config import LiveOptions
from squall.pipeline.serve.config import ServeConfig
from squall.pipeline.synth.config import SynthConfig
from squall.pipeline.verify.config import VerifyConfig

NOON = pd.Timestamp("2024-06-01T12:00")
NOW = pd.Timestamp("2024-06-20T12:00")
NETWORK = "{name: tiny, step: 5min, variable: rain, source: '*.nc', archive: a}"

INGEST = "ingest tiny.yaml"
FORECAST = "forecast --archive a --model persistence --out f.nc"
VERIFY = "verify --archive a --model persistence --out scores"
CALIBRATE = "calibrate --archive a --model m.ckpt --out m.safetensors"
OPTIONS = {  # command with option: what the option takes
    f"{INGEST} --since": "start or age",
    f"{INGEST} --until": "end or age",
    f"{FORECAST} --at": "start",
    f"{FORECAST} --max-age": "age",
    f"{FORECAST} --period": "period",
    f"{VERIFY} --start": "start",
    f"{VERIFY} --end": "end",
    f"{VERIFY} --period": "period",
    f"{CALIBRATE} --start": "start",
    f"{CALIBRATE} --end": "end",
    "export a a.zarr --start": "start",
    "export a a.zarr --end": "end",
    "archive expire a --older-than": "age",
    "live tiny.yaml --replay a --start": "start",
    "live tiny.yaml --replay a --end": "end",
    "serve site --past": "age",
    "synth --out s --start": "start or age",
}
CONFIGS = {
    "forecast": PeriodConfig,
    "verify": VerifyConfig,
    "calibrate": CalibrateConfig,
    "live": LiveOptions,
    "serve": ServeConfig,
    "synth": SynthConfig,
}
TIMES = {
    "2024-06-01T12:00": NOON,
    "2024-06-01T12:00Z": NOON,
    "2024-06-01 14:00+02:00": NOON,
    "20240601T1200": NOON,
    "2024-06-01T12": NOON,
}
DATES = {  # first moment, and the first moment after it
    "20240601": ("2024-06-01", "2024-06-02"),
    "2024-06-01": ("2024-06-01", "2024-06-02"),
    "2024-06": ("2024-06-01", "2024-07-01"),
    "2024": ("2024-01-01", "2025-01-01"),
}
AGES = {"12h": "12h", "2 days": "2D", "2D": "2D", "1h 30min": "90min", "PT5M": "5min"}
NONSENSE = [
    *("soon", "", " ", "12", "-12", "12:00", "2024-13-01", "20240631", "2024-06-01T25:00", "NaT"),
    *("-12h", "-2 days", "-PT5M", "1e9D", "99999999W", "5 M", "01/06/2024", "2024-06-01/", "nan"),
]


def value_of(option: str, text: str) -> object:
    """The value that a command works with, after the user typed a text behind an option."""
    command, *words = option.split()
    arguments = cli.parse([command, *words, text])
    if command == "ingest":
        source = RadarNetworkConfig(
            name="tiny", step="5min", variable="rain", source="*.nc", archive="a"
        )
        config = configured(IngestConfig, arguments, source=source)
    elif command == "export":
        config = configured(ExportConfig, arguments, archive="a")
    elif command == "archive":
        return expired_age([command, *words, text])
    else:
        is_period = command != "forecast" or "--period" in words
        config = configured(CONFIGS[command] if is_period else ForecastConfig, arguments)
    if "--period" in words:
        period = config.period if command == "forecast" else config.periods[0]
        return period.start, period.end
    return getattr(config, words[-1][2:].replace("-", "_"))


def expired_age(words: list[str]) -> timedelta:
    """The age that `squall archive expire` gives to the archive."""
    ages: list[timedelta] = []

    class Report:
        pass

    def expire(archive: str, age: timedelta, *, dry_run: bool) -> Report:
        ages.append(age)
        return Report()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(snapshots, "expire", expire)
        assert cli.main(words) == 0
    return ages[0]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with the inputs that the command lines name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("squall.datasets.times.now", lambda: NOW)
    (tmp_path / "a").mkdir()
    (tmp_path / "tiny.yaml").write_text(NETWORK)
    return tmp_path


def of_kinds(*kinds: str) -> list[str]:
    return [option for option, kind in OPTIONS.items() if set(kinds) & set(kind.split(" or "))]


@pytest.mark.parametrize("text", TIMES)
@pytest.mark.parametrize("option", of_kinds("start", "end"))
def test_a_time_is_that_moment_in_utc(option, text):
    assert value_of(option, text) == TIMES[text]


@pytest.mark.parametrize("text", DATES)
@pytest.mark.parametrize("option", of_kinds("start", "end"))
def test_a_date_is_inclusive(option, text):
    first, following = (pd.Timestamp(time) for time in DATES[text])
    last = following - pd.Timedelta("1ns")
    is_end = "end" in OPTIONS[option]
    assert value_of(option, text) == (last if is_end else first)


@pytest.mark.parametrize("first", ["2024-06-01T12:00", "20240601T1200"])
@pytest.mark.parametrize("last", DATES)
@pytest.mark.parametrize("option", of_kinds("period"))
def test_a_period_includes_its_last_date(option, first, last):
    following = pd.Timestamp(DATES[last][1])
    assert value_of(option, f"{first}/{last}") == (NOON, following - pd.Timedelta("1ns"))


@pytest.mark.parametrize("text", AGES)
@pytest.mark.parametrize("option", of_kinds("age"))
def test_an_age_is_counted_back_from_now(option, text):
    age = pd.Timedelta(AGES[text])
    assert value_of(option, text) == (age if OPTIONS[option] == "age" else NOW - age)


def refused(option: str) -> list[str]:
    kinds = OPTIONS[option].split(" or ")
    texts = list(NONSENSE)
    if "age" not in kinds:
        texts += AGES
    if kinds == ["age"]:
        texts += [*TIMES, *DATES]
    if kinds == ["period"]:
        texts += [*TIMES, *DATES, "/", "2024-06-02/2024-06-01", "2024-06-01/12h", "/2024-06-01"]
    return texts


@pytest.mark.parametrize("form", ["two words", "one word"])
@pytest.mark.parametrize(
    ("option", "text"), [(option, text) for option in OPTIONS for text in refused(option)]
)
def test_anything_else_is_refused_with_one_sentence(option, text, form, folder, capsys):
    words, flag = option.split(), option.split()[-1]
    words = [*words, text] if form == "two words" else [*words[:-1], f"{flag}={text}"]
    before = sorted(folder.rglob("*"))
    assert cli.main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"squall: {flag}")
    assert repr(text) in line or text in line.partition(flag)[2]
    assert "like" in line or "write it START/END" in line or "is after the end" in line
    assert sorted(folder.rglob("*")) == before


def test_every_option_for_a_time_is_tested():
    listed = set()
    for name in cli.COMMANDS:
        parser = argparse.ArgumentParser(prog=name)
        cli._complete(parser, name)
        listed |= set(time_options(parser, name))
    assert listed == {(option.split()[0], option.split()[-1]) for option in OPTIONS}


def time_options(parser: argparse.ArgumentParser, name: str) -> list[tuple[str, str]]:
    """Command and flag of the options whose value is called a time, an age or a period."""
    options = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                options += time_options(inner, name)
        if action.metavar in ("TIME", "AGE", "DURATION", "START/END"):
            options.append((name, action.option_strings[-1]))
    return options
