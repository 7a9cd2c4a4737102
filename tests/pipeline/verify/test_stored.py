"""Scores of forecasts that were made before, by Squall and by others."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from squall.datasets.errors import ConfigError, DataError
from squall.datasets.open_archive import open_archive
from squall.pipeline.cli.main import main
from squall.pipeline.forecast.period import forecast_period
from squall.pipeline.verify import output as verify_output
from squall.pipeline.verify.config import VerifyConfig
from squall.pipeline.verify.run import verify
from tests.pipeline.forecast.period_examples import LEADS, PERIOD, period_config

CASES = 9  # of the period, with a gap


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch):
    monkeypatch.setattr(verify_output, "score_figures", lambda scores: {})
    monkeypatch.setattr(verify_output, "html_report", lambda *_, **__: "")


@pytest.fixture(scope="module")
def store(gappy_archive, tmp_path_factory):
    """Extrapolation, not rounded."""
    out = tmp_path_factory.mktemp("stored") / "summer.zarr"
    forecast_period(period_config(gappy_archive, out, keep_bits=23))
    return out


def scored(archive, out, **changes):
    values = {"archives": (archive,), "out": out, "workers": 1, "cases": 0}
    return verify(VerifyConfig(**values | changes))


def of_method(scores, name):
    return scores.sel({"method": name}).drop_vars(["method", "seconds"]).drop_attrs()


def test_a_store_has_exactly_the_scores_of_the_method(gappy_archive, store, tmp_path):
    made_now = scored(
        *(gappy_archive, tmp_path / "model"),
        models=("extrapolation",),
        periods=(PERIOD,),
        every_minutes=10,
        lead_times=LEADS,
    )
    stored = scored(gappy_archive, tmp_path / "stored", forecasts=(store,))
    assert (made_now.cases, stored.cases) == (CASES, CASES)
    for name, same in (("summer", "extrapolation"), ("persistence", "persistence")):
        expected, found = of_method(made_now.scores, same), of_method(stored.scores, name)
        dropped = [n for n in expected.data_vars if "_gain" in str(n)]  # against another reference
        xr.testing.assert_identical(
            found.drop_vars(dropped, errors="ignore"), expected.drop_vars(dropped)
        )
    assert np.isnan(stored.scores.seconds.sel({"method": "summer"}))


def test_a_store_is_scored_beside_methods_in_processes(gappy_archive, store, tmp_path):
    results = [
        scored(
            *(gappy_archive, tmp_path / str(workers)),
            models=("extrapolation",),
            forecasts=(store,),
            lead_times=2,
            workers=workers,
        )
        for workers in (1, 2)
    ]
    xr.testing.assert_equal(*(result.scores.drop_vars("seconds") for result in results))
    xr.testing.assert_equal(
        *(of_method(results[0].scores, name).csi for name in ("summer", "extrapolation"))
    )
    assert results[0].cases == CASES


def test_a_rounded_store_scores_almost_the_same(gappy_archive, store, tmp_path):
    forecast_period(period_config(gappy_archive, tmp_path / "r.zarr"))
    result = scored(gappy_archive, tmp_path / "s", forecasts=(tmp_path / "r.zarr", store))
    exact, rounded = (of_method(result.scores, name) for name in ("summer", "r"))
    np.testing.assert_allclose(rounded.mae, exact.mae, rtol=0.004)
    np.testing.assert_allclose(rounded.csi[:4], exact.csi[:4], atol=0.01)


def test_a_store_that_grows_is_scored_again(gappy_archive, tmp_path):
    out, start = tmp_path / "p.zarr", PERIOD.partition("/")[0]
    cases = []
    for end in ("2024-06-01T00:40", "2024-06-01T01:30"):
        forecast_period(period_config(gappy_archive, out, period=f"{start}/{end}"))
        cases.append(scored(gappy_archive, tmp_path / "s", forecasts=(out,)).cases)
    assert cases == [3, 6]


# -- what others made ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_others(gappy_archive):
    """A dataset as somebody writes it who forecasts with pysteps: persistence with noise."""
    archive = open_archive(gappy_archive)
    indices = [3, 4, 5, 20, 21]
    rain = np.stack([np.repeat(archive.read(i, 1).values, 4, axis=0) for i in indices])
    dims = ("reference_time", "lead_time", "y", "x")
    return xr.Dataset(
        {"precip": (dims, rain.astype(np.float64), {"units": "mm/h"})},
        {
            "reference_time": archive.times[indices],
            "lead_time": pd.to_timedelta([5, 10, 15, 20], unit="min"),
            "y": archive.grid.y,
            "x": archive.grid.x,
        },
    )


def write(dataset, path):
    if path.suffix == ".nc":
        dataset.to_netcdf(path)
    else:
        dataset.chunk(reference_time=3, y=16).to_zarr(path, zarr_format=2, consolidated=True)
    return path


def south_up(dataset):
    return dataset.isel(y=slice(None, None, -1))


def in_metres_a_second(dataset):
    return (dataset / 3.6e6).assign(precip=lambda d: d.precip.assign_attrs(units="m s-1"))


def in_minutes(dataset):
    minutes = ("lead_time", [5, 10, 15, 20], {"units": "minutes"})
    return dataset.assign_coords(lead_time=minutes)


def in_another_order(dataset):
    return dataset.transpose("lead_time", "x", "y", "reference_time")


def in_kilometres(dataset):
    return dataset.assign_coords(
        {name: (name, dataset[name].values / 1000, {"units": "km"}) for name in ("x", "y")}
    )


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
@pytest.mark.parametrize(
    "change",
    [None, south_up, in_metres_a_second, in_minutes, in_another_order, in_kilometres],
)
def test_forecasts_of_others_are_scored(gappy_archive, of_others, tmp_path, change, suffix):
    dataset = of_others if change is None else change(of_others)
    path = write(dataset, tmp_path / f"pysteps{suffix}")
    result = scored(gappy_archive, tmp_path / "s", forecasts=(path,))
    # persistence under another name; the scan of 01:00 (index 12) is in no window of these cases
    assert result.cases == 5
    found, expected = (of_method(result.scores, name) for name in ("pysteps", "persistence"))
    for name in ("csi", "mae", "fss"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)
    assert found.sizes["lead_time"] == 4


def test_members_of_others_are_scored(gappy_archive, of_others, tmp_path):
    members = xr.concat([of_others * 0.5, of_others * 1.5], "realization")
    members["precip"].attrs["units"] = "mm h-1"
    path = write(members, tmp_path / "steps.nc")
    result = scored(gappy_archive, tmp_path / "s", forecasts=(path,))
    found, expected = (of_method(result.scores, name) for name in ("steps", "persistence"))
    np.testing.assert_allclose(found.mae, expected.mae, rtol=1e-5)  # of the mean of the members
    assert (found.crps < expected.crps).all()
    assert result.scores.sizes["rank"] == 3
    with pytest.raises(ConfigError, match="--members 5: the stored --forecasts have 2 members"):
        scored(gappy_archive, tmp_path / "s", forecasts=(path,), members=5)


def changed(dataset, **attributes):
    return dataset.assign(precip=dataset.precip.drop_attrs().assign_attrs(attributes))


REFUSED = {
    "units": (
        lambda d: changed(d, units="dBZ"),
        "precip has units 'dBZ', expected a rate like 'mm h-1'",
    ),
    "unknown": (lambda d: changed(d, units="furlong"), "precip has units 'furlong', expected"),
    "no units": (lambda d: changed(d), "precip has no units; if it is a rain rate in mm/h, set"),
    "dims": (
        lambda d: d.rename(reference_time="time"),
        r"no variable has the dimensions reference_time, .*precip has time, lead_time, y, x; ",
    ),
    "two": (lambda d: d.assign(other=d.precip), "precip, other may be the rain rate; call it rain"),
    "no coordinates": (lambda d: d.drop_vars("y"), r"has no coordinate y, so nobody can tell"),
    "no times": (lambda d: d.drop_vars("reference_time"), "has no coordinate reference_time"),
    "numbers": (
        lambda d: d.assign_coords(lead_time=[5, 10, 15, 20]),
        "lead_time is int64, expected durations, or numbers with an attribute units",
    ),
    "years later": (
        lambda d: d.assign_coords(reference_time=d.reference_time + np.timedelta64(9999, "D")),
        "no reference time is a time of .*: 2051.* the archive has 2024-06-01 00:00:00 to",
    ),
    "twice": (
        lambda d: xr.concat([d, d], "reference_time"),
        "reference_time has the same value twice",
    ),
    "lead times": (
        lambda d: d.isel(lead_time=[1, 3]),
        r"the lead times are 10, 20 … min, expected the steps of .*, 5 min, from the first",
    ),
    "smaller": (lambda d: d.isel(x=slice(1, None)), "is not on the grid of .*: 64×63 pixels inst"),
    "shifted": (
        lambda d: d.assign_coords(x=d.x + 400),
        "is not on the grid of .*: x coordinates differ by up to 400",
    ),
    "projection": (
        lambda d: d.assign_coords(
            spatial_ref=((), 0, {"grid_mapping_name": "latitude_longitude", "earth_radius": 6.4e6})
        ),
        "is not on the grid of .*: another map projection",
    ),
    "irregular": (lambda d: d.assign_coords(x=d.x**1.1), "its grid cannot be used: x must rise"),
    "negative": (
        lambda d: changed(d - 15, units="mm h-1"),
        "precip has negative values, down to -15; expected rain rates in mm/h",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(gappy_archive, of_others, tmp_path, name):
    change, message = REFUSED[name]
    path = write(change(of_others), tmp_path / "others.nc")
    with pytest.raises(DataError, match=message):
        scored(gappy_archive, tmp_path / "s", forecasts=(path,))


def test_other_mistakes_are_explained(gappy_archive, of_others, store, tmp_path, capsys):
    arguments = (gappy_archive, tmp_path / "s")
    with pytest.raises(ValueError, match="nothing to score; give --model or --forecasts"):
        scored(*arguments)
    with pytest.raises(ConfigError, match="--forecasts summer: has 3 lead times, and 5 are asked"):
        scored(*arguments, forecasts=(store,), minutes=25)
    same_name = write(of_others, tmp_path / "extrapolation.nc")
    with pytest.raises(ConfigError, match="another method is called extrapolation too"):
        scored(*arguments, forecasts=(same_name,), models=("extrapolation",))
    with pytest.raises(DataError, match="cannot be read as Zarr"):
        scored(*arguments, forecasts=(tmp_path,))
    words = ["verify", "--archive", str(gappy_archive), "--forecasts", "gone.zarr", "--out", "s"]
    with pytest.raises(SystemExit):
        main(words)
    assert "gone.zarr" in capsys.readouterr().err
