"""The work of the child on real scans: what a run holds, and what is found out about new scans."""

import hashlib
import json
import shutil

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image

from squall.datasets.archive.archive import Archive
from squall.datasets.coding import RAIN_CODE
from squall.pipeline.cli.main import main
from squall.pipeline.live.alerts.records import Evaluation
from squall.pipeline.live.config import LiveConfig
from squall.pipeline.live.frames import _first_leads_of
from squall.pipeline.live.states import Order, wanted_run
from squall.pipeline.live.work import Worker
from squall.pipeline.point.config import PointConfig
from squall.pipeline.point.run import point
from tests.pipeline.conftest import ROOT

AT = pd.Timestamp("2024-06-01T04:00")
LEADS = 3
NETWORK = ROOT / "configs" / "archives" / "synthetic.yaml"


def config_of(folder, **changes):
    values = {
        "publish_to": str(folder / "site"),
        "minutes": 15,
        "thresholds_mm_h": (0.5, 2.0),
        "places": {
            "middle": {"latitude": 55.6, "longitude": 10.9},
            "far away": {"latitude": -30, "longitude": 150},
        },
        "usual_latency": "2min",
        "alerts": [
            {"name": "rain", "rain_mm_h": 0.5, "within": "15min", "chance": 0.01, "at": "middle"},
            {"name": "far", "rain_mm_h": 0.5, "within": "15min", "chance": 0.5, "at": "far away"},
        ],
    }
    return LiveConfig.model_validate(values | changes)


def config_of_files(folder, radar):
    return config_of(
        folder,
        network=str(NETWORK),
        archive=str(folder / "a.icechunk"),
        files=(f"{radar}/*.nc",),
        model="extrapolation",
        alerts=(),
    )


def published(folder, run):
    path = folder / "site" / "runs" / run.id
    return path, json.loads((path / "manifest.json").read_text())


def frames_of(path, layer):
    """(frame, y, x) codes."""
    return np.stack([np.asarray(Image.open(path / frame["file"])) for frame in layer["frames"]])


@pytest.fixture(scope="module", params=[None, 4])
def made(request, chain, tmp_path_factory):
    """Folder, run and configuration of one forecast, and of one ensemble."""
    folder = tmp_path_factory.mktemp("live")
    config = config_of(folder, members=request.param)
    worker = Worker(config, str(chain.archive))
    return folder, worker.make(Order(AT, LEADS)), config


def test_frames_hold_the_forecast_without_loss(made, chain):
    folder, run, config = made
    path, manifest = published(folder, run)
    layers = {layer["name"]: layer for layer in manifest["layers"]}
    with xr.open_dataset(path / "forecast.nc", decode_timedelta=True) as opened:
        forecast = opened.load()
    name = "rain_rate_median" if config.members else "rain_rate"
    rain = frames_of(path, layers["rain_rate"])
    np.testing.assert_array_equal(rain, RAIN_CODE.encode(forecast[name].values))
    observed = frames_of(path, layers["observed"])
    archive = Archive.open(chain.archive)
    scans = archive.read(archive.index_of(AT) - len(observed) + 1, len(observed)).values
    np.testing.assert_array_equal(observed, RAIN_CODE.encode(scans))
    times = [
        pd.Timestamp(frame["time"]).tz_localize(None) for frame in layers["rain_rate"]["frames"]
    ]
    assert times == [AT + minutes * pd.Timedelta("1min") for minutes in (5, 10, 15)]
    chances = frames_of(path, layers["chance_at_pixel_0.5"])
    expected = forecast["probability_of_exceedance"].sel(threshold=0.5).values
    known = ~np.isnan(expected)
    np.testing.assert_allclose(chances[known] / 200, expected[known], atol=0.0026)
    assert (chances[~known] == manifest["codes"]["chance"]["unknown"]).all()
    if config.members:
        name = "probability_of_exceedance_at_any_time"
        whole = frames_of(path, layers["chance_at_any_time_2"])
        expected = forecast[name].sel(threshold=2.0).values
        known = ~np.isnan(expected)
        np.testing.assert_allclose(whole[0][known] / 200, expected[known], atol=0.0026)
        assert (whole[0][~known] == manifest["codes"]["chance_at_any_time"]["unknown"]).all()
    assert ("chance_at_any_time_2" in layers) == bool(config.members)
    around = {"chance_within_10km_0.5", "chance_within_10km_2"}
    assert around <= set(layers) if config.members else not around & set(layers)


def test_frames_of_the_whole_forecast(made):
    """Amount, and the time of the first rain as the number of a lead time."""
    folder, run, config = made
    path, manifest = published(folder, run)
    layers = {layer["name"]: layer for layer in manifest["layers"]}
    with xr.open_dataset(path / "forecast.nc", decode_timedelta=True) as opened:
        forecast = opened.load()
    scan = forecast["observed_rain_rate"].values[-1]
    first = frames_of(path, layers["first_rain_0.5"])[0]
    if config.members:
        amount = forecast["rain_amount_median"].values
        wait = forecast["time_of_first_rain"].sel(threshold=0.5) - np.datetime64(AT)
        steps = wait.values / np.timedelta64(5, "m")
        expected = np.where(np.isnan(steps), 0, np.ceil(np.nan_to_num(steps)) + 1)
        chance = forecast["probability_of_exceedance_at_any_time"].sel(threshold=0.5).values
        expected = np.where(np.isnan(chance), 255, expected)
    else:
        rates = np.stack([scan, *forecast["rain_rate"].values])
        amount = ((rates[1:] + rates[:-1]) / 2 * (5 / 60)).sum(axis=0)
        expected = np.zeros(scan.shape)
        for pixel in np.ndindex(scan.shape):
            for number, rate in enumerate(rates[:, *pixel], 1):
                if np.isnan(rate) or rate >= 0.5:
                    expected[pixel] = 255 if np.isnan(rate) else number
                    break
    np.testing.assert_array_equal(first, expected)
    assert {0, 1, 255} <= set(first.ravel())
    shown = frames_of(path, layers["amount"])[0].astype(int)
    assert (abs(shown - RAIN_CODE.encode(amount.astype(np.float32))) <= 1).all()
    assert layers["amount"]["frames"][0]["time"] == "2024-06-01T04:15:00Z"


def test_percentiles_of_an_ensemble_are_frames(made):
    folder, run, config = made
    path, manifest = published(folder, run)
    layers = {layer["percent"]: layer for layer in manifest["layers"] if "percent" in layer}
    assert set(layers) == ({10.0, 90.0} if config.members else set())
    if config.members:
        with xr.open_dataset(path / "forecast.nc", decode_timedelta=True) as opened:
            high = opened["rain_rate_percentile"].sel(percentile=90).values
        np.testing.assert_array_equal(frames_of(path, layers[90.0]), RAIN_CODE.encode(high))


def test_rain_that_may_have_begun_unseen_has_no_first_time():
    rates = np.array([[[0.0, np.nan, 1.0, 0.0]], [[np.nan, 1.0, np.nan, 0.2]], [[1.0, 1, 1, 0.6]]])
    codes, of_more = _first_leads_of(iter(rates.astype(np.float32)), (0.5, 2.0))
    assert codes.tolist() == [[255, 255, 1, 3]]
    assert of_more.tolist() == [[255, 255, 255, 0]]


def test_the_map_under_the_rain_is_in_the_grid_s_projection(chain, tmp_path):
    shapes = Worker(config_of(tmp_path), str(chain.archive)).base_map()
    grid = Archive.open(chain.archive).grid
    points = np.array([point for line in shapes["coastlines"] for point in line])
    assert len(points) > 10
    span = abs(grid.x[-1] - grid.x[0])
    assert abs(points[:, 0] - grid.x.mean()).max() < span
    assert abs(points[:, 1] - grid.y.mean()).max() < span
    assert shapes["land"]
    assert "GeoNames" in shapes["credit"]
    for town in shapes["towns"]:
        assert grid.x[0] - 1000 < town["x"] < grid.x[-1] + 1000
        assert grid.y[-1] - 1000 < town["y"] < grid.y[0] + 1000


def test_the_formula_of_the_manifest_is_that_of_the_code(made):
    _, manifest = published(*made[:2])
    code = manifest["codes"]["rain_rate"]
    values = np.arange(1, 255)
    rates = code["lowest"] * (code["highest"] / code["lowest"]) ** ((values - 1) / 253)
    np.testing.assert_allclose(rates, RAIN_CODE.table[1:255], rtol=1e-5)
    assert (code["dry"], code["unknown"]) == (0, 255)


