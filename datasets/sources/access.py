"""Reaching files wherever they lie: what a file is, its file system, and what went wrong.

Owns time-outs, options and errors of storage libraries; no credential passes through here but in
options. Listing is `squall.datasets.sources.stores`.
"""

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import fsspec

from squall.datasets.addresses import HTTP, base_name, protocol_of, without_query
from squall.datasets.errors import ConfigError, DataError

Options = Mapping[str, Any]
S3 = ("s3", "s3a")
CONNECT_TIMEOUT_S, READ_TIMEOUT_S, DOWNLOAD_TIMEOUT_S = 10, 60, 1800
_CHECKSUMS = ("ETag", "etag", "md5Hash", "crc32c", "Content-MD5", "Digest", "CRC", "generation")
_TIMES = ("mtime", "LastModified", "Last-Modified", "last_modified", "updated", "modify", "created")
_SECRET = re.compile("key|secret|token|pass|auth|cookie|sig|cred|header", re.IGNORECASE)


class SourceUnavailable(DataError):
    """A source that could not be listed or read now; trying again later may help."""


class FileVanished(SourceUnavailable):
    """A file that was listed and is not there any more."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A radar file where it lies.

    Parameters
    ----------
    address : local path as it was found, or address with protocol (``zip://a.nc::/data/x.zip``).
    version : changes when the content may have changed; from checksum, or size and time.
    size : bytes, None if the server does not say.
    """

    address: str
    version: str
    size: int | None

    @property
    def name(self) -> str:
        """Base name, as time and format are read from it."""
        return base_name(self.address)


def unavailable(address: str, error: BaseException, options: Options) -> DataError:
    """The error to raise for what a storage library or the system raised; no secrets in it."""
    shown = without_query(address)
    if isinstance(error, DataError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DataError(
            f"{shown}: no room for a copy in the temporary folder; make some, or let TMPDIR name "
            "a larger one"
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
    reason = _without_secrets(re.sub(r"\?\S+", "?…", reason), options)[:300]
    return SourceUnavailable(f"{shown}: cannot be reached: {reason}; {_advice(error, status)}")


def http_status(error: BaseException) -> str | None:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, aiohttp.ClientResponseError):
            return str(seen.status)
        response = getattr(seen, "response", None)
        if isinstance(response, Mapping) and "Error" in response:
            code = str(response["Error"].get("Code", ""))
            return code or str(response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
        seen = seen.__cause__
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


def _without_secrets(text: str, options: Options, secret: bool = False) -> str:
    for key, value in options.items():
        hidden = secret or _SECRET.search(str(key)) is not None
        if isinstance(value, Mapping):
            text = _without_secrets(text, value, hidden)
        elif hidden and isinstance(value, str) and value:
            text = text.replace(value, "***")
    return text


def filesystem(address: str, options: Options) -> fsspec.AbstractFileSystem:
    """The fsspec file system of an address, without caches of listings and with time-outs.

    Options named for a protocol (``s3: {…}``) go to that protocol only, the others to all.

    Raises
    ------
    ConfigError
        Unknown protocol, a package that is not installed, options that the file system refuses.
    """
    protocol = protocol_of(address) or "file"
    try:
        kind = fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        install = "squall[gcs]" if protocol in ("gs", "gcs") else str(error)
        raise ConfigError(
            f"{without_query(address)}: {protocol}:// needs a package that is not installed: "
            + (f"pip install '{install}'" if install.startswith("squall") else install)
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"{without_query(address)}: unknown protocol {protocol!r}; expected a path, or s3, "
            "https, gs, file, zip, tar or another one that fsspec knows"
        ) from error
    known = set(fsspec.available_protocols())
    chosen = {k: v for k, v in options.items() if not (k in known and isinstance(v, Mapping))}
    names = (kind.protocol,) if isinstance(kind.protocol, str) else tuple(kind.protocol)
    for name in names:
        chosen |= options.get(name, {})
    chosen["use_listings_cache"] = False
    if protocol in S3:
        given = chosen.get("config_kwargs", {})
        bounds: dict[str, Any] = {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            "retries": {"mode": "standard", "total_max_attempts": 3},
        }
        chosen["config_kwargs"] = bounds | dict(given)
    if protocol in HTTP:
        client: dict[str, Any] = {"trust_env": True} | dict(chosen.get("client_kwargs", {}))
        client["timeout"] = _http_timeout(client.get("timeout", {}))
        chosen["client_kwargs"] = client
        # the length in the header has to be that of the file
        chosen["headers"] = {"Accept-Encoding": "identity"} | dict(chosen.get("headers", {}))
    try:
        made, _ = fsspec.url_to_fs(address, **chosen)
    except (TypeError, ValueError) as error:
        reason = _without_secrets(str(error), options)
        raise ConfigError(
            f"{without_query(address)}: {protocol}:// does not take these options: {reason}; "
            "name options of one protocol only by it, such as `s3: {anon: true}`"
        ) from error
    if protocol in S3:
        made.retries = 2  # beside botocore's own; s3fs's five would make a hang last for hours
    return made


def _http_timeout(given: Any) -> aiohttp.ClientTimeout:
    if isinstance(given, aiohttp.ClientTimeout):
        return given
    bounds = {
        "total": DOWNLOAD_TIMEOUT_S,
        "sock_connect": CONNECT_TIMEOUT_S,
        "sock_read": READ_TIMEOUT_S,
    }
    return aiohttp.ClientTimeout(**(bounds | dict(given)))


def is_missing(error: BaseException) -> bool:
    """Whether a storage library said that there is no such file, and not that it cannot know."""
    status = http_status(error)
    if status is None:  # fsspec's web server says "not found" for time-outs too, with a cause
        return isinstance(error, FileNotFoundError) and error.__cause__ is None
    return status in ("404", "410", "NoSuchKey")


def version_of(info: Mapping[str, Any]) -> str:
    """Checksum or else time out of what a listing says about a file, with the size."""
    told = next((info[key] for key in (*_CHECKSUMS, *_TIMES) if info.get(key)), None)
    size = info.get("size")
    return f"{size}" if told is None else f"{size}-{str(told).strip(chr(34))}"
