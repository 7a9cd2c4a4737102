"""Forms of answers that all addresses share: errors and headers.

Public: `ClientError`, `RESPONSES`, `json_answer`, `error_answer`, `SOON_OLD`.
"""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

SOON_OLD = "public, max-age=10"  # seconds; the state may change with each scan


class ClientError(Exception):
    """A request that cannot be answered as it is; the message says what to change.

    Parameters
    ----------
    status : 400, or 404 if what is asked for is not there.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class ErrorAnswer(BaseModel):
    """What every error answers."""

    code: str = Field(description="the HTTP status, as text")
    description: str = Field(description="what is wrong, and what to do")


_MODEL: dict[str, Any] = {"model": ErrorAnswer}
RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": _MODEL | {"description": "The request is out of bounds, or nothing is there."},
    503: _MODEL
    | {"description": "Nothing is published, or it cannot be read now; see Retry-After."},
}


def json_answer(values: Any, *, kind: str = "application/json", status: int = 200) -> JSONResponse:
    """JSON that is soon old."""
    return JSONResponse(values, status, {"Cache-Control": SOON_OLD}, media_type=kind)


def error_answer(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error in the form of OGC APIs."""
    values = {"code": str(status), "description": message}
    return JSONResponse(values, status, {"Cache-Control": "no-store"} | (headers or {}))
