"""What is stored of a calibration of ensembles: tables of chances, comparisons, the entry."""

import numpy as np
import pytest

from squall.convgru.calibration import Calibration, calibrated
from squall.convgru.ensemble.calibration import (
    KNOTS,
    EngineComparison,
    EnsembleCalibration,
    ShareTables,
)
from squall.convgru.ensemble.settings import EnsembleSettings
from squall.convgru.thresholds import THRESHOLDS_MM_H


def tables(*factors_by_lead):
    """Chances are the share times a factor, for each lead time (10, 20 min …) and threshold."""
    chances = [[(KNOTS * factor).tolist() for factor in factors] for factors in factors_by_lead]
    minutes = [10 * (1 + lead) for lead in range(len(chances))]
    return ShareTables.model_validate({"minutes": minutes, "chances": chances})


FALLING = (0.9, 0.8, 0.6, 0.4, 0.2, 0.1)


def test_chances_between_the_tables_are_interpolated():
    both = tables(FALLING, (0.5,) * 6)
    one = np.ones((1, 1))
    assert both.chances_of(one, 15, (0.5,)) == pytest.approx(0.65)
    assert both.chances_of(one, 10, (1.0,)) == pytest.approx(0.7)  # the middle of 0.5 and 2
    assert both.chances_of(one, 5, (0.1,)) == pytest.approx(0.9)
    assert both.chances_of(one, 60, (40.0,)) == pytest.approx(0.5)
    assert both.chances_of(one * 0.33, 10, (0.5,)) == pytest.approx(0.264)


def test_chances_fall_with_the_threshold_and_rise_with_the_share():
    rising = tables((0.2, 0.9, 0.5, 0.6, 0.1, 0.3))
    shares = np.sort(np.random.default_rng(0).random((6, 400)), axis=0)[::-1]
    chances = rising.chances_of(shares, 10, THRESHOLDS_MM_H)
    assert (np.diff(chances, axis=0) <= 0).all()
    assert np.isnan(rising.chances_of(np.array([[np.nan]]), 10, (0.2,))).all()
    along = rising.chances_of(np.tile(KNOTS, (6, 1)), 10, THRESHOLDS_MM_H)
    assert (np.diff(along, axis=1) >= 0).all()


@pytest.mark.parametrize(
    ("gain", "low", "is_better"),
    [(2.0, 0.5, True), (2.0, -0.1, False), (2.0, None, False), (-3.0, -5.0, False)],
)
def test_better_is_what_the_interval_says(gain, low, is_better):
    high = None if low is None else gain + 1
    comparison = EngineComparison(gain_percent=gain, low_percent=low, high_percent=high)
    assert comparison.is_better == is_better


def test_an_entry_without_ensembles_has_none():
    counts = np.ones((1, 6, 2, 240))
    entry = calibrated(counts, [10.0], archive="a", grid="g", source={})
    stored = entry.model_dump(mode="json")
    del stored["ensemble"]
    assert Calibration.model_validate(stored).ensemble is None
    ensemble = EnsembleCalibration(
        settings=EnsembleSettings(noise=1.2),
        engine="marginal",
        at_pixel=tables(FALLING),
        around={"marginal": tables(FALLING)},
    )
    whole = entry.model_copy(update={"ensemble": ensemble})
    again = Calibration.model_validate_json(whole.model_dump_json())
    assert again == whole
