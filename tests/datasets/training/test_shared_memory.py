"""Too little shared memory is an error with advice, before the first batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from squall.datasets.errors import DataError
from squall.datasets.training.window_reader import WindowReader

ROOT = Path(__file__).parents[3]
FEW_BATCHES = """
import sys
from squall.datasets.errors import DataError
from tests.datasets.training.loader_alone import loader
if __name__ == "__main__":
    try:
        batches = loader(sys.argv[1], samples=64, batch_size=int(sys.argv[2]))
        print(len(list(batches)), "batches")
        batches.close()
    except DataError as error:
        print(error)
"""


def test_torch_says_that_memory_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensor: torch.Tensor) -> None:
        raise RuntimeError(
            "unable to allocate shared memory(shm) for file </torch_1>: No space left on device"
        )

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    WindowReader([], 5, 32, batch_size=4, workers=0)
    with pytest.raises(DataError, match=r"/dev/shm has no room for 0 MB .* 2 loader .*--shm-size"):
        WindowReader([], 5, 32, batch_size=4, workers=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch_size", "answer"), [(64, "/dev/shm has no room for 2 MB"), (4, "16 batches")]
)
def test_a_small_shared_memory_is_enough_or_named(
    rain_archive: Path, batch_size: int, answer: str
) -> None:
    """A container has 64 MB of it; this one has 1 MB."""
    mount = "mount -t tmpfs -o size=1m tmpfs /dev/shm"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("this machine does not allow other mounts")
    script = f'{mount} && exec "$@"'
    words = [sys.executable, "-c", FEW_BATCHES, str(rain_archive), str(batch_size)]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(answer)
