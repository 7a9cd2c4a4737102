"""Methods compared with a reference, and members scored, in a verification of a small archive."""

import numpy as np
import pandas as pd
import pytest

from squall.datasets.errors import ConfigError, DataError
from squall.pipeline.forecast.methods import Extrapolation
from squall.pipeline.verify.run import verify
from tests.pipeline.verify.verify_examples import config


def test_methods_are_compared_with_a_reference(chain, tmp_path):
    result = verify(config(chain, tmp_path / "a"))
    assert result.scores.attrs["reference"] == "persistence"
    gain = result.scores.mae_gain.sel({"method": "tiny"})
    assert np.isfinite(gain)
    assert "compares a method with persistence" in result.table
    page = result.report.read_text()
    assert "Compared with persistence" in page
    rows = pd.read_csv(result.csv).query("score == 'mae_gain' and method == 'tiny'")
    assert rows.value.tolist() == pytest.approx([float(gain)])
    other = verify(config(chain, tmp_path / "b", models=(chain.model, "extrapolation")))
    assert other.scores.attrs["reference"] == "extrapolation"
    own = verify(
        config(chain, tmp_path / "b", models=(chain.model, "extrapolation"), reference="tiny")
    )
    assert own.scores.attrs["reference"] == "tiny"
    assert float(own.scores.mae_gain.sel({"method": "tiny"})) == 0
    with pytest.raises(ConfigError, match="--reference s-prog is not scored; add --model s-prog"):
        verify(config(chain, tmp_path / "b", reference="s-prog"))


def members_around_the_forecast(self, context, lead_times, members, reference_time):
    """Members that are too strong and too weak in turn."""
    assert isinstance(reference_time, np.datetime64)
    factors = np.linspace(0.2, 1.8, members, dtype=np.float32)[:, None, None]
    for forecast in self.nowcast(context, lead_times):
        yield factors * forecast


@pytest.fixture
def ensemble(monkeypatch):
    monkeypatch.setattr(Extrapolation, "ensemble", members_around_the_forecast, raising=False)


def test_members_are_scored_by_name(chain, tmp_path, ensemble):
    models = ("extrapolation", "persistence")
    result = verify(config(chain, tmp_path, models=models, members=4))
    scores = result.scores.isel(lead_time=0)
    used = scores.n_of_chance.sel({"method": "extrapolation", "threshold": 0.5})
    assert used.chance[used > 0].values.tolist() == [0, 0.25, 0.5, 0.75, 1]
    crps, mae = (scores[name].sel({"method": "extrapolation"}) for name in ("fair_crps", "mae"))
    assert 0 < float(crps) < float(mae)
    # one member is the forecast itself
    one = scores.sel({"method": "persistence"})
    assert float(one.fair_crps) == pytest.approx(float(one.mae))
    assert "Fair CRPS" in result.table
    assert "CRPS of means, 16 km" in result.table
    assert {"reliability.png", "roc.png", "rank_histogram.png"} <= {p.name for p in result.plots}
    page = result.report.read_text()
    assert "the score to compare ensembles with" in page
    table = pd.read_csv(result.csv)
    row = table.query(
        "score == 'observed_frequency' and chance == 0.5 and method == 'extrapolation'"
    )
    assert len(row) == 2
    again = verify(config(chain, tmp_path, models=models, members=4))  # from stored blocks
    np.testing.assert_array_equal(again.scores.fair_crps, result.scores.fair_crps)


def test_without_members_the_scores_are_those_of_single_forecasts(chain, tmp_path, ensemble):
    with_members = verify(config(chain, tmp_path / "a", models=("extrapolation",), members=3))
    without = verify(config(chain, tmp_path / "b", models=("extrapolation",)))
    assert "fair_crps" not in without.scores
    assert "rank" not in without.scores.coords
    np.testing.assert_array_equal(without.scores.csi, with_members.scores.csi)


def test_members_that_fail_are_a_failure_of_their_method(chain, tmp_path, monkeypatch):
    def stops(self, context, lead_times, members, reference_time):
        yield np.zeros((members, *context.shape[1:]), np.float32)
        raise RuntimeError("out of noise")

    monkeypatch.setattr(Extrapolation, "ensemble", stops, raising=False)
    with pytest.raises(DataError, match=r"extrapolation at .*RuntimeError: out of noise"):
        verify(config(chain, tmp_path, models=("extrapolation",), members=3))


def test_members_without_an_ensemble_are_refused(chain, tmp_path):
    with pytest.raises(ConfigError, match="--members 5: none of persistence makes members"):
        verify(config(chain, tmp_path, models=("persistence",), members=5))
