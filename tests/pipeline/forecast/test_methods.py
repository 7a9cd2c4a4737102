"""Forecast methods by name, and the methods of Squall that need no training."""

import sys

import numpy as np
import pytest
import torch

from squall.convgru.motion import extrapolate
from squall.datasets.archive.archive import Archive
from squall.datasets.errors import ConfigError, DataError
from squall.pipeline.forecast.methods import find_method
from squall.pipeline.forecast.names import METHODS


@pytest.fixture(scope="module")
def archive(chain):
    return Archive.open(chain.archive)


@pytest.mark.parametrize("name", ["persistence", "extrapolation"])
def test_methods_without_training_forecast_an_hour(archive, name):
    method = find_method(name, archive)
    assert (method.name, method.lead_times) == (name, 12)
    context = archive.read(50, method.context).values
    assert method.nowcast(context, 3).shape == (3, 64, 64)


def test_persistence_is_the_last_scan(archive):
    context = archive.read(50, 2).values
    forecast = find_method("persistence", archive).nowcast(context, 2)
    np.testing.assert_array_equal(forecast, np.stack([context[-1], context[-1]]))


def test_extrapolation_gives_the_result_of_the_motion_module(archive):
    context = archive.read(50, 4).values
    forecast = find_method("extrapolation", archive).nowcast(context, 2)
    expected = extrapolate(torch.from_numpy(context)[None, :, None], 2)[0, :, 0].numpy()
    np.testing.assert_array_equal(forecast, expected)
    assert (
        np.isnan(forecast[1]).sum() > np.isnan(context[-1]).sum()
    )  # unknown rain enters at the edge


def test_a_checkpoint_is_found_by_its_path(archive, chain):
    method = find_method(chain.model, archive)
    assert (method.name, method.context, method.lead_times) == ("tiny", 3, 4)
    assert len(method.digest) == 64


def test_an_unknown_name_lists_all_methods(archive):
    with pytest.raises(ConfigError, match="optical-flow: neither a file nor") as caught:
        find_method("optical-flow", archive)
    assert all(name in str(caught.value) for name in METHODS)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("extrapolaton", "extrapolation"),
        ("squal-base", "squall-base"),
        ("squal-base:mixed", "squall-base"),
        ("squall-base:margnal", "squall-base:marginal"),
    ],
)
def test_a_mistyped_name_gets_the_nearest(archive, typed, meant):
    with pytest.raises(ConfigError, match="neither a file nor") as caught:
        find_method(typed, archive)
    assert str(caught.value).endswith(f"; did you mean '{meant}'?")


def test_a_file_with_the_name_of_a_method_is_used(archive, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "persistence").write_text("no checkpoint")
    with pytest.raises(DataError, match="cannot be read as a checkpoint"):
        find_method("persistence", archive)


def test_the_error_without_pysteps_says_what_to_install(archive, monkeypatch):
    monkeypatch.setitem(sys.modules, "pysteps", None)
    with pytest.raises(ConfigError, match=r"s-prog .* pip install 'squall\[baselines\]'"):
        find_method("s-prog", archive)
