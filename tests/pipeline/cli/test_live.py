"""The command `squall live` refuses what it cannot write before any work."""

from pathlib import Path

import pytest

from squall.pipeline.cli.main import main

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("key", ["archive", "publish_to"])
def test_a_folder_below_a_file_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    (tmp_path / "plain").write_text("mine")
    places = {"archive": f"{tmp_path}/a.icechunk", "publish_to": f"{tmp_path}/site"}
    places[key] = f"{tmp_path}/plain/x"
    config = tmp_path / "live.yaml"
    lines = [f"network: {ROOT}/configs/archives/synthetic.yaml", f"files: ['{tmp_path}/*.nc']"]
    config.write_text("\n".join(lines + [f"{name}: {place}" for name, place in places.items()]))
    assert main(["live", str(config), "--once"]) == 2
    message = capsys.readouterr().err
    assert f"{tmp_path}/plain: is a file, so nothing can be written into it ({key})" in message
