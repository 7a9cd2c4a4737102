"""Ensembles of a model that is calibrated on the archive's radar network."""

import json

import numpy as np
import pytest
import xarray as xr

from squall.convgru.calibration import BINS, calibrated
from squall.convgru.ensemble import EnsembleRun
from squall.convgru.ensemble.calibration import KNOTS, EnsembleCalibration, ShareTables
from squall.convgru.ensemble.mixed import is_marginal
from squall.convgru.ensemble.settings import EnsembleSettings
from squall.datasets.archive.archive import Archive
from squall.datasets.errors import ConfigError, DataError
from squall.pipeline.calibrate.model_file import write_calibrated
from squall.pipeline.forecast.chance_code import CHANCE_CODE
from squall.pipeline.forecast.config import ForecastConfig
from squall.pipeline.forecast.methods import find_method
from squall.pipeline.forecast.network_method import NetworkMethod
from squall.pipeline.forecast.radar_network import calibration_for, network_digest
from squall.pipeline.forecast.run import forecast
from squall.pipeline.forecast.stochastic_method import StochasticMethod
from squall.pipeline.scores.skill import scores_from_sums
from squall.pipeline.verify.config import VerifyConfig
from squall.pipeline.verify.output import chance_sources
from squall.pipeline.verify.plan import VerificationCase, make_plan
from squall.pipeline.verify.scoring import Scorer

