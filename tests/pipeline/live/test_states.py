"""Which run is wanted, and what state the forecast is in."""

import pandas as pd
import pytest

from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.pipeline.config import load_config
from squall.pipeline.live.config import LiveConfig
from squall.pipeline.live.states import Arrivals, Order, Run, state_of, wanted_run
from tests.pipeline.conftest import ROOT

STEP = pd.Timedelta("5min")
CONFIG = LiveConfig(
    publish_to="site", minutes=60, usual_latency="2min", stale_after="30min", keep="1h"
)


def at(minutes):
    """A time, in minutes after noon."""
    return pd.Timestamp("2024-06-01T12:00") + pd.Timedelta(minutes=minutes)


def run_of(minutes, **changes):
    return Run(**{"id": "r", "reference": at(minutes), "lead_times": 12, "model": "m"} | changes)


def arrivals(minutes, *missing):
    return Arrivals(at(minutes), STEP, tuple(at(m) for m in missing))


@pytest.mark.parametrize(
    ("now", "newest", "run", "expected"),
    [
        (1, arrivals(0), None, Order(at(0), 12)),
        (1, arrivals(0), run_of(-5), Order(at(0), 12)),
        (1, arrivals(0), run_of(0), None),
        (7, arrivals(0), run_of(0), None),
        # late from 7 min on: the last valid time must be 60 min from now or later
        (8, arrivals(0), run_of(0), Order(at(0), 14)),
        (9, arrivals(0), run_of(0, lead_times=14), None),
        (11, arrivals(0), run_of(0, lead_times=14), Order(at(0), 15)),
        # stale: no forecast is made from such a scan
        (30, arrivals(0), run_of(0, lead_times=18), None),
        (31, arrivals(0), run_of(0), None),
        (31, arrivals(0), None, None),
        # a scan that was missing has come
        (1, arrivals(0), run_of(0, missing=(at(-10),)), Order(at(0), 12)),
        (1, arrivals(0, -10), run_of(0, missing=(at(-10),)), None),
        (1, arrivals(0, -10), run_of(-5), Order(at(0), 12, (at(-10),))),
        (1, arrivals(0), run_of(0, missing=()), None),
        # an archive that lost scans does not bring back an old forecast
        (6, arrivals(0), run_of(5), None),
        (1, Arrivals(None, None), run_of(0), None),
        (1, Arrivals(None, STEP), None, None),
    ],
)
def test_wanted_run(now, newest, run, expected):
    assert wanted_run(at(now), newest, run, CONFIG) == expected


def test_a_late_forecast_reaches_the_horizon_from_now_on_at_every_moment():
    run = run_of(0)
    for minute in range(31):
        order = wanted_run(at(minute), arrivals(0), run, CONFIG)
        if order is not None:
            run = run._replace(lead_times=order.lead_times)
        if minute > 7:
            assert run.reference + run.lead_times * STEP >= at(minute + 60)
            assert run.reference + (run.lead_times - 1) * STEP < at(minute + 60)


@pytest.mark.parametrize(
    ("now", "run", "options", "name", "words"),
    [
        (1, run_of(0), {}, "fresh", "of 2024-06-01 12:00 UTC, 60 s old"),
        (-3, run_of(0), {}, "fresh", "3 min in the future"),
        (7, run_of(0), {}, "fresh", "7 min old"),
        (8, run_of(0), {}, "late", "8 min old"),
        (8, run_of(0), {"problems": ("source: down",)}, "late", "8 min old: source: down"),
        (31, run_of(0), {"problems": ("source: down",)}, "stale", "31 min old: source: down"),
        (1, run_of(0, missing=(at(-10), at(-5))), {}, "gap", "of 11:50, 11:55 UTC is missing"),
        (1, run_of(0, fallback="no weights"), {}, "fallback", "squall-base: no weights"),
        (31, run_of(0, fallback="no weights"), {}, "stale", "31 min old"),
        (1, run_of(-5), {"failure": "disk full"}, "down", "newest scan: disk full"),
        (1, None, {}, "down", "no forecast: no scan has come yet"),
        (1, None, {"problems": ("source: down",)}, "down", "no forecast: source: down"),
        (1, None, {"failure": "disk full"}, "down", "no forecast: disk full"),
    ],
)
def test_state(now, run, options, name, words):
    state = state_of(at(now), run, STEP, CONFIG, **options)
    assert state.name == name
    assert words in state.reason


def test_the_next_scan_is_expected_at_a_step_and_the_usual_latency():
    for now, expected in ((1, 7), (7, 7), (7.5, 12), (12, 12), (12.1, 17), (40, 42), (-9, 7)):
        assert state_of(at(now), run_of(0), STEP, CONFIG).next_expected == at(expected)
    assert state_of(at(1), None, None, CONFIG).next_expected is None
    assert state_of(at(1), run_of(0), None, CONFIG).next_expected is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"publish_to": ""}, "publish_to is empty"),
        ({"stale_after": "2min", "usual_latency": "5min"}, "stale_after must be longer"),
        ({"keep": "10min"}, "keep must be at least stale_after"),
        ({"places": {"x": {"latitude": 91, "longitude": 0}}}, "latitude"),
        ({"places": {"x": {"lat": 1, "longitude": 0}}}, "lat"),
    ],
)
def test_a_wrong_configuration_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        LiveConfig.model_validate({"publish_to": "site"} | values)


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "live").glob("*.yaml")), ids=str)
def test_the_configurations_are_complete(path):
    config = load_config(path, LiveConfig)
    network = load_config(ROOT / config.network, RadarNetworkConfig)
    assert config.stale_after > network.step
    assert config.archive
    assert config.files or network.source
