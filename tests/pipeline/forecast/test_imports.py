"""Commands start fast: they do not import what they do not use."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("start", "unused"),
    [
        ("import squall.pipeline.maps.run, squall.pipeline.maps.observed", ("torch",)),
        ("import squall.pipeline.ingest.run", ("torch", "cv2", "dask.array", "aiohttp")),
        ("import squall.pipeline.point.run", ("torch", "zarr")),
        ("import squall.pipeline.live.work", ("cartopy", "torch._dynamo")),
        (
            "import squall.pipeline.forecast.run, torch\n"
            "from squall.convgru.motion import coarse_motion\n"
            "coarse_motion(torch.rand(1, 4, 1, 64, 64))",
            ("cartopy", "matplotlib", "torch._dynamo"),
        ),
    ],
)
def test_what_a_stage_does_not_import(start: str, unused: tuple[str, ...]) -> None:
    code = f"import sys\n{start}\nprint([name for name in {unused!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr
