"""`squall init` on real files: the same scans as with the configurations written by hand."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from squall.datasets.errors import ConfigError, DataError
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.radar_file import read_file
from squall.pipeline.config import load_config
from squall.pipeline.init.config import InitConfig
from squall.pipeline.init.run import InitResult, init

ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / "shared"
DATA, FORMATS = SHARED / "data", SHARED / "formats"
# configuration written by hand -> one file of its network
NETWORKS = {
    "bom_brisbane": "bom_brisbane/2020/10/31/66_20201031_164000.prcp-c10.nc",
    "bom_melbourne": "bom_melbourne/2018/06/16/2_20180616_130000.prcp-cscn.nc",
    "knmi": "knmi/2010/08/26/knmi_201008260300.nc",
    "fmi": "fmi/2016/09/28/fmi_201609281600.nc",
    "mrms": "mrms/2019/06/10/PrecipRate_00.00_20190610-000200.grib2",
    "dwd_ry": "dwd_ry/2020/09/raa01-ry_10000-2009061745-dwd---bin.gz",
    "opera": "opera/2018/08/24/T_PAAH21_C_EUOC_20180824190000.hdf",
}
# beginning of the sentence for files that hold no map of rain
REFUSED = {
    "knmi/knmi_polar_volume.h5": "holds an ODIM object 'PVOL'",
    "nexrad/LOT_DAA_2021_02_28_12_14_47": "is a product of a single radar",
    "nexrad/LOT_N1P_2021_01_31_11_06_30": "is a product of a single radar",
    "mch/AQC151351545F_00005.801.gif": "is a picture (GIF)",
    "fmi/201609281445_fmi.radar.composite.lowest_FIN_SUOMI1.pgm.gz": "is a picture (PGM)",
    "nimrod/u1096_ng_bmr04_precip_2km": "is a forecast",
    "meteofrance/radar_coords_NW.npz": "no field of it looks like rain",
}


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real archives at {DATA}")
@pytest.mark.parametrize("network", NETWORKS)
def test_one_file_gives_the_scans_of_the_configuration_written_by_hand(
    network: str, tmp_path: Path
) -> None:
    if network == "mrms":
        pytest.importorskip("eccodes", exc_type=ImportError)
    path = DATA / NETWORKS[network]
    result = init(InitConfig(files=(str(path),)))
    assert result.is_complete, result
    (tmp_path / "a.yaml").write_text(result.text, encoding="utf-8")
    written = load_config(tmp_path / "a.yaml", RadarNetworkConfig)
    by_hand = load_config(ROOT / f"configs/archives/{network}.yaml", RadarNetworkConfig)
    assert written.step == by_hand.step
    ours, theirs = read_file(str(path), written), read_file(str(path), by_hand)
    assert ours.rejected == []
    # OPERA's by-hand pattern is that of newer names
    assert [scan.time for scan in ours.scans] == [scan.time for scan in theirs.scans]
    np.testing.assert_array_equal(ours.scans[0].codes, theirs.scans[0].codes)
    assert ours.grid is not None
    assert theirs.grid is not None
    assert ours.grid.difference(theirs.grid) is None


@pytest.mark.slow
@pytest.mark.skipif(not FORMATS.is_dir(), reason=f"no real files at {FORMATS}")
@pytest.mark.parametrize("folder", sorted(f.name for f in FORMATS.glob("*/")))
def test_each_real_file_is_described_or_refused_with_a_sentence(folder: str) -> None:
    for path in sorted((FORMATS / folder).iterdir()):
        name = f"{folder}/{path.name}"
        result, refusal = looked_at(path)
        if result is None:
            assert REFUSED[name] in refusal, (name, refusal)
            assert path.name in refusal, refusal
            assert len(refusal) > len(str(path)) + 40, refusal
        else:
            assert name not in REFUSED
            assert "source: " in result.text, name
            assert "UTC" in result.summary, (name, result.summary)
            # the tar file holds 24 forecasts beside the analysis
            assert all("is a forecast" in problem for problem in result.problems), name


def looked_at(path: Path) -> tuple[InitResult | None, str]:
    """What `squall init` says of a file, or the sentence with which it refuses it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return init(InitConfig(files=(str(path),))), ""
        except (ConfigError, DataError) as error:
            return None, str(error)
