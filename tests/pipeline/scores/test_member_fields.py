"""Members as fields: spread and error by ranges of spread, spectra; against brute force."""

import tracemalloc
from functools import reduce
from operator import add

import numpy as np
import pytest
import xarray as xr

from squall.pipeline.forecast import pixels
from squall.pipeline.scores import member_sums
from squall.pipeline.scores import sums as sums_module
from squall.pipeline.scores.member_sums import SPREADS_MM_H
from squall.pipeline.scores.skill import scores_from_sums
from squall.pipeline.scores.spectra import by_wavelength, dbr, log_spectral_distance, radial_power
from tests.pipeline.scores.rain_examples import NAN, settings_for
from tests.pipeline.scores.test_members import rain, sums


def test_spread_and_error_by_ranges_of_spread_are_those_of_the_pixels():
    examples = [rain(seed, 6) for seed in (1, 2)]
    examples[0][0][1, :3, :4] = NAN
    scores = scores_from_sums(reduce(add, [sums(*example) for example in examples]))
    observed = np.concatenate([example[0].ravel() for example in examples])
    members = np.concatenate([example[1].swapaxes(0, 1).reshape(6, -1) for example in examples], 1)
    known = ~np.isnan(observed)
    x, y = members[:, known].astype(float), observed[known]
    variance, error = x.var(axis=0, ddof=1), (x.mean(axis=0) - y) ** 2
    of_ensemble = scores.sel({"method": "ensemble"})
    assert int(of_ensemble.n_of_spread.sum()) == known.sum()
    edges = [*SPREADS_MM_H, np.inf]
    n_filled = 0
    for number, low in enumerate(SPREADS_MM_H):
        inside = (np.sqrt(variance) >= low) & (np.sqrt(variance) < edges[number + 1])
        at = of_ensemble.isel(spread_range=number)
        assert int(at.n_of_spread) == inside.sum()
        if not inside.any():
            assert np.isnan(at.error_of_range)
            continue
        n_filled += 1
        spread = np.sqrt(variance[inside].mean() * (1 + 1 / 6))
        assert float(at.spread_of_range) == pytest.approx(spread, rel=1e-6)
        assert float(at.error_of_range) == pytest.approx(np.sqrt(error[inside].mean()), rel=1e-6)
    assert n_filled > 4
    assert np.isnan(scores.spread_of_range.sel({"method": "one"})).all()
    assert (scores.n_of_spread.sel({"method": "one"}) == 0).all()


def test_spectra_of_members_are_those_of_each_member():
    observed, members = rain(3, 4, shape=(2, 32, 32))
    members[0, 1] = 0  # a dry member has no power and no distance
    scores = scores_from_sums(sums(observed, members)).isel(lead_time=0)
    of_observed = radial_power(dbr(observed[0]))
    powers = [radial_power(dbr(member)) for member in members[0, [0, 2, 3]]]
    expected = np.sum([by_wavelength(power, 32, 1.0) for power in powers], axis=0) / 4
    at = scores.sel({"method": "ensemble"})
    waves = np.isfinite(expected) & (expected > 0)
    np.testing.assert_allclose(at.member_power.values, expected[waves], rtol=1e-6)
    distances = [log_spectral_distance(power, of_observed) for power in powers]
    assert float(at.member_spectral_distance) == pytest.approx(np.mean(distances), rel=1e-6)
    one = scores.sel({"method": "one"})
    assert float(one.member_spectral_distance) == pytest.approx(float(one.log_spectral_distance))
    np.testing.assert_allclose(one.member_power, one.power, rtol=1e-9)


def test_a_dry_observation_has_no_spectra_of_members():
    observed, members = rain(4, 3)
    both = sums(observed, members)
    observed[1] = 0
    data = sums(observed, members).data.sel({"method": "ensemble"})
    assert data.n_member_distances.values.tolist() == [1, 0]
    assert float(data.member_power.isel(lead_time=1).sum()) == 0
    np.testing.assert_array_equal(
        data.member_power.isel(lead_time=0),
        both.data.member_power.sel({"method": "ensemble"}).isel(lead_time=0),
    )


def test_members_of_strips_add_up(monkeypatch):
    observed, members = rain(7, 5)
    observed[0, :6, :6] = NAN
    members[1, 2, 4:, 3:9] = NAN
    whole = sums(observed, members).data
    for module, name in (
        (pixels, "STRIP_VALUES"),
        (member_sums, "_CHUNK"),
    ):
        monkeypatch.setattr(module, name, 40)
    xr.testing.assert_allclose(sums(observed, members).data, whole, rtol=1e-12)


def test_scoring_members_needs_less_memory_than_they_do(monkeypatch):
    """Members of a large grid lie in a file; a copy of them would fill the memory."""
    monkeypatch.setattr(member_sums, "_CHUNK", 4096)
    monkeypatch.setattr(pixels, "STRIP_VALUES", 2**16)
    rng = np.random.default_rng(0)
    members = rng.gamma(0.5, 2.0, (40, 400, 500)).astype(np.float32)
    observed = members[:1] + np.float32(1)
    forecast = members[1:2]
    tracemalloc.start()
    try:
        sums_module.score_sums_by_method(
            {"ensemble": forecast},
            observed,
            ensembles={"ensemble": iter([members])},
            **settings_for(1),
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.9 * members.nbytes
