"""Access to storage: the file system of an address, and the errors of storage libraries.

Owns their time-outs, options and error messages, and the description of one file. Credentials come
from the environment or from options only. Listing is `squall.datasets.sources.stores`.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import fsspec
import pandas as pd

from squall.datasets.addresses import (
    HTTP,
    S3,
    base_name,
    canonical_address,
    protocol_of,
)
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.public_text import public_text

if TYPE_CHECKING:
    import aiohttp

Options = Mapping[str, Any]
CONNECT_TIMEOUT_S, READ_TIMEOUT_S, DOWNLOAD_TIMEOUT_S = 10, 60, 1800
_CHECKSUMS = ("ETag", "etag", "md5Hash", "crc32c", "Content-MD5", "Digest", "CRC", "generation")
_TIMES = ("mtime", "LastModified", "Last-Modified", "last_modified", "updated", "modify", "created")
_SECRET = re.compile("key|secret|token|pass|auth|cookie|sig|cred|header", re.IGNORECASE)


class SourceUnavailable(DataError):
    """A source that could not be listed or read now; a later attempt may succeed."""


class FileVanished(SourceUnavailable):
    """A file that was listed but no longer exists."""


class UnclearFill(DataError):
    """A fill value of a Zarr store that may mean not observed or dry; ``value`` is unpacked."""

    value: float

    @classmethod
    def of(cls, value: float, message: str) -> UnclearFill:
        """The error with a message."""
        error = cls(message)
        error.value = value
        return error


@dataclass(frozen=True, slots=True)
class ZarrScans:
    """Scans of a Zarr store that lie in the same chunks; see `squall.datasets.sources.zarr_stores`.

    Parameters
    ----------
    store, variable : address of the store, and the variable with the scans.
    first, last : positions of the first scan, and of the one after the last.
    times : as the store tells them, of the first and the last scan; None if it does not.
    listed : unpacked values that the configuration declares as missing or dry.
    """

    store: str = field(repr=False)
    variable: str
    first: int
    last: int
    times: tuple[pd.Timestamp, pd.Timestamp] | None
    listed: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A radar file on any storage.

    Parameters
    ----------
    address : local path as it was found, or address with protocol (``zip://a.nc::/data/x.zip``).
    version : changes when the content may have changed. Made of the size and a checksum, or of
        the size and the time of the last change.
    size : bytes, None if the server does not give it.
    identity : `canonical_address`: what archives and messages name the file. Only it, not the
        address, is the same however the user wrote the pattern, and it holds no signature.
    scans : where the "file" is a part of a Zarr store.
    """

    address: str = field(repr=False)
    version: str
    size: int | None
    identity: str = ""
    scans: ZarrScans | None = None

    def __post_init__(self) -> None:
        if not self.identity:
            object.__setattr__(self, "identity", canonical_address(self.address))

    @property
    def name(self) -> str:
        """Base name: the time and the format of a file may be read from it."""
        return base_name(self.identity)


