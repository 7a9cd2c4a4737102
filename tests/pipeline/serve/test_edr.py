"""OGC API EDR: positions and areas as CoverageJSON, with the values of the codes."""

import numpy as np
import pytest
from covjson_pydantic.coverage import Coverage
from pyproj import Transformer

from squall.datasets.coding import RAIN_CODE
from tests.pipeline.serve.site import COLUMNS, CRS, LEADS, REFERENCE, ROWS, folder_of, grid, publish
from tests.pipeline.serve.test_points import frames_of, place_of

FORECAST = "/edr/collections/forecast"
POINT = "POINT({lon} {lat})".format(**place_of(20, 20))
SLIVER = "POLYGON((1.9 53.3, 1.9001 53.3, 1.9 53.3001, 1.9 53.3))"
POLYGON = "POLYGON((1.9 53.3, 2.2 53.35, 2.1 53.5, 1.9 53.3))"


def test_links_lead_from_the_landing_page_to_the_queries(client):
    links = {link["rel"]: link["href"] for link in client.get("/edr").json()["links"]}
    assert client.get(links["service-desc"]).json()["openapi"].startswith("3.")
    assert client.get(links["conformance"]).json()["conformsTo"]
    listed = client.get(links["data"]).json()["collections"]
    assert [collection["id"] for collection in listed] == ["forecast", "observed"]
    for collection in listed:
        one = client.get(collection["links"][0]["href"]).json()
        assert one == collection
        west, south, east, north = collection["extent"]["spatial"]["bbox"][0]
        assert (west, south) < (1.5, 53.1) < (east, north)
        query = one["data_queries"]["position"]["link"]["href"]
        answer = client.get(query, params={"coords": POINT})
        assert answer.headers["content-type"] == "application/prs.coverage+json"
        assert set(answer.json()["parameters"]) == set(one["parameter_names"])
        assert answer.json()["domain"]["axes"]["t"]["values"] == one["extent"]["temporal"]["values"]


def test_a_position_has_the_values_of_its_pixel(tmp_path, serving):
    run = publish(tmp_path)
    answer = serving(tmp_path).get(f"{FORECAST}/position", params={"coords": POINT}).json()
    rates = RAIN_CODE.table[frames_of(folder_of(tmp_path, run), "rain_rate")[:, 20, 20]]
    rain = answer["ranges"]["rain_rate"]
    assert rain["values"] == pytest.approx(rates, abs=6e-4)
    assert (rain["axisNames"], rain["shape"]) == (["t"], [LEADS])
    assert answer["domain"]["domainType"] == "PointSeries"
    assert set(answer["ranges"]) == {"rain_rate", "chance_at_pixel_0.5", "chance_at_pixel_2"}
    assert answer["squall"]["state"] == "fresh"


def test_an_area_has_the_pixels_whose_centres_lie_in_it(tmp_path, serving):
    run = publish(tmp_path)
    asked = {"coords": POLYGON, "parameter-name": "rain_rate"}
    answer = serving(tmp_path).get(f"{FORECAST}/area", params=asked).json()
    # beside it: every pixel of the grid, half planes in place of shapely
    to_lonlat = Transformer.from_crs(CRS, "+proj=longlat +a=6378140 +b=6356752", always_xy=True)
    lon, lat = to_lonlat.transform(*np.meshgrid(grid().x, grid().y))
    corners = [(1.9, 53.3), (2.2, 53.35), (2.1, 53.5)]
    is_in = np.ones(lon.shape, bool)
    for (a, b), (c, d) in zip(corners, corners[1:] + corners[:1], strict=True):
        is_in &= (c - a) * (lat - b) - (d - b) * (lon - a) > 0
    assert 10 < is_in.sum() < ROWS * COLUMNS / 2
    places = np.array(answer["domain"]["axes"]["composite"]["values"])
    np.testing.assert_allclose(places, np.stack([lon[is_in], lat[is_in]], axis=1), atol=1e-5)
    rain = answer["ranges"]["rain_rate"]
    assert (rain["axisNames"], rain["shape"]) == (["t", "composite"], [LEADS, is_in.sum()])
    rates = RAIN_CODE.table[frames_of(folder_of(tmp_path, run), "rain_rate")[:, is_in]]
    assert rain["values"] == pytest.approx(rates.ravel(), abs=6e-4)


