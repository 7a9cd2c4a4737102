"""The addresses that clients of RainViewer's interface, version 2, know: they change the host only.

Public: `rainviewer_routes`.

The list of frames and the form of the addresses of pictures are those of
https://www.rainviewer.com/api/weather-maps-api.html. There is one colour scale and no smoothing;
the numbers of the colour scheme and the options are taken and have no effect.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pandas as pd
from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from squall.pipeline.serve.answers import RESPONSES, SOON_OLD, ClientError, json_answer
from squall.pipeline.serve.published import Published, Snapshot
from squall.pipeline.serve.published_run import FORECAST, OBSERVED, Frame, PublishedRun
from squall.pipeline.serve.tiles import (
    LARGEST_ZOOM,
    NORTHERNMOST,
    Window,
    centred_window,
    coverage_picture,
    grey_picture,
    rain_picture,
    tile_window,
)

FRAMES = "/v2/radar"
COVERAGE = "/v2/coverage/0"
LATEST = "latest"
_FOR_LONG = "public, max-age=86400"  # a frame of a run does not change
_CORRECTED = "public, max-age=300"  # a scan may come again, corrected

FrameName = Annotated[
    str,
    Path(
        pattern=r"^(latest|\d{1,11}|nowcast_\d{1,11}_[0-9a-f]{8})$",
        description="'latest', or the last part of a path of weather-maps.json",
        examples=[LATEST],
    ),
]
Size = Annotated[Literal["256", "512"], Path(description="pixels of a side")]
Zoom = Annotated[int, Path(ge=0, le=LARGEST_ZOOM)]
Number = Annotated[int, Path(ge=0, lt=2**LARGEST_ZOOM, description="number of the tile")]
Latitude = Annotated[float, Path(ge=-NORTHERNMOST, le=NORTHERNMOST, examples=[55.6])]
Longitude = Annotated[float, Path(ge=-180, le=180, examples=[10.9])]
Colour = Annotated[int, Path(ge=0, le=255, description="has no effect")]
Options = Annotated[
    str, Path(pattern=r"^[01]_[01]$", description="smooth and snow: no effect", examples=["1_1"])
]
_PNG: dict[int | str, dict[str, Any]] = RESPONSES | {
    200: {"description": "The picture.", "content": {"image/png": {}}}
}
_TILE = "/{size}/{z}/{x:int}/{y:int}/{color}/{options}.png"
_CENTRED = "/{size}/{z}/{lat}/{lon}/{color}/{options}.png"


def rainviewer_routes(published: Published, base_url: Callable[[Request], str]) -> APIRouter:
    """The routes.

    Parameters
    ----------
    base_url : address under which a client reaches the server.
    """
    router = APIRouter(tags=["RainViewer"], default_response_class=Response, responses=_PNG)

    @router.get(
        "/public/weather-maps.json",
        responses=RESPONSES
        | {200: {"description": "Past and forecast frames.", "content": {"application/json": {}}}},
    )
    async def weather_maps(request: Request) -> Response:
        """Times and paths of the frames that there are."""
        snapshot = await published.snapshot()
        return json_answer(_weather_maps(snapshot, base_url(request)))

    @router.get(FRAMES + "/{frame}" + _TILE)
    async def radar_tile(
        frame: FrameName, size: Size, z: Zoom, x: Number, y: Number, color: Colour, options: Options
    ) -> Response:
        """A tile of rain: transparent where it is dry, grey where nothing is observed."""
        window = _checked_tile(size, z, x, y)
        return await _rain_answer(await published.snapshot(), frame, window)

    @router.get(FRAMES + "/{frame}" + _CENTRED)
    async def radar_around_a_place(
        frame: FrameName,
        size: Size,
        z: Zoom,
        lat: Latitude,
        lon: Longitude,
        color: Colour,
        options: Options,
    ) -> Response:
        """The same as a tile, with a place in its middle."""
        window = centred_window(int(size), z, lat, lon)
        return await _rain_answer(await published.snapshot(), frame, window)

    @router.get(COVERAGE + _TILE)
    async def coverage_tile(
        size: Size, z: Zoom, x: Number, y: Number, color: Colour, options: Options
    ) -> Response:
        """A tile of where the radar observes: black where it does not."""
        window = _checked_tile(size, z, x, y)
        return await _coverage_answer(await published.snapshot(), window)

    @router.get(COVERAGE + _CENTRED)
    async def coverage_around_a_place(
        size: Size, z: Zoom, lat: Latitude, lon: Longitude, color: Colour, options: Options
    ) -> Response:
        """The same as a tile, with a place in its middle."""
        window = centred_window(int(size), z, lat, lon)
        return await _coverage_answer(await published.snapshot(), window)

    return router


def _weather_maps(snapshot: Snapshot, base_url: str) -> dict[str, Any]:
    """``weather-maps.json``. A forecast that says nothing about now is left out."""
    run, condition = snapshot.newest, snapshot.condition
    past = [(frame, f"{FRAMES}/{frame.seconds}") for frame in snapshot.past]
    nowcast = (
        []
        if condition.is_stale
        else [
            (frame, f"{FRAMES}/nowcast_{frame.seconds}_{_token(run)}")
            for frame in run.frames(FORECAST)
        ]
    )
    created = pd.Timestamp(run.manifest["created"])
    return {
        "version": "2.0",
        "generated": int(created.timestamp()),
        "host": base_url,
        "radar": {
            name: [{"time": frame.seconds, "path": path} for frame, path in frames]
            for name, frames in (("past", past), ("nowcast", nowcast))
        },
        "satellite": {"infrared": []},
        "squall": condition.as_dict()
        | {
            "run": run.id,
            "reference_time": run.manifest["reference_time"],
            "attribution": run.manifest.get("attribution"),
        },
    }


def _checked_tile(size: str, zoom: int, x: int, y: int) -> Window:
    if max(x, y) >= 2**zoom:
        message = f"at zoom {zoom}, x and y are 0 to {2**zoom - 1}; found {x} and {y}"
        raise ClientError(message, 404)
    return tile_window(int(size), zoom, x, y)


async def _rain_answer(snapshot: Snapshot, name: str, window: Window) -> Response:
    run, condition = snapshot.newest, snapshot.condition
    headers = {"Squall-State": condition.state}
    if name == LATEST:
        headers["Cache-Control"] = SOON_OLD
        # a picture without a time must not show old rain, and not read as dry either
        if condition.is_stale or not snapshot.past:
            return _png_answer(grey_picture(window), headers)
        frame = snapshot.past[-1]
    else:
        frame, is_final = _frame(snapshot, run, name)
        headers["Cache-Control"] = _FOR_LONG if is_final else _CORRECTED
    headers["Squall-Time"] = f"{frame.time:%Y-%m-%dT%H:%M:%SZ}"
    content = await asyncio.get_running_loop().run_in_executor(None, rain_picture, frame, window)
    return _png_answer(content, headers)


async def _coverage_answer(snapshot: Snapshot, window: Window) -> Response:
    newest = snapshot.newest.frames(OBSERVED)[-1]
    loop = asyncio.get_running_loop()
    content = await loop.run_in_executor(None, coverage_picture, newest, window)
    return _png_answer(content, {"Cache-Control": SOON_OLD})


def _frame(snapshot: Snapshot, newest: PublishedRun, name: str) -> tuple[Frame, bool]:
    """The frame of a name, and whether it never changes.

    A time alone is an observed frame or, after the last of these, a forecast of the newest run:
    many clients make addresses of times.
    """
    numbers = re.findall(r"[0-9a-f]+", name.removeprefix("nowcast_"))
    seconds = int(numbers[0])
    if len(numbers) == 1:
        frames = {frame.seconds: frame for frame in (*newest.frames(FORECAST), *snapshot.past)}
        if seconds in frames:
            return frames[seconds], False
    else:
        for run in (newest, *snapshot.earlier):
            for frame in run.frames(FORECAST):
                if _token(run) == numbers[1] and frame.seconds == seconds:
                    return frame, True
    raise ClientError(
        f"there is no frame '{name}' (any more); /public/weather-maps.json lists the frames", 404
    )


def _token(run: PublishedRun) -> str:
    """The random part of a run's name."""
    return run.id.rpartition("-")[2]


def _png_answer(content: bytes, headers: dict[str, str]) -> Response:
    return Response(content, media_type="image/png", headers=headers)
