"""Only reading, not too often, from any page; and what is counted."""

import pytest

from squall.pipeline.serve.middleware import _network_of


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_changed(site, client, method):
    before = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}
    for path in ("/forecast", "/latest.json", "/edr", "/new.json"):
        answer = client.request(method, path, content=b"{}")
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET, HEAD"
    assert {path: path.read_bytes() for path in site.rglob("*") if path.is_file()} == before


def test_head_is_get_without_the_body(client):
    for path in ("/health", "/edr", "/v2/radar/latest/256/5/0/0/2/1_1.png"):
        head, get = client.head(path), client.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(get.content))


def test_any_page_may_read(client):
    asked = {"Origin": "https://page.example", "Access-Control-Request-Method": "GET"}
    assert client.options("/forecast", headers=asked).headers["access-control-allow-origin"] == "*"
    for path in ("/health", "/latest.json", "/nothing", "/forecast?lat=x"):
        answer = client.get(path, headers={"Origin": "https://page.example"})
        assert answer.headers["access-control-allow-origin"] == "*"
    asked["Access-Control-Request-Method"] = "DELETE"
    assert client.options("/forecast", headers=asked).status_code == 400


def test_a_client_that_asks_too_often_waits(site, serving):
    client = serving(site, requests_per_minute=3)
    answers = [client.get("/edr", headers={"Origin": "https://page.example"}) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert "more than 3 requests a minute; wait" in answers[-1].text
    assert answers[-1].headers["access-control-allow-origin"] == "*"
    assert client.get("/health").status_code == 200  # monitors are not limited
    assert client.get("/metrics").status_code == 200


def test_without_a_limit_nobody_waits(client):
    assert {client.get("/edr").status_code for _ in range(50)} == {200}


def test_a_client_of_ipv6_has_one_limit_for_its_network():
    assert (
        _network_of("2001:db8::1:2:3:4") == _network_of("2001:db8::9") != _network_of("2001:db9::")
    )
    assert _network_of("192.0.2.1") != _network_of("192.0.2.2")
    assert _network_of("testclient") == "testclient"


def test_requests_are_counted_beside_the_metrics_of_the_live_service(client):
    client.get("/edr")
    client.get("/edr")
    client.get("/forecast?lat=0&lon=0")
    client.get("/v2/radar/latest/256/5/0/0/2/1_1.png")
    client.get("/v2/radar/latest/256/5/1/0/2/1_1.png")
    lines = client.get("/metrics").text.splitlines()
    assert 'squall_state{state="fresh"} 1' in lines
    assert "squall_serve_store_reached 1" in lines
    assert 'squall_serve_requests_total{address="/edr",status="200"} 2' in lines
    assert 'squall_serve_requests_total{address="/forecast",status="404"} 1' in lines
    tiles = [line for line in lines if "/v2/radar" in line]
    assert len(tiles) == 1
    assert tiles[0].endswith(" 2")
