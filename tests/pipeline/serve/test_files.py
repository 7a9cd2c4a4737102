"""The published files, from a folder and from S3, and nothing else."""

import asyncio

import pytest

from squall.pipeline.live.store import open_store
from squall.pipeline.serve import files
from tests.pipeline.serve.site import publish
from tests.s3_server import moto_endpoint, s3_server  # noqa: F401 (fixtures)


@pytest.fixture(params=["folder", "s3"])
def place(request, tmp_path):
    """Address with one run, and its name."""
    address = str(tmp_path / "site")
    if request.param == "s3":
        request.getfixturevalue("s3_server").bucket("live")
        address = "s3://live/site"
    return address, publish(address).id


def test_files_are_given_as_they_are(place, serving):
    address, run = place
    client, store = serving(address), open_store(address)
    store.write("alerts/a.xml", "<alert/>")
    for name, kind, cache in (
        ("alerts/a.xml", "application/cap+xml", "no-cache"),
        ("latest.json", "application/json", "no-cache"),
        ("metrics.prom", "text/plain; version=0.0.4", "no-cache"),
        (f"runs/{run}/manifest.json", "application/json", "public, max-age=31536000, immutable"),
        (f"runs/{run}/frames/observed_20240601T1200.png", "image/png",
         "public, max-age=31536000, immutable"),
    ):  # fmt: skip
        answer = client.get(f"/{name}")
        assert answer.status_code == 200
        assert answer.content == store.read_bytes(name)
        assert (answer.headers["content-type"], answer.headers["cache-control"]) == (kind, cache)
        head = client.head(f"/{name}")
        assert (head.content, head.headers["content-length"]) == (b"", str(len(answer.content)))


def test_a_file_that_a_client_has_is_not_sent_again(place, serving):
    address, _ = place
    client = serving(address)
    tag = client.get("/latest.json").headers["etag"]
    assert client.get("/latest.json", headers={"If-None-Match": tag}).status_code == 304
    publish(address, seed=3)
    again = client.get("/latest.json", headers={"If-None-Match": tag})
    assert again.status_code == 200
    assert again.headers["etag"] != tag


PATHS = (
    "nothing.json",
    "runs",
    "runs/",
    "runs/{run}/",
    "runs/{run}/../../latest.json",
    "runs/../latest.json",
    "../secret.txt",
    "runs/../../secret.txt",
    "..\\secret.txt",
    "/secret.txt",
    "/etc/passwd",
    ".lock",
    "runs/.hidden/a",
    "latest.json\0",
    "latest.json/x",
    "a" * 5000,
)


def answer_of(app, path: str) -> tuple[int, bytes]:
    """Status and body for a path as it stands; other clients would shorten it."""
    sent: list[dict] = []

    async def receive():
        await asyncio.sleep(60)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [],
        "server": ("testserver", 80),
        "client": ("127.0.0.1", 1),
    }
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def test_nothing_else_is_given(place, serving, tmp_path):
    address, run = place
    (tmp_path / "secret.txt").write_text("a secret")
    if address == str(tmp_path / "site"):
        (tmp_path / "site" / ".lock").touch()
    app = serving(address).app
    assert answer_of(app, "/latest.json")[0] == 200
    for path in PATHS:
        status, body = answer_of(app, "/" + path.format(run=run))
        assert status == 404, path
        assert b"a secret" not in body


def test_links_that_lead_out_are_not_followed(site, client, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    (site / "out.txt").symlink_to(tmp_path / "secret.txt")
    (site / "away").symlink_to(tmp_path)
    (site / "inside.json").symlink_to(site / "latest.json")
    for name in ("out.txt", "away/secret.txt"):
        assert client.get(f"/{name}").status_code == 404
    assert client.get("/inside.json").status_code == 200


def test_a_large_object_goes_through_in_parts(place, serving, monkeypatch):
    monkeypatch.setattr(files, "PART", 700)
    address, run = place
    name = f"runs/{run}/frames/observed_20240601T1200.png"
    content = open_store(address).read_bytes(name)
    assert len(content) > 1400
    answer = serving(address).get(f"/{name}")
    assert answer.content == content
    assert answer.headers["content-length"] == str(len(content))


def test_the_first_page_is_that_of_the_site_or_a_list(site, client):
    assert client.get("/").json()["state"] == "http://testserver/health"
    (site / "index.html").write_text("<title>Rain</title>")
    answer = client.get("/")
    assert answer.text == "<title>Rain</title>"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


def test_a_file_without_permission_is_not_there(site, client, monkeypatch):

    def refuse(*_: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(files.StaticFiles, "lookup_path", refuse)
    assert client.get("/latest.json").status_code == 404
