"""The fit of the stochastic ensemble's numbers, on rain that is a member of a known ensemble."""

import numpy as np
import pytest

from squall.convgru.ensemble import EnsembleSettings
from squall.convgru.scaling import DRY_MM_H
from squall.pipeline.calibrate import settings_fit
from squall.pipeline.calibrate.settings_fit import MemberScorer, fit_settings
from squall.pipeline.forecast.stochastic_method import StochasticMethod
from tests.convgru.ensemble.evolving_rain import evolving_rain
from tests.pipeline.calibrate.fake_archive import FakeArchive

SCANS, LEADS, MEMBERS, SIDE, CASES = 4, 2, 6, 32, 2
DEFAULT = EnsembleSettings()


def archive_of(settings):
    """For each case the scans of a context, and a member of another seed as what came later."""
    rain = []
    for case in range(CASES):
        scans = evolving_rain(SCANS, SIDE, columns=1, seed=case).numpy()
        method = StochasticMethod(10.0, 1.0, LEADS, seed=100, settings=settings)
        time = np.datetime64("2024-01-01") + case
        leads = method.ensemble(scans, LEADS, 1, time)
        rain += [scans, np.stack([members[0] for members in leads])]
    return FakeArchive(np.concatenate(rain))


@pytest.fixture
def fitted(monkeypatch):
    """Function that fits to rain of an ensemble with some settings."""

    def fit(settings):
        archive = archive_of(settings)
        monkeypatch.setattr(settings_fit, "open_archive", lambda *_: archive)
        cases = [SCANS - 1 + case * (SCANS + LEADS) for case in range(CASES)]
        return fit_settings(archive, cases, members=MEMBERS, lead_times=LEADS, workers=1)

    return fit


def test_a_noise_that_is_too_small_is_found(fitted, monkeypatch):
    only_noise = settings_fit.COORDINATES[:1]
    monkeypatch.setattr(settings_fit, "COORDINATES", only_noise)
    result = fitted(DEFAULT.model_copy(update={"noise": 2.4, "noise_after_an_hour": 3.2}))
    assert result.settings.noise > 1.4
    assert result.ratio < 0.98


def test_rain_that_grows_gives_a_tendency(fitted, monkeypatch):
    monkeypatch.setattr(settings_fit, "COORDINATES", ())
    result = fitted(DEFAULT.model_copy(update={"tendency_per_hour": 0.4}))
    assert 0.1 < result.settings.tendency_per_hour <= settings_fit.MOST_TENDENCY
    assert result.ratio < 1


def test_the_search_ends_after_as_many_trials_as_allowed(fitted, monkeypatch):
    monkeypatch.setattr(settings_fit, "MOST_TRIALS", 1)
    result = fitted(DEFAULT)
    assert (result.settings, result.ratio) == (DEFAULT, 1.0)


def test_sums_are_those_of_the_fair_crps(monkeypatch):
    archive = archive_of(DEFAULT)
    monkeypatch.setattr(settings_fit, "open_archive", lambda *_: archive)
    scored = MemberScorer("fake", "one", MEMBERS, LEADS)((SCANS - 1, DEFAULT))
    method = StochasticMethod.for_archive(archive, LEADS)
    time = archive.times[SCANS - 1].to_datetime64()
    (members, _) = method.ensemble(archive.rain[:SCANS], LEADS, MEMBERS, time)
    truth = archive.rain[SCANS]
    known = ~np.isnan(members[0]) & ~np.isnan(truth)
    for number, change in enumerate(
        (np.asarray, lambda rate: 10 * np.log10(np.maximum(rate, DRY_MM_H)))
    ):
        x, y = change(members)[:, known].T.astype(float), change(truth)[known].astype(float)
        spread = np.abs(x[:, :, None] - x[:, None]).sum(axis=(1, 2))
        error = np.abs(x - y[:, None]).mean(axis=1)
        fair = error - spread / (2 * MEMBERS * (MEMBERS - 1))
        assert scored.crps[0, number] == pytest.approx(fair.sum(), rel=1e-4)
    assert scored.rain[0, 1] == pytest.approx(truth[known].sum(), rel=1e-5)
    assert (scored.crps > 0).all()