def unavailable(address: str, error: BaseException, options: Options) -> DataError:
    """The error to raise for an error of a storage library or the system, without secrets."""
    if isinstance(error, DataError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DataError(
            f"{address}: no room for a copy in the temporary folder; free some space, or "
            "let TMPDIR name a larger folder"
        )
    if isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    status = http_status(error)
    lines = str(getattr(error, "message", "") or error).strip().splitlines()
    reason = " ".join([type(error).__name__, *([f"({status})"] if status else [])])
    if isinstance(error, OSError) and error.errno and error.strerror:
        reason = error.strerror
    elif lines:
        reason += f": {lines[0]}"
    reason = _without_secrets(public_text(reason), options)[:300]
    return SourceUnavailable(f"{address}: cannot be reached: {reason}; {_advice(error, status)}")


def http_status(error: BaseException) -> str | None:
    """HTTP status or S3 error code (``NoSuchKey``) of an error or of its causes, if any."""
    import aiohttp  # takes a quarter of a second

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, aiohttp.ClientResponseError):
            return str(cause.status)
        response = getattr(cause, "response", None)
        if isinstance(response, Mapping) and "Error" in response:
            code = str(response["Error"].get("Code", ""))
            return code or str(response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
        cause = cause.__cause__
    return None


def _advice(error: BaseException, status: str | None) -> str:
    name = type(error).__name__
    if status in ("NoSuchBucket", "404", "410") or isinstance(error, FileNotFoundError):
        return "check the name and the endpoint (AWS_ENDPOINT_URL for s3)"
    if isinstance(error, PermissionError) or "Credential" in name or status in ("401", "403"):
        return (
            "check the permissions and the credentials in the environment (for s3 "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or `anon: true` in the options for "
            "public buckets)"
        )
    if status is not None:
        return "the server has a problem; the next run tries again"
    return "check the network and the endpoint; the next run tries again"


def _without_secrets(text: str, options: Options, all_secret: bool = False) -> str:
    for key, value in options.items():
        is_secret = all_secret or _SECRET.search(str(key)) is not None
        if isinstance(value, Mapping):
            text = _without_secrets(text, value, is_secret)
        elif is_secret and isinstance(value, str) and value:
            text = text.replace(value, "***")
    return text


def filesystem(address: str, options: Options) -> fsspec.AbstractFileSystem:
    """The fsspec file system of an address, with time-outs and without a cache of listings.

    Options below the name of a protocol (``s3: {…}``) go to that protocol only, the others to all.

    Raises
    ------
    ConfigError
        If the protocol is unknown, a package is not installed, or the file system refuses the
        options.
    """
    protocol = protocol_of(address) or "file"
    chosen = _options_for(protocol, _filesystem_class(address, protocol), options)
    try:
        remote, _ = fsspec.url_to_fs(address, **chosen)
    except (TypeError, ValueError) as error:
        reason = _without_secrets(str(error), options)
        raise ConfigError(
            f"{address}: {protocol}:// does not take these options: {reason}; "
            f"write options of one protocol below its name, such as `s3: {{anon: true}}`"
        ) from error
    if protocol in S3:
        remote.retries = (
            2  # botocore also retries; with s3fs's default of 5 a hang would last for hours
        )
    return remote


def _filesystem_class(address: str, protocol: str) -> type[fsspec.AbstractFileSystem]:
    try:
        return fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        install = "squall[gcs]" if protocol in ("gs", "gcs") else str(error)
        raise ConfigError(
            f"{address}: {protocol}:// needs a package that is not installed: "
            + (f"pip install '{install}'" if install.startswith("squall") else install)
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"{address}: unknown protocol {protocol!r}; expected a path, or s3, "
            "https, gs, file, zip, tar or another one that fsspec knows"
        ) from error


def _options_for(
    protocol: str, filesystem_class: type[fsspec.AbstractFileSystem], options: Options
) -> dict[str, Any]:
    """Options of one file system, with time-outs where the user gives none."""
    known = set(fsspec.available_protocols())
    chosen = {k: v for k, v in options.items() if not (k in known and isinstance(v, Mapping))}
    names = filesystem_class.protocol
    for name in (names,) if isinstance(names, str) else tuple(names):
        chosen |= options.get(name, {})
    chosen["use_listings_cache"] = False
    if protocol in S3:
        defaults: dict[str, Any] = {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            "retries": {"mode": "standard", "total_max_attempts": 3},
        }
        chosen["config_kwargs"] = defaults | dict(chosen.get("config_kwargs", {}))
    if protocol in HTTP:
        client: dict[str, Any] = {"trust_env": True} | dict(chosen.get("client_kwargs", {}))
        client["timeout"] = _http_timeout(client.get("timeout", {}))
        chosen["client_kwargs"] = client
        # without compression, the length in the header is the length of the file
        chosen["headers"] = {"Accept-Encoding": "identity"} | dict(chosen.get("headers", {}))
    return chosen


def _http_timeout(timeout: Any) -> aiohttp.ClientTimeout:
    import aiohttp

    if isinstance(timeout, aiohttp.ClientTimeout):
        return timeout
    defaults = {
        "total": DOWNLOAD_TIMEOUT_S,
        "sock_connect": CONNECT_TIMEOUT_S,
        "sock_read": READ_TIMEOUT_S,
    }
    return aiohttp.ClientTimeout(**(defaults | dict(timeout)))


def is_missing(error: BaseException) -> bool:
    """Whether an error says that the file does not exist, not that it cannot be reached."""
    status = http_status(error)
    if status is None:  # fsspec also raises FileNotFoundError for time-outs of HTTP, with a cause
        return isinstance(error, FileNotFoundError) and error.__cause__ is None
    return status in ("404", "410", "NoSuchKey")


def version_of(info: Mapping[str, Any]) -> str:
    """Size and checksum of a file in a listing; size and time if it has no checksum."""
    stamp = next((info[key] for key in (*_CHECKSUMS, *_TIMES) if info.get(key)), None)
    size = info.get("size")
    return f"{size}" if stamp is None else f"{size}-{str(stamp).strip(chr(34))}"
