"""Signed addresses: read with the signature, known without it, and never shown or stored."""

import json
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler

import pytest

from squall.datasets.archive.archive import Archive
from squall.pipeline.cli.main import main
from tests.datasets.sources.temporary_storage import serving
from tests.pipeline.tiny_radar import VALUES, contents, write_scans

SIGNATURES = {
    "amazon": "X-Amz-Credential=hunter2&X-Amz-Date={n}&X-Amz-Signature=hunter2{n}",
    "azure": "sv=2022-11-02&se={n}&sr=b&sp=r&sig=hunter2{n}",
    "token": "token=hunter2{n}",
}


class SignedFiles(SimpleHTTPRequestHandler):
    """Serves files to those who show a signature."""

    def do_GET(self):
        if "hunter2" not in self.path:
            self.send_error(403)
        else:
            super().do_GET()

    def do_HEAD(self):
        if "hunter2" not in self.path:
            self.send_error(403)
        else:
            super().do_HEAD()

    def log_message(self, *_):
        pass


@pytest.fixture
def web(radar):
    write_scans(radar, 2)
    (radar / "rain_20240601T0010.nc").write_bytes(b"broken")
    with zipfile.ZipFile(radar / "day.zip", "w") as container:
        container.write(radar / "rain_20240601T0005.nc", "rain_20240601T0005.nc")
    with serving(partial(SignedFiles, directory=str(radar))) as address:
        yield address


def everything_in(archive):
    opened = Archive.open(archive)
    return json.dumps([opened.attributes, {k: str(v) for k, v in contents(archive).items()}])


@pytest.mark.parametrize("kind", SIGNATURES)
def test_a_renewed_signature_is_no_new_file_and_stays_secret(
    kind, web, archive, tmp_path, capsys, caplog
):
    caplog.set_level("INFO")
    counts = []
    for number in (1, 2):
        signature = SIGNATURES[kind].format(n=number)
        addresses = [
            f"{web}/{name}?{signature}"
            for name in ("rain_20240601T0000.nc", "rain_20240601T0010.nc")
        ]
        addresses.append(f"zip://*.nc::{web}/day.zip?{signature}")
        config = tmp_path / "config.json"
        config.write_text(json.dumps(VALUES | {"source": addresses, "archive": str(archive)}))
        code = main(["ingest", str(config), "--workers", "0", "--report", str(tmp_path / "r.json")])
        assert code == 1  # one file is broken
        report = json.loads((tmp_path / "r.json").read_text())
        counts.append((report["found"], report["new_files"], report["ingested"]))
    assert counts == [(3, 3, 2), (3, 0, 0)]
    assert main(["status", str(archive), "--json"]) == 0
    shown = capsys.readouterr()
    texts = [shown.out, shown.err, caplog.text, (tmp_path / "r.json").read_text()]
    texts.append(everything_in(archive))
    assert f"{web}/rain_20240601T0000.nc" in texts[-1]
    assert all("hunter2" not in text for text in texts)


@pytest.mark.parametrize("as_json", [False, True])
def test_an_error_does_not_show_the_signature(as_json, web, archive, tmp_path, capsys, caplog):
    config = tmp_path / "config.json"
    config.write_text(json.dumps(VALUES | {"archive": str(archive)}))
    address = f"{web}/nothing.nc?X-Amz-Signature=hunter2"
    log_format = ["--log-format", "json"] if as_json else []
    report = tmp_path / "r.json"
    command = ["ingest", str(config), "--files", address, "--report", str(report), *log_format]
    assert main(command) == 1
    shown = capsys.readouterr()
    assert "nothing.nc: there is no such file" in shown.err + caplog.text
    assert all("hunter2" not in text for text in (*shown, caplog.text, report.read_text()))
