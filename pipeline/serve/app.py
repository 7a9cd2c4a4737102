"""The web application: all addresses, and what an error answers.

Public: `app_of`.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError, StarletteHTTPException
from fastapi.middleware import Middleware
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from squall import __version__
from squall.datasets.errors import DataError
from squall.pipeline.live.store import open_store
from squall.pipeline.serve.answers import RESPONSES, ClientError, error_answer, json_answer
from squall.pipeline.serve.config import ServeConfig
from squall.pipeline.serve.edr import edr_routes
from squall.pipeline.serve.files import files_route
from squall.pipeline.serve.metrics import metrics_of
from squall.pipeline.serve.middleware import CountRequests, HeadAsGet, LimitRequests
from squall.pipeline.serve.points import point_answer
from squall.pipeline.serve.published import Published, Unavailable
from squall.pipeline.serve.rainviewer import rainviewer_routes

log = logging.getLogger("squall.serve")

ADDRESSES = {
    "forecast of a place": "/forecast?lat=52.1&lon=5.18",
    "OGC API EDR": "/edr",
    "list of frames, as RainViewer's": "/public/weather-maps.json",
    "state": "/health",
    "metrics": "/metrics",
    "newest run": "/latest.json",
    "description": "/openapi.json",
}
Latitude = Annotated[float, Query(ge=-90, le=90, description="degrees north")]
Longitude = Annotated[float, Query(ge=-180, le=360, description="degrees east")]


def app_of(config: ServeConfig, published: Published | None = None) -> FastAPI:
    """The application.

    Parameters
    ----------
    published : what is served (default: what lies at the address of the configuration).
    """
    if published is None:
        published = Published(
            open_store(config.address),
            past=config.past,
            check_s=config.check_s,
        )
    counts: Counter[tuple[str, int]] = Counter()

    app = FastAPI(
        title="Squall",
        description="Rain forecasts from radar. All times are UTC; null is not known, never dry.",
        version=__version__,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(CountRequests, counts=counts),
            Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["GET", "HEAD"]),
            Middleware(LimitRequests, per_minute=config.requests_per_minute),
            Middleware(HeadAsGet),
        ],
    )
    _answer_errors(app)

    def base_url(request: Request) -> str:
        return config.public_url or str(request.base_url).rstrip("/")

    _add_own_routes(app, published, counts)
    app.include_router(rainviewer_routes(published, base_url))
    app.include_router(edr_routes(published, base_url, config.area_values))
    app.include_router(
        files_route(
            config.address,
            published.store,
            lambda request: {name: base_url(request) + path for name, path in ADDRESSES.items()},
        )
    )
    return app


def _add_own_routes(app: FastAPI, published: Published, counts: Counter[tuple[str, int]]) -> None:
    @app.get("/forecast", responses=RESPONSES, tags=["Squall"])
    async def forecast(lat: Latitude, lon: Longitude) -> JSONResponse:
        """What the newest run says of one place: observed and forecast rain, chances, the state."""
        return json_answer(point_answer(await published.snapshot(), lat, lon))

    @app.get("/health", responses=RESPONSES, tags=["Squall"])
    async def health() -> JSONResponse:
        """200 if the forecast says something about now, else 503; the state and its reason."""
        snapshot = await published.snapshot()
        condition, run = snapshot.condition, snapshot.run
        about = {
            "run": run.id if run else None,
            "reference_time": run.manifest["reference_time"] if run else None,
        }
        is_good = run is not None and not condition.is_stale
        answer = json_answer(condition.as_dict() | about, status=200 if is_good else 503)
        answer.headers["Cache-Control"] = "no-store"
        if not is_good:
            answer.headers["Retry-After"] = "30"
        return answer

    @app.get("/metrics", response_class=PlainTextResponse, tags=["Squall"])
    async def metrics() -> Response:
        """Metrics of the live service, and counts of requests, for Prometheus."""
        return await metrics_of(published, counts)


def _answer_errors(app: FastAPI) -> None:
    """Every error is JSON with a message; what cannot be read now is 503."""

    @app.exception_handler(ClientError)
    async def refuse(_: Request, error: ClientError) -> JSONResponse:
        return error_answer(error.status, str(error))

    @app.exception_handler(RequestValidationError)
    async def refuse_values(_: Request, error: RequestValidationError) -> JSONResponse:
        mistakes = [f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors()]
        return error_answer(400, "; ".join(mistakes))

    @app.exception_handler(StarletteHTTPException)
    async def refuse_path(_: Request, error: StarletteHTTPException) -> JSONResponse:
        headers = {"Allow": "GET, HEAD"} if error.status_code == 405 else None
        return error_answer(error.status_code, str(error.detail), headers)

    @app.exception_handler(Unavailable)
    async def wait(_: Request, error: Unavailable) -> JSONResponse:
        return error_answer(503, str(error), {"Retry-After": str(error.retry_after_s)})

    @app.exception_handler(DataError)
    async def unreachable(_: Request, error: DataError) -> JSONResponse:
        log.warning("%s", error)
        message = "the published files cannot be read now; the server's log says why"
        return error_answer(503, message, {"Retry-After": "10"})
