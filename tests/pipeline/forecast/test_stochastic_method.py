"""The stochastic ensemble as a forecast method, and as the members of a trained network."""

import numpy as np
import pytest

from squall.datasets.archive.archive import Archive
from squall.datasets.errors import DataError
from squall.pipeline.forecast.config import ForecastConfig
from squall.pipeline.forecast.methods import find_method, is_ensemble
from squall.pipeline.forecast.run import forecast

TIME = np.datetime64("2024-06-01T12:00")


@pytest.fixture(scope="module")
def archive(chain):
    return Archive.open(chain.archive)


@pytest.fixture(scope="module")
def context(archive):
    return archive.read(50, 4).values


def test_members_and_forecast_are_known_at_the_same_pixels(archive, context):
    method = find_method("stochastic", archive)
    assert is_ensemble(method)
    assert (method.name, method.context, method.lead_times) == ("stochastic", 4, 12)
    forecast = method.nowcast(context, 3)
    members = np.stack(list(method.ensemble(context, 3, 5, TIME)))
    assert members.shape == (3, 5, 64, 64)
    assert (members.dtype, forecast.dtype) == (np.float32, np.float32)
    unknown = np.broadcast_to(np.isnan(forecast)[:, None], members.shape)
    np.testing.assert_array_equal(np.isnan(members), unknown)
    assert np.nanmax(members.std(axis=1)) > 0.1


def test_a_network_has_the_members_of_the_stochastic_ensemble(archive, chain, context):
    network, stochastic = (find_method(name, archive) for name in (chain.model, "stochastic"))
    assert is_ensemble(network)
    of_network = np.stack(list(network.ensemble(context, 2, 3, TIME)))
    np.testing.assert_array_equal(
        of_network, np.stack(list(stochastic.ensemble(context, 2, 3, TIME)))
    )
    shorter = np.stack(list(network.ensemble(context[-3:], 2, 3, TIME)))  # its own context
    assert shorter.shape == of_network.shape


def test_the_file_says_that_the_members_do_not_use_the_weights(chain, tmp_path, caplog):
    config = ForecastConfig(
        archive=chain.archive, model=chain.model, members=2, out=tmp_path / "f.nc", lead_times=2
    )
    with caplog.at_level("INFO", "squall.forecast"):
        attributes = forecast(config).attrs
    assert attributes["model"] == "stochastic"
    assert "seed 0" in attributes["source"]
    assert "checkpoint" not in attributes
    assert "the members are those of stochastic" in caplog.text


def test_rain_in_the_only_scan_is_an_error_of_the_data(archive, context):
    lone = context.copy()
    lone[:-1] = np.nan
    lone[-1] = 2.0
    method = find_method("stochastic", archive)
    with pytest.raises(DataError, match="only the last of 4 scans was observed"):
        method.nowcast(lone, 2)
    with pytest.raises(DataError, match="only the last of 4 scans was observed"):
        list(method.ensemble(lone, 2, 2, TIME))


def test_the_digest_names_seed_and_settings(archive):
    method = find_method("stochastic", archive)
    assert "seed 0" in method.digest
    assert method.settings.digest in method.digest