@pytest.mark.parametrize(("query", "coords"), [("position", POINT), ("area", POLYGON)])
@pytest.mark.parametrize("collection", ["forecast", "observed"])
def test_answers_are_valid_coverage_json(client, collection, query, coords):
    address = f"/edr/collections/{collection}/{query}"
    answer = client.get(address, params={"coords": coords}).json()
    assert answer.pop("squall")["state"] == "fresh"
    coverage = Coverage.model_validate(answer)
    count = {name: len(values.values) for name, values in coverage.ranges.items()}
    assert set(count) == set(coverage.parameters)
    assert min(count.values()) > 2


def test_what_is_not_known_is_null(client):
    coords = "POINT({lon} {lat})".format(**place_of(20, 1))
    answer = client.get("/edr/collections/observed/position", params={"coords": coords}).json()
    assert set(answer["ranges"]["rain_rate"]["values"]) == {None}


@pytest.mark.parametrize(
    ("when", "minutes"),
    [
        ("2024-06-01T12:10Z", [10]),
        ("2024-06-01T14:10:00+02:00", [10]),
        ("2024-06-01T12:06Z/2024-06-01T12:16Z", [10, 15]),
        ("../2024-06-01T12:10:00Z", [5, 10]),
        ("2024-06-01T12:15Z/..", [15, 20]),
        ("../..", [5, 10, 15, 20]),
    ],
)
@pytest.mark.parametrize(("query", "coords"), [("position", POINT), ("area", POLYGON)])
def test_datetime_chooses_times(client, when, minutes, query, coords):
    answer = client.get(f"{FORECAST}/{query}", params={"coords": coords, "datetime": when}).json()
    times = answer["domain"]["axes"]["t"]["values"]
    assert times == [f"{REFERENCE:%Y-%m-%dT%H}:{minute:02d}:00Z" for minute in minutes]
    everything = client.get(f"{FORECAST}/{query}", params={"coords": coords}).json()
    for name, part in answer["ranges"].items():
        of_all = np.array(everything["ranges"][name]["values"], float).reshape(LEADS, -1)
        rows = [minute // 5 - 1 for minute in minutes]
        np.testing.assert_array_equal(np.array(part["values"], float), of_all[rows].ravel())


@pytest.mark.parametrize(
    ("query", "asked", "status", "words"),
    [
        ("position", {}, 400, "coords: Field required"),
        ("position", {"coords": "2 53"}, 400, "write longitude and latitude like POINT(4.9 52.4)"),
        ("position", {"coords": "POINT EMPTY"}, 400, "like POINT"),
        ("position", {"coords": "POINT(nan 53)"}, 400, "like POINT"),
        ("position", {"coords": POLYGON}, 400, "like POINT"),
        ("position", {"coords": "POINT(2 95)"}, 400, "latitude -90 to 90"),
        ("position", {"coords": "POINT(20 53)"}, 404, "outside the radar's grid"),
        ("position", {"coords": POINT, "datetime": "soon"}, 400, "'soon' is no time"),
        ("position", {"coords": POINT, "datetime": "2020-01-01T00:00Z"}, 404, "there is 2024-06"),
        ("position", {"coords": POINT, "parameter-name": "snow"}, 400, "'snow' is none of"),
        ("position", {"coords": POINT, "crs": "EPSG:28992"}, 400, "use CRS84"),
        ("area", {"coords": POINT}, 400, "like POLYGON"),
        ("area", {"coords": "POLYGON((0 0, 1 1, 0 1, 1 0, 0 0))"}, 400, "is not valid (Self-inter"),
        ("area", {"coords": "POLYGON((20 10, 21 10, 21 11, 20 10))"}, 404, "no pixel of the grid"),
        ("area", {"coords": SLIVER}, 404, "ask for a larger one"),
        ("area", {"coords": "POLYGON((0 52, 4 52, 4 55, 0 55, 0 52))"}, 400, "at most 5000"),
        ("area", {"coords": "POLYGON((" + "1 2, " * 3000 + "1 2))"}, 400, "2000 corners"),
        ("corridor", {"coords": POINT}, 404, "there is no /edr"),
    ],
)  # fmt: skip
def test_a_wrong_query_is_refused(site, serving, query, asked, status, words):
    answer = serving(site, area_values=5000).get(f"{FORECAST}/{query}", params=asked)
    assert answer.status_code == status
    assert words in answer.json()["description"]
    assert answer.json()["code"] == str(status)


def test_other_collections_are_not_there(client):
    assert client.get("/edr/collections/snow").status_code == 400
