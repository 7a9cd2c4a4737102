"""The network configuration: valid and invalid keys, eras and the reading key."""

import pickle
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from pydantic import ValidationError

from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.units import ZRRelation

CONFIGS = sorted((Path(__file__).parents[3] / "configs" / "archives").glob("*.yaml"))


def config(**changes: Any) -> RadarNetworkConfig:
    return RadarNetworkConfig(**{"name": "radar", "step": "5min", "variable": "rain", **changes})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_configurations_in_the_repository_are_valid(path: Path) -> None:
    loaded = RadarNetworkConfig(**yaml.safe_load(path.read_text(encoding="utf-8")))
    assert loaded.name == path.stem
    assert loaded.source
    # files of months have their times inside
    assert loaded.time_in_name or loaded.name in ("openmrg", "openrainer", "meteonet")


def test_defaults() -> None:
    plain = config()
    assert plain.step == pd.Timedelta("5min")
    assert plain.snap_tolerance == pd.Timedelta("30s")
    assert plain.z_r == ZRRelation(200, 1.6)
    assert plain.time_marks == "end"
    assert config(accumulation=None).accumulation is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": "soon"}, "no duration; write it like 5min"),
        ({"step": 5}, "has no unit; write it like 5min"),
        ({"step": None}, "has no unit"),
        ({"step": "5"}, "has no unit; write it like 5min"),
        ({"step": "0s"}, "whole number of seconds"),
        ({"step": "-5min"}, "whole number of seconds"),
        ({"step": "1500ms"}, "whole number of seconds"),
        ({"step": "1.5s"}, "whole number of seconds"),
        ({"snap_tolerance": "150s"}, "less than half the step"),
        ({"snap_tolerance": "-1s"}, "less than half the step"),
        ({"step": "1min"}, "snap_tolerance .*less than half the step"),
        ({"tiem_variable": "time"}, "tiem_variable"),
        ({"units": "parsec"}, "no rain unit"),
        ({"crs": "EPSG:nothing"}, "PROJ does not know this CRS"),
        ({"name": "my radar/2"}, "letters, digits"),
        ({"accumulation": "0min"}, "accumulation .*must be positive"),
        ({"accumulation": "-10min"}, "accumulation .*must be positive"),
        ({"accumulation": "long"}, "no duration"),
        ({"time_marks": "middle"}, "'end' or 'start'"),
        ({"time_marks": "start"}, "'start' needs 'accumulation'"),
        ({"time_in_name": "%Y%b%d"}, "%b is not known here; use %Y"),
        ({"time_in_name": "radar_%Y%"}, "% is not known here"),
        ({"time_in_name": "%Y/%Y%m%d"}, "may occur once"),
        ({"time_in_name": "%Y%H%M"}, "needs a whole date"),
        ({"time_in_name": "%Y%y%m%d"}, "needs a whole date"),
        ({"time_in_name": "%Y%m"}, "needs a whole date"),
        ({"time_in_name": "%m%d%H%M"}, "needs a whole date"),
        ({"time_in_name": "%j%H%M"}, "needs a whole date"),
        ({"time_in_name": "%s_%M"}, "%s is a whole time"),
        ({"missing_values": ["none"]}, "missing_values"),
        ({"z_r": {"a": 200, "c": 1.6}}, "z_r"),
        ({"variable": None}, "variable"),
    ],
)
def test_an_invalid_value_is_rejected_with_a_reason(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**changes)


@pytest.mark.parametrize(
    ("single", "listed"),
    [
        ({"source": "a/*.nc"}, {"source": ["a/*.nc"]}),
        ({"missing_values": -1}, {"missing_values": [-1]}),
        ({"dry_values": 0.5}, {"dry_values": [0.5]}),
        (
            {"eras": {"since": "2024-06-04", "units": "mm"}, "time_in_name": "%Y%m%d"},
            {"eras": [{"since": "2024-06-04", "units": "mm"}], "time_in_name": "%Y%m%d"},
        ),
        ({"attributes": {"version": 1.5}}, {"attributes": {"version": "1.5"}}),
        ({"attributes": {"issued": date(2024, 6, 4)}}, {"attributes": {"issued": "2024-06-04"}}),
        ({"attributes": {"contact": ["a", "b"]}}, {"attributes": {"contact": "a, b"}}),
    ],
)
def test_a_single_value_stands_for_a_list(single: dict[str, Any], listed: dict[str, Any]) -> None:
    assert config(**single) == config(**listed)
    assert config(**single).reading_key == config(**listed).reading_key


@pytest.mark.parametrize("attributes", [{"a": None}, {"a": {"b": "c"}}, "CC-BY-4.0"])
def test_attributes_that_are_no_texts_are_refused(attributes: Any) -> None:
    with pytest.raises(ValidationError, match="attributes"):
        config(attributes=attributes)


