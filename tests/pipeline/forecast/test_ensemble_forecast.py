"""`squall forecast --members`: the file, its names and attributes, netCDF, Zarr and codes."""

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pydantic import ValidationError

from squall.convgru import file_arrays
from squall.datasets.archive.archive import Archive
from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import ConfigError
from squall.pipeline.cli.main import main
from squall.pipeline.forecast import dataset as dataset_module
from squall.pipeline.forecast import lead_fields, pixels
from squall.pipeline.forecast.config import ALL_PRODUCTS, ForecastConfig
from squall.pipeline.forecast.ensemble_dataset import members_of
from squall.pipeline.forecast.methods import find_method
from squall.pipeline.forecast.run import forecast
from tests.pipeline.forecast.fake_ensemble import REFERENCE, FakeEnsemble, random_rates, use

MEMBERS, LEADS = 5, 4
PRODUCTS = {  # product: its variables
    "members": {"rain_rate_member"},
    "median": {"rain_rate_median"},
    "percentiles": {"rain_rate_percentile"},
    "chances": {"probability_of_exceedance"},
    "neighbourhood": {"probability_of_exceedance_within_10km"},
    "amounts": {f"rain_amount_{kind}" for kind in ("member", "mean", "median", "percentile")},
    "times": {
        *("time_of_first_rain", "time_of_rain_end", "probability_of_exceedance_at_any_time"),
        "time_of_first_rain_percentile",
    },
}
ALWAYS = {"rain_rate", "observed_rain_rate"}


@pytest.fixture
def make(chain, tmp_path, monkeypatch):
    """Write a forecast of the fake ensemble; returns it as read from the file."""
    use(monkeypatch, FakeEnsemble())

    def written(name="f.nc", **changes):
        values = {
            "archive": chain.archive,
            "model": "fake",
            "members": MEMBERS,
            "at": str(REFERENCE),
        }
        forecast(ForecastConfig(**values | {"out": tmp_path / name} | changes))
        return read(tmp_path / name)

    return written


def read(path):
    if path.suffix == ".zarr":
        opened = xr.open_zarr(path, decode_timedelta=True)
    else:
        opened = xr.open_dataset(path, decode_timedelta=True)
    with opened:
        return opened.load()


def rates():
    return random_rates((MEMBERS, LEADS, 64, 64))


def test_the_file_holds_the_members_and_all_products(make):
    dataset = make()
    assert set(dataset.data_vars) == ALWAYS | set().union(*PRODUCTS.values())
    np.testing.assert_array_equal(dataset["rain_rate_member"], rates())
    assert dataset["rain_rate_member"].dims == ("realization", "lead_time", "y", "x")
    assert dataset["realization"].values.tolist() == [1, 2, 3, 4, 5]
    assert dataset["realization"].attrs["standard_name"] == "realization"
    assert dataset.attrs["members"] == MEMBERS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        mean = np.nanmean(rates(), axis=0)
    known = dataset["rain_rate"].notnull().values
    np.testing.assert_allclose(dataset["rain_rate"].values[known], mean[known], rtol=1e-5)
    assert dataset["rain_rate"].attrs["cell_methods"] == "realization: mean"


def test_chances_decode_and_their_names_say_where(make):
    dataset = make(thresholds_mm_h=(1.0, 5.0))
    at_pixel, around = (dataset[f"probability_of_exceedance{end}"] for end in ("", "_within_10km"))
    assert dataset["threshold"].values.tolist() == [1, 5]
    known = at_pixel.notnull().values
    expected = (rates() >= 5).sum(axis=0) / np.maximum((~np.isnan(rates())).sum(axis=0), 1)
    np.testing.assert_allclose(at_pixel.values[1][known[1]], expected[known[1]], atol=0.0026)
    assert (around.values[known] >= at_pixel.values[known]).all()
    assert at_pixel.attrs["long_name"] == (
        "chance that the rain rate at the pixel is at least the threshold"
    )
    assert around.attrs["long_name"] == (
        "chance that the rain rate anywhere within 10 km is at least the threshold"
    )
    assert 0 <= float(at_pixel.min()) <= float(around.max()) <= 1


