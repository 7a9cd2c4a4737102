"""The weather of synthetic radar: scales, growth and decay, cells, wind."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from squall.datasets.synthetic import processes
from squall.datasets.synthetic.rain import _rain_rate, rain_rates
from squall.datasets.synthetic.weather import Weather

SIZE = 96
STILL = np.zeros((2, SIZE, SIZE))


# --- scales ------------------------------------------------------------------------------------


def test_small_scales_have_a_shorter_life() -> None:
    cascade = processes.Cascade(Weather(), 64, 5.0, np.random.default_rng(0))
    first = cascade._levels.copy()
    still = np.zeros((2, 64, 64))
    for _ in range(6):
        cascade.step(still)
    correlations = [
        float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
        for a, b in zip(first, cascade._levels, strict=True)
    ]
    assert correlations[0] < 0.2
    assert correlations[3] > correlations[0] + 0.2
    assert np.mean(correlations[-2:]) > 0.7


def test_bands_are_longer_than_wide() -> None:
    along, across = [], []
    for seed in range(6):
        weather = Weather(aspect=4.0, orientation=0.0)
        cascade = processes.Cascade(weather, SIZE, 5.0, np.random.default_rng(seed))
        field = cascade.step(STILL)
        along.append(np.mean(field * np.roll(field, 6, axis=1)))
        across.append(np.mean(field * np.roll(field, 6, axis=0)))
    assert np.mean(along) > np.mean(across) + 0.2


def test_a_slow_process_forgets_to_1_e_in_its_hours() -> None:
    process = processes.slow_process(np.random.default_rng(0), minutes=30, hours=2)
    values = np.array([next(process) for _ in range(20_000)])
    assert values.std() == pytest.approx(1, abs=0.03)
    assert np.mean(values[:-4] * values[4:]) == pytest.approx(np.exp(-1), abs=0.05)


# --- growth and decay --------------------------------------------------------------------------


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_growth_persists_for_a_while() -> None:
    """An area that grew keeps growing, but not for hours; with the cascade alone it would decay."""
    growth = processes.Growth(Weather(growth=1.0), SIZE, 5.0, np.random.default_rng(2))
    totals = [growth.step(STILL).copy() for _ in range(400)]
    changes = [after - before for before, after in pairwise(totals)]
    soon = np.mean([correlation(*pair) for pair in zip(changes, changes[3:], strict=False)])
    late = np.mean([correlation(*pair) for pair in zip(changes, changes[60:], strict=False)])
    assert soon > 0.3
    assert abs(late) < 0.15
    assert np.std(totals[50:]) == pytest.approx(1, abs=0.15)


def test_growth_moves_with_the_flow() -> None:
    growth = processes.Growth(
        Weather(growth=1.0, growth_min=1e6), SIZE, 5.0, np.random.default_rng(0)
    )
    east = np.stack([np.zeros((SIZE, SIZE)), np.full((SIZE, SIZE), 3.0)])
    first = growth.step(STILL)
    for _ in range(4):
        last = growth.step(east)
    assert correlation(np.roll(first, 12, axis=1), last) > 0.95
    assert correlation(first, last) < correlation(np.roll(first, 12, axis=1), last) - 0.1


def test_the_total_of_growth_forgets_as_theory_says() -> None:
    """An AR(1) process driven by another one is an AR(2) process with the two memories a and b.

    Its autocorrelation at lag k is (b^(k+1) (1 - a²) - a^(k+1) (1 - b²)) / ((b - a) (1 + a b)).
    The total lives half as long again as the tendency.
    """
    growth_min, step_min = 20.0, 5.0
    a, b = np.exp(-step_min / growth_min), np.exp(-step_min / (1.5 * growth_min))
    weather = Weather(growth=1.0, growth_min=growth_min)
    growth = processes.Growth(weather, SIZE, step_min, np.random.default_rng(1))
    totals = np.stack([growth.step(STILL) for _ in range(600)])[60:]
    for lag in (6, 12):
        expected = (b ** (lag + 1) * (1 - a**2) - a ** (lag + 1) * (1 - b**2)) / (b - a)
        expected /= 1 + a * b
        measured = np.mean(totals[:-lag] * totals[lag:]) / np.mean(totals**2)
        assert measured == pytest.approx(expected, abs=0.04)


# --- cells -------------------------------------------------------------------------------------


def test_cells_are_born_and_die() -> None:
    weather = Weather(cells=10.0)
    cells = processes.Cells(weather, SIZE, 5.0, np.random.default_rng(1))
    field = np.zeros((SIZE, SIZE))
    numbers, lifetimes = [], set()
    for _ in range(48):
        added = cells.step(STILL, field)
        assert added.min() >= 0
        assert (cells._cells["age_min"] < cells._cells["life_min"]).all()
        numbers.append(len(cells._cells))
        lifetimes |= set(cells._cells["life_min"].tolist())
    # the cells that live at the start were born in the 40 minutes before
    births_per_hour = len(lifetimes) / (4 + 40 / 60)
    assert births_per_hour == pytest.approx(10 * (SIZE / 100) ** 2, rel=0.4)
    # the number of cells at the start is that of later
    assert np.mean(numbers[:6]) == pytest.approx(np.mean(numbers), rel=0.7)


def test_the_number_of_cells_grows_with_the_area_and_they_are_round_or_long() -> None:
    """The first step makes the cells of the 90 minutes before; a third of the trials are born."""
    kinds = []
    for size in (100, 200):
        still, field = np.zeros((2, size, size)), np.zeros((size, size))
        cells = processes.Cells(Weather(cells=2000.0), size, 5.0, np.random.default_rng(2))
        cells._add = lambda *_: None  # type: ignore[method-assign]
        cells.step(still, field)
        kinds.append(cells._cells)
    assert len(kinds[1]) / len(kinds[0]) == pytest.approx(4, rel=0.1)
    # 2000 an hour live for the mean of a lognormal life of 40 min, 43 min
    assert len(kinds[0]) == pytest.approx(2000 * 43.3 / 60, rel=0.1)
    cells = kinds[1]
    assert np.quantile(cells["aspect"], [0, 0.5, 1]) == pytest.approx([1, 1.6, 2.2], abs=0.05)
    assert np.median(cells["radius_px"]) == pytest.approx(3.5, rel=0.05)
    assert np.quantile(cells["peak"], [0, 1]) == pytest.approx([1, 3.2], abs=0.05)


def test_a_cell_grows_and_decays_and_moves_with_the_wind() -> None:
    cells = processes.Cells(Weather(cells=1e-9), SIZE, 5.0, np.random.default_rng(0))
    field, wind = np.zeros((SIZE, SIZE)), np.stack([np.full((SIZE, SIZE), v) for v in (2.0, -3.0)])
    cells.step(STILL, field)
    values = {"row": 20, "column": 60, "life_min": 50, "peak": 2, "radius_px": 3, "aspect": 1}
    single_cell = np.zeros(1, dtype=cells._cells.dtype)
    for name, value in values.items():
        single_cell[name] = value
    cells._cells = single_cell
    strengths = []
    for step in range(1, 10):
        added = cells.step(wind, field)
        strengths.append(added.max())
        assert np.unravel_index(added.argmax(), added.shape) == (20 + 2 * step, 60 - 3 * step)
    assert 1 < np.argmax(strengths) < 6
    assert strengths[0] < 0.8 * max(strengths)
    assert strengths[-1] < 0.4 * max(strengths)
    assert not cells.step(wind, field).any()


def test_most_cells_are_born_where_it_rains() -> None:
    cells = processes.Cells(Weather(cells=60.0), SIZE, 5.0, np.random.default_rng(0))
    field = np.where(np.arange(SIZE) < SIZE // 2, -1.5, 1.5) * np.ones((SIZE, 1))
    for _ in range(6):
        cells.step(STILL, field)
    assert (cells._cells["column"] > SIZE // 2).mean() > 0.85


# --- kinds of weather --------------------------------------------------------------------------


def test_random_weather_has_all_speeds_and_kinds() -> None:
    drawn = [Weather.drawn(np.random.default_rng(seed)) for seed in range(300)]
    speeds = [weather.speed_m_s for weather in drawn]
    assert 0 <= min(speeds) < 1
    assert 24 < max(speeds) <= 25
    for weather in drawn:
        for low, high in (weather.wet_fraction, weather.convective):
            assert 0 <= low < high <= 1
        assert weather.aspect >= 1
    wet = [np.mean(weather.wet_fraction) for weather in drawn]
    assert min(wet) < 0.1 < 0.4 < max(wet)
    # small scales are strong where rates are convective
    assert np.corrcoef([w.slope for w in drawn], [w.convective[1] for w in drawn])[0, 1] < -0.5


def test_growth_and_cells_change_the_rain() -> None:
    def film(**changes: float) -> np.ndarray:
        rates = rain_rates(Weather(**changes), SIZE, 5.0, np.random.default_rng(3))  # type: ignore[arg-type]
        return np.stack([next(rates) for _ in range(6)])

    plain, growing, cells = film(), film(growth=0.8), film(cells=40.0)
    assert not np.array_equal(plain, growing)
    assert cells.mean() > plain.mean()
    assert film(intensity=0.5)[plain < 100].sum() == pytest.approx(0.5 * plain[plain < 100].sum())
    assert film(tail=0.5).max() < plain.max()


@pytest.mark.parametrize("convective", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("wet", [0.1, 0.5])
def test_rates_are_lognormal_and_the_tail_is_shorter_above_two_standard_scores(
    wet: float, convective: float
) -> None:
    scores, shorter = np.array([-3.0, -1, 0, 1, 2, 3, 4]), np.array([-3.0, -1, 0, 1, 2, 2.5, 3])
    field = ndtri(1 - wet + wet * ndtr(scores))  # the wet pixels with these ranks
    median, sigma = 0.5 + 0.6 * convective, 1 + 0.2 * convective
    for tail, of_tail in ((1.0, scores), (0.5, shorter)):
        rates = _rain_rate(field, wet, convective, tail)
        np.testing.assert_allclose(rates, median * np.exp(sigma * of_tail), rtol=1e-6)
    assert not _rain_rate(np.array([-8.0, ndtri(1 - wet)]), wet, convective, 1.0).any()


# --- motion ------------------------------------------------------------------------------------


@pytest.mark.parametrize("motion", [(0, 0), (3, -2), (-4, 1)])
def test_the_flow_moves_the_field(motion: tuple[int, int]) -> None:
    cascade = processes.Cascade(Weather(), SIZE, 5.0, np.random.default_rng(0))
    flow = np.broadcast_to(np.array(motion, dtype=float)[:, None, None], (2, SIZE, SIZE))
    fields = np.fft.rfft2(np.stack([cascade.step(flow) for _ in range(6)]))
    for before, after in pairwise(fields):
        # the field is periodic, and so is its cross-correlation
        correlation = np.fft.irfft2(np.conj(before) * after, s=(SIZE, SIZE))
        peak = np.unravel_index(np.argmax(correlation), correlation.shape)
        assert peak == (motion[0] % SIZE, motion[1] % SIZE)


def test_the_flow_has_realistic_speeds() -> None:
    means = []
    for seed in range(20):
        flow = processes.Flow(Weather(), 64, 5.0, np.random.default_rng(seed))
        means.append([flow.step().mean(axis=(1, 2)) for _ in range(12)])
    speed_m_s = np.hypot(*np.moveaxis(np.array(means), -1, 0)) * 1000 / 300
    assert 8 < speed_m_s.mean() < 15
    assert speed_m_s.min() > 3
    assert speed_m_s.max() < 35
    # the wind turns little within an hour; over all seeds it comes from all directions
    first, last = np.array(means)[:, 0], np.array(means)[:, -1]
    cosine = (first * last).sum(-1) / np.linalg.norm(first, axis=-1) / np.linalg.norm(last, axis=-1)
    assert np.median(cosine) > 0.8
    assert np.linalg.norm(first.mean(axis=0)) < 0.6 * np.linalg.norm(first, axis=-1).mean()


def test_the_flow_has_no_divergence() -> None:
    flow = processes.Flow(Weather(), 64, 5.0, np.random.default_rng(3))
    for _ in range(5):
        rows, columns = flow.step()
        divergence = np.gradient(rows, axis=0) + np.gradient(columns, axis=1)
        inner = slice(2, -2)
        assert np.abs(divergence[inner, inner]).max() < 0.01
        assert np.hypot(rows, columns).std() > 0.05  # but it is not uniform


def test_eddies_have_their_speed_and_leave_the_mean_wind_alone() -> None:
    """Four waves of amplitude v, at right angles to their wave vectors, have 2 v² on average."""
    kinds = [
        processes.Flow(Weather(eddy_m_s=eddy), 64, 5.0, np.random.default_rng(4)).step()
        for eddy in (0.0, 3.0)
    ]
    still_air, with_eddies = (flow * 1000 / 300 for flow in kinds)  # m/s
    wind = still_air.mean(axis=(1, 2))
    assert with_eddies.mean(axis=(1, 2)) == pytest.approx(wind)
    gust = np.linalg.norm(wind) / 11  # the mean wind of the default weather
    eddies = (with_eddies - still_air) / gust
    assert (eddies**2).sum(axis=0).mean() == pytest.approx(2 * 3.0**2)
