"""Members drawn from a network's chances: `MODEL:marginal` and `MODEL:mixed`."""

import numpy as np
import pytest
import torch
import xarray as xr

from squall.convgru.distribution import chances_of_reaching
from squall.convgru.ensemble import EnsembleRun
from squall.convgru.ensemble.mixed import is_marginal
from squall.convgru.thresholds import THRESHOLDS_MM_H
from squall.datasets.archive.archive import Archive
from squall.datasets.errors import ConfigError
from squall.pipeline.forecast.chance_code import CHANCE_CODE
from squall.pipeline.forecast.config import ForecastConfig
from squall.pipeline.forecast.methods import find_method, is_ensemble
from squall.pipeline.forecast.run import forecast
from squall.pipeline.verify.config import VerifyConfig
from squall.pipeline.verify.plan import make_plan

REFERENCE = np.datetime64("2024-06-01T04:00")
HALF_PERCENT = CHANCE_CODE["scale_factor"]


@pytest.fixture(scope="module")
def archive(chain):
    return Archive.open(chain.archive)


@pytest.fixture(scope="module")
def method(archive):
    """Its step and spacing are not those of the archive."""
    return find_method("squall-base:marginal", archive)


@pytest.fixture(scope="module")
def context(archive, method):
    return archive.read(48 - method.context + 1, method.context).values


@pytest.fixture
def make(chain, tmp_path):
    """Write a forecast; returns it as read from the file."""

    def written(**changes):
        values = {"archive": chain.archive, "model": "squall-base:marginal", "at": str(REFERENCE)}
        values |= {"out": tmp_path / "f.nc", "lead_times": 3}
        forecast(ForecastConfig(**values | changes))
        with xr.open_dataset(tmp_path / "f.nc", decode_timedelta=True) as opened:
            return opened.load()

    return written


def test_members_have_the_distribution_of_the_chances_at_the_archives_lead_times(method, context):
    assert is_ensemble(method)
    assert method.resampling.time_factor != 1
    count = 500
    leads = method.members_and_chances(context, 3, count, REFERENCE, THRESHOLDS_MM_H)
    expected = method.leads_with_chances(context, 3, THRESHOLDS_MM_H)
    wet = 0.0
    for (members, chances), fields in zip(leads, expected, strict=True):
        np.testing.assert_array_equal(chances, fields[1:])
        known = ~np.isnan(chances[0])
        np.testing.assert_array_equal(np.isnan(members), np.broadcast_to(~known, (count, 64, 64)))
        for number, threshold in enumerate((0.2, 0.5, 2.0)):
            chance = chances[number][known]
            share = (members >= np.float32(threshold)).mean(axis=0)[known]
            allowed = 0.02 + 4.5 * np.sqrt(chance * (1 - chance) / count)
            assert (np.abs(share - chance) < allowed).mean() > 0.999
            assert share.mean() == pytest.approx(chance.mean(), abs=0.01)
        wet += float(chances[0][known].mean())
    assert wet > 0.1


def test_a_member_is_the_same_in_a_larger_ensemble(method, context):
    few, many = (np.stack(list(method.ensemble(context, 2, count, REFERENCE))) for count in (3, 7))
    np.testing.assert_array_equal(few, many[:, :3])
    other = np.stack(list(method.ensemble(context, 2, 3, REFERENCE + np.timedelta64(5, "m"))))
    assert not np.array_equal(few, other)


def test_the_file_has_the_networks_chances_and_names_the_model(make, method, context):
    asked = (0.3, 0.5, 7.0)
    dataset = make(members=3, thresholds_mm_h=asked)
    assert dataset.attrs["model"] == "squall-base marginal"
    assert "checkpoint_sha256" in dataset.attrs
    assert dataset.attrs["members"] == 3
    assert ", seed 0, " in dataset.attrs["members_from"]
    stored = dataset["probability_of_exceedance"]
    for lead, fields in enumerate(method.leads_with_chances(context, 3, THRESHOLDS_MM_H)):
        expected = chances_of_reaching(torch.from_numpy(fields[1:]), asked).numpy()
        np.testing.assert_allclose(stored.values[:, lead], expected, atol=HALF_PERCENT / 2 + 1e-6)
    assert "not from the members" in stored.attrs["comment"]
    around = dataset["probability_of_exceedance_within_10km"]
    assert "share of the members" in around.attrs["comment"]
    known = ~np.isnan(stored.values)
    assert (around.values[known] >= stored.values[known]).all()
    at_any_time = dataset["probability_of_exceedance_at_any_time"].values
    always = known.all(axis=1)
    assert (at_any_time[always] >= stored.max("lead_time").values[always] - 1e-6).all()


def test_without_a_calibration_the_file_and_the_log_say_so(make, caplog):
    with caplog.at_level("WARNING"):
        dataset = make(members=2, products=("chances",))
    assert "not calibrated on this radar network" in caplog.text
    assert dataset.attrs["calibration"] == "not on this radar network"


def test_the_plain_name_has_mixed_members(make):
    plain, *others = (
        make(members=8, model=f"squall-base{end}")["rain_rate_member"].values
        for end in ("", ":mixed", ":stochastic", ":marginal")
    )
    np.testing.assert_array_equal(plain, others[0])
    run = EnsembleRun(5.0, 1.0, REFERENCE)
    kinds = [is_marginal(member, run) for member in range(8)]
    assert set(kinds) == {True, False}
    known = ~np.isnan(plain)
    for member, kind in enumerate(kinds):
        of_kind, other = others[1 + kind][member], others[2 - kind][member]
        np.testing.assert_allclose(plain[member][known[member]], of_kind[known[member]], rtol=1e-5)
        assert not np.array_equal(plain[member], other, equal_nan=True)
    assert known.mean() > 0.5
    assert (known == known[0]).all()


def test_stochastic_members_do_not_use_the_network(make):
    dataset = make(members=2, model="squall-base:stochastic")
    assert dataset.attrs["model"] == "stochastic"
    assert dataset["probability_of_exceedance"].attrs["comment"] == "share of the members"


def test_product_and_engine_are_named_together(archive, chain):
    method = find_method("squall-base:expected:marginal", archive)
    assert (method.product, method.engine) == ("expected", "marginal")
    assert method.name == "squall-base expected marginal"
    assert find_method("squall-base", archive).engine == "mixed"
    assert find_method(chain.model, archive).engine == "stochastic"


def test_what_is_asked_for_in_vain_is_refused(make, chain, archive, tmp_path):
    with pytest.raises(ConfigError, match="marginal says how members are made; give --members"):
        make()
    with pytest.raises(ConfigError, match=r"no chances, so its members cannot be marginal"):
        find_method(f"{chain.model}:marginal", archive)
    with pytest.raises(ConfigError, match="give --members"):
        make_plan(
            VerifyConfig(
                archives=(str(chain.archive),),
                models=("squall-base:marginal",),
                out=tmp_path / "scores",
            )
        )


def test_both_engines_are_compared_in_one_verification(chain, tmp_path):
    config = VerifyConfig(
        archives=(str(chain.archive),),
        models=("squall-base", "squall-base:marginal"),
        include_training=True,
        members=4,
        out=tmp_path / "scores",
    )
    plan, (planned,) = make_plan(config)
    assert plan.members == 4
    engines = {
        name: method.engine for name, method in planned.methods.items() if is_ensemble(method)
    }
    assert engines == {"squall-base": "mixed", "squall-base marginal": "marginal"}
