"""`squall init` on real files: the same scans as with the configurations written by hand."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from squall.datasets.errors import ConfigError, DataError
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.radar_file import read_file
from squall.datasets.sources.fetch import local_copy
from squall.datasets.sources.find import find_files
from squall.pipeline.init.config import InitConfig
from squall.pipeline.init.run import InitResult, init
from tests.datasets.real_files import FORMATS, SHARED, config_of

DATA = SHARED / "data"
# configuration written by hand -> one file of its network, and the keys that it does not tell
NETWORKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "bom_brisbane": ("data/bom_brisbane/2020/10/31/66_20201031_164000.prcp-c10.nc", ()),
    "bom_melbourne": ("data/bom_melbourne/2018/06/16/2_20180616_130000.prcp-cscn.nc", ()),
    "knmi": ("data/knmi/2010/08/26/knmi_201008260300.nc", ()),
    "fmi": ("data/fmi/2016/09/28/fmi_201609281600.nc", ()),
    "mrms": ("data/mrms/2019/06/10/PrecipRate_00.00_20190610-000200.grib2", ()),
    "dwd_ry": ("data/dwd_ry/2020/09/raa01-ry_10000-2009061745-dwd---bin.gz", ()),
    "opera": ("data/opera/2018/08/24/T_PAAH21_C_EUOC_20180824190000.hdf", ()),
    "dwd_rw": ("formats/dwd/raa01-rw_10000-1408102050-dwd---bin.gz", ()),
    "dwd_rv": ("formats/dwd/DE1200_RV2210180700.tar.bz2", ()),
    "dwd_radklim": ("formats/dwd/raa01-yw2017.002_10000-1708160100-dwd---bin.gz", ()),
    "dwd_rw_ascii": ("formats/dwd/RW-20221018.tar.gz", ("units",)),
    "dpc_geotiff": ("formats/dpc/2023-01-01-00-00_ROMA_SRI.tif", ("step",)),
    "dpc_hdf5": ("formats/dpc/VMI_1744824600000.h5", ("step", "units", "grid")),
    "fmi_geotiff": ("formats/fmi/201609281445_FINUTM.tif", ("step",)),
    "fmi_pgm": (
        "formats/fmi/201609281445_fmi.radar.composite.lowest_FIN_SUOMI1.pgm.gz", ("step",),
    ),
    "knmi_hdf5": ("formats/knmi/RAD_NL25_RAP_5min_201008260000.h5", ()),
    "knmi_mfbs": ("formats/knmi/RAD_NL25_RAC_MFBS_5min_201109102000.nc", ()),
    "mch_gif": ("formats/mch/AQC151351545F_00005.801.gif", ()),
    "meteonet": ("formats/meteofrance/rainfall_NW_2016_08.3.npz", ("units", "grid")),
    "nwcsaf": ("formats/saf/S_NWC_CRR_MSG4_Europe-VISIR_20180601T070000Z.nc", ("step",)),
    "openmrg": ("formats/opensense/mergeplg_openmrg_rad.nc", ("units",)),
    "openrainer": ("formats/opensense/openrainer_RAD.nc", ("accumulation",)),
    "ukmo": (
        "formats/ukmo/20190101T0630Z-u1096_ng_radar_precip_ratecomposite_2km.nc", (),
    ),
    "ukmo_nimrod": ("formats/nimrod/input_preciprate.nimrod.gz", ("step",)),
}  # fmt: skip
# further keys to set, which the sentence beside 'units' names
WITH_UNITS = {
    "dwd_rw_ascii": ("scale", "accumulation"),
    "meteonet": ("scale", "accumulation", "missing_values"),
    "openmrg": ("accumulation",),
}
# guesses that no file can tell
KNOWN_TO_PEOPLE = {"fmi_geotiff": ("z_r",), "fmi_pgm": ("z_r",)}
# the file is one of another product of the network: its configuration's comments say so
CHANGED: dict[str, dict[str, Any]] = {
    "openmrg": {
        "variable": "rainfall_amount", "units": "mm", "accumulation": "5min", "missing_values": [],
    },
}  # fmt: skip
# beginning of the sentence for files that hold no map of rain
REFUSED = {
    "knmi/knmi_polar_volume.h5": "holds an ODIM object 'PVOL'",
    "nexrad/LOT_DAA_2021_02_28_12_14_47": "is a product of a single radar",
    "nexrad/LOT_N1P_2021_01_31_11_06_30": "is a product of a single radar",
    "nimrod/u1096_ng_bmr04_precip_2km": "is a forecast",
    "meteofrance/radar_coords_NW.npz": "no field of it looks like rain",
}


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real archives at {DATA}")
@pytest.mark.parametrize("network", NETWORKS)
def test_one_file_gives_the_scans_of_the_configuration_written_by_hand(network: str) -> None:
    name, missing = NETWORKS[network]
    if network == "mrms":
        pytest.importorskip("eccodes", exc_type=ImportError)
    if "geotiff" in network:
        pytest.importorskip("rasterio")
    result = init(InitConfig(files=(str(SHARED / name),)))
    assert result.missing == missing
    assert result.problems == ()
    by_hand = config_of(network, **CHANGED.get(network, {}))
    keys = yaml.safe_load(result.text)
    for key in (*missing, *WITH_UNITS.get(network, ()), *KNOWN_TO_PEOPLE.get(network, ())):
        keys[key] = by_hand.model_dump(exclude_unset=True)[key]
    written = RadarNetworkConfig(**keys)
    assert written.step == by_hand.step
    address = next(f for f in find_files(written.source) if Path(name).name in f.address)
    with local_copy(address) as path:
        ours, theirs = (read_file(str(path), config, count=3) for config in (written, by_hand))
    assert ours.rejected == theirs.rejected == []
    assert len(ours.scans) > 0
    # OPERA's by-hand pattern is that of newer names
    assert [scan.time for scan in ours.scans] == [scan.time for scan in theirs.scans]
    for scan, expected in zip(ours.scans, theirs.scans, strict=True):
        np.testing.assert_array_equal(scan.codes, expected.codes)
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
            assert not result.problems, name


def looked_at(path: Path) -> tuple[InitResult | None, str]:
    """What `squall init` says of a file, or the sentence with which it refuses it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return init(InitConfig(files=(str(path),))), ""
        except (ConfigError, DataError) as error:
            return None, str(error)
