from pathlib import Path

import pytest

from squall.datasets.errors import ConfigError
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.pipeline.config import load_config, validated
from squall.pipeline.train.experiment import ExperimentConfig

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize(
    "path", sorted((CONFIGS / "archives").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_archive_configuration_loads(path):
    assert load_config(path, RadarNetworkConfig).name == path.stem


@pytest.mark.parametrize(
    "path", sorted((CONFIGS / "experiments").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_experiment_loads(path):
    assert load_config(path, ExperimentConfig).name == path.stem


def written(tmp_path, text):
    path = tmp_path / "experiment.yaml"
    path.write_text(text)
    return path


def test_overrides_are_merged_before_validation(tmp_path):
    path = written(tmp_path, "name: a\ndata: {crop: 64}")
    config = load_config(path, ExperimentConfig, ["data.batch_size=7", "network.channels=[4,4,4]"])
    assert config.data.batch_size == 7
    assert config.data.crop == 64
    assert config.network.channels == (4, 4, 4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: a\ndatta: {}", "unknown key 'datta'; did you mean 'data'?"),
        ("name: a\ndata: {batchsize: 3}", "did you mean 'batch_size'?"),
        ("name: a\ndata: {crop: -3}", "data.crop: Input should be greater than 0 (found -3)"),
        ("name: a\ndata: {crop: 100}", "must be a multiple of 8"),
        ("name: a\nnetwork: {channels: [4, 4]}", "network.channels"),
        ("name: a\nnetwork: {channels: [4, 4, 4, 4]}", "one entry for each layer"),
        ("name: a\nloss: {weights: [1, 2]}", "need 5 weights"),
        (
            "name: a\ndata: {split: {test: [{start: '2024-02-01', end: '2024-01-01'}]}}",
            "must be before end",
        ),
        ("name: a\nloss: {thresholds_mm_h: 2}", "should be a list, like [2]"),
        ("name: a\nnetwork: {channels: 8}", "network.channels: should be a list, like [8]"),
        ("name: a\ndata: {archives: x}", "data.archives: should be a list, like [x]"),
        (
            "name: a\nnetwork: {head: exceedence}",
            "'exceedance' (found 'exceedence'); did you mean 'exceedance'?",
        ),
        ("seed: 1", "'name' is missing"),
        ("name: persistence", "belongs to a forecast method"),
        ("- a\n- b", "expected 'key: value' lines, found a list"),
        ("name: [", "is no YAML"),
        ("", "'name' is missing"),
    ],
)
def test_a_wrong_configuration_says_what_to_do(tmp_path, text, expected):
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load_config(path, ExperimentConfig)
    assert str(path) in str(error.value)
    assert expected in str(error.value)


def test_every_mistake_is_named_at_once(tmp_path):
    path = written(tmp_path, "name: a\ndata: {crop: -3, batch_size: 0}")
    with pytest.raises(ConfigError) as error:
        load_config(path, ExperimentConfig)
    assert len(str(error.value).splitlines()) == 2


def test_a_value_to_fill_in_is_named_with_its_comment(tmp_path):
    text = "name: a\n  # hint\ndata: {batch_size: 3}\nseed: ???  # any number\nmodel:\n  x: ???\n"
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load_config(path, ExperimentConfig)
    assert str(error.value).splitlines() == [
        f"{path}: 'seed' is still ???: any number",
        f"{path}: 'model.x' is still ???: write its value there",
    ]
    path = written(tmp_path, "name: a\nseed: '???'  # any number")
    with pytest.raises(ConfigError, match=r"'seed' is still \?\?\?: any number"):
        load_config(path, ExperimentConfig)
    with pytest.raises(ConfigError, match="'seed' is still"):
        load_config(written(tmp_path, "name: a"), ExperimentConfig, ['seed="???"'])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read: No such file"):
        load_config(tmp_path / "nowhere.yaml", ExperimentConfig)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "radar.nc").write_bytes(b"\x89HDF\r\n\xff\xfe")
    with pytest.raises(ConfigError, match="is no text file"):
        load_config(tmp_path / "radar.nc", ExperimentConfig)


@pytest.mark.parametrize("override", ["seed", "=3", "a..b=3", "name.x=3", "seed=["])
def test_a_wrong_override_is_refused(tmp_path, override):
    with pytest.raises(ConfigError):
        load_config(written(tmp_path, "name: a"), ExperimentConfig, [override])


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"loss": {"mea": 1}}, "unknown key 'loss.mea'; did you mean 'mse'?"),
        ({"loss": {"kind": "crps", "mae": 1}}, "unknown key 'loss.mae'; known here: kind, alpha, "),
        ({"loss": {"kind": "crps", "alpha": 2}}, "loss.alpha: Input should be less than"),
        (
            {"trackers": {"mlflow": {"uri": "x"}}},
            "unknown key 'trackers.mlflow.uri'; known here: t",
        ),
        ({"data": {"archives": [{"adress": "x"}]}}, "'data.archives.0.adress'; did you mean 'addr"),
        ({"data": {"archives": [{"weight": 1}]}}, "'data.archives.0.address' is missing"),
    ],
)
def test_mistakes_inside_alternatives_and_lists_are_named_as_in_the_file(values, named):
    with pytest.raises(ConfigError) as caught:
        validated(ExperimentConfig, {"name": "a"} | values, "file.yaml")
    assert named in str(caught.value)
