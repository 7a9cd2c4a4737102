"""Whatever goes wrong with what is published, no answer is 500 and none is wrong in silence."""

import json
import threading
from http.server import BaseHTTPRequestHandler

import pytest

from squall.pipeline.live.store import open_store
from squall.pipeline.serve import files, published
from tests.datasets.sources.temporary_storage import serving as http_serving
from tests.pipeline.serve.site import REFERENCE, STEP, folder_of, publish, say
from tests.pipeline.serve.test_points import place_of
from tests.s3_server import moto_endpoint, s3_server  # noqa: F401 (fixtures)

FORECAST = f"/forecast?lat={place_of(20, 20)['lat']}&lon={place_of(20, 20)['lon']}"
ALL = (
    FORECAST,
    "/health",
    "/public/weather-maps.json",
    "/v2/radar/latest/256/5/15/10/2/1_1.png",
    "/v2/coverage/0/256/5/15/10/0/0_0.png",
    "/edr/collections",
    "/edr/collections/forecast/position?coords=POINT(2 53.4)",
)


@pytest.mark.parametrize("state", ["fresh", "gap", "late", "fallback", "stale", "down"])
def test_health_is_200_while_the_forecast_is_about_now(site, client, state):
    say(site, state)
    answer = client.get("/health")
    is_bad = state in ("stale", "down")
    assert answer.status_code == (503 if is_bad else 200)
    assert answer.json()["state"] == state
    assert answer.json()["reason"] == f"it is {state}"
    assert ("retry-after" in answer.headers) == is_bad


@pytest.mark.parametrize(
    ("about", "state", "reason"),
    [
        ({"age": "4min"}, "fresh", "it is fresh"),
        ({"age": "6min"}, "down", "its last heartbeat is 6 min old"),
        ({"age": "-3min"}, "fresh", "it is fresh"),  # clocks of two machines
        ({"age": "4min", "scan_age": "58min"}, "stale", "the last scan is of 2024-06-01T12:00"),
        ({"age": "4min", "speed": 60.0}, "stale", "the last scan is of 2024-06-01T12:00"),
        ({"age": "30s", "speed": 60.0}, "fresh", "it is fresh"),
    ],
)
def test_health_is_by_the_clock_of_the_server(site, client, about, state, reason):
    say(site, "fresh", **about)
    answer = client.get("/health")
    assert answer.json()["state"] == state
    assert reason in answer.json()["reason"]
    assert answer.status_code == (200 if state == "fresh" else 503)


def test_before_the_first_run_every_answer_says_why(tmp_path, serving):
    client = serving(tmp_path)
    for address in ALL:
        answer = client.get(address)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "30"
        assert "no status.json" in answer.text
    assert client.get("/metrics").status_code == 200
    publish(tmp_path)
    assert {client.get(address).status_code for address in ALL} == {200}


@pytest.mark.parametrize("name", ["latest.json", "status.json"])
@pytest.mark.parametrize("text", ["", '{"id": "2024', "[]", '{"id": "../../etc"}', "\udcff"])
def test_a_half_written_file_is_no_500(site, client, name, text):
    assert client.get(FORECAST).json()["state"] == "fresh"
    (site / name).write_bytes(text.encode(errors="surrogateescape"))
    answer = client.get(FORECAST)
    assert answer.status_code == 200
    # the last good run goes on, and a status that cannot be read is not taken for a good one
    assert answer.json()["state"] == ("fresh" if name == "latest.json" else "down")
    assert {client.get(address).status_code for address in ALL} <= {200, 503}


def test_a_half_written_file_at_the_start_is_503(site, serving):
    (site / "latest.json").write_text('{"id": "2024')
    client = serving(site)
    assert {client.get(address).status_code for address in ALL} == {503}
    publish(site)
    assert {client.get(address).status_code for address in ALL} == {200}


def test_a_run_that_was_deleted_meanwhile(site, client):
    run = publish(site, REFERENCE + STEP, seed=1)
    assert client.get(FORECAST).json()["run"] == run.id
    new = publish(site, REFERENCE + 2 * STEP, seed=2)
    open_store(str(site)).remove(new.id)
    assert client.get(FORECAST).json()["run"] == run.id
    assert client.get(f"/runs/{new.id}/manifest.json").status_code == 404
    again = publish(site, REFERENCE + 2 * STEP, seed=3)
    assert client.get(FORECAST).json()["run"] == again.id


@pytest.mark.parametrize("damage", ["frame", "manifest", "layer"])
def test_a_damaged_run_is_not_taken_up(site, client, damage):
    before = client.get(FORECAST).json()["run"]
    run = publish(site, REFERENCE + STEP, seed=1)
    folder = folder_of(site, run)
    if damage == "frame":
        next((folder / "frames").glob("rain_rate*")).write_bytes(b"\x89PNG half")
    elif damage == "manifest":
        (folder / "manifest.json").write_text('{"layers": ')
    else:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["layers"] = manifest["layers"][:1]
        (folder / "manifest.json").write_text(json.dumps(manifest))
    assert client.get(FORECAST).json()["run"] == before


def test_a_damaged_older_run_does_not_keep_the_newest_back(site, serving):
    folder = next((site / "runs").iterdir())
    (folder / "manifest.json").write_text("{")
    run = publish(site, REFERENCE + STEP, seed=1)
    assert serving(site).get(FORECAST).json()["run"] == run.id


class Failing(BaseHTTPRequestHandler):
    def answer(self) -> None:
        self.send_response(500)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_PUT = do_HEAD = do_POST = answer

    def log_message(self, *_: object) -> None:
        pass


def test_an_object_store_that_fails_is_503_and_tells_no_address(
    s3_server,  # noqa: F811
    serving,
    monkeypatch,
):
    with http_serving(Failing) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        monkeypatch.setattr(files, "WAIT_S", 0.2)
        client = serving("s3://live/site", wait_s=0.2)
        for path in (*ALL[:3], "/latest.json"):
            answer = client.get(path)
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "10"
            assert "s3://" not in answer.text
        assert "squall_serve_store_reached 0" in client.get("/metrics").text


def test_a_store_that_hangs_is_503_in_time(serving, monkeypatch):
    release = threading.Event()

    class Hanging:
        def read_bytes(self, name: str) -> bytes:
            release.wait(30)
            return b"{}"

    monkeypatch.setattr("tests.pipeline.serve.conftest.open_store", lambda _: Hanging())
    client = serving("/nowhere", wait_s=0.05)
    try:
        for address in (FORECAST, "/health"):
            assert client.get(address).status_code == 503
    finally:
        release.set()


def test_memory_is_served_for_a_while_when_the_store_fails(site, client, monkeypatch):
    assert client.get(FORECAST).status_code == 200
    (site / "latest.json").unlink()
    (site / "latest.json").mkdir()  # cannot be read
    assert client.get(FORECAST).status_code == 200
    monkeypatch.setattr(published, "GRACE_S", 0.0)
    assert client.get(FORECAST).status_code == 503