def test_times_are_times_of_the_forecast(make):
    dataset = make(thresholds_mm_h=(1.0,))
    begins, ends = (dataset[f"time_of_{name}"].values for name in ("first_rain", "rain_end"))
    assert begins.dtype.kind == "M"
    known = ~np.isnat(begins)
    assert known.any()
    assert begins[known].min() >= REFERENCE
    assert begins[known].max() <= dataset["time"].values[-1]
    both = known & ~np.isnat(ends)
    assert both.any()
    assert (ends[both] > begins[both]).all()
    assert not (~known & ~np.isnat(ends)).any()


@pytest.mark.parametrize("product", PRODUCTS)
def test_only_the_products_that_are_asked_for_are_written(make, product):
    assert set(make(products=(product,)).data_vars) == ALWAYS | PRODUCTS[product]


def test_every_product_is_in_the_table():
    assert set(PRODUCTS) == set(ALL_PRODUCTS)


@pytest.mark.parametrize("codes", [False, True])
def test_zarr_is_the_same_as_netcdf(make, codes):
    xr.testing.assert_identical(
        make("f.nc", codes=codes).drop_attrs(), make("f.zarr", codes=codes).drop_attrs()
    )


def test_rounded_rates_are_close_and_the_file_says_so(make):
    """7 bits are within 2 ** -8 of the value; times and chances stay."""
    plain, short = make("f.nc"), make("g.nc", keep_bits=7)
    assert set(plain.data_vars) == set(short.data_vars)
    for name, values in plain.data_vars.items():
        if values.dtype == np.float32:
            np.testing.assert_allclose(short[name].values, values.values, rtol=2**-8)
            bits = short[name].values[short[name].values > 0].view(np.uint32)
            assert not (bits & (2**16 - 1)).any(), name
            assert short[name].attrs["quantization_nsb"] == 7
        elif values.dims:
            xr.testing.assert_identical(short[name], values)
    assert not np.array_equal(short["rain_rate_member"], plain["rain_rate_member"])


def test_one_forecast_may_be_zarr_too(chain, make, tmp_path):
    files = [make(name, members=None) for name in ("f.nc", "f.zarr")]
    xr.testing.assert_identical(*(file.drop_attrs(deep=False) for file in files))
    assert (files[0]["rain_rate"] == 7).all()
    assert not {"members", "realization"} & {*files[0].attrs, *files[0].dims}


def test_a_zarr_forecast_is_replaced_and_anything_else_is_not(make, tmp_path):
    make("f.zarr")
    assert set(make("f.zarr", products=("median",)).data_vars) == ALWAYS | PRODUCTS["median"]
    assert [path.name for path in tmp_path.iterdir()] == ["f.zarr"]
    (tmp_path / "g.zarr").mkdir()
    (tmp_path / "g.zarr" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds something else than a forecast"):
        make("g.zarr")
    assert (tmp_path / "g.zarr" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["f.nc", "f.zarr"])
def test_a_forecast_that_fails_leaves_the_earlier_file(make, tmp_path, monkeypatch, name):
    before = make(name)

    def fails(self, context, lead_times, members, reference_time):
        yield random_rates((members, 1, 64, 64))[:, 0]
        raise RuntimeError("stopped")

    monkeypatch.setattr(FakeEnsemble, "ensemble", fails)
    with pytest.raises(RuntimeError, match="stopped"):
        make(name)
    xr.testing.assert_identical(read(tmp_path / name), before)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["f.nc", "f.zarr"])
def test_codes_decode_as_the_file_says(make, name):
    dataset = make(name, codes=True)
    assert "rain_rate_member" not in dataset
    codes = dataset["rain_rate_member_code"]
    assert codes.dtype == np.uint8
    np.testing.assert_array_equal(codes, RAIN_CODE.encode(rates()))
    decoded = dataset["rate_of_code"][codes]  # what the comment of the codes says
    assert "forecast.rate_of_code[forecast.rain_rate_member_code]" in codes.attrs["comment"]
    np.testing.assert_array_equal(decoded.values, RAIN_CODE.decode(codes.values))
    np.testing.assert_array_equal(members_of(dataset), decoded.values)
    plain = make("g.nc", codes=False)
    np.testing.assert_array_equal(members_of(plain), rates())
    assert members_of(make("h.nc", products=("median",))) is None
    # products are those of the members, not of their codes
    xr.testing.assert_identical(dataset["rain_rate_median"], plain["rain_rate_median"])


