"""OGC API Environmental Data Retrieval 1.1 (OGC 19-086r6): collections, position and area.

Public: `edr_routes`.

There are two collections: the forecast, and the observed scans before it. Values are those of the
nearest pixel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, Response

from squall.pipeline.serve.answers import RESPONSES, ClientError, json_answer
from squall.pipeline.serve.areas import pixels_in
from squall.pipeline.serve.coverage_json import MEDIA_TYPE, coverage, parameter
from squall.pipeline.serve.points import lonlat_box, pixel_of
from squall.pipeline.serve.published import Published, Snapshot
from squall.pipeline.serve.published_run import FORECAST, OBSERVED, Codes, Layer
from squall.pipeline.serve.queries import (
    CRS84,
    check_crs,
    names_among,
    point_of,
    polygon_of,
    times_within,
)

ROOT = "/edr"
COLLECTIONS = {"forecast": "Rain forecast", "observed": "Observed rain"}
CONFORMANCE = (
    "http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-common-2/1.0/conf/collections",
    "http://www.opengis.net/spec/ogcapi-edr-1/1.1/conf/core",
    "http://www.opengis.net/spec/ogcapi-edr-1/1.1/conf/collections",
    "http://www.opengis.net/spec/ogcapi-edr-1/1.1/conf/json",
    "http://www.opengis.net/spec/ogcapi-edr-1/1.1/conf/covjson",
)
LONGEST_COORDS = 50_000  # characters

Collection = Annotated[
    str, Path(pattern="^(forecast|observed)$", description="forecast or observed")
]
Coords = Annotated[str, Query(max_length=LONGEST_COORDS, description="WKT, longitude latitude")]
When = Annotated[
    str | None,
    Query(alias="datetime", max_length=100, description="a time, or an interval A/B, A/.. or ../B"),
]
Names = Annotated[
    str | None, Query(alias="parameter-name", max_length=1000, description="separated by commas")
]
Crs = Annotated[str | None, Query(max_length=100, description="CRS84")]
_COVERAGE: dict[int | str, dict[str, Any]] = {
    200: {"description": "A coverage.", "content": {MEDIA_TYPE: {}}}
}


def edr_routes(
    published: Published, base_url: Callable[[Request], str], area_values: int
) -> APIRouter:
    """The routes.

    Parameters
    ----------
    base_url : address under which a client reaches the server.
    area_values : largest number of values in an answer.
    """
    router = APIRouter(prefix=ROOT, tags=["OGC API EDR"], responses=RESPONSES)

    @router.get("")
    async def landing_page(request: Request) -> JSONResponse:
        """Where everything is."""
        return json_answer(_landing_page(base_url(request)))

    @router.get("/conformance")
    async def conformance() -> JSONResponse:
        """Which parts of the standard the server follows."""
        return json_answer({"conformsTo": list(CONFORMANCE)})

    @router.get("/collections")
    async def collections(request: Request) -> JSONResponse:
        """The two collections."""
        snapshot, base = await published.snapshot(), base_url(request)
        listed = [_description(snapshot, name, base) for name in COLLECTIONS]
        links = [_link(f"{base}{ROOT}/collections", "self")]
        return json_answer({"collections": listed, "links": links})

    @router.get("/collections/{collection}")
    async def collection(collection: Collection, request: Request) -> JSONResponse:
        """Extent, times and parameters of a collection."""
        return json_answer(_description(await published.snapshot(), collection, base_url(request)))

    @router.get("/collections/{collection}/position", responses=_COVERAGE)
    async def position(
        collection: Collection,
        coords: Coords,
        when: When = None,
        names: Names = None,
        crs: Crs = None,
    ) -> Response:
        """The series at a point: ``coords=POINT(lon lat)``."""
        check_crs(crs)
        answer = _at_position(await published.snapshot(), collection, coords, when, names)
        return json_answer(answer, kind=MEDIA_TYPE)

    @router.get("/collections/{collection}/area", responses=_COVERAGE)
    async def area(
        collection: Collection,
        coords: Coords,
        when: When = None,
        names: Names = None,
        crs: Crs = None,
    ) -> Response:
        """The series at the centres of all pixels in ``coords=POLYGON((lon lat, …))``."""
        check_crs(crs)
        snapshot = await published.snapshot()

        def answer() -> JSONResponse:
            values = _in_area(snapshot, collection, coords, when, names, area_values)
            return json_answer(values, kind=MEDIA_TYPE)

        return await asyncio.get_running_loop().run_in_executor(None, answer)

    return router


def _layers(snapshot: Snapshot, collection: str) -> list[Layer]:
    """The layers of a collection; all have the same times."""
    run = snapshot.newest
    if collection == "forecast":
        times = run.layers[FORECAST].times
        return [
            layer
            for layer in run.layers.values()
            if layer.name != OBSERVED and layer.times == times
        ]
    return [run.layers[OBSERVED]._replace(name="rain_rate")]


def _at_position(
    snapshot: Snapshot, collection: str, coords: str, when: str | None, names: str | None
) -> dict[str, Any]:
    run = snapshot.newest
    lon, lat = point_of(coords)
    layers = _chosen(_layers(snapshot, collection), names)
    row, column = pixel_of(run, lat, lon)
    kept = times_within(layers[0].times, when)
    values = {layer.name: run.values(layer, layer.codes[kept, row, column]) for layer in layers}
    times = [layers[0].times[i] for i in kept]
    return _with_state(snapshot, coverage(layers, times, [(lon, lat)], values, is_point=True))


def _in_area(
    snapshot: Snapshot,
    collection: str,
    coords: str,
    when: str | None,
    names: str | None,
    area_values: int,
) -> dict[str, Any]:
    run = snapshot.newest
    polygon = polygon_of(coords)
    layers = _chosen(_layers(snapshot, collection), names)
    kept = times_within(layers[0].times, when)
    pixels = pixels_in(run.grid, polygon)
    count = len(pixels.row) * len(kept) * len(layers)
    if count > area_values:
        raise ClientError(
            f"the answer would have {count} values ({len(pixels.row)} pixels, {len(kept)} times, "
            f"{len(layers)} parameters), at most {area_values} are given; ask for a smaller area, "
            "or use datetime and parameter-name"
        )

    def codes(layer: Layer) -> Codes:
        return layer.codes[np.asarray(kept)[:, None], pixels.row, pixels.column].reshape(-1)

    values = {layer.name: run.values(layer, codes(layer)) for layer in layers}
    places = [
        (round(lon, 5), round(lat, 5))
        for lon, lat in zip(pixels.lon.tolist(), pixels.lat.tolist(), strict=True)
    ]
    times = [layers[0].times[i] for i in kept]
    return _with_state(snapshot, coverage(layers, times, places, values, is_point=False))


def _chosen(layers: Sequence[Layer], names: str | None) -> list[Layer]:
    chosen = names_among([layer.name for layer in layers], names)
    return [layer for layer in layers if layer.name in chosen]


def _with_state(snapshot: Snapshot, answer: dict[str, Any]) -> dict[str, Any]:
    """Add what the forecast is worth now; CoverageJSON allows members of other names."""
    run = snapshot.newest
    about = {"run": run.id, "reference_time": run.manifest["reference_time"]}
    return answer | {"squall": snapshot.condition.as_dict() | about}


def _landing_page(base: str) -> dict[str, Any]:
    return {
        "title": "Squall: rain forecasts",
        "description": "Forecast and observed rain of the newest run.",
        "links": [
            _link(f"{base}{ROOT}", "self"),
            _link(f"{base}/openapi.json", "service-desc", "application/vnd.oai.openapi+json"),
            _link(f"{base}{ROOT}/conformance", "conformance"),
            _link(f"{base}{ROOT}/collections", "data"),
        ],
    }


def _description(snapshot: Snapshot, name: str, base: str) -> dict[str, Any]:
    """A collection: its extent, times, parameters and queries."""
    run, layers = snapshot.newest, _layers(snapshot, name)
    address, times = f"{base}{ROOT}/collections/{name}", layers[0].times
    queries = {
        query: {
            "link": _link(f"{address}/{query}", "data", MEDIA_TYPE)
            | {
                "variables": {
                    "query_type": query,
                    "output_formats": ["CoverageJSON"],
                    "default_output_format": "CoverageJSON",
                }
            }
        }
        for query in ("position", "area")
    }
    return {
        "id": name,
        "title": f"{COLLECTIONS[name]}: {run.manifest.get('title')}",
        "description": f"{run.manifest.get('model')}; {snapshot.condition.state}: "
        f"{snapshot.condition.reason}",
        "links": [_link(address, "self")],
        "extent": {
            "spatial": {"bbox": [list(lonlat_box(run))], "crs": CRS84},
            "temporal": {
                "interval": [[times[0], times[-1]]],
                "values": list(times),
                "trs": "Gregorian",
            },
        },
        "data_queries": queries,
        "crs": ["CRS84"],
        "output_formats": ["CoverageJSON"],
        "parameter_names": {layer.name: parameter(layer) for layer in layers},
    }


def _link(href: str, rel: str, kind: str = "application/json") -> dict[str, str]:
    return {"href": href, "rel": rel, "type": kind}
