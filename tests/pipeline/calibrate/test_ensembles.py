"""`squall calibrate --members`: numbers, engine and tables of the ensembles of a model."""

import numpy as np
import pandas as pd
import pytest

from squall.convgru.checkpoint import load_nowcaster
from squall.convgru.ensemble.calibration import KNOTS, EngineComparison
from squall.convgru.ensemble.settings import EnsembleSettings
from squall.datasets.open_archive import open_archive
from squall.pipeline.calibrate import ensembles, settings_fit
from squall.pipeline.calibrate.comparison import gain
from squall.pipeline.calibrate.settings_fit import FittedSettings
from squall.pipeline.cli.main import main
from squall.pipeline.forecast.network_method import NetworkMethod
from squall.pipeline.scores.sums import score_sums_by_method

COMMON = {"lead_times": np.array([np.timedelta64(10, "m")]), "thresholds_mm_h": (1.0,)}
COMMON |= {"scales_km": (1.0,), "pixel_km": 1.0}


def sums_of_hours(error_of_sharp, hours=12):
    """Hours of two ensembles: members of `wide` are 2 mm/h off, those of `sharp` so much."""
    random = np.random.default_rng(0)
    result = []
    for _ in range(hours):
        truth = random.gamma(2, 2, (1, 16, 16)).astype(np.float32)
        members = {
            name: np.maximum(truth + random.normal(0, error, (6, 16, 16)), 0).astype(np.float32)
            for name, error in (("wide", 2.0), ("sharp", error_of_sharp))
        }
        rain = {name: of_method.mean(axis=0)[None] for name, of_method in members.items()}
        of_lead = {name: [of_method] for name, of_method in members.items()}
        result.append(score_sums_by_method(rain, truth, ensembles=of_lead, **COMMON))
    return result


@pytest.mark.parametrize(("error", "is_sure"), [(1.0, True), (1.999, False), (3.0, False)])
def test_an_ensemble_replaces_the_default_only_if_it_is_better_by_its_interval(error, is_sure):
    sums = sums_of_hours(error)
    comparison = gain(sums, "sharp", "wide")
    assert comparison.low_percent <= comparison.gain_percent <= comparison.high_percent
    assert ensembles.is_sure(comparison, len(sums)) == is_sure
    if error != 1.999:
        assert (comparison.gain_percent > 10) == is_sure


def test_an_interval_of_few_hours_is_not_trusted():
    better = EngineComparison(gain_percent=5, low_percent=4, high_percent=6)
    assert ensembles.is_sure(better, ensembles.FEW_HOURS)
    assert not ensembles.is_sure(better, ensembles.FEW_HOURS - 1)
    assert str(better) == "5.0 % [4.0, 6.0]"


@pytest.fixture(scope="module")
def few(chain):
    """Few cases and trials."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings_fit, "MOST_TRIALS", 3)
        patch.setattr(ensembles, "MOST_FITTED", 2)
        patch.setattr(ensembles, "MOST_COMPARED", 4)
        yield


def arguments(chain, model, out):
    return [
        "calibrate", "--archive", str(chain.archive), "--model", str(model), "--out", str(out),
        "--start", "2024-06-01T00:30", "--include-training", "--forecasts", "4", "--workers", "1",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def out(chain, model, few, tmp_path_factory):
    path = tmp_path_factory.mktemp("ensembles") / "tiny.safetensors"
    assert main([*arguments(chain, model, path), "--members", "3"]) == 0
    return path


def entry_of(path):
    _, provenance = load_nowcaster(path)
    (entry,) = provenance["calibrations"]
    return entry


def test_the_model_gets_numbers_engine_and_tables(out, chain):
    ensemble = NetworkMethod.load(out, open_archive(str(chain.archive))).ensemble_calibration
    assert ensemble is not None
    # fewer hours than an interval needs
    assert ensemble.engine == "mixed"
    assert ensemble.settings == EnsembleSettings()
    assert ensemble.source["members"] == 3
    fit, comparison = (ensemble.source[part] for part in ("fit", "comparison"))
    assert (fit["forecasts"], comparison["forecasts"]) == (2, 4)
    assert pd.Timestamp(comparison["first"]) - pd.Timestamp(fit["last"]) > pd.Timedelta("35min")
    assert set(ensemble.comparisons) == {"stochastic", "marginal"}
    for gained in (ensemble.fit, *ensemble.comparisons.values()):
        assert np.isfinite(gained.gain_percent)
    # two comparisons on the same cases do not share their results
    assert ensemble.fit != ensemble.comparisons["stochastic"]
    assert ensemble.at_pixel.minutes == (5, 10, 15, 20)
    assert set(ensemble.around) == {"stochastic", "marginal", "mixed"}
    for table in (ensemble.at_pixel, *ensemble.around.values()):
        assert np.shape(table.chances) == (4, 6, len(KNOTS))
        assert (np.diff(table.chances, axis=-1) >= 0).all()
    assert not np.allclose(ensemble.at_pixel.chances, KNOTS)


def test_the_command_prints_what_was_fitted(chain, model, few, tmp_path, capsys):
    out = tmp_path / "x.safetensors"
    assert main([*arguments(chain, model, out), "--members", "2"]) == 0
    text = capsys.readouterr().out
    assert "default -> fitted" in text
    assert "the default numbers stay" in text
    assert "engine of this model on this radar network: mixed" in text
    assert "fair CRPS of stochastic lower than that of mixed by" in text


def test_without_members_the_ensembles_are_left_as_they_are(out, chain, tmp_path):
    again = tmp_path / "again.safetensors"
    assert main(arguments(chain, out, again)) == 0
    assert entry_of(again)["ensemble"] == entry_of(out)["ensemble"]


def test_too_few_forecasts_for_ensembles_are_an_error(chain, model, tmp_path, capsys):
    out = tmp_path / "x.safetensors"
    assert main([*arguments(chain, model, out), "--members", "2", "--end", "2024-06-01T01:00"]) > 0
    assert "leave --members out" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("is_sure", [True, False])
def test_fitted_numbers_are_kept_if_they_are_surely_better(is_sure, chain, model, few, tmp_path):
    out = tmp_path / "x.safetensors"
    fitted = EnsembleSettings(noise=0.7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ensembles, "is_sure", lambda *_: is_sure)
        patch.setattr(ensembles, "fit_settings", lambda *_, **__: FittedSettings(fitted, 0.9))
        assert main([*arguments(chain, model, out), "--members", "2"]) == 0
    ensemble = entry_of(out)["ensemble"]
    assert ensemble["settings"]["noise"] == (0.7 if is_sure else EnsembleSettings().noise)
    assert (ensemble["engine"] == "mixed") != is_sure


def test_the_best_engine_is_mixed_unless_another_is_surely_better():
    def gain(percent, low):
        return EngineComparison(gain_percent=percent, low_percent=low, high_percent=9.0)

    for comparisons, engine in (
        ({"stochastic": gain(1.0, -0.1), "marginal": gain(-2.0, -3.0)}, "mixed"),
        ({"stochastic": gain(1.0, 0.1), "marginal": gain(5.0, -0.1)}, "stochastic"),
        ({"stochastic": gain(1.0, 0.1), "marginal": gain(2.0, 0.1)}, "marginal"),
    ):
        assert ensembles.best_engine(comparisons, ensembles.FEW_HOURS) == engine
        assert ensembles.best_engine(comparisons, ensembles.FEW_HOURS - 1) == "mixed"