def test_a_configuration_is_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        config().step = pd.Timedelta("10min")


# --- eras --------------------------------------------------------------------------------------

SINCE = pd.Timestamp("2024-06-04")


def in_eras(*eras: dict[str, Any], **changes: Any) -> RadarNetworkConfig:
    return config(**{"time_in_name": "%Y%m%d_%H%M", "eras": eras, **changes})


def test_an_era_has_the_keys_of_the_network_and_its_own() -> None:
    network = in_eras(
        {"since": "2024-06-04", "variable": "rate", "units": "mm h-1"},
        {"since": "2024-09-01", "variable": "rr"},
        units="dBZ", missing_values=[-1], z_r={"a": 300, "b": 1.4},
    )  # fmt: skip
    before, first, second = network.all_eras
    assert before is network
    assert (first.variable, first.units) == ("rate", "mm h-1")
    # keys that an era does not have are those of the network, not of the era before
    assert (second.variable, second.units) == ("rr", "dBZ")
    for era in (first, second):
        assert era.missing_values == (-1,)
        assert era.z_r == ZRRelation(300, 1.4)
        assert era.step == network.step
        assert era.all_eras == (era,)


def test_a_key_of_an_era_is_replaced_as_a_whole() -> None:
    network = in_eras(
        {"since": "2024-06-04", "quality": {"highest_mm_h": 100}},
        quality={"least_observed_share": 0.5},
    )
    (_, era) = network.all_eras
    assert era.quality.highest_mm_h == 100
    assert era.quality.least_observed_share == 0


def test_at_returns_the_era_in_force() -> None:
    network = in_eras({"since": "2024-06-04", "units": "mm h-1"}, {"since": "2024-07-01T12:00"})
    _, first, second = network.all_eras
    second_since = pd.Timestamp("2024-07-01T12:00")
    for time, era in [
        (None, network),
        (pd.Timestamp("1990-01-01"), network),
        (SINCE - pd.Timedelta("1ns"), network),
        (SINCE, first),
        (second_since - pd.Timedelta("5min"), first),
        (second_since, second),
        (pd.Timestamp("2200-01-01"), second),
    ]:
        assert network.at(time) is era
    assert config().at(SINCE).variable == "rain"


@pytest.mark.parametrize(
    "since",
    ["2024-06-04", "2024-06-04T02:00+02:00", pd.Timestamp("2024-06-04"), date(2024, 6, 4)],
)
def test_since_is_utc(since: Any) -> None:
    assert in_eras({"since": since, "units": "mm"}).at(SINCE).units == "mm"
    assert config(begins=since).begins == SINCE


@pytest.mark.parametrize("value", [20240604, 2024, 2024.5, True, "NaT", "yesterday's", [1]])
def test_a_number_is_not_a_date(value: Any) -> None:
    """YAML reads 20240604 as an integer, which pandas would read as nanoseconds since 1970."""
    for values in ({"begins": value}, {"eras": [{"since": value}], "time_in_name": "%Y%m%d"}):
        with pytest.raises(ValidationError, match="is no time; write it like 2024-06-04"):
            config(**values)


