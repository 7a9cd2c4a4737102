"""Training needs neither maps nor the command line."""

import subprocess
import sys

PROGRAM = """
import sys
import squall.pipeline.train.run
import squall.pipeline.train.check
unwanted = ("cartopy", "contourpy", "squall.pipeline.cli", "squall.pipeline.maps")
print([name for name in sys.modules if name.startswith(unwanted)])
"""


def test_training_imports_no_maps_and_no_command_line() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr
