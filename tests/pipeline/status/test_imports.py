"""`squall status` starts fast: it does not import code that it does not use."""

import subprocess
import sys
from pathlib import Path

import pytest

UNUSED = ("torch", "cartopy", "contourpy", "squall.convgru", "squall.pipeline.forecast.run")


@pytest.mark.parametrize("module", ["summary", "calendar_plot"])
def test_status_does_not_import_the_forecast_code(module: str) -> None:
    code = (
        f"import sys, squall.pipeline.status.{module}\n"
        f"print([name for name in {UNUSED!r} if name in sys.modules])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_the_command_with_a_picture_does_not_import_the_forecast_code(
    rain_archive: Path, tmp_path: Path
) -> None:
    code = (
        "import sys\n"
        "from squall.pipeline.cli.main import main\n"
        f"code = main(['status', {str(rain_archive)!r}, '--plot', {str(tmp_path / 'a.png')!r}])\n"
        "names = [name for name in sys.modules if name.startswith('squall.pipeline.')]\n"
        "rooms = {name.split('.')[2] for name in names}\n"
        f"print(code, [name for name in {UNUSED!r} if name in sys.modules], file=sys.stderr)\n"
        "print(sorted(rooms & {'forecast', 'maps', 'train', 'verify'}), file=sys.stderr)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stderr.splitlines()[-2:] == ["0 []", "[]"]
