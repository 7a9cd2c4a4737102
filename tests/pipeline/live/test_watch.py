"""A service that looks as soon as a radar file comes."""

import threading
import time

import pytest

from squall.datasets.errors import ConfigError
from squall.pipeline.live.clock import Clock
from squall.pipeline.live.factory import watch_of
from squall.pipeline.live.run import live
from squall.pipeline.live.watch import FileWatch, watched_folders
from tests.pipeline.conftest import ROOT
from tests.pipeline.live.test_worker import config_of

LONG_S = 20.0


@pytest.fixture
def watch(tmp_path):
    radar, own = tmp_path / "radar", tmp_path / "radar" / "site"
    own.mkdir(parents=True)
    watch = FileWatch([radar], [own], LONG_S)
    threading.Timer(0.3, lambda: (radar / "begin").write_text("")).start()
    watch.wait()  # the first wait begins to watch
    return watch, radar, own


def seconds(watch):
    began = time.monotonic()
    watch.wait()
    return time.monotonic() - began


def test_a_file_ends_the_wait(watch):
    watch, radar, _ = watch
    threading.Timer(0.2, lambda: (radar / "scan.nc").write_text("rain")).start()
    assert seconds(watch) < LONG_S / 4


def test_a_file_that_came_before_the_wait_ends_it(watch):
    watch, radar, _ = watch
    (radar / "scan.nc").write_text("rain")
    time.sleep(0.3)
    assert seconds(watch) < LONG_S / 4


def test_what_the_service_writes_itself_does_not_end_the_wait(tmp_path):
    own = tmp_path / "site"
    own.mkdir()
    watch = FileWatch([tmp_path], [own], 1.0)
    threading.Timer(0.2, lambda: (own / "status.json").write_text("{}")).start()
    assert seconds(watch) >= 0.9


def test_without_a_file_the_wait_ends_in_time(tmp_path):
    assert 0.4 < seconds(FileWatch([tmp_path], [], 0.5)) < LONG_S / 4


def test_the_folder_of_a_pattern(tmp_path):
    (tmp_path / "radar").mkdir()
    patterns = [f"{tmp_path}/radar/{{time:%Y}}/*.nc", f"{tmp_path}/radar/*.nc"]
    assert watched_folders(patterns) == [tmp_path / "radar"] * 2


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("s3://bucket/*.nc", "is not on this machine"), ("nowhere/*.nc", "there is no folder")],
)
def test_what_cannot_be_watched_is_refused(tmp_path, monkeypatch, pattern, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        watched_folders([pattern])


def test_the_folders_of_a_configuration(tmp_path):
    (tmp_path / "radar").mkdir()
    beside = [tmp_path / "radar" / f"a.icechunk{end}" for end in ("", ".lock", ".reading")]
    config = config_of(
        tmp_path,
        network=str(ROOT / "configs" / "archives" / "synthetic.yaml"),
        archive=str(tmp_path / "radar" / "a.icechunk"),
        files=(f"{tmp_path}/radar/*.nc",),
        watch=True,
        poll_s=0.5,
    )
    watch = watch_of(config)
    threading.Timer(0.1, lambda: [path.mkdir() for path in beside]).start()
    assert seconds(watch) >= 0.4


def test_a_watch_that_fails_is_polling(world, caplog):
    class Broken:
        def wait(self):
            raise OSError("no space left for watches")

    class Ends(Clock):
        def sleep(self, seconds):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        live(world.config, world.child, Ends(), watch=Broken())
    assert "polling instead: no space left for watches" in caplog.text


def test_the_loop_waits_for_files(world):
    """The second cycle begins when the watch says so."""

    class TwoWaits:
        waits = 0

        def wait(self):
            self.waits += 1
            if self.waits == 2:
                raise KeyboardInterrupt

    class NoSleep(Clock):
        def sleep(self, seconds):
            raise AssertionError("the loop must wait for a file")

    watch = TwoWaits()
    with pytest.raises(KeyboardInterrupt):
        live(world.config, world.child, NoSleep(), watch=watch)
    assert watch.waits == 2
