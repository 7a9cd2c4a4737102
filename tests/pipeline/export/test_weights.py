"""Publishing weights: the file, its precision, its provenance, and errors."""

import json

import pytest
import torch
from pydantic import ValidationError

from squall.convgru import EncoderForecaster, NetworkConfig, RainScaling, load_nowcaster
from squall.convgru.checkpoint import description
from squall.convgru.digests import sha256_of
from squall.convgru.heads.place import MapGrid
from squall.convgru.pretrained import find_model, packaged_models
from squall.datasets.errors import DataError
from squall.pipeline.cli.main import main
from squall.pipeline.export.config import WeightsConfig
from squall.pipeline.export.weights import HALF_STEP_DB, export_weights, published_provenance

PROVENANCE = {
    "squall_version": "0.1.0+abc",
    "name": "trial",
    "context": 3,
    "lead_times": 2,
    "steps_s": [300],
    "spacings_m": [1000.0],
    "archives": [
        {
            "name": "knmi",
            "path": "/home/ada/archives/knmi.icechunk",
            "snapshot": "S1",
            "training_periods": [["2010-08-26T00:00:00", "2010-08-26T04:00:00"]],
            "validation_periods": [],
        }
    ],
    "order": {"seed": 1},
}


@pytest.fixture(scope="module")
def provenance(make_experiment):
    experiment = make_experiment(
        "/home/ada/archives/knmi.icechunk",
        seed=7,
        trackers={"tensorboard": True},
    )
    return PROVENANCE | {"experiment": json.dumps(experiment.model_dump(mode="json"))}


def checkpoint(path, provenance, std, head="direct"):
    """A checkpoint with random weights, in the head as well."""
    torch.manual_seed(1)
    network = EncoderForecaster(NetworkConfig(channels=(4, 6, 8), head=head))
    for weights in network.parameters():
        torch.nn.init.normal_(weights, std=std)
    torch.save(
        {
            "squall": description(network, RainScaling(), provenance),
            "state_dict": {f"network.{k}": v for k, v in network.state_dict().items()},
        },
        path,
    )
    return path


@pytest.fixture
def trained(provenance, tmp_path):
    return checkpoint(tmp_path / "best.ckpt", provenance, std=0.1)


def test_an_exported_checkpoint_is_found_by_name(trained, tmp_path):
    out = tmp_path / "weights" / "squall-trial.safetensors"
    result = export_weights(WeightsConfig(checkpoint=trained, out=out))
    assert packaged_models(out.parent) == ("squall-trial",)
    assert find_model("squall-trial", out.parent) == out
    assert result.sha256 == sha256_of(out)
    _, provenance = load_nowcaster(out)
    assert provenance["name"] == "squall-trial"
    assert provenance["checkpoint_sha256"] == sha256_of(trained)
    assert provenance["steps_s"] == [300]


def test_a_new_export_replaces_an_earlier_one(trained, provenance, tmp_path):
    out = tmp_path / "weights" / "a.safetensors"
    export_weights(WeightsConfig(checkpoint=trained, out=out))
    export_weights(WeightsConfig(checkpoint=trained, out=out.with_name("b.safetensors")))
    earlier = sha256_of(out)
    other = checkpoint(tmp_path / "other.ckpt", provenance, std=0.05)
    export_weights(WeightsConfig(checkpoint=other, out=out))
    assert sha256_of(out) != earlier
    assert packaged_models(out.parent) == ("a", "b")
    assert find_model("a", out.parent) == out


def test_half_precision_if_the_forecast_hardly_changes(trained, tmp_path):
    out = tmp_path / "a.safetensors"
    result = export_weights(WeightsConfig(checkpoint=trained, out=out))
    assert result.half
    assert 0 < result.difference_db < HALF_STEP_DB
    assert out.stat().st_size < 2.2 * result.parameters + 5000
    before, _ = load_nowcaster(trained)
    after, _ = load_nowcaster(out)
    torch.manual_seed(3)
    rain = torch.rand(1, 3, 1, 64, 64) * 10
    first, second = (
        10 * torch.log10(nowcaster(rain, 2).clamp(min=0.1)) for nowcaster in (before, after)
    )
    assert float((first - second).abs().max()) < HALF_STEP_DB


def test_weights_of_chances_are_published(provenance, tmp_path):
    source = {"archive": "/home/ada/archives/knmi.icechunk", "forecasts": 30}
    calibrated = provenance | {"calibrations": [{"archive": "knmi", "source": source}]}
    model = checkpoint(tmp_path / "m.ckpt", calibrated, std=0.1, head="exceedance")
    result = export_weights(WeightsConfig(checkpoint=model, out=tmp_path / "chances.safetensors"))
    assert 0 < result.difference_db < 3
    nowcaster, published = load_nowcaster(result.out)
    assert nowcaster.gives_chances
    assert published["calibrations"][0]["source"] == {"archive": "knmi.icechunk", "forecasts": 30}


def test_single_precision_if_half_changes_the_forecast(provenance, tmp_path):
    rough = checkpoint(tmp_path / "rough.ckpt", provenance, std=1.0)
    out = tmp_path / "a.safetensors"
    result = export_weights(WeightsConfig(checkpoint=rough, out=out))
    assert not result.half
    assert result.difference_db >= HALF_STEP_DB
    before, after = load_nowcaster(rough)[0], load_nowcaster(out)[0]
    for name, weights in before.network.state_dict().items():
        assert torch.equal(weights, after.network.state_dict()[name])


@pytest.mark.parametrize(("value", "fits"), [(1.0, True), (60_000.0, False), (1e6, False)])
def test_the_check_of_half_precision_sees_the_whole_map(provenance, tmp_path, value, fits):
    """Half precision rounds 60,000 by up to 16, and makes a million infinite."""
    grid = MapGrid(rows=70, columns=72, cell_px=4.0)  # wider than the usual synthetic radar
    torch.manual_seed(1)
    network = EncoderForecaster(
        NetworkConfig(channels=(4, 6, 8), head="exceedance", place_channels=1, place_grid=grid)
    )
    place = network.head.place
    with torch.no_grad():
        for weights in network.head.parameters():
            torch.nn.init.normal_(weights, std=0.05)
        place.values.zero_()
        place.values[:, -2:, -2:] = value + 0.01
        place.mix.weight[:, :1] = 0.5
    path = tmp_path / "map.ckpt"
    torch.save(
        {
            "squall": description(network, RainScaling(), provenance),
            "state_dict": {f"network.{k}": v for k, v in network.state_dict().items()},
        },
        path,
    )
    result = export_weights(WeightsConfig(checkpoint=path, out=tmp_path / "map.safetensors"))
    assert result.half is fits


def test_no_path_of_this_machine_is_published(provenance):
    published = published_provenance(provenance)
    assert "/home" in json.dumps(provenance)
    assert "/home" not in json.dumps(published)
    assert "order" not in published
    assert published["archives"][0]["training_periods"] == [
        ["2010-08-26T00:00:00", "2010-08-26T04:00:00"]
    ]
    experiment = json.loads(published["experiment"])
    assert experiment["seed"] == 7
    assert experiment["data"]["archives"][0]["address"] == "knmi.icechunk"
    assert "trackers" not in experiment
    assert "path" in provenance["archives"][0]


def test_the_command_prints_what_it_wrote(trained, tmp_path, capsys):
    out = tmp_path / "squall-trial.safetensors"
    assert main(["export", str(trained), str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"{out}: 0.02 million weights in half precision" in printed
    assert f"SHA-256 {sha256_of(out)}, entered in {tmp_path / 'SHA256SUMS'}" in printed


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["best.ckpt", "a.ckpt"], 2, "weights are written as NAME.safetensors (found 'a.ckpt')"),
        (
            ["best.ckpt", "a.safetensors", "--license", "CC-BY-4.0", "--created-with", "x"],
            2,
            "--created-with, --license is for archives, best.ckpt is a checkpoint; leave it out",
        ),
        (["absent.ckpt", "a.safetensors"], 1, "absent.ckpt: no such checkpoint"),
    ],
)
def test_mistakes_are_named(trained, arguments, code, message, monkeypatch, capsys):
    monkeypatch.chdir(trained.parent)
    assert main(["export", *arguments]) == code
    assert message in capsys.readouterr().err
    assert not (trained.parent / "SHA256SUMS").exists()


def test_a_file_that_is_not_a_checkpoint_is_refused(tmp_path):
    (tmp_path / "a.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(DataError, match="cannot be read as a checkpoint"):
        export_weights(WeightsConfig(checkpoint=tmp_path / "a.ckpt", out="a.safetensors"))
    with pytest.raises(ValidationError, match=r"NAME\.safetensors"):
        WeightsConfig(checkpoint=tmp_path / "a.ckpt", out="a.ckpt")
