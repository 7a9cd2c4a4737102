"""Figures of members, from the scores of random ensembles."""

import numpy as np
import pytest

from squall.pipeline.report.probability_plots import (
    FEW_PIXELS,
    ensembles,
    probabilistic,
    probability_figures,
)
from squall.pipeline.scores.intervals import with_intervals
from squall.pipeline.scores.sums import score_sums_by_method
from tests.pipeline.scores.rain_examples import settings_for
from tests.pipeline.scores.score_examples import example_scores


@pytest.fixture(scope="module")
def scores():
    blocks = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        common = rng.gamma(0.5, 3.0, (2, 1, 36, 45))
        fields = (common * rng.gamma(2.0, 0.5, (2, 11, 36, 45))).astype(np.float32)
        observed, members = fields[:, 0], fields[:, 1:]
        blocks.append(
            score_sums_by_method(
                {"steps": members.mean(axis=1), "s-prog": members[:, 0]},
                observed,
                ensembles={"steps": iter(members)},
                **settings_for(2, thresholds_mm_h=[0.5, 200.0]),
            )
        )
    return with_intervals(blocks, reference="s-prog")


def test_reliability_shows_frequencies_and_bars_around_the_diagonal(scores):
    assert ensembles(scores) == probabilistic(scores) == ["steps"]
    figure = probability_figures(scores)["reliability"]
    ax = figure.axes[0]
    diagonal, line = ax.get_lines()
    assert list(diagonal.get_xdata()) == [0, 1]
    at = scores.sel({"method": "steps", "threshold": 0.5})
    shares = at.mean_chance.dropna("chance")
    np.testing.assert_allclose(line.get_xdata(), shares)
    np.testing.assert_allclose(shares, np.arange(11) / 10)
    frequency = at.observed_frequency.sel(chance=shares.chance)
    np.testing.assert_array_equal(line.get_ydata(), frequency)
    assert frequency[-1] > frequency[0]
    bars = np.array([segment[:, 1] for segment in ax.collections[0].get_segments()])
    inner = slice(2, 9)
    assert (bars[inner, 0] <= shares.values[inner]).all()
    assert (bars[inner, 1] >= shares.values[inner]).all()
    assert "≥ 0.5 mm/h" in ax.get_title(loc="left")


def test_roc_ends_in_both_corners_and_rank_histogram_is_of_ensembles_only(scores):
    figures = probability_figures(scores)
    line = figures["roc"].axes[0].get_lines()[1]
    assert (line.get_xdata()[0], line.get_ydata()[0]) == (1, 1)
    assert (line.get_xdata()[-1], line.get_ydata()[-1]) == (0, 0)
    (ax,) = figures["rank_histogram"].axes
    assert [bar.get_height() for bar in ax.patches] == pytest.approx(
        scores.rank_histogram.sel({"method": "steps"}).values
    )
    assert len(figures["means_crps"].axes) == 3
    (ax,) = figures["spread_error_by_spread"].axes
    curve, diagonal = ax.get_lines()
    of_steps = scores.sel({"method": "steps"}).dropna("spread_range", subset=["error_of_range"])
    np.testing.assert_array_equal(curve.get_ydata(), of_steps.error_of_range)
    np.testing.assert_array_equal(curve.get_xdata(), of_steps.spread_of_range)
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    observed, members = figures["member_spectra"].axes[0].get_lines()
    assert (observed.get_label(), members.get_label()) == ("observed", "steps")
    power = scores.member_power.sel({"method": "steps"}).isel(lead_time=-1)
    np.testing.assert_array_equal(members.get_ydata(), power)


def test_the_frequency_after_a_chance_of_few_pixels_is_not_drawn(scores):
    few = scores.copy(deep=True)
    few.n_of_chance.loc[{"chance": 0.3}] = FEW_PIXELS - 1
    axes = [probability_figures(s)["reliability"].axes[0] for s in (scores, few)]
    drawn = [ax.get_lines()[1].get_xdata().round(6).tolist() for ax in axes]
    assert set(drawn[0]) - set(drawn[1]) == {0.3}
    for ax in axes:  # the small panel shows how many pixels each chance has, few ones too
        counts = ax.child_axes[0].get_lines()[0]
        assert 0.3 in counts.get_xdata().round(6)


def test_figures_can_be_saved_and_there_are_none_without_members(scores, tmp_path):
    for name, figure in probability_figures(scores).items():
        figure.savefig(tmp_path / f"{name}.png", dpi=60)
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
    assert probability_figures(example_scores()) == {}
