"""A service that is killed at any moment, while a reader looks all the time."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
KILLS = int(os.environ.get("SQUALL_TEST_KILLS", "6"))

SERVICE = """
import sys
from pathlib import Path
import pandas as pd
from squall.pipeline.live.child import Child
from squall.pipeline.live.clock import ReplayClock
from squall.pipeline.live.config import LiveConfig
from squall.pipeline.live.run import live
from tests.pipeline.live.fake_worker import FakeFactory

if __name__ == "__main__":
    orders, site = sys.argv[1:]
    config = LiveConfig(publish_to=site, keep="1h", poll_s=0.01)
    child = Child(FakeFactory(Path(orders), site))
    live(config, child, ReplayClock(pd.Timestamp("2024-06-01T12:01"), 1.0), once=False)
"""


class Reader(threading.Thread):
    """Follows ``latest.json`` to all files of the run, as a browser would."""

    def __init__(self, site):
        super().__init__(daemon=True)
        self.site, self.runs, self.faults = site, set(), []
        self.is_over = False

    def run(self):
        while not self.is_over:
            try:
                self._look()
            except (OSError, ValueError, KeyError) as error:
                self.faults.append(repr(error))
            time.sleep(0.001)

    def _look(self):
        path = self.site / "latest.json"
        if not path.exists():
            return
        latest = json.loads(path.read_text())
        manifest = self.site / latest["manifest"]
        content = json.loads(manifest.read_text())
        assert content["id"] == latest["id"]
        for name in content["files"]:
            assert (manifest.parent / name).stat().st_size == 20_000
        json.loads((self.site / "status.json").read_text()) if len(self.runs) > 1 else None
        self.runs.add(latest["id"])


@pytest.mark.slow
def test_no_reader_sees_half_a_run_and_the_next_process_goes_on(tmp_path):
    site, orders, script = tmp_path / "site", tmp_path / "orders.json", tmp_path / "service.py"
    site.mkdir()
    script.write_text(SERVICE)
    reader = Reader(site)
    reader.start()
    generator = random.Random(0)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    for kill in range(KILLS):
        newest = f"2024-06-01T{12 + kill // 60}:{kill % 60:02d}"
        orders.write_text(json.dumps({"newest": newest, "pause_s": 0.3}))
        process = subprocess.Popen([sys.executable, str(script), str(orders), str(site)],
                                   env=environment)  # fmt: skip
        deadline = time.monotonic() + 60
        while not (site / ".incoming").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 0.6))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not reader.faults
    # the next process publishes the last scan, and nothing is left of the killed ones
    orders.write_text(json.dumps({"newest": "2024-06-01T15:50"}))
    done = subprocess.Popen([sys.executable, str(script), str(orders), str(site)], env=environment)
    deadline = time.monotonic() + 60
    latest = {}
    while latest.get("reference_time") != "2024-06-01T15:50:00Z" and time.monotonic() < deadline:
        time.sleep(0.05)
        if (site / "latest.json").exists():
            latest = json.loads((site / "latest.json").read_text())
    done.terminate()
    done.wait(60)
    reader.is_over = True
    reader.join()
    assert latest["reference_time"] == "2024-06-01T15:50:00Z"
    assert not reader.faults
    assert reader.runs
    assert not (site / ".incoming").exists()
    for run in (site / "runs").iterdir():
        assert (run / "manifest.json").exists()
