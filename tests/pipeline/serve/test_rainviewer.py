"""Clients of RainViewer: from the list of frames to the pictures."""

import io

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image

from squall.pipeline.live.store import open_store
from tests.pipeline.serve.site import CONTEXT, LEADS, REFERENCE, STEP, forecast_of, publish, say
from tests.pipeline.serve.test_tiles import tile_of

LIST = "/public/weather-maps.json"
X, Y = tile_of(8)


def seconds(time: pd.Timestamp) -> int:
    return int((time - pd.Timestamp(0)).total_seconds())


def times(client, kind: str) -> list[int]:
    return [frame["time"] for frame in client.get(LIST).json()["radar"][kind]]


def test_a_client_finds_all_frames_by_the_list(serving, site):
    client = serving(site, public_url="https://rain.example.org/squall/")
    maps = client.get(LIST).json()
    assert maps["version"].startswith("2.")
    assert maps["host"] == "https://rain.example.org/squall"
    assert maps["satellite"] == {"infrared": []}
    frames = maps["radar"]["past"] + maps["radar"]["nowcast"]
    expected = [seconds(REFERENCE + k * STEP) for k in range(1 - CONTEXT, LEADS + 1)]
    assert [frame["time"] for frame in frames] == expected
    pictures = set()
    for frame in frames:
        assert frame["path"].startswith("/v2/radar/")  # some clients drop other frames
        answer = client.get(f"{frame['path']}/256/8/{X}/{Y}/2/1_1.png")
        image = Image.open(io.BytesIO(answer.content))
        assert (image.format, image.mode, image.size) == ("PNG", "P", (256, 256))
        pictures.add(answer.content)
    assert len(pictures) == len(frames)


def test_clients_may_make_addresses_of_times(client):
    for frame in (*client.get(LIST).json()["radar"]["past"],
                  *client.get(LIST).json()["radar"]["nowcast"]):  # fmt: skip
        by_path, by_time = (
            client.get(f"{path}/256/8/{X}/{Y}/2/1_1.png").content
            for path in (frame["path"], f"/v2/radar/{frame['time']}")
        )
        assert by_path == by_time


def test_the_host_is_that_of_the_request(client):
    assert client.get(LIST).json()["host"] == "http://testserver"
    assert (
        client.get(LIST, headers={"Host": "a.example:81"}).json()["host"] == "http://a.example:81"
    )


def test_past_frames_reach_over_earlier_runs_each_once(tmp_path, serving):
    site = tmp_path / "site"
    for k in range(4):
        publish(site, REFERENCE + 3 * k * STEP, seed=k)
    publish(site, REFERENCE + 9 * STEP, seed=9)  # made again
    newest = REFERENCE + 9 * STEP
    expected = [seconds(newest - k * STEP) for k in reversed(range(12))]
    client = serving(site)
    assert times(client, "past") == expected
    publish(site, newest + STEP, seed=10)
    assert times(client, "past") == [*expected, seconds(newest + STEP)]
    assert times(serving(site, past="15min"), "past") == [
        seconds(newest + k * STEP) for k in range(-2, 2)
    ]


def test_a_scan_without_an_observation_is_no_past_frame(tmp_path, serving):
    site = tmp_path / "site"
    forecast = forecast_of(REFERENCE, 0)
    forecast["observed_rain_rate"][1] = np.nan
    publish(site, forecast=forecast)
    client = serving(site)
    assert times(client, "past") == [seconds(REFERENCE - 2 * STEP), seconds(REFERENCE)]
    publish(site, REFERENCE + STEP, seed=1)  # the scan has come
    assert times(client, "past") == [seconds(REFERENCE + k * STEP) for k in range(-2, 2)]
    later: xr.Dataset = forecast_of(REFERENCE + 2 * STEP, 2)
    later["observed_rain_rate"][0] = np.nan  # and is still known to the server
    publish(site, REFERENCE + 2 * STEP, forecast=later)
    assert times(client, "past") == [seconds(REFERENCE + k * STEP) for k in range(-2, 3)]


@pytest.mark.parametrize("how", ["stale", "down", "dead"])
def test_a_forecast_that_says_nothing_about_now_is_not_listed(site, client, how):
    assert times(client, "nowcast")
    if how == "dead":
        say(site, "fresh", age="20min")
    else:
        say(site, how)
    maps = client.get(LIST).json()
    assert maps["radar"]["nowcast"] == []
    assert len(maps["radar"]["past"]) == CONTEXT
    assert maps["squall"]["is_stale"]


def test_frames_of_an_older_list_are_served_for_a_while(site, client):
    path = client.get(LIST).json()["radar"]["nowcast"][0]["path"]
    address = f"{path}/256/8/{X}/{Y}/2/1_1.png"
    first = client.get(address).content
    for seed in (1, 2, 3):
        old_run = open_store(str(site)).runs()[0]
        publish(site, REFERENCE + seed * STEP, seed=seed)
        open_store(str(site)).remove(old_run)
        assert client.get(address).content == first
    publish(site, REFERENCE + 4 * STEP, seed=4)
    assert client.get(address).status_code == 404


def test_frames_of_a_run_may_be_cached_for_long(client):
    past, nowcast = (
        client.get(LIST).json()["radar"][kind][0]["path"] for kind in ("past", "nowcast")
    )
    ages = [
        client.get(f"{path}/256/8/{X}/{Y}/2/1_1.png").headers["cache-control"]
        for path in (nowcast, past, "/v2/radar/latest")
    ]
    assert ages == ["public, max-age=86400", "public, max-age=300", "public, max-age=10"]
