"""The loop: what it publishes when all is well, and what it says when something is not."""

import shutil
import tracemalloc

import pandas as pd
import pytest

from squall.datasets.errors import BusyError, ConfigError
from squall.pipeline.live.child import Child
from squall.pipeline.live.run import Service, live
from tests.pipeline.live.fake_worker import FakeFactory


def test_a_scan_becomes_a_run_once(world):
    assert world.cycle().name == "fresh"
    latest = world.json("latest")
    assert latest["reference_time"] == "2024-06-01T12:00:00Z"
    assert latest["lead_times"] == 12
    assert latest["fallback"] is None
    world.clock.move(1)
    world.cycle()
    assert world.json("latest") == latest
    assert len(world.runs()) == 1
    world.order(newest="2024-06-01T12:05")
    world.clock.move(4)
    assert world.cycle().name == "fresh"
    assert world.json("latest")["reference_time"] == "2024-06-01T12:05:00Z"
    assert len(world.runs()) == 2
    metrics = (world.site / "metrics.prom").read_text()
    assert 'squall_state{state="fresh"} 1' in metrics
    assert "squall_runs_total 2" in metrics
    assert "squall_scan_age_seconds 60.000" in metrics


def test_a_state_keeps_the_time_when_it_began(world):
    world.cycle()
    world.clock.move(1)
    world.cycle()
    assert world.json("status")["since"] == "2024-06-01T12:01:00Z"
    world.clock.move(6)
    world.cycle()
    status = world.json("status")
    assert (status["state"], status["since"]) == ("late", "2024-06-01T12:08:00Z")


def test_a_scan_that_is_late_by_twenty_minutes(world):
    """Late first, then fresh again; the forecast always reaches an hour from now."""
    world.cycle()
    for _ in range(4):
        world.clock.move(5)
        world.cycle()
        status, latest = world.json("status"), world.json("latest")
        end = pd.Timestamp("2024-06-01T12:00") + latest["lead_times"] * pd.Timedelta("5min")
        assert end >= world.clock.now() + pd.Timedelta("1h") or status["state"] == "fresh"
    assert status["state"] == "late"
    world.order(newest="2024-06-01T12:20")
    assert world.cycle().name == "fresh"
    assert world.json("latest")["lead_times"] == 12


def test_a_source_that_is_down_for_an_hour(world):
    world.cycle()
    first = world.json("latest")["id"]
    names = []
    world.order(newest="2024-06-01T12:00", problems=["source: no answer"])
    for _ in range(12):
        world.clock.move(5)
        state = world.cycle()
        names.append(state.name)
        assert state.name == "fresh" or "source: no answer" in state.reason
        assert world.json("status")["problems"] == ["source: no answer"]
    assert names == ["fresh"] + ["late"] * 4 + ["stale"] * 7
    assert world.json("latest")["reference_time"] == "2024-06-01T12:00:00Z"
    assert world.json("status")["next_expected"] == "2024-06-01T13:02:00Z"
    world.order(newest="2024-06-01T13:00")
    assert world.cycle().name == "fresh"
    assert world.json("latest")["id"] != first


def test_a_note_is_logged_once_and_is_no_cause_of_a_state(world, caplog):
    world.order(newest="2024-06-01T12:00", notes=["place 'Far' lies outside"])
    assert world.cycle().name == "fresh"
    world.clock.move(10)
    assert world.cycle().reason == "the last scan is of 2024-06-01 12:00 UTC, 11 min old"
    assert world.json("status")["problems"] == ["place 'Far' lies outside"]
    assert caplog.text.count("place 'Far' lies outside") == 1


