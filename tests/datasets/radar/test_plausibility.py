"""Impossible pixels: a few count as not observed, a share that tells of a wrong unit rejects."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from squall.datasets.coding import RAIN_CODE
from squall.datasets.radar.encoding import encode_scan
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.plausibility import rain_rate
from squall.datasets.radar.product import Packing
from squall.datasets.radar.quality import (
    CLUTTER_MASK,
    IMPOSSIBLE_VALUE,
    PHYSICAL_RANGE,
    QualityError,
)
from squall.datasets.radar.radar_file import read_file
from squall.datasets.radar.units import ZRRelation
from tests.datasets.radar.test_quality import write_mask

ROOT = Path(__file__).parents[3]
OPERA = ROOT.parent / "shared" / "data" / "opera" / "2018" / "08" / "24"
FIVE_MINUTES = pd.Timedelta("5min")
SIZE = 200  # pixels a side


def config(**changes: Any) -> RadarNetworkConfig:
    return RadarNetworkConfig(**{"name": "radar", "step": "5min", "variable": "rain", **changes})


def rain_with(absurd: float, count: int, dry: float = 0.0, dtype: str = "float32") -> np.ndarray:
    """A map with 10 % wet pixels of 1 to 2, and some absurd values."""
    field = np.full((SIZE, SIZE), dry, dtype)
    field[:20] = np.linspace(1, 2, 20 * SIZE).reshape(20, SIZE).astype(dtype)
    field.ravel()[-count:] = absurd
    return field


@pytest.mark.parametrize("count", [1, 25, 400])  # 400 of 40,000 pixels are 1 %
@pytest.mark.parametrize(
    ("units", "absurd"),
    [
        ("mm h-1", 8646.0),
        ("mm h-1", np.inf),
        ("mm h-1", -np.inf),
        ("mm h-1", -9999.0),
        ("mm h-1", -0.5),
        ("mm", 700.0),
        ("kg m-2", -1.0),
        ("kg m-2 s-1", 1e4),
        ("m s-1", 0.5),
        ("dBZ", 88.0),
        ("dBZ", 9999.0),
        ("dBZ", np.inf),
        ("dBZ", -9999.0),
    ],
)
def test_a_few_impossible_pixels_are_not_observed_and_counted(
    units: str, absurd: float, count: int
) -> None:
    scale = {"kg m-2 s-1": 1 / 3600, "m s-1": 1 / 3.6e6}.get(units, 1.0)
    field = rain_with(absurd / scale, count, dry=-20.0 if units == "dBZ" else 0.0)
    codes, masked = encode_scan(field, Packing(units, scale), FIVE_MINUTES, config())
    assert masked == {IMPOSSIBLE_VALUE: count}
    hidden = codes.ravel() == RAIN_CODE.NOT_OBSERVED
    assert (hidden == (np.arange(SIZE**2) >= SIZE**2 - count)).all()
    rest, _ = encode_scan(rain_with(0, count), Packing(units, scale), FIVE_MINUTES, config())
    assert (codes.ravel()[: 20 * SIZE] == rest.ravel()[: 20 * SIZE]).all()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32"])
def test_a_pixel_of_88_dbz_hides_itself_only(dtype: str) -> None:
    field = np.full((SIZE, SIZE), 0, dtype)
    field[3, 4], field[5, 6] = 240, 150
    codes, masked = encode_scan(field, Packing("dBZ", 0.5, -32.0), None, config())
    assert masked == {IMPOSSIBLE_VALUE: 1}
    assert codes[3, 4] == RAIN_CODE.NOT_OBSERVED
    assert (codes == RAIN_CODE.NOT_OBSERVED).sum() == 1
    assert RAIN_CODE.decode(codes)[5, 6] == pytest.approx(17.8, rel=0.02)  # 43 dBZ


@pytest.mark.parametrize(
    ("units", "absurd", "message"),
    [
        ("mm h-1", 9999.0, r"401 of 40000 .* value 9999 mm h-1 would be 1e\+04 mm/h: a wrong unit"),
        ("mm h-1", -1.0, "value -1 mm h-1 is negative .* 'missing_values' or 'dry_values'"),
        ("dBZ", -999.0, "value -999 dBZ is no reflectivity .* 'missing_values' or 'dry_values'"),
        ("dBZ", 9999.0, "value 9999 dBZ is infinite; list infinite values under 'missing_values'"),
    ],
)
def test_a_larger_share_rejects_the_scan_with_advice(
    units: str, absurd: float, message: str
) -> None:
    with pytest.raises(QualityError, match=message) as caught:
        encode_scan(rain_with(absurd, 401), Packing(units), None, config())
    assert caught.value.rule == IMPOSSIBLE_VALUE


def test_values_between_the_limits_are_kept() -> None:
    field = rain_with(4999.0, 800)
    codes, masked = encode_scan(field, Packing("mm h-1"), None, config())
    assert not masked.total()
    assert (codes[-4:] == RAIN_CODE.WETTEST).all()
    field = rain_with(-np.inf, 800)
    codes, masked = encode_scan(field, Packing("dBZ"), None, config())  # -inf dBZ is no echo
    assert not masked.total()
    assert (codes[-4:] == RAIN_CODE.DRY).all()


@pytest.mark.parametrize("factor", [60, 3600])
def test_a_wrong_unit_rejects_the_scan_though_few_pixels_are_impossible(factor: float) -> None:
    """In light rain the pixels above 5,000 mm/h are few, but the others are high, too."""
    rates = np.random.default_rng(3).lognormal(-0.5, 1.2, (SIZE, SIZE))
    rates[4 if factor == 3600 else 40 :] = 0
    rates[-1, -1] = 150
    field = rates * factor
    assert 0 < (field > 5000).mean() < 0.01
    with pytest.raises(QualityError, match=r"wet pixels have more than 100 mm/h.* a wrong unit"):
        encode_scan(field, Packing("mm h-1"), None, config())


@pytest.mark.parametrize(
    ("count", "rate", "is_rejected"), [(20, 150.0, False), (21, 150.0, True), (21, 100.0, False)]
)
def test_a_wrong_unit_shows_in_more_than_20_pixels_of_more_than_100_mm_h(
    count: int, rate: float, is_rejected: bool
) -> None:
    field = np.zeros((SIZE, SIZE), np.float32)
    field[0, :count], field[1, 0] = rate, 6000.0
    field[20:] = np.nan  # few pixels are observed, so 20 pixels are more than their share
    if is_rejected:
        with pytest.raises(QualityError, match="21 of 22 wet pixels have more than 100 mm/h"):
            encode_scan(field, Packing("mm h-1"), None, config())
    else:
        _, masked = encode_scan(field, Packing("mm h-1"), None, config())
        assert masked == {IMPOSSIBLE_VALUE: 1}


def test_clutter_in_dry_weather_does_not_tell_of_a_wrong_unit() -> None:
    field = np.zeros((765, 700), np.float32)
    field[100:120, 100:110] = 400.0
    field[200, 200] = 20_000
    _, masked = encode_scan(field, Packing("mm h-1"), None, config())
    assert masked == {IMPOSSIBLE_VALUE: 1}


def test_pixels_above_the_physical_range_may_be_impossible() -> None:
    field = rain_with(8646.0, 300)
    field[100, :100], field[101, :50] = 300.0, -5.0
    quality = {"highest_mm_h": 200, "highest_share": 0.02}
    codes, masked = encode_scan(field, Packing("mm h-1"), None, config(quality=quality))
    assert masked == {PHYSICAL_RANGE: 400, IMPOSSIBLE_VALUE: 50}
    assert (codes == RAIN_CODE.NOT_OBSERVED).sum() == 450


def test_impossible_pixels_under_the_clutter_mask_do_not_count(tmp_path: Path) -> None:
    field = np.full((SIZE, SIZE), 1.0, np.float32)
    field[:10] = -9999.0
    field[50, 50] = 9e5
    mask = np.zeros((SIZE, SIZE))
    mask[:10] = 1
    path = write_mask(tmp_path / "mask.nc", mask)
    settings = config(quality={"clutter_mask": path})
    codes, masked = encode_scan(field, Packing("mm h-1"), None, settings)
    assert masked == {CLUTTER_MASK: 10 * SIZE, IMPOSSIBLE_VALUE: 1}
    assert (codes == RAIN_CODE.NOT_OBSERVED).sum() == 10 * SIZE + 1


def test_the_share_is_of_observed_pixels_after_regridding() -> None:
    field = np.full((SIZE, SIZE), np.nan, np.float32)
    field[:10, :10], field[0, 0] = 1.0, 9e5
    _, masked = encode_scan(field, Packing("mm h-1"), None, config())
    assert masked == {IMPOSSIBLE_VALUE: 1}  # 1 of 100
    with pytest.raises(QualityError, match="1 of 81 observed pixels"):
        encode_scan(field, Packing("mm h-1"), None, config(), lambda f: f[:9, :9])


def test_rain_rate_hides_and_counts() -> None:
    rate, hidden = rain_rate(
        rain_with(1e6, 7).astype(float), "mm/h", interval=None, zr=ZRRelation()
    )
    assert hidden == 7
    assert np.isnan(rate).sum() == 7
    assert np.isnan(rate.ravel()[-7:]).all()


@pytest.mark.skipif(not OPERA.is_dir(), reason="needs real data")
def test_the_real_scan_with_one_absurd_pixel_is_kept() -> None:
    path = str(OPERA / "T_PAAH21_C_EUOC_20180824221500.hdf")
    network = yaml.safe_load((ROOT / "configs/archives/opera.yaml").read_text())
    for quality, masked in (({}, 1), ({"highest_mm_h": 200.0}, 6)):
        report = read_file(path, RadarNetworkConfig(**network | {"quality": quality}))
        assert not report.rejected
        assert sum(report.masked_px.values()) == masked
