"""Names that become parts of paths."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from squall.datasets.names import FileName, check_name, safe_name
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.spelling import did_you_mean
from squall.pipeline.train.experiment import ExperimentConfig

UNSAFE = [
    "", ".", "..", "...", "../a", "/a", "a/b", "a\\b", "~", "-rf", ".hidden", "a.", "a b", "a\n",
    "a\0", "\x1b[31m", "con", "NUL", "nul.nc", "COM1", "é", "a" * 101, "a:b", "a*", "$HOME",
]  # fmt: skip


class Named(BaseModel):
    """A configuration with a name."""

    name: FileName


@pytest.mark.parametrize("name", UNSAFE)
def test_an_unsafe_name_is_refused_everywhere(name: str) -> None:
    others: dict[type[BaseModel], dict[str, Any]] = {
        Named: {},
        ExperimentConfig: {},
        RadarNetworkConfig: {"step": "5min", "variable": "rain"},
    }
    for model, values in others.items():
        with pytest.raises(ValidationError, match="name"):
            model(name=name, **values)


@pytest.mark.parametrize("name", ["a", "knmi_2021", "squall-base", "v1.2", "0", "Console"])
def test_a_safe_name_stays(name: str) -> None:
    assert check_name(name) == safe_name(name) == name


@given(st.text(max_size=200) | st.sampled_from(UNSAFE))
def test_a_safe_name_can_be_made_of_any_text(text: str) -> None:
    name = safe_name(text)
    assert check_name(name) == name
    assert Path("out", name).resolve().parent == Path("out").resolve()


def test_the_nearest_name() -> None:
    assert did_you_mean("knim", ("fmi", "knmi")) == "; did you mean 'knmi'?"
    assert did_you_mean("xyz", ("fmi", "knmi")) == ""
