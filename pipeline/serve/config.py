"""What a server is asked for: what it serves, where it listens, limits."""

from __future__ import annotations

from typing import Annotated

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, field_validator

from squall.datasets.addresses import Address
from squall.datasets.times import Age
from squall.pipeline.config import Option


class ServeConfig(BaseModel):
    """A server of published forecasts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: Annotated[Address, Option(positional=True, metavar="ADDRESS")] = Field(
        description="folder or s3://bucket/prefix to which `squall live` publishes"
    )
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="address of this machine to listen on; 0.0.0.0 for all",
    )
    port: int = Field(default=8000, ge=1, le=65535, description="port to listen on")
    public_url: Annotated[str, Option(metavar="URL")] = Field(
        default="",
        description="address under which clients reach the server, like "
        "https://example.org/squall (default: that of the request)",
    )
    trusted_proxies: Annotated[tuple[str, ...], Option(metavar="IP")] = Field(
        default=("127.0.0.1",),
        description="proxies whose X-Forwarded-For and X-Forwarded-Proto are believed",
    )
    requests_per_minute: Annotated[int, Option(metavar="N")] = Field(
        default=1200, ge=0, description="of one client address; 0: no limit"
    )
    connections: Annotated[int, Option(metavar="N")] = Field(
        default=500, ge=1, description="of all clients at once; more are refused"
    )
    area_values: Annotated[int, Option(metavar="N")] = Field(
        default=200_000, ge=1, description="largest number of values in the answer for an area"
    )
    past: Annotated[Age, Option(metavar="AGE")] = Field(
        default=pd.Timedelta("2h"), description="span of the observed frames that are served"
    )
    check_s: float = Field(
        default=1.0,
        ge=0,
        le=60,
        description="time after which a request looks for a new run again [s]",
    )

    @field_validator("public_url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        if url and not url.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return url.rstrip("/")
