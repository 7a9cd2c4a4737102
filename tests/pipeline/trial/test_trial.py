"""The trial at the end of a training."""

import re
import subprocess
import sys

import pandas as pd
import pytest
import yaml

from squall.convgru.checkpoint import load_nowcaster
from squall.datasets.errors import ConfigError, DataError
from squall.pipeline.cli.main import main
from squall.pipeline.scores.intervals import with_intervals
from squall.pipeline.train.experiment import TrainConfig
from squall.pipeline.train.run import train
from squall.pipeline.trial import run as trial_module
from squall.pipeline.trial.run import trial
from squall.pipeline.verify.config import VerifyConfig
from squall.pipeline.verify.run import verify

TRIAL = {
    "compare": ["extrapolation"],
    "forecasts": 4,  # every 15 minutes
    "thresholds_mm_h": [0.5, 2.0],
}


@pytest.fixture(scope="module")
def experiment(chain, make_experiment):
    return make_experiment(
        chain.archive,
        network__head="exceedance",
        loss={"kind": "exceedance"},
        data__kept_windows=8,
        trainer__max_epochs=1,
        trial=TRIAL,
    )


@pytest.fixture(scope="module")
def run(experiment, tmp_path_factory):
    return train(TrainConfig(experiment=experiment, out=tmp_path_factory.mktemp("t") / "run"))


@pytest.fixture(scope="module")
def tried(run, experiment):
    return trial(run, experiment)


def test_the_model_is_calibrated_on_the_days_of_validation(run, tried):
    assert tried.model == run.out / "tiny.safetensors"
    _, provenance = load_nowcaster(tried.model)
    (calibration,) = provenance["calibrations"]
    assert calibration["source"]["first"].startswith("2024-06-01T03")


def test_the_report_has_the_ratios_that_a_verification_has(chain, run, tried, tmp_path):
    (report,) = tried.reports
    assert report.startswith("synthetic, 1 test days, 3 forecasts up to 20 min")
    assert (run.out / "scores" / "report.html").is_file()
    (start, end) = run.test_periods[0][0]
    start = pd.Timestamp(start) + pd.Timedelta("5min")  # forecasts are every 15 min
    again = verify(
        VerifyConfig(
            archives=[str(chain.archive)], models=[tried.model, "extrapolation"],
            out=tmp_path / "scores", periods=[f"{start.isoformat()}/{end}"],
            every_minutes=15, thresholds_mm_h=TRIAL["thresholds_mm_h"],
            workers=1,
        )
    )  # fmt: skip
    scores = with_intervals(again.blocks, reference="extrapolation").sel({"method": "tiny"})
    for threshold in TRIAL["thresholds_mm_h"]:
        assert f"{float(scores.csi_gain.sel(threshold=threshold)):+.0f} %" in report
    assert re.search(r"On 1 day that nothing was chosen on, CSI at 2 mm/h is \d+ %", report)


def test_a_network_of_rain_is_scored_without_a_calibration(chain, make_experiment, tmp_path):
    experiment = make_experiment(chain.archive, trainer__max_epochs=1, trial=TRIAL)
    run = train(TrainConfig(experiment=experiment, out=tmp_path / "run"))
    tried = trial(run, experiment)
    assert tried.model == run.best
    assert "extrapolation" in tried.reports[0]


def test_few_forecasts_stand_in_the_middle_of_the_test(run, experiment, chain):
    """One at its start would begin with scans that the model was trained on, and be left out."""
    config = experiment.trial.model_copy(update={"forecasts": 1})
    tried = trial(run, experiment.model_copy(update={"trial": config}))
    assert tried.reports[0].startswith("synthetic, 1 test days, 1 forecasts up to 20 min")


def test_a_short_trial_calibrates_on_no_more_forecasts_than_it_scores(run, experiment, caplog):
    for forecasts, expected in ((2, "calibrated on 2 forecasts"), (None, "calibrated on")):
        caplog.clear()
        caplog.set_level("INFO", logger="squall")
        config = experiment.trial.model_copy(update={"forecasts": forecasts})
        trial(run, experiment.model_copy(update={"trial": config}))
        (line,) = [line for line in caplog.messages if line.startswith("calibrated on")]
        assert line.startswith(expected)
    assert int(line.split()[2]) > 4  # all that the validation days have, up to 150


def test_a_model_that_cannot_be_scored_is_complete(run, experiment, monkeypatch, caplog):
    def nothing(config):
        raise DataError("no forecast to score")

    monkeypatch.setattr(trial_module, "verify", nothing)
    tried = trial(run, experiment)
    assert tried.model.exists()
    assert tried.reports == ()
    assert "not scored: no forecast to score" in caplog.text
    assert "no test days" not in caplog.text


def test_without_pysteps_the_other_methods_are_compared(monkeypatch, caplog):
    def missing(name):
        raise ConfigError(f"{name}: pysteps is not installed")

    monkeypatch.setattr(trial_module, "check_pysteps", missing)
    assert trial_module._possible(["s-prog", "squall-base"]) == ["squall-base"]
    assert "s-prog: pysteps is not installed" in caplog.text


def test_squall_train_ends_with_the_sentence(chain, experiment_values, tmp_path):
    """As a user runs it: a process of its own, which trains, calibrates, scores and ends."""
    values = experiment_values | {"trial": TRIAL | {"thresholds_mm_h": [2.0]}}
    values["data"]["archives"] = [str(chain.archive)]
    values["trainer"]["max_epochs"] = 1
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(values))

    def last_line(*more):
        words = ["-m", "squall.pipeline.cli", "train", "tiny.yaml", "--out", "run", *more]
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.rstrip().splitlines()[-1]

    sentence = last_line()
    assert "that nothing was chosen on, CSI at 2 mm/h is" in sentence
    assert last_line("--resume") == sentence


def test_what_cannot_be_compared_is_refused_before_the_training(
    chain, experiment_values, tmp_path, capsys
):
    values = experiment_values | {"trial": TRIAL | {"compare": ["no-such-model"]}}
    values["data"]["archives"] = [str(chain.archive)]
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(values))
    for more in (["--check"], []):
        assert main(["train", str(path), "--out", str(tmp_path / "run"), *more]) == 2
        assert "trial.compare: no-such-model: neither a file nor" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_thresholds_of_a_trial_rise(chain, make_experiment):
    with pytest.raises(ConfigError, match="must be positive and rise"):
        make_experiment(chain.archive, trial=TRIAL | {"thresholds_mm_h": [2.0, 0.5]})