REFERENCE = np.datetime64("2024-06-01T04:00")
SETTINGS = EnsembleSettings(noise=0.3)
MEMBERS, LEADS = 4, 2
HALF_PERCENT = CHANCE_CODE["scale_factor"]
AT_PIXEL, AROUND = (0.5, 0.6, 0.4, 0.9, 0.3, 0.2), (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
CHANCES = "probability_of_exceedance"


@pytest.fixture(scope="module")
def archive(chain):
    return Archive.open(chain.archive)


def tables(factors):
    """Chances are shares times a factor, at all lead times."""
    chances = ([(KNOTS * factor).tolist() for factor in factors],)
    return ShareTables.model_validate({"minutes": [5.0], "chances": chances})


@pytest.fixture(scope="module")
def models(archive, tmp_path_factory):
    """Models by the engine that their calibration chose; one has no ensembles."""
    method = NetworkMethod.load("squall-base", archive)
    counts = np.zeros((1, 6, 2, BINS))
    entry = calibrated(counts, [5.0], archive="a", grid=network_digest(archive), source={})
    entry = entry.model_copy(update={"intercepts": ((-1.0,) * 6,)})
    folder = tmp_path_factory.mktemp("models")
    paths = {}
    for engine in ("stochastic", "marginal", "mixed", None):
        ensemble = None
        if engine:
            ensemble = EnsembleCalibration(
                settings=SETTINGS,
                engine=engine,
                source={"members": 10},
                at_pixel=tables(AT_PIXEL),
                around=dict.fromkeys(("stochastic", "marginal", "mixed"), tables(AROUND)),
            )
        paths[engine] = folder / f"{engine}.safetensors"
        write_calibrated(paths[engine], method, entry.model_copy(update={"ensemble": ensemble}))
    return paths


@pytest.fixture
def make(chain, tmp_path):
    """Write a forecast; returns it as read from the file."""

    def written(model, **changes):
        values = {"archive": chain.archive, "model": str(model), "at": str(REFERENCE)}
        values |= {"out": tmp_path / "f.nc", "lead_times": LEADS, "members": MEMBERS}
        forecast(ForecastConfig(**values | changes))
        with xr.open_dataset(tmp_path / "f.nc", decode_timedelta=True) as opened:
            return opened.load()

    return written


def is_stochastic():
    run = EnsembleRun(5.0, 1.0, REFERENCE)
    return [not is_marginal(member, run) for member in range(MEMBERS)]


def shares_of(dataset):
    """(threshold, lead_time, y, x)"""
    members = dataset["rain_rate_member"]
    is_known = members.notnull().all("realization")
    shares = [
        (members >= np.float32(threshold)).mean("realization").where(is_known)
        for threshold in dataset["threshold"].values
    ]
    return np.stack([share.values for share in shares])


def test_members_have_the_fitted_settings_and_the_file_says_so(make, models, archive):
    dataset = make(models["stochastic"])
    method = StochasticMethod.for_archive(archive, LEADS, SETTINGS)
    scans = archive.read(48 - method.context + 1, method.context).values
    expected = np.stack(list(method.ensemble(scans, LEADS, MEMBERS, REFERENCE)), axis=1)
    np.testing.assert_array_equal(dataset["rain_rate_member"].values, expected)
    assert json.loads(dataset.attrs["ensemble_settings"])["noise"] == 0.3
    assert json.loads(dataset.attrs["ensemble_calibration"]) == {"members": 10}
    assert dataset.attrs["ensemble_engine"] == "stochastic"


def test_a_calibration_of_another_version_is_refused(archive):
    old = {"grid": network_digest(archive), "ensemble": {"settings": {"score_floor_km": 16.0}}}
    with pytest.raises(DataError, match=r"m: its calibration on .* another version.*calibrate"):
        calibration_for(archive, {"name": "m", "calibrations": [old]})
    elsewhere = old | {"grid": "of another network"}
    assert calibration_for(archive, {"name": "m", "calibrations": [elsewhere]}) is None


def test_the_calibration_chooses_the_engine_unless_the_name_does(archive, models):
    for name, engine in (
        (models["stochastic"], "stochastic"),
        (models["marginal"], "marginal"),
        (f"{models['marginal']}:stochastic", "stochastic"),
        (f"{models['stochastic']}:marginal", "marginal"),
        (models["mixed"], "mixed"),
        (f"{models['stochastic']}:mixed", "mixed"),
        (models[None], "mixed"),
    ):
        assert find_method(name, archive).engine == engine
    assert find_method(models["marginal"], archive).stochastic.settings == SETTINGS


def test_chances_of_stochastic_members_are_calibrated(make, models):
    dataset = make(models["stochastic"])
    shares, chances = shares_of(dataset), dataset[CHANCES].values
    expected = shares * np.reshape(AT_PIXEL, (6, 1, 1, 1))
    expected = np.minimum.accumulate(expected, axis=0)
    known = ~np.isnan(shares)
    np.testing.assert_allclose(chances[known], expected[known], atol=HALF_PERCENT)
    assert (shares[known] > 0).mean() > 0.03
    assert dataset[CHANCES].attrs["comment"] == "calibrated share of the members"
    around = dataset[f"{CHANCES}_within_10km"]
    assert "calibrated share of the members" in around.attrs["comment"]
    assert (around.values[known] >= chances[known]).all()
    assert (np.diff(around.values, axis=0)[known[1:]] <= 0).all()
    raw = make(models["stochastic"], raw_chances=True)
    assert float((around - raw[around.name]).min()) < -0.05


def test_raw_chances_are_counted_from_members(make, models):
    dataset = make(models["stochastic"], raw_chances=True)
    shares = shares_of(dataset)
    known = ~np.isnan(shares)
    np.testing.assert_allclose(dataset[CHANCES].values[known], shares[known], atol=HALF_PERCENT)
    assert dataset[CHANCES].attrs["comment"] == "share of the members"
    assert dataset.attrs["chances"] == "raw"


def test_chances_of_marginal_members_are_those_of_the_network_and_calibrated_around(make, models):
    dataset = make(models["marginal"])
    assert "from the network's chances" in dataset[CHANCES].attrs["comment"]
    around = dataset[f"{CHANCES}_within_10km"]
    assert "calibrated share" in around.attrs["comment"]
    known = dataset[CHANCES].notnull().values
    assert (around.values[known] >= dataset[CHANCES].values[known]).all()
    raw = make(models["marginal"], raw_chances=True)
    assert float(raw[CHANCES].mean()) > 1.2 * float(dataset[CHANCES].mean())


def test_chances_of_mixed_members_are_the_networks_and_calibrated_shares(make, models):
    dataset, of_network = make(models["mixed"]), make(models["marginal"])[CHANCES].values
    members = dataset["rain_rate_member"].values
    (rest,) = np.nonzero(is_stochastic())
    reached = [members[rest] >= np.float32(level) for level in dataset["threshold"].values]
    shares = np.mean(reached, axis=1) * np.reshape(AT_PIXEL, (6, 1, 1, 1))
    shares = np.minimum.accumulate(shares, axis=0)
    known = ~np.isnan(dataset[CHANCES].values)
    weight = 0.5 * len(rest) / (len(rest) + 15)
    expected = (1 - weight) * of_network + weight * shares
    np.testing.assert_allclose(
        dataset[CHANCES].values[known], expected[known], atol=2 * HALF_PERCENT
    )
    assert np.abs(of_network - shares)[known].max() > 0.2
    words = dataset[CHANCES].attrs["comment"]
    assert words.startswith("mean of the network's chance and the calibrated share of the members")
    assert "calibrated share" in dataset[f"{CHANCES}_within_10km"].attrs["comment"]
    raw = make(models["mixed"], raw_chances=True)
    assert "and the share of the members" in raw[CHANCES].attrs["comment"]


def test_one_forecast_may_have_raw_chances_and_keeps_its_rain(make, models):
    dataset, raw = (
        make(models[None], members=None, raw_chances=is_raw) for is_raw in (False, True)
    )
    np.testing.assert_array_equal(dataset["rain_rate"].values, raw["rain_rate"].values)
    assert float(raw[CHANCES].mean()) > 1.2 * float(dataset[CHANCES].mean())


def test_raw_chances_without_a_calibration_are_refused(make, models):
    for model, changes in (
        ("squall-base", {}),
        ("squall-base", {"members": None}),
        (f"{models[None]}:stochastic", {}),
    ):
        with pytest.raises(ConfigError, match=r"--raw-chances: .* they are raw already"):
            make(model, raw_chances=True, **changes)
    with pytest.raises(ConfigError, match="persistence has none"):
        make("persistence", raw_chances=True, members=None)


def test_verification_scores_the_chances_of_a_forecast_with_members(models, archive, tmp_path):
    """They are those of the file, at any threshold."""
    moment, levels = "2024-06-01T04:00", (0.3, 2.0)
    config = VerifyConfig(
        archives=(archive.address,), models=(models["mixed"],), out=tmp_path,
        include_training=True, periods=(f"{moment}/{moment}",), thresholds_mm_h=levels,
        pixels="observed", members=MEMBERS, lead_times=LEADS, cases=0, workers=1,
    )  # fmt: skip
    plan, _ = make_plan(config)
    sums = Scorer(plan)(VerificationCase(0, 48, "block")).sums
    scores = scores_from_sums(sums, {"brier"})
    method = find_method(models["mixed"], archive)
    scans = archive.read(48 - method.context + 1, method.context).values
    observed = archive.read(49, LEADS).values
    leads = method.members_and_chances(scans, LEADS, MEMBERS, REFERENCE, levels)
    for lead, (members, chances) in enumerate(leads):
        assert chances is not None
        known = ~np.isnan(np.stack([observed[lead], chances[0], *members])).any(axis=0)
        for level, chance in zip(levels, chances, strict=True):
            expected = np.mean((chance[known] - (observed[lead][known] >= level)) ** 2)
            brier = scores.brier.sel({"threshold": level}).isel(lead_time=lead, method=0)
            assert float(brier) == pytest.approx(expected, rel=1e-4)


def test_verification_scores_calibrated_shares_of_stochastic_members(models, archive, tmp_path):
    """The test counts the Brier score of all pixels itself."""
    moment, levels = "2024-06-01T04:00", (0.5, 1.0)
    name = f"{models['stochastic']}:stochastic"
    config = VerifyConfig(
        archives=(archive.address,), models=(name,), out=tmp_path, include_training=True,
        periods=(f"{moment}/{moment}",), thresholds_mm_h=levels, pixels="observed",
        members=MEMBERS, lead_times=LEADS, cases=0, workers=1,
    )  # fmt: skip
    plan, (planned,) = make_plan(config)
    words = chance_sources(planned.methods, levels, MEMBERS)
    assert list(words.values()) == ["calibrated share of the members (4 members)"]
    sums = Scorer(plan)(VerificationCase(0, 48, "block")).sums
    scores = scores_from_sums(sums, {"fair_brier"})
    method = find_method(name, archive)
    scans = archive.read(48 - method.context + 1, method.context).values
    observed = archive.read(49, LEADS).values
    ensemble = method.ensemble(scans, LEADS, MEMBERS, REFERENCE)
    rain = method.nowcast(scans, LEADS)
    for lead, members in enumerate(ensemble):
        known = ~np.isnan(np.stack([observed[lead], scans[-1], rain[lead], *members])).any(axis=0)
        shares = np.stack([(members >= np.float32(level)).mean(axis=0)[known] for level in levels])
        chances = tables(AT_PIXEL).chances_of(shares, 5, levels)
        for level, chance in zip(levels, chances, strict=True):
            expected = np.mean((chance - (observed[lead][known] >= level)) ** 2)
            brier = scores.fair_brier.sel({"threshold": level}).isel(lead_time=lead, method=0)
            assert float(brier) == pytest.approx(expected, rel=1e-5)