def test_a_gap_is_named_and_ends_when_the_scan_comes(world):
    world.order(newest="2024-06-01T12:00", missing=["2024-06-01T11:50"])
    state = world.cycle()
    assert (state.name, state.reason) == ("gap", "the scan of 11:50 UTC is missing")
    assert world.json("latest")["missing_context"] == ["2024-06-01T11:50:00Z"]
    world.cycle()
    assert len(world.runs()) == 1
    world.order(newest="2024-06-01T12:00")
    assert world.cycle().name == "fresh"
    assert len(world.runs()) == 2


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("fail", "ValueError: make is ordered to fail"),
        ("die", "the process died (exit code 7)"),
        (
            "hang",
            "took longer than 2 s and was stopped; if this machine needs more time, make "
            "deadline_s longer",
        ),
    ],
)
def test_extrapolation_takes_the_place_of_a_model_that_fails(world, action, reason):
    world.config = world.config.model_copy(update={"deadline_s": 2.0})
    world.child.call("pid", deadline_s=60)
    world.restart()
    world.order(newest="2024-06-01T12:00", make=action)
    state = world.cycle()
    assert state.name == "fallback"
    assert state.reason == f"extrapolation in place of model: {reason}"
    latest = world.json("latest")
    assert (latest["model"], latest["fallback"]) == ("extrapolation", reason)
    world.order(newest="2024-06-01T12:05")
    world.clock.move(5)
    assert world.cycle().name == "fresh"
    assert world.json("latest")["fallback"] is None


def test_without_any_forecast_the_last_run_stays_and_the_state_is_down(world):
    world.cycle()
    first = world.json("latest")
    world.order(newest="2024-06-01T12:05", make="fail", fallback="fail")
    world.clock.move(5)
    state = world.cycle()
    assert state.name == "down"
    assert "ValueError: fallback is ordered to fail" in state.reason
    assert world.json("latest") == first
    # it is tried again, but not in each cycle
    failures = world.service._failures
    world.clock.move(0.5)
    assert world.cycle().name == "down"
    assert world.service._failures == failures
    world.order(newest="2024-06-01T12:05")
    world.clock.move(1)
    assert world.cycle().name == "fresh"


def test_looking_that_fails_is_told(world):
    world.cycle()
    world.order(look="fail")
    world.clock.move(10)
    state = world.cycle()
    assert state.name == "late"
    assert "looking for scans: ValueError: look is ordered to fail" in state.reason


def test_before_the_first_scan_there_is_no_forecast_and_no_rain_is_claimed(world):
    world.order()
    state = world.cycle()
    assert (state.name, state.reason) == ("down", "there is no forecast: no scan has come yet")
    assert not (world.site / "latest.json").exists()


def test_a_clock_that_jumps_makes_no_second_forecast(world):
    world.cycle()
    world.clock.move(-60)
    state = world.cycle()
    assert state.name == "fresh"
    assert "59 min in the future" in state.reason
    assert len(world.runs()) == 1
    world.clock.move(24 * 60)
    assert world.cycle().name == "stale"
    assert len(world.runs()) == 1  # the run that is shown is kept
    world.clock.move(-23 * 60)
    assert world.cycle().name == "fresh"


def test_old_runs_are_deleted_but_never_the_one_that_is_shown(world):
    for minute in range(0, 80, 5):
        world.order(newest=f"2024-06-01T{12 + minute // 60}:{minute % 60:02d}")
        world.cycle()
        world.clock.move(5)
    kept = [name[:14] for name in world.runs()]
    assert kept[0] == "20240601T1220Z"
    assert kept[-1] == "20240601T1315Z"
    assert len(kept) == 12
    world.clock.move(600)
    world.cycle()
    assert world.runs() == [world.json("latest")["id"]]


def test_a_new_process_goes_on_where_the_last_one_was(world):
    world.cycle()
    before = world.json("status"), world.json("latest")
    world.clock.move(1)
    world.restart()
    world.cycle()
    status = world.json("status")
    assert status["since"] == before[0]["since"]
    assert world.json("latest") == before[1]
    assert len(world.runs()) == 1


def test_a_run_that_somebody_deleted_is_made_again(world):
    world.cycle()
    (run,) = world.runs()
    shutil.rmtree(world.site / "runs" / run)
    world.restart()
    assert world.cycle().name == "fresh"
    assert world.runs() != [run]


@pytest.mark.parametrize("name", ["latest", "status"])
def test_published_files_that_cannot_be_read_are_replaced(world, name):
    world.cycle()
    (world.site / f"{name}.json").write_text('{"id": 3')
    world.restart()
    world.cycle()
    assert "cannot be read" in world.json("status")["problems"][0]
    assert world.json("latest")["reference_time"] == "2024-06-01T12:00:00Z"


