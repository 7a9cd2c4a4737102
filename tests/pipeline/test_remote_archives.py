"""Every command that reads an archive reads one on S3, and plain Zarr on S3 and a web server."""

from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest
import xarray as xr

from squall.pipeline.cli.main import main
from squall.pipeline.export.config import ExportConfig
from squall.pipeline.export.run import export
from tests.datasets.sources.temporary_storage import serving
from tests.s3_server import S3Server, moto_endpoint, s3_server  # noqa: F401 (fixtures)

AT = "2024-06-01T04:00"


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder; prints no line for each request."""

    def log_message(self, *_: object) -> None:
        pass


def upload(server: S3Server, bucket: str, prefix: str, folder: Path) -> str:
    """Store a folder under a prefix; returns its address."""
    for path in folder.rglob("*"):
        if path.is_file():
            key = f"{prefix}/{path.relative_to(folder).as_posix()}"
            server.put(bucket, key, path.read_bytes())
    return f"s3://{bucket}/{prefix}"


@pytest.fixture(scope="module")
def zarr_store(chain, tmp_path_factory):
    """The archive of the chain as plain Zarr."""
    out = tmp_path_factory.mktemp("exported") / "synthetic.zarr"
    export(ExportConfig(archive=str(chain.archive), out=str(out), license="CC0-1.0"))
    return out


@pytest.fixture(params=["archive on s3", "zarr on s3", "zarr on the web"])
def address(request, chain, zarr_store):
    if request.param == "zarr on the web":
        with serving(partial(QuietHandler, directory=str(zarr_store.parent))) as server:
            yield f"{server}/{zarr_store.name}"
    else:
        server = request.getfixturevalue("s3_server")
        folder = chain.archive if request.param == "archive on s3" else zarr_store
        yield upload(server, server.bucket("archives"), f"radar/{folder.name}", folder)


def run(*words: object) -> None:
    assert main([str(word) for word in words]) == 0


@pytest.mark.slow
def test_the_commands_read_it_like_the_local_archive(address, chain, tmp_path, capsys):
    for place, out in ((chain.archive, tmp_path / "local"), (address, tmp_path / "remote")):
        capsys.readouterr()
        run("status", place)
        assert "60 present" in capsys.readouterr().out
        run("forecast", "--archive", place, "--model", "extrapolation", "--at", AT,
            "--lead-times", "2", "--out", out / "f.nc")  # fmt: skip
        run("maps", out / "f.nc", "--archive", place, "--out", out / "maps")
        run("verify", "--archive", place, "--model", "extrapolation", "--out", out / "scores",
            "--start", AT, "--end", "2024-06-01T04:20", "--lead-times", "2", "--cases", "1",
            "--workers", "1")  # fmt: skip
    local, remote = tmp_path / "local", tmp_path / "remote"
    with xr.open_dataset(local / "f.nc") as a, xr.open_dataset(remote / "f.nc") as b:
        xr.testing.assert_equal(a.rain_rate, b.rain_rate)
    for folder in ("maps", "scores"):
        names = [sorted(p.name for p in (out / folder).glob("*.*")) for out in (local, remote)]
        assert names[0] == names[1] != []
    scores = [sorted((out / "scores").glob("*.nc"))[0] for out in (local, remote)]
    with xr.open_dataset(scores[0]) as a, xr.open_dataset(scores[1]) as b:
        xr.testing.assert_equal(a.csi, b.csi)


@pytest.mark.parametrize("command", ["status", "forecast", "verify", "maps"])
@pytest.mark.parametrize("place", ["s3://archives/nothing", "{web}/nothing.zarr"])
def test_an_address_where_nothing_lies_gets_a_sentence(
    place,
    command,
    tmp_path,
    capsys,
    chain,
    s3_server,  # noqa: F811
):
    s3_server.bucket("archives")
    forecast = tmp_path / "f.nc"
    run("forecast", "--archive", chain.archive, "--model", "persistence", "--at", AT,
        "--lead-times", "1", "--out", forecast)  # fmt: skip
    with serving(partial(QuietHandler, directory=str(tmp_path))) as web:
        address = place.format(web=web)
        words = {
            "status": ["status", address],
            "forecast": ["forecast", "--archive", address, "--out", str(tmp_path / "g.nc")],
            "verify": ["verify", "--archive", address, "--out", str(tmp_path / "scores")],
            "maps": ["maps", str(forecast), "--archive", address, "--out", str(tmp_path / "m")],
        }[command]
        if command in ("forecast", "verify"):
            words += ["--model", "persistence"]
        capsys.readouterr()
        assert main(words) in (1, 2)
        printed = capsys.readouterr().err
    assert printed.startswith("squall: ")
    assert address in printed
    assert "Traceback" not in printed
