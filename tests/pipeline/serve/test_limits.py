"""Only reading, not too often, from any page; and what is counted."""

import socket

import pytest

from squall.datasets.errors import ConfigError
from squall.pipeline.cli.main import main
from squall.pipeline.serve.config import ServeConfig
from squall.pipeline.serve.middleware import _network_of
from squall.pipeline.serve.run import _listening, serve


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


def test_answers_do_not_wait_for_the_acknowledgement_of_their_head():
    """asyncio sets TCP_NODELAY only on sockets that name their protocol."""
    with _listening(ServeConfig(address="site", port=free_port())) as listening:
        assert listening.proto == socket.IPPROTO_TCP


def test_a_port_in_use_is_a_clear_error(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--port {port}: cannot be listened on"):
            serve(ServeConfig(address=str(tmp_path), port=port))


def test_a_file_is_no_site(tmp_path):
    (tmp_path / "a.json").touch()
    with pytest.raises(ConfigError, match="is a file; give the folder"):
        serve(ServeConfig(address=str(tmp_path / "a.json"), port=free_port()))


def test_a_missing_extra_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr("squall.pipeline.cli.serve.NEEDED", ("json", "not_installed"))
    assert main(["serve", "site"]) == 2
    message = "squall serve needs not_installed; run: pip install 'squall[serve]'"
    assert message in capsys.readouterr().err


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