def test_a_full_disk_is_told_and_the_next_cycle_is_fine(world, monkeypatch):
    world.cycle()
    world.order(newest="2024-06-01T12:05")
    world.clock.move(5)
    write, is_full = world.service._store.write, True

    def refuse(name, text):
        if is_full and name == "latest.json":
            raise OSError(28, "No space left on device")
        write(name, text)

    monkeypatch.setattr(world.service._store, "write", refuse)
    state = world.service.cycle()
    assert state.name == "down"
    assert "No space left on device" in state.reason
    assert world.json("latest")["reference_time"] == "2024-06-01T12:00:00Z"
    is_full = False
    world.clock.move(1.1)
    assert world.cycle().name == "fresh"


def test_a_status_that_cannot_be_written_stops_nothing(world, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(world.service._store, "write", refuse)
    assert world.service.cycle().name == "down"
    assert "the status cannot be published" in caplog.text


def test_once_ends_and_leaves_no_process(world):
    state = live(world.config, world.child, world.clock, once=True)
    assert state.name == "fresh"
    assert world.child.process_id is None
    assert world.json("status")["state"] == "fresh"


def test_a_service_that_is_stopped_says_so(world):
    class Stop(Exception):
        pass

    def stop(seconds):
        raise Stop

    world.clock.sleep = stop
    with pytest.raises(Stop):
        live(world.config, world.child, world.clock, once=False)
    status = world.json("status")
    assert (status["state"], status["reason"]) == ("down", "the service was stopped")
    metrics = (world.site / "metrics.prom").read_text()
    assert 'squall_state{state="down"} 1' in metrics
    assert 'squall_state{state="fresh"} 0' in metrics
    assert world.child.process_id is None


def test_two_services_do_not_publish_to_one_folder(world):
    def second(seconds):
        other = Child(FakeFactory(world.orders, str(world.site)))
        with pytest.raises(BusyError, match="another `squall live` publishes here"):
            live(world.config, other, world.clock, once=True)
        raise KeyboardInterrupt

    world.clock.sleep = second
    with pytest.raises(KeyboardInterrupt):
        live(world.config, world.child, world.clock, once=False)


def test_a_folder_that_is_a_file_is_refused(world, tmp_path):
    (tmp_path / "file").write_text("")
    config = world.config.model_copy(update={"publish_to": str(tmp_path / "file")})
    with pytest.raises(ConfigError, match="publish_to names a folder"):
        live(config, world.child, world.clock, once=True)


def test_a_lock_of_the_folder_that_cannot_be_written_is_named(world):
    (world.site / ".lock").mkdir()
    with pytest.raises(ConfigError, match=r"\.lock: cannot be written \(Is a directory\); give"):
        live(world.config, world.child, world.clock, once=True)


def test_a_folder_that_breaks_while_the_service_runs_is_named(world, caplog):
    world.cycle()
    shutil.rmtree(world.site)
    world.site.write_text("in the way")
    world.clock.move(5)
    world.order(newest="2024-06-01T12:05")
    world.service.cycle()
    words = f"{world.site}: cannot be written (File exists); publish_to must be a folder with free"
    assert f"the status cannot be published: {words}" in caplog.text


def test_memory_does_not_grow(world, caplog):
    """A thousand cycles, every tenth of them with a new scan."""
    caplog.set_level("CRITICAL", "squall.live")  # pytest keeps what is logged

    class Here:
        """The worker in this process: a thousand cycles with a child would take minutes."""

        def __init__(self, factory):
            self._worker = factory()

        def call(self, method, *arguments, deadline_s):
            return getattr(self._worker, method)(*arguments)

    world.service = Service(
        world.config, Here(FakeFactory(world.orders, str(world.site))), world.clock
    )
    sizes = []
    tracemalloc.start()
    for cycle in range(1000):
        if cycle % 10 == 0:
            world.order(newest=f"{world.clock.now().floor('5min'):%Y-%m-%dT%H:%M}")
            world.clock.move(5)
        world.service.cycle()
        if cycle in (200, 999):
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert len(world.runs()) <= 14
    assert sizes[1] - sizes[0] < 100_000
