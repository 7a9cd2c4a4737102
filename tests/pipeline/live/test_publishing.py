"""What the loop publishes beside the runs: page, map, list of runs; and clocks of a replay."""

import pandas as pd

from squall.pipeline.live.clock import ReplayClock
from squall.pipeline.live.run import Service, live


def test_the_page_and_the_map_are_published_once(world, monkeypatch):
    files = {"squall.js": b"new", "index.html": b"page"}
    monkeypatch.setattr("squall.pipeline.live.run.page_files", lambda: files)
    world.cycle()
    assert (world.site / "index.html").read_bytes() == b"page"
    assert world.json("map") == {"land": []}
    (world.site / "index.html").unlink()
    world.cycle()
    assert not (world.site / "index.html").exists()


def test_a_package_without_the_page_says_so_once(world, monkeypatch, caplog):
    monkeypatch.setattr("squall.pipeline.live.run.page_files", dict)
    world.cycle()
    world.cycle()
    assert caplog.text.count("the web page is not part of this installation") == 1
    assert world.json("status")["state"] == "fresh"


def test_a_run_of_the_future_is_not_taken_up(world):
    """A replay may begin before the end of the one before it."""
    world.cycle()
    world.order(newest="2024-06-01T11:00")
    world.clock.move(-59)
    world.restart()
    world.cycle()
    assert world.json("latest")["reference_time"] == "2024-06-01T11:00:00Z"


def test_a_map_that_fails_is_told_and_tried_again(world):
    world.order(newest="2024-06-01T12:00", base_map="fail")
    assert world.cycle().name == "fresh"
    assert not (world.site / "map.json").exists()
    world.cycle()
    assert "the page cannot be published" in world.json("status")["problems"][0]
    world.order(newest="2024-06-01T12:00")
    world.cycle()
    assert (world.site / "map.json").exists()


def test_the_list_of_runs_names_whole_runs_only(world):
    world.cycle()
    world.order(newest="2024-06-01T12:05")
    world.clock.move(5)
    world.cycle()
    assert world.json("runs")["runs"] == world.runs()
    # one that was never told of, as a killed process leaves it on object storage
    (world.site / "runs" / "20240601T1206Z-00000000").mkdir()
    world.restart()
    world.cycle()
    assert world.json("runs")["runs"] == world.runs()[:2]
    world.order(newest="2024-06-01T13:10")
    world.clock.move(65)
    world.cycle()
    assert world.json("runs")["runs"] == world.runs() == [world.json("latest")["id"]]


def test_a_service_from_cron_is_not_dead_between_two_scans(world):
    world.cycle()
    assert world.json("status")["heartbeat_due_s"] == 10 + 2 * 20
    world.service = Service(world.config, world.child, world.clock, once=True)
    world.cycle()
    assert world.json("status")["heartbeat_due_s"] == 10 + 2 * 20 + 2 * 300


def test_a_replay_ends_at_its_end(world):
    world.child.call("pid", deadline_s=20)  # it has started when the clock of the replay does
    clock = ReplayClock(pd.Timestamp("2024-06-01T12:01"), speed=60)
    state = live(world.config, world.child, clock, end=pd.Timestamp("2024-06-01T12:02"))
    assert state.name in ("fresh", "late")  # a slow machine is late
    assert world.json("status")["reason"] == "the service was stopped"
    assert world.json("status")["speed"] == 60


def test_a_replay_runs_faster():
    clock = ReplayClock(pd.Timestamp("2024-06-01"), speed=3600)
    clock.sleep(60)
    assert pd.Timedelta("1min") <= clock.now() - pd.Timestamp("2024-06-01") < pd.Timedelta("1h")
