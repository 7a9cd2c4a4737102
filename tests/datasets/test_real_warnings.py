"""One real file of each network and format is read, and no library warns of anything."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.radar_file import read_file

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
VMI = {"step": "10min", "variable": "dbz"}
ODIM = {"step": "5min", "format": "odim"}
HOURLY = {"variable": "ACRR", "accumulation": "1h"}
KNMI = {"step": "5min", "format": "knmi", "variable": "image1"}
# pattern below the shared folder -> configuration, by its name or its keys
FILES: dict[str, str | dict[str, Any]] = {
    "data/bom_brisbane/**/*.nc": "bom_brisbane",
    "data/bom_melbourne/**/*.nc": "bom_melbourne",
    "data/knmi/**/*.nc": "knmi",
    "data/fmi/**/*.nc": "fmi",
    "data/opera/**/*.hdf": "opera",
    "data/mrms/**/*grib2*": "mrms",
    "data/knmi_2021/**/*.hf5": KNMI,
    "data/italy_north/**/*.nc": VMI,
    "data/italy_campania/**/*.nc": VMI,
    "data/dpc/**/*.nc": VMI | {"step": "5min"},
    "data/dwd_ry/**/*.gz": "dwd_ry",
    "formats/dwd/RQ*.gz": {"step": "15min", "accumulation": "1h"},
    "formats/dwd/raa01-rx*.gz": {"step": "5min"},
    "formats/dwd/raa01-yw*.gz": "dwd_radklim",
    "formats/odim/T_PAAH22*": ODIM | {"variable": "RATE"},
    "formats/odim/T_PASH22*": ODIM | HOURLY,
    "formats/odim/example.hdf": ODIM | {"variable": "ACRR", "missing_values": [-1]},
    "formats/dwd/composite_rs_sample.hd5": ODIM | HOURLY,
    "formats/mch/CPC*": ODIM | HOURLY | {"coordinate_units": "km"},
    "formats/knmi/RAD_NL25_PCP_CM*": KNMI,
    "formats/knmi/RAD_NL25_RAP*": KNMI,
    "formats/knmi/RAD_NL25_RAC_FM*": KNMI | {"accumulation": "5min"},
    "formats/ukmo/2019*.nc": {"step": "15min", "variable": "lwe_precipitation_rate"},
    "formats/ukmo/2018*.nc": {"step": "15min", "variable": "lwe_precipitation_rate"},
}

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no real files at {SHARED}")


@pytest.mark.parametrize("pattern", FILES)
def test_a_real_file_is_read_without_a_warning(pattern: str, capfd: Any) -> None:
    settings = FILES[pattern]
    if isinstance(settings, str):
        text = (ROOT / "configs" / "archives" / f"{settings}.yaml").read_text(encoding="utf-8")
        settings = yaml.safe_load(text)
    if "grib" in pattern:
        pytest.importorskip("eccodes", exc_type=ImportError)
    path = min(SHARED.glob(pattern))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = read_file(str(path), RadarNetworkConfig(**{"name": "real", **settings}), count=1)
    assert report.rejected == []
    assert len(report.scans) == 1
    assert [str(warning.message) for warning in caught] == []
    written = capfd.readouterr()
    assert written.out + written.err == ""
