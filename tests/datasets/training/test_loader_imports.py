"""Loader processes start fast: they do not import what only the trainer needs."""

import subprocess
import sys


def test_a_loader_process_does_not_import_lightning() -> None:
    code = (
        "import sys, squall.datasets.training.batch_loader\n"
        "print('pytorch_lightning' in sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"
