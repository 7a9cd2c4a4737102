"""Synthetic radar is reproducible, and its statistics are like those of real rain."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from squall.datasets.coding import RAIN_CODE
from squall.datasets.grid import Grid
from squall.datasets.synthetic import processes
from squall.datasets.synthetic.config import SyntheticConfig
from squall.datasets.synthetic.network import CLUTTER_KM, REACH, SITES, RadarNetwork
from squall.datasets.synthetic.radar import SyntheticScan, synthetic_grid, synthetic_scans

SIZE = 96
SEEDS = (1, 2, 3)
MIDDLE = (slice(20, 62), slice(29, 67))  # observed, with ten pixels around it


def scans_of(**changes: Any) -> list[SyntheticScan]:
    return list(synthetic_scans(SyntheticConfig(**{"hours": 1.0, "size": 64, **changes})))


def rain_of(scans: list[SyntheticScan]) -> np.ndarray:
    return np.stack([scan.rain_rate_mm_h for scan in scans])


@pytest.fixture(scope="module")
def films() -> list[np.ndarray]:
    """(time, y, x) rain rate of two hours for three seeds, seen by radars without faults."""
    return [
        rain_of(scans_of(hours=2.0, size=SIZE, seed=seed, radar_faults=False)) for seed in SEEDS
    ]


def shift_between(before: np.ndarray, after: np.ndarray, most: int = 10) -> tuple[int, int]:
    """Shift (rows, columns) of the second field with the highest correlation in the middle.

    Only pixels that are observed at all shifts are compared; the rim would favour no motion.
    """
    a, b = (np.log1p(field) for field in (before, after))
    top, bottom, left, right = (edge for s in MIDDLE for edge in (s.start, s.stop))
    middle = a[MIDDLE]
    assert np.isfinite(b[top - most : bottom + most, left - most : right + most]).all()
    shifts = [(row, column) for row in range(-most, most + 1) for column in range(-most, most + 1)]
    correlations = [
        np.corrcoef(middle.ravel(), b[top + r : bottom + r, left + c : right + c].ravel())[0, 1]
        for r, c in shifts
    ]
    return shifts[int(np.argmax(correlations))]


# --- time axis, grid, coverage -----------------------------------------------------------------


def test_the_same_configuration_gives_the_same_rain() -> None:
    np.testing.assert_array_equal(rain_of(scans_of(seed=4)), rain_of(scans_of(seed=4)))


def test_a_longer_run_starts_with_the_shorter_one() -> None:
    np.testing.assert_array_equal(rain_of(scans_of(hours=1.5))[:12], rain_of(scans_of(hours=1.0)))


def test_other_seeds_give_other_rain() -> None:
    a, b = rain_of(scans_of(seed=4)), rain_of(scans_of(seed=5))
    assert np.nanmean(a != b) > 0.05


def test_times_are_regular() -> None:
    settings = SyntheticConfig(hours=2, step_minutes=10, size=32, start="2024-02-28T23:30")
    assert [scan.time for scan in synthetic_scans(settings)] == list(settings.times)
    assert settings.times[-1] == pd.Timestamp("2024-02-29T01:20")
    assert len(SyntheticConfig(hours=0.01).times) == 1


def test_missing_scans() -> None:
    assert not any(scan.missing for scan in scans_of(missing_fraction=0))
    some = [scan.missing for scan in scans_of(size=32, hours=20, missing_fraction=0.3)]
    assert 0.2 < np.mean(some) < 0.4
    # missing scans do not change the weather
    np.testing.assert_array_equal(
        rain_of(scans_of(missing_fraction=0)), rain_of(scans_of(missing_fraction=0.5))
    )


def reached(size: int, radars: tuple[int, ...] = (0, 1, 2)) -> np.ndarray:
    """(y, x) whether one of the radars reaches a pixel."""
    rows, columns = np.mgrid[:size, :size] / (size - 1)
    sites = [SITES[radar] for radar in radars]
    return np.any([np.hypot(rows - r, columns - c) < REACH for r, c in sites], axis=0)


def test_rain_is_observed_only_inside_the_coverage(films: list[np.ndarray]) -> None:
    covered = reached(SIZE)
    assert 0.7 < covered.mean() < 0.98
    for film in films:
        assert film.dtype == np.float32
        np.testing.assert_array_equal(np.isfinite(film), np.broadcast_to(covered, film.shape))
    assert not covered[0, 0]
    assert covered[SIZE // 2, SIZE // 2]


@pytest.mark.parametrize("size", [32, 33, 64])
def test_the_grid_fits_the_scans(size: int) -> None:
    grid = synthetic_grid(size)
    assert isinstance(grid, Grid)
    assert grid.shape == (size, size) == scans_of(size=size, hours=0.1)[0].rain_rate_mm_h.shape
    assert grid.pixel_size_m == pytest.approx(1000)
    assert grid.crs.is_projected
    assert grid.x.mean() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"hours": 0},
        {"size": 31},
        {"seed": -1},
        {"step_minutes": 0},
        {"missing_fraction": 1.0},
        {"episode_hours": 0},
        {"episode_hours": 0.1},
        {"sise": 64},
    ],
)
def test_wrong_configurations_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(changes))):
        SyntheticConfig(**changes)


# --- faults of the radars ----------------------------------------------------------------------


def week_of_dry_scans(size: int = 64, minutes: float = 30.0) -> np.ndarray:
    network = RadarNetwork(size, minutes, seed=1, faults=True)
    return np.stack([network.observe(np.zeros((size, size))) for _ in range(336)])


def test_a_silent_radar_leaves_its_own_part_unobserved() -> None:
    film = week_of_dry_scans()
    parts = {tuple(r for r in range(3) if r != silent) for silent in range(3)}
    views = {radars: reached(64, radars) for radars in parts}
    whole = reached(64)
    seen = np.isfinite(film)
    assert (seen <= whole).all()
    silent = [scan for scan in seen if (scan != whole).any()]
    assert 0.005 < len(silent) / len(seen) < 0.15
    for radars, view in views.items():
        assert any((scan == view).all() for scan in silent), radars


def test_clutter_stays_at_its_places_near_the_radars_and_flickers() -> None:
    film = week_of_dry_scans()
    echoes = np.nan_to_num(film) > 0
    share = echoes.mean(axis=0)
    rows, columns = np.nonzero(share)
    distances = [np.hypot(rows - 63 * r, columns - 63 * c) for r, c in SITES]
    assert 0.003 < (share > 0).mean() < 0.08
    assert np.min(distances, axis=0).max() < min(CLUTTER_KM, 0.2 * 64) + 8
    assert 0.6 < np.median(share[share > 0]) < 0.9
    assert 0.3 < np.median(film[np.nonzero(echoes)]) < 4


def test_faults_do_not_change_the_rain() -> None:
    faulty, clean = (rain_of(scans_of(radar_faults=faults)) for faults in (True, False))
    both = np.isfinite(faulty) & np.isfinite(clean)
    assert (faulty[both] >= clean[both]).all()
    assert 0 < (faulty[both] != clean[both]).mean() < 0.1


# --- statistics of rain ------------------------------------------------------------------------


def test_wet_areas_and_rates_are_realistic(films: list[np.ndarray]) -> None:
    rates = np.concatenate([film[np.isfinite(film)] for film in films])
    wet = rates[rates >= 0.1]
    assert (rates >= 0).all()
    assert rates.max() <= 200
    assert 0.1 < wet.size / rates.size < 0.6
    # real composites have a median near 1 mm/h, 10 % of wet pixels above a few mm/h, heavy cores
    median, p90, p99 = np.quantile(wet, [0.5, 0.9, 0.99])
    assert 0.4 < median < 2.5
    assert 1.5 < p90 < 15
    assert 5 < p99 < 60
    for film in films:
        for scan in film:
            assert 0.01 < (scan[np.isfinite(scan)] >= 0.1).mean() < 0.75


def test_rain_survives_the_archive_code(films: list[np.ndarray]) -> None:
    decoded = RAIN_CODE.decode(RAIN_CODE.encode(films[0]))
    wet = films[0] >= 0.08
    np.testing.assert_allclose(decoded[wet], films[0][wet], rtol=0.016)


def correlation_at(film: np.ndarray, lag: int) -> float:
    """Mean correlation of log rain rate between scans ``lag`` steps apart."""
    correlations = []
    for before, after in zip(film[:-lag], film[lag:], strict=True):
        observed = np.isfinite(before)
        logs = [np.log1p(scan[observed]) for scan in (before, after)]
        correlations.append(np.corrcoef(*logs)[0, 1])
    return float(np.mean(correlations))


def test_persistence_loses_skill_with_lead_time(films: list[np.ndarray]) -> None:
    skill = np.mean([[correlation_at(film, lag) for lag in (1, 3, 6, 12)] for film in films], 0)
    assert skill[0] > 0.6
    assert skill[0] > skill[1] + 0.1 > skill[2] + 0.2
    assert skill[3] < 0.35


def test_larger_scales_have_more_power(films: list[np.ndarray]) -> None:
    inner = slice(24, 72)  # inside the coverage
    fields = np.concatenate([np.log(np.maximum(film[:, inner, inner], 0.05)) for film in films])
    fields = fields - fields.mean(axis=(1, 2), keepdims=True)
    window = np.hanning(48)[:, None] * np.hanning(48)
    power = (np.abs(np.fft.rfft2(fields * window)) ** 2).mean(axis=0)
    frequency = np.hypot(np.fft.fftfreq(48)[:, None], np.fft.rfftfreq(48))
    # mean power at wavelengths of 24-12, 12-6, 6-3 and 3-2 pixels
    edges = 1 / np.array([24.0, 12.0, 6.0, 3.0, 2.0])
    bands = [power[(frequency >= low) & (frequency < high)].mean() for low, high in pairwise(edges)]
    assert bands[0] > 2.5 * bands[1] > 2.5 * 2.5 * bands[2] > 2.5 * 2.5 * bands[3]


# --- motion ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 5, 6])
def test_rain_moves_with_the_flow(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    flows: list[np.ndarray] = []
    step = processes.Flow.step

    def recorded(self: processes.Flow) -> np.ndarray:
        flows.append(step(self))
        return flows[-1]

    monkeypatch.setattr(processes.Flow, "step", recorded)
    film = rain_of(scans_of(size=SIZE, hours=1.5, seed=seed, radar_faults=False))
    margin = (flows[0].shape[-1] - SIZE) // 2
    errors_px = []
    for index, (before, after) in enumerate(pairwise(film)):
        box = tuple(slice(s.start + margin, s.stop + margin) for s in MIDDLE)
        if (before[MIDDLE] > 0.1).mean() > 0.1:
            displacement = flows[index + 1][:, box[0], box[1]].mean(axis=(1, 2))
            errors_px.append(np.hypot(*(shift_between(before, after) - displacement)))
    assert len(errors_px) > 8
    assert np.median(errors_px) < 1.2


# --- episodes ----------------------------------------------------------------------------------


def test_episodes_have_independent_weather_and_a_gap_between_them() -> None:
    film = scans_of(hours=3.0, episode_hours=1.0, seed=7, missing_fraction=0, radar_faults=False)
    assert [number for number, scan in enumerate(film) if scan.missing] == [11, 23, 35]
    assert [scan.time for scan in film] == list(SyntheticConfig(hours=3.0).times)
    rain = rain_of(film)
    within = [correlation_at(rain[first : first + 12], 1) for first in (0, 12, 24)]
    across = [correlation_at(rain[first : first + 2], 1) for first in (11, 23)]
    assert np.mean(within) > 0.7
    assert max(across) < 0.4
    # an episode depends on its number, not on the length or number of other episodes
    longer = rain_of(scans_of(hours=1.5, episode_hours=1.0, seed=7, radar_faults=False))
    np.testing.assert_array_equal(rain[:18], longer)
    other = rain_of(scans_of(hours=1.0, episode_hours=1.0, seed=8))
    assert np.nanmean(other != rain[:12]) > 0.05


def test_a_last_episode_may_be_cut_short() -> None:
    film = scans_of(hours=1.5, episode_hours=1.0, missing_fraction=0)
    assert [number for number, scan in enumerate(film) if scan.missing] == [11]


def test_rates_of_episodes_are_realistic() -> None:
    film = rain_of(scans_of(hours=4.0, episode_hours=1 / 6, size=SIZE))[::2]
    rates = film[np.isfinite(film)]
    assert 0 <= rates.min() <= rates.max() <= 200
    wet = rates[rates >= 0.1]
    assert 0.1 < wet.size / rates.size < 0.5
    assert 0.3 < np.median(wet) < 1.5
    assert 4 < np.quantile(wet, 0.99) < 40
    fractions = [np.nanmean(scan >= 0.1) for scan in film]
    assert min(fractions) < 0.15 < 0.4 < max(fractions)
