"""The published files themselves, from a folder or from object storage.

Public: `files_route`.

Only what lies below the address is given: no hidden file, no part ``..``, no link that leads out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import TypeVar

from fastapi import APIRouter, Request
from fastapi.exceptions import StarletteHTTPException
from fastapi.responses import Response, StreamingResponse
from fastapi.staticfiles import StaticFiles

from squall.datasets.addresses import is_remote
from squall.pipeline.live.store import FOR_EVER, NEVER, RUNS, Store, content_type
from squall.pipeline.serve.answers import ClientError, json_answer
from squall.pipeline.serve.published import Unavailable

PART = 4 * 2**20  # bytes that are read from object storage at once
THREADS, WAIT_S = 8, 20.0
Result = TypeVar("Result")


def files_route(
    address: str, store: Store, addresses: Callable[[Request], dict[str, str]]
) -> APIRouter:
    """The route of everything that has no route of its own.

    Parameters
    ----------
    addresses : what ``/`` answers if no page is published.
    """
    files = _Objects(store) if is_remote(address) else _Folder(address)
    router = APIRouter()

    @router.get("/{path:path}", include_in_schema=False)
    async def file(path: str, request: Request) -> Response:
        name = path or "index.html"
        parts = name.split("/")
        is_safe = not any(part == "" or part.startswith(".") or "\\" in part for part in parts)
        if not is_safe or not name.isprintable():
            raise _not_there(path)
        try:
            response = await files.response(name, request)
        except ClientError:
            if path:
                raise
            return json_answer(addresses(request))
        response.headers["Cache-Control"] = FOR_EVER if parts[0] == RUNS else NEVER
        response.headers["X-Content-Type-Options"] = "nosniff"
        if response.status_code != 304:
            response.headers["Content-Type"] = _kind_of(name)
        return response

    return router


class _Folder:
    """Files of a folder on this machine; Starlette does conditional requests and ranges."""

    def __init__(self, folder: str) -> None:
        self._files = StaticFiles(directory=folder, check_dir=False)

    async def response(self, name: str, request: Request) -> Response:
        try:
            return await self._files.get_response(name, request.scope)
        except StarletteHTTPException as error:
            raise _not_there(name) from error
        except PermissionError as error:
            raise _not_there(name) from error
        except OSError as error:
            raise Unavailable(f"/{name} cannot be read now") from error


class _Objects:
    """Objects below a prefix; large ones go through in parts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="files")

    async def response(self, name: str, request: Request) -> Response:
        size = await self._within_time(lambda: self._store.size(name))
        if size is None:
            raise _not_there(name)
        first = await self._part(name, 0, min(size, PART))
        if size <= PART:
            tag = f'"{sha256(first).hexdigest()[:32]}"'
            asked = request.headers.get("if-none-match", "")
            if tag in (part.strip().removeprefix("W/") for part in asked.split(",")):
                return Response(status_code=304, headers={"ETag": tag})
            return Response(first, headers={"ETag": tag})
        return StreamingResponse(
            self._parts(name, first, size), headers={"Content-Length": str(size)}
        )

    async def _parts(self, name: str, first: bytes, size: int) -> AsyncIterator[bytes]:
        yield first
        for start in range(PART, size, PART):
            yield await self._part(name, start, min(size, start + PART))

    async def _part(self, name: str, start: int, end: int) -> bytes:
        if end == 0:
            return b""
        part = await self._within_time(lambda: self._store.read_bytes(name, start, end))
        if part is None:  # deleted meanwhile
            raise _not_there(name)
        return part

    async def _within_time(self, call: Callable[[], Result]) -> Result:
        future = asyncio.get_running_loop().run_in_executor(self._threads, call)
        try:
            return await asyncio.wait_for(future, WAIT_S)
        except TimeoutError as error:
            raise Unavailable("the published files cannot be read now") from error


def _kind_of(name: str) -> str:
    kind = content_type(name)
    is_text = kind.startswith("text/") and ";" not in kind
    return f"{kind}; charset=utf-8" if is_text else kind


def _not_there(path: str) -> ClientError:
    return ClientError(f"there is no /{path}", 404)