def test_the_manifest_names_every_file_and_where_the_grid_lies(made, chain):
    folder, run, config = made
    path, manifest = published(folder, run)
    files = {entry["name"]: entry for entry in manifest["files"]}
    present = {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()}
    assert set(files) == present - {"manifest.json"}
    for name, entry in files.items():
        content = (path / name).read_bytes()
        assert entry["bytes"] == len(content)
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
    grid = Archive.open(chain.archive).grid
    left, bottom, right, top = manifest["grid"]["extent"]
    assert (left + right) / 2 == pytest.approx(grid.x.mean())
    assert right - left == pytest.approx(grid.x.size * np.diff(grid.x).mean())
    assert top - bottom == pytest.approx(grid.y.size * -np.diff(grid.y).mean())
    north_west, _, south_east, _ = manifest["grid"]["corners_lonlat"]
    assert north_west[1] > south_east[1]
    assert north_west[0] < south_east[0]
    assert (manifest["reference_time"], manifest["members"]) == (
        "2024-06-01T04:00:00Z",
        config.members,
    )


def test_the_rules_of_alerts_are_asked(made):
    """Of an ensemble, and of a network that gives chances without members."""
    folder, run, _ = made
    path, _ = published(folder, run)
    said = Evaluation.from_text((path / "rules.json").read_text())
    assert (said.run, said.reference, said.is_good) == (run.id, AT, True)
    with xr.open_dataset(path / "forecast.nc", decode_timedelta=True) as forecast:
        pixel = forecast["probability_of_exceedance"].sel(threshold=0.5)
        place = json.loads((path / "points.json").read_text())["middle"]
        assert said.outcomes["rain"].chance == pytest.approx(max(place["chance"]), abs=0.001)
        assert said.outcomes["rain"].chance <= float(pixel.max())
    assert said.outcomes["rain"].state == ("met" if max(place["chance"]) >= 0.01 else "not_met")
    assert said.outcomes["far"].is_permanent


def test_places_say_what_the_command_point_says(made):
    folder, run, _ = made
    path, manifest = published(folder, run)
    places = json.loads((path / manifest["points"]).read_text())
    assert "outside the radar's grid" in places["far away"]["sentence"]
    assert places["far away"]["rain"] == "unknown"
    expected = point(
        PointConfig(forecast=path / "forecast.nc", at=(55.6, 10.9), threshold_mm_h=0.5)
    )
    assert places["middle"]["sentence"] == expected.sentence
    assert places["middle"]["rain_mm_h"] == pytest.approx(expected.as_dict()["rain_mm_h"])
    assert places["middle"]["rain"] == expected.as_dict()["rain"]
    assert places["middle"]["known_until"] == "2024-06-01T04:15:00Z"


def test_the_extrapolation_of_a_fallback_has_no_members(chain, tmp_path):
    worker = Worker(config_of(tmp_path, members=4), str(chain.archive))
    run = worker.make(Order(AT, LEADS, fallback="no weights"))
    _, manifest = published(tmp_path, run)
    assert (manifest["model"], manifest["members"]) == ("extrapolation", None)
    assert manifest["fallback"] == "no weights"
    assert [layer["name"] for layer in manifest["layers"]] == [
        *("observed", "rain_rate", "amount"),
        *("first_rain_0.5", "first_rain_2"),
    ]


def test_a_replay_shows_the_scans_that_had_come_by_then(chain, tmp_path):
    worker = Worker(config_of(tmp_path), str(chain.archive))
    for minutes, newest in ((1.9, -5), (2, 0), (6.9, 0), (7, 5)):
        arrivals = worker.look(AT + pd.Timedelta(minutes=minutes))
        assert arrivals.newest == AT + pd.Timedelta(minutes=newest)
        assert arrivals.step == pd.Timedelta("5min")
        assert arrivals.missing == ()
    assert worker.look(pd.Timestamp("2024-05-01")).newest is None


@pytest.fixture
def radar(synthetic_files, tmp_path):
    """A folder that scans arrive in; the second argument leaves files out."""
    folder = tmp_path / "radar"
    folder.mkdir()

    def arrive(*times):
        for text in times:
            (path,) = synthetic_files.rglob(f"synthetic_20240601T{text}*.nc")
            shutil.copy(path, folder)

    return folder, arrive