def test_one_forecast_is_that_of_the_method_to_the_bit(chain, tmp_path):
    values = {"archive": chain.archive, "out": tmp_path / "f.nc", "at": str(REFERENCE)}
    for model in ("extrapolation", chain.model):
        forecast(ForecastConfig(model=model, **values))
        archive = Archive.open(chain.archive)
        method = find_method(model, archive)
        context = archive.read(
            archive.index_of(pd.Timestamp(REFERENCE)) - method.context + 1, method.context
        )
        dataset = read(tmp_path / "f.nc")
        expected = method.nowcast(context.values, method.lead_times)
        assert dataset["rain_rate"].values.tobytes() == expected.tobytes()
        assert set(dataset.data_vars) == ALWAYS


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--members", "1"], "--members: Input should be greater than or equal to 2"),
        (["--members", "0"], "--members"),
        (["--members", "many"], "--members"),
        (["--thresholds", "1"], "thresholds: is for ensembles; give the number of members too"),
        (["--codes"], "codes: is for ensembles"),
        (["--products", "median"], "products: is for ensembles"),
        (["--members", "5", "--thresholds", "2", "1"], "--thresholds: must be positive and rise"),
        (["--members", "5", "--thresholds", "0"], "--thresholds: must be positive and rise"),
        (["--members", "5", "--percentiles", "10", "100"], "between 0 and 100, found 100"),
        (["--members", "5", "--percentiles", "-5"], "--percentiles"),
        (["--members", "5", "--products", "median", "--codes"], "products leaves members out"),
        (["--members", "5", "--model", "persistence"], "persistence makes one forecast and no"),
        (["--members", "5", "--model", "extrapolation"], "leave out --members, or choose"),
    ],
    ids=" ".join,
)
def test_wrong_options_are_refused(chain, tmp_path, capsys, words, message):
    command = ["forecast", "--archive", str(chain.archive), "--out", str(tmp_path / "f.nc")]
    if "--model" not in words:
        command += ["--model", "steps"]
    assert main([*command, *words]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_configuration_names_what_is_wrong(chain, tmp_path):
    with pytest.raises(ValidationError, match="products"):
        ForecastConfig(
            archive=chain.archive, model="m", out=tmp_path / "f.nc", members=5, products=("mean",)
        )


@pytest.mark.parametrize("model", ["squall-base", "squall-base:marginal", "stochastic"])
@pytest.mark.parametrize("name", ["f.nc", "f.zarr"])
def test_an_ensemble_from_files_is_that_from_memory(chain, tmp_path, monkeypatch, model, name):
    """As if the grid were large: in temporary files, and in strips of few rows."""
    made = []
    for folder, limit in (("memory", 2**28), ("file", 0)):
        if not limit:
            for module in (file_arrays, lead_fields, dataset_module):
                monkeypatch.setattr(module, "IN_MEMORY_BYTES", limit)
            monkeypatch.setattr(pixels, "STRIP_VALUES", 1000)
        (tmp_path / folder).mkdir()
        config = ForecastConfig(
            archive=chain.archive,
            model=model,
            at=str(REFERENCE),
            lead_times=3,
            members=MEMBERS,
            out=tmp_path / folder / name,
            keep_bits=7,
        )
        returned = forecast(config)
        stored = read(config.out)
        assert set(stored.data_vars) == ALWAYS | set().union(*PRODUCTS.values())
        for variable in returned.data_vars:
            if variable != "spatial_ref":
                np.testing.assert_array_equal(returned[variable].values, stored[variable].values)
        made.append(stored)
    xr.testing.assert_equal(*made)
    for variable in made[0].data_vars:
        assert made[0][variable].attrs == made[1][variable].attrs
