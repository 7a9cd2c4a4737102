"""What holds for all requests: they are counted, limited for each client, and only read.

Public: `CountRequests`, `LimitRequests`, `HeadAsGet`.
"""

from __future__ import annotations

import ipaddress
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from squall.pipeline.serve.answers import error_answer

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

NOT_LIMITED = ("/health", "/metrics")


class CountRequests:
    """Counts answers by address and status.

    Parameters
    ----------
    counts : (template of the address, status) to number.
    """

    def __init__(self, app: App, counts: Counter[tuple[str, int]]) -> None:
        self._app, self._counts = app, counts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = scope.get("route")
                self._counts[getattr(route, "path", "none"), message["status"]] += 1
            await send(message)

        await self._app(scope, receive, counted)


class LimitRequests:
    """Refuses a client that asks too often; `NOT_LIMITED` is for monitors.

    Parameters
    ----------
    per_minute : requests of one client address; 0: no limit.
    """

    def __init__(self, app: App, per_minute: int) -> None:
        self._app = app
        self._item = RateLimitItemPerMinute(per_minute) if per_minute else None
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        is_limited = scope["type"] == "http" and scope["path"] not in NOT_LIMITED
        if self._item is None or not is_limited:
            await self._app(scope, receive, send)
            return
        client = _network_of(scope["client"][0] if scope.get("client") else "")
        if self._limiter.hit(self._item, client):
            await self._app(scope, receive, send)
            return
        reset = self._limiter.get_window_stats(self._item, client).reset_time
        wait_s = max(1, round(reset - time.time()))
        message = f"more than {self._item.amount} requests a minute; wait {wait_s} s"
        await error_answer(429, message, {"Retry-After": str(wait_s)})(scope, receive, send)


class HeadAsGet:
    """Answers HEAD as GET, without the body."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = dict(message) | {"body": b""}
            await send(message)

        scope["method"] = "GET"
        await self._app(scope, receive, without_body)


def _network_of(client: str) -> str:
    """The address of a client; of IPv6 the first 64 bits, of which a client has all."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if address.version == 6:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return client
