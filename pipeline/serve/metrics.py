"""``/metrics``: what the live service publishes, and what the server counts.

Public: `metrics_of`.
"""

from __future__ import annotations

from collections import Counter

from fastapi.responses import PlainTextResponse

from squall.pipeline.serve.published import Published, Unavailable

MEDIA_TYPE = "text/plain; version=0.0.4"


async def metrics_of(published: Published, counts: Counter[tuple[str, int]]) -> PlainTextResponse:
    """The answer; if the store cannot be read, only what the server knows itself.

    Parameters
    ----------
    counts : (template of the address, status) to number of requests.
    """
    try:
        text, is_reached = (await published.snapshot()).metrics_text or "", 1
    except Unavailable:
        text, is_reached = "", 0
    lines = [
        "# TYPE squall_serve_store_reached gauge",
        f"squall_serve_store_reached {is_reached}",
        "# TYPE squall_serve_requests_total counter",
    ]
    lines += [
        f'squall_serve_requests_total{{address="{address}",status="{status}"}} {count}'
        for (address, status), count in sorted(counts.items())
    ]
    return PlainTextResponse(
        text + "\n".join(lines) + "\n", headers={"Cache-Control": "no-store"}, media_type=MEDIA_TYPE
    )
