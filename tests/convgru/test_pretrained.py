"""Weights alone, and the packaged models that are found by name."""

import hashlib
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from squall.convgru import (
    CheckpointError,
    EncoderForecaster,
    NetworkConfig,
    Nowcaster,
    RainScaling,
    load_nowcaster,
)
from squall.convgru.checkpoint import write_weights
from squall.convgru.pretrained import DIGESTS, FOLDER, find_model, packaged_models, record_digest
from squall.convgru.pretrained import UnknownModelError as Unknown

from .moving_rain import moving_texture
from .rain_of import rain_of

PROVENANCE = {"name": "small", "steps_s": [300], "archives": []}
MOST_BYTES = 15_000_000


@pytest.fixture(scope="module")
def nowcaster():
    torch.manual_seed(1)
    network = EncoderForecaster(NetworkConfig(channels=(4, 6, 8)))
    # the weights of an untrained head are 0, and the forecast would be persistence
    for weights in network.parameters():
        torch.nn.init.normal_(weights, std=0.1)
    return Nowcaster(network, RainScaling(floor_mm_h=0.1)).eval()


@pytest.fixture
def folder(nowcaster, tmp_path):
    """Two packaged models."""
    for name in ("small", "another"):
        path = tmp_path / f"{name}.safetensors"
        write_weights(path, nowcaster, PROVENANCE | {"name": name}, torch.float32)
        record_digest(path)
    return tmp_path


def rain():
    generator = torch.Generator().manual_seed(2)
    context = torch.rand((1, 3, 1, 30, 35), generator=generator) * 20
    context[..., :5] = torch.nan
    return context


def test_a_network_is_rebuilt_from_its_weights(nowcaster, folder):
    loaded, provenance = load_nowcaster(folder / "small.safetensors")
    assert provenance == PROVENANCE
    assert loaded.network.config == nowcaster.network.config
    assert loaded.scaling == nowcaster.scaling
    assert not loaded.training
    expected = nowcaster(rain(), 4)
    assert not torch.equal(expected[:, 0], rain()[:, -1])
    torch.testing.assert_close(loaded(rain(), 4), expected, rtol=0, atol=0, equal_nan=True)


def test_half_precision_halves_the_file_and_the_forecast_is_in_float32(nowcaster, folder):
    half = folder / "half.safetensors"
    write_weights(half, nowcaster, PROVENANCE, torch.float16)
    single_bytes = (folder / "small.safetensors").stat().st_size
    tensors = 4 * sum(weights.numel() for weights in nowcaster.network.parameters())
    assert single_bytes - half.stat().st_size == pytest.approx(tensors / 2, abs=16)
    loaded, _ = load_nowcaster(half)
    assert {weights.dtype for weights in loaded.network.parameters()} == {torch.float32}
    torch.testing.assert_close(
        loaded(rain(), 4), nowcaster(rain(), 4), rtol=0.02, atol=0.02, equal_nan=True
    )


def test_the_same_network_gives_the_same_bytes(nowcaster, folder):
    second = folder / "second.safetensors"
    write_weights(second, nowcaster, PROVENANCE, torch.float32)
    assert second.read_bytes() == (folder / "small.safetensors").read_bytes()


def test_the_description_is_json_in_the_header(folder):
    with safe_open(folder / "small.safetensors", framework="pt") as file:
        saved = json.loads(file.metadata()["squall"])
    assert saved["scaling"]["floor_mm_h"] == 0.1
    assert saved["network"]["channels"] == [4, 6, 8]


def test_a_name_finds_its_file(folder):
    assert packaged_models(folder) == ("another", "small")
    assert find_model("small", folder) == folder / "small.safetensors"


def test_digests_have_the_format_of_sha256sum(folder):
    lines = (folder / DIGESTS).read_text().splitlines()
    content = (folder / "another.safetensors").read_bytes()
    assert lines[0] == f"{hashlib.sha256(content).hexdigest()}  another.safetensors"
    assert len(lines) == 2


def test_a_file_comes_before_a_packaged_name(folder, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(Unknown, match=r"\./small: neither a file"):
        find_model("./small", folder)
    (tmp_path / "elsewhere" / "small").write_bytes(b"a checkpoint")
    assert find_model("small", folder).read_bytes() == b"a checkpoint"
    assert find_model("./small", folder).read_bytes() == b"a checkpoint"


def test_a_folder_of_that_name_is_not_a_model(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").mkdir()
    assert find_model("small", folder) == folder / "small.safetensors"


def test_the_error_of_an_unknown_name_lists_the_packaged_names(folder):
    with pytest.raises(Unknown, match=r"smal: neither a file .*\(another, small\)"):
        find_model("smal", folder)


def test_without_packaged_weights_the_message_says_so(tmp_path):
    assert packaged_models(tmp_path) == ()
    with pytest.raises(Unknown, match="none in this installation"):
        find_model("squall-base", tmp_path)


def test_a_wrong_digest_is_refused(folder):
    path = folder / "small.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    with pytest.raises(CheckpointError, match=rf"has SHA-256 {digest}, SHA256SUMS says .*damaged"):
        find_model("small", folder)
    record_digest(path)
    assert find_model("small", folder) == path


def test_a_missing_file_is_named(folder):
    (folder / "small.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"small\.safetensors: is missing from the instal"):
        find_model("small", folder)


@pytest.mark.parametrize("keep", [0, 5, 1000, -1])
def test_a_file_cut_short_is_refused(folder, keep):
    path = folder / "small.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"small\.safetensors: cannot be read as weights"):
        load_nowcaster(path)


def test_weights_of_other_projects_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="has no weights of Squall"):
        load_nowcaster(path)
    save_file({"a": torch.zeros(2)}, path, metadata={"squall": "{"})
    with pytest.raises(CheckpointError, match="its header is not JSON"):
        load_nowcaster(path)
    save_file({"a": torch.zeros(2)}, path, metadata={"squall": "{}"})
    with pytest.raises(CheckpointError, match="does not fit this version of Squall"):
        load_nowcaster(path)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_nowcaster(tmp_path / "absent.safetensors")


def test_the_packaged_models_load_are_small_and_have_their_names():
    files = sorted(path.stem for path in FOLDER.glob("*.safetensors"))
    assert files == list(packaged_models())
    for name in files:
        path = find_model(name)
        assert path.stat().st_size <= MOST_BYTES
        _, provenance = load_nowcaster(path)
        assert provenance["name"] == name
        assert provenance["steps_s"]
        assert provenance["spacings_m"]


def test_the_packaged_model_gives_the_numbers_that_it_was_published_with():
    """Any constant of the network that changes would move or change its rain in silence."""
    model, _ = load_nowcaster(find_model("squall-base"))
    scans = moving_texture(rows=1, columns=2, scans=4, side=96)
    noise = torch.randn(1, 4, 1, 96, 96, generator=torch.Generator().manual_seed(5))
    rain = rain_of(model, scans * torch.exp(0.3 * noise), 6)[0, :, 0]
    means = rain.nanmean(dim=(1, 2))
    assert means.tolist() == pytest.approx(PUBLISHED_MEANS_MM_H, rel=0.005)
    places = rain[[0, 2, 5], 40, 60], rain[[0, 2, 5], 50, 40]
    for values, published in zip(places, PUBLISHED_MM_H, strict=True):
        assert values.tolist() == pytest.approx(published, rel=0.1)


PUBLISHED_MEANS_MM_H = [6.6338, 6.2770, 5.8598, 5.4753, 4.9670, 4.4978]
PUBLISHED_MM_H = [5.4417, 7.0720, 0.9254], [4.5719, 5.0783, 22.5092]