def test_scans_are_ingested_as_they_arrive_and_gaps_are_named(radar, tmp_path):
    folder, arrive = radar
    config = config_of_files(tmp_path, folder)
    worker = Worker(config)
    empty = worker.look(AT)
    assert empty.newest is None
    assert "no file" in empty.problems[0] or "matches" in empty.problems[0]
    arrive("0345", "0350", "0400")
    arrivals = worker.look(AT)
    assert arrivals.newest == AT
    assert arrivals.problems == ()
    assert pd.Timestamp("2024-06-01T03:55") in arrivals.missing
    run = worker.make(Order(AT, LEADS, arrivals.missing))
    assert run.missing == arrivals.missing
    _, manifest = published(tmp_path, run)
    assert "2024-06-01T03:55:00Z" in manifest["missing_context"]
    arrive("0355")
    assert pd.Timestamp("2024-06-01T03:55") not in worker.look(AT).missing
    (folder / "synthetic_20240601T0405.nc").write_bytes(b"damaged")
    damaged = worker.look(AT + pd.Timedelta("5min"))
    assert damaged.newest == AT
    assert "synthetic_20240601T0405.nc" in damaged.problems[0]
    assert worker.look(AT + pd.Timedelta("6min")).problems == damaged.problems
    arrive("0410")
    assert worker.look(AT + pd.Timedelta("10min")).newest == AT + pd.Timedelta("10min")
    ahead = worker.look(AT - pd.Timedelta("1h"))
    assert "70 min in the future; check the clock" in ahead.problems[-1]


def test_a_scan_without_an_observed_pixel_is_no_reason_to_forecast_again(radar, tmp_path):
    """The file is there, so waiting for it would never end."""
    folder, arrive = radar
    config = config_of_files(tmp_path, folder)
    arrive("0345", "0350", "0355", "0400")
    with netCDF4.Dataset(folder / "synthetic_20240601T0355.nc", "a") as file:
        file["rainfall_rate"][:] = np.ma.masked
    worker = Worker(config)
    arrivals = worker.look(AT)
    order = wanted_run(AT, arrivals, None, config)
    run = worker.make(order)
    assert "2024-06-01T03:55:00Z" in published(tmp_path, run)[1]["missing_context"]
    assert wanted_run(AT, worker.look(AT), run, config) is None


def test_the_command_publishes_one_run(chain, tmp_path, capsys):
    config = tmp_path / "live.yaml"
    config.write_text(
        f"publish_to: {tmp_path / 'site'}\nmodel: extrapolation\nusual_latency: 2min\n"
        "stale_after: 6h\nkeep: 1D\n"
    )
    words = ["live", str(config), "--replay", str(chain.archive), "--start", "2024-06-01T04:02"]
    assert main([*words, "--once", "--speed", "1"]) == 0
    assert f"{tmp_path / 'site'}: fresh, the last scan is of 2024-06-01 04:00" in (
        capsys.readouterr().out
    )
    latest = json.loads((tmp_path / "site" / "latest.json").read_text())
    assert latest["reference_time"] == "2024-06-01T04:00:00Z"
    assert (tmp_path / "site" / latest["manifest"]).exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "needs 'network', or give --replay"),
        (["--speed", "2"], "are for a replay; add --replay ARCHIVE"),
        (["--start", "2024-06-01"], "are for a replay; add --replay ARCHIVE"),
        (["--end", "2024-06-01"], "are for a replay; add --replay ARCHIVE"),
        (
            ["--replay", "ARCHIVE", "--start", "2024-06-01T05:00", "--end", "2024-06-01T05:00"],
            "--end must be after --start",
        ),
        (["--replay", "ARCHIVE", "--speed", "0"], "--speed"),
        (["--replay", "nowhere.icechunk"], "nowhere.icechunk: no such file or folder"),
        (["--replay", "ARCHIVE", "--start", "noon"], "noon"),
    ],
)
def test_wrong_arguments_are_refused(words, message, chain, tmp_path, capsys):
    config = tmp_path / "live.yaml"
    config.write_text(f"publish_to: {tmp_path / 'site'}\n")
    words = [str(chain.archive) if word == "ARCHIVE" else word for word in words]
    try:
        code = main(["live", str(config), *words])
    except SystemExit as error:
        code = error.code
    assert code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


def test_a_replay_of_an_archive_begins_after_an_hour_of_scans(chain):
    from squall.pipeline.live.factory import start_of_replay

    assert start_of_replay(str(chain.archive)) == pd.Timestamp("2024-06-01T01:00")