@pytest.mark.parametrize(
    ("eras", "changes", "message"),
    [
        ([{"units": "mm"}], {}, "eras.0: 'since' is missing"),
        ([{"since": None}], {}, "is no time"),
        ([{"since": "2024-06-04", "name": "b"}], {}, "eras.0: name cannot differ"),
        ([{"since": "2024-06-04", "eras": []}], {}, "eras.0: eras cannot differ"),
        (
            [{"since": "2024-01-01"}, {"since": "2024-06-04", "source": "b", "archive": "c"}],
            {},
            "eras.1: archive, source cannot differ",
        ),
        ([{"since": "2024-06-04"}, {"since": "2024-01-01"}], {}, "in the order of their 'since'"),
        ([{"since": "2024-06-04"}, {"since": "2024-06-04"}], {}, "each once"),
        ([{"since": "2024-06-04"}], {"time_in_name": None}, "eras need 'time_in_name'"),
        ([{"since": "2024-06-04", "time_in_name": None}], {}, "eras need 'time_in_name'"),
        ([{"since": "2024-06-04", "tiem": 1}], {}, "tiem"),
        ([{"since": "2024-06-04", "units": "parsec"}], {}, "no rain unit"),
        ([{"since": "2024-06-04", "step": "7min"}], {}, "every .*, which do not lie on the"),
        ([{"since": "2024-06-04", "step": "1min", "snap_tolerance": "9s"}], {}, "do not lie on"),
        ([{"since": "2024-06-04", "phase": "1min"}], {}, "do not lie on the archive's step"),
    ],
)
def test_invalid_eras_are_rejected(
    eras: list[dict[str, Any]], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        in_eras(*eras, **changes)


def test_the_step_of_an_era_may_be_a_multiple_of_the_networks_step() -> None:
    network = in_eras({"since": "2024-06-04", "step": "15min"})
    assert network.at(SINCE).step == pd.Timedelta("15min")


def test_a_configuration_with_eras_can_be_pickled() -> None:
    network = in_eras({"since": "2024-06-04", "units": "mm"})
    assert network.at(SINCE).units == "mm"
    again = pickle.loads(pickle.dumps(network))
    assert again.at(SINCE).units == "mm"
    assert again.reading_key == network.reading_key


# --- keys that affect reading ------------------------------------------------------------------

READING: dict[str, Any] = {
    "step": "10min", "format": "odim", "variable": "rr", "units": "mm h-1",
    "missing_values": [-1], "dry_values": [-2], "z_r": {"a": 300, "b": 1.4}, "accumulation": "5min",
    "scale": 0.01, "offset": -32, "importer_options": {"product": "AQC"},
    "time_variable": "t", "start_variable": "s", "time_in_name": "%Y%m%d",
    "phase": "1min", "snap_tolerance": "10s", "x": "lon", "y": "lat", "coordinate_units": "km",
    "crs": "EPSG:3067", "quality": {"highest_mm_h": 100}, "regrid": "nearest",
    "grid": {"crs": "EPSG:3067", "nx": 2, "ny": 2, "x0": 0, "y0": 0, "dx": 1, "dy": -1},
}  # fmt: skip
NOT_READING: dict[str, Any] = {
    "name": "other", "title": "Another", "attributes": {"license": "CC0-1.0"}, "source": "*.nc",
    "source_options": {"anon": True}, "archive": "a", "begins": "2020-01-01", "lookback": "1D",
    "file_span": "1D", "exclude": "*.tmp",
}  # fmt: skip


@pytest.mark.parametrize("key", READING)
def test_the_reading_key_changes_with_keys_that_affect_reading(key: str) -> None:
    assert config(**{key: READING[key]}).reading_key != config().reading_key


@pytest.mark.parametrize("key", NOT_READING)
def test_the_reading_key_does_not_change_with_other_keys(key: str) -> None:
    assert config(**{key: NOT_READING[key]}).reading_key == config().reading_key


def test_each_key_is_listed_as_affecting_reading_or_not() -> None:
    # they need other keys; tested below
    elsewhere = {"time_marks", "time_from", "eras", "importer"}
    assert set(RadarNetworkConfig.model_fields) == READING.keys() | NOT_READING.keys() | elsewhere


def test_the_reading_key_changes_with_eras_and_time_marks() -> None:
    sums = config(accumulation="5min")
    assert config(accumulation="5min", time_marks="start").reading_key != sums.reading_key
    named = config(time_in_name="%Y%m%d%H%M")
    by_name = config(time_in_name="%Y%m%d%H%M", time_from="name")
    assert by_name.reading_key != named.reading_key
    keys = {
        in_eras().reading_key,
        in_eras({"since": "2024-06-04", "units": "mm h-1"}).reading_key,
        in_eras({"since": "2024-06-05", "units": "mm h-1"}).reading_key,
        in_eras({"since": "2024-06-04", "units": "mm min-1"}).reading_key,
    }
    assert len(keys) == 4


def test_the_reading_key_changes_with_the_importer() -> None:
    one, other = (config(format="pysteps", importer=name) for name in ("fmi_pgm", "mch_gif"))
    assert one.reading_key != other.reading_key


def test_the_reading_key_is_the_same_in_every_process() -> None:
    assert config(step="300s").reading_key == config(step="5min").reading_key
    assert len(config().reading_key) == 32


@pytest.mark.parametrize(
    ("value", "expected"),
    [(-9999, (-9999.0,)), ("-9999", (-9999.0,)), (None, ()), ([-1, 2], (-1.0, 2.0)), (0, (0.0,))],
)
@pytest.mark.parametrize("key", ["missing_values", "dry_values"])
def test_one_value_stands_for_a_list(key: str, value: Any, expected: tuple[float, ...]) -> None:
    network = RadarNetworkConfig(name="radar", step="5min", variable="rain", **{key: value})
    assert getattr(network, key) == expected


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_a_value_cannot_be_missing_and_dry(value: float) -> None:
    with pytest.raises(ValidationError, match=r"under 'missing_values' and under 'dry_values'"):
        RadarNetworkConfig(
            name="radar", step="5min", variable="rain", missing_values=value, dry_values=[1, value]
        )
