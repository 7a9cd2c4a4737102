"""Addresses of archives and radar files, as people write them.

An address is a local path (``radar``, ``~/radar``, ``file:///radar``), a place on an object store
(``s3://bucket/prefix``), a web address, or a chain (``zip://day.nc::s3://bucket/day.zip``). This
module owns the text of addresses: scheme, path, name. What a message may show of an address is
`squall.datasets.public_text`.
"""

from __future__ import annotations

import os
import posixpath
import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, unquote, urlsplit

from pydantic import BeforeValidator

from squall.datasets.errors import ConfigError, DataError, first_line
from squall.datasets.public_text import public_address

HTTP = ("http", "https")
S3 = ("s3", "s3a")
CONTAINER_KINDS = ("zip", "tar")
_SAFE = "!$&'()*+,;=:@~"  # characters of a path that http need not encode


def protocol_of(address: str) -> str | None:
    """The scheme in small letters, like ``s3`` of ``s3://…``; None for a path without scheme."""
    if address.startswith("/"):  # a pass asks for millions of these
        return None
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", address)
    return match[1].lower() if match else None


def without_protocol(address: str) -> str:
    """The part of an address after ``://``; a local path as it is."""
    return address.partition("://")[2] if protocol_of(address) else address


def is_remote(address: str) -> bool:
    """Whether an address names an object store or a server, not a folder on this machine."""
    return protocol_of(address) not in (None, "file", "local")


def local_path(address: str) -> str | None:
    """Path on this machine, ``~`` expanded and ``file://`` removed; None for a remote address."""
    protocol = protocol_of(address)
    if protocol in ("file", "local"):
        address = without_protocol(address)
    elif protocol is not None:
        return None
    return os.path.expanduser(address)  # noqa: PTH111 (a Path would shorten ./radar to radar)


def archive_address(value: Any) -> str:
    """Address of an archive in the one form that is compared: ``~`` expanded, no ``file://``.

    ``s3a://`` and ``gcs://`` are other names of ``s3://`` and ``gs://``.

    Raises
    ------
    ValueError
        If the value is neither text nor a path, or holds a password, a signature or a token.
    """
    try:
        address = os.fspath(value)
    except TypeError as error:
        raise ValueError(f"expected a folder or s3://…, found {value!r}") from error
    refuse_credentials(address)
    if is_remote(address) and public_address(address) != address:
        raise ConfigError(
            f"{address}: the address of an archive must not hold a signature or token, because it "
            "is written to models, forecasts and scores; put credentials into the environment"
        )
    protocol = protocol_of(address)
    if protocol in ("file", "local"):
        address = re.sub(r"^[a-z]+://localhost(?=/)", "file://", address, flags=re.IGNORECASE)
    elif protocol in _OTHER_NAMES:
        return f"{_OTHER_NAMES[protocol]}://{without_protocol(address)}"
    return local_path(address) or address


_OTHER_NAMES = {"s3a": "s3", "gcs": "gs"}
Address = Annotated[str, BeforeValidator(archive_address)]


def existing_address(text: str) -> str:
    """An `archive_address` that is remote, or a folder or file that exists.

    Raises
    ------
    ConfigError
        If it is a local path where nothing lies.
    """
    address = archive_address(text)
    if not is_remote(address) and not Path(address).exists():
        raise ConfigError(f"{text}: no such file or folder")
    return address


def split_chain(address: str) -> tuple[str, str, str] | None:
    """Split ``zip://member::container`` into ("zip", member, container); None if it is no chain.

    Raises
    ------
    ConfigError
        If ``::`` follows anything but ``zip://`` and ``tar://``, or one of these has no ``::``.
    """
    if address.startswith("/"):
        return None
    kind = protocol_of(address)
    if kind is None:
        short = re.match(r"([a-z0-9]+)::.*://", address)
        if short is not None:
            raise ConfigError(
                f"{address}: cannot be understood; before '::' write zip:// or tar:// and the "
                "files, such as zip://*.nc::s3://bucket/day.zip"
            )
        return None
    links = re.split(r"::(?=[A-Za-z][A-Za-z0-9+.-]*://)", address, maxsplit=1)
    if len(links) == 1 and kind in CONTAINER_KINDS:
        links = address.rsplit("::", 1)
    if kind not in CONTAINER_KINDS:
        if len(links) == 1:
            return None
        raise ConfigError(
            f"{address}: {kind}:// cannot stand before '::', only zip:// and tar:// can; "
            "write the address of the file itself"
        )
    if len(links) == 1 or not links[1]:
        raise ConfigError(
            f"{address}: does not say where the {kind} file is; expected "
            f"{kind}://FILES IN IT::ADDRESS OF THE {kind.upper()} FILE, such as {kind}://*.nc::/data/day.{kind}"
        )
    return kind, without_protocol(links[0]).lstrip("/"), links[1]


def base_name(address: str) -> str:
    """Name of the file: the last part of the path, in a chain that of the member.

    For http the query is removed and ``%20`` and the like are decoded.
    """
    if address.startswith("/"):
        return address.rstrip("/").rpartition("/")[2]
    chain = split_chain(address)
    if chain is not None:
        return base_name(chain[1] or chain[2])
    path = address.rstrip("/")
    if protocol_of(address) in HTTP:
        path = unquote(urlsplit(path).path)
    return path.rpartition("/")[2]


def canonical_address(address: str) -> str:
    """The one spelling by which a file is known, however its address was written.

    Local: the absolute path; links to folders are followed. The name stays, also if the file itself
    is a link: a link may be turned to a corrected file, and its name has the time. Remote: without
    signature, with small letters in scheme and host, for http with one way to encode characters.
    A canonical address stays as it is.
    """
    chain = split_chain(address)
    if chain is not None:
        kind, member, container = chain
        return f"{kind}://{member}::{canonical_address(container)}"
    path = local_path(address)
    if path is not None:
        return canonical_path(path)
    return _canonical_remote(public_address(address))


def canonical_path(path: str) -> str:
    """As `canonical_address`, for a local path without ``~``."""
    head, slash, name = path.rstrip("/").rpartition("/")
    folder = head or slash
    if name in ("", ".", ".."):
        return os.path.realpath(path)
    real = real_folder(folder if folder.startswith("/") else os.path.join(os.getcwd(), folder))  # noqa: PTH109, PTH118
    return f"{real.rstrip('/')}/{name}"


@lru_cache(maxsize=4096)
def real_folder(folder: str) -> str:
    """Absolute path of a folder, links followed; kept until ``real_folder.cache_clear()``."""
    return os.path.realpath(folder)


def _canonical_remote(address: str) -> str:
    scheme, rest = protocol_of(address) or "", without_protocol(address)
    scheme = {"s3a": "s3", "gcs": "gs"}.get(scheme, scheme)
    if scheme not in HTTP:
        return f"{scheme}://{rest}"
    parts = urlsplit(f"{scheme}://{rest}")
    host = parts.netloc.lower().removesuffix(":80" if scheme == "http" else ":443")
    segments = [quote(unquote(part), safe=_SAFE) for part in parts.path.split("/") if part]
    path = posixpath.normpath("/".join(["", *segments])) if segments else ""
    query = "&".join(sorted(filter(None, parts.query.split("&")), key=lambda p: p.split("=")[0]))
    return f"{scheme}://{host}{path}" + (f"?{query}" if query else "")


def precedence(address: str) -> tuple[str, str]:
    """Sort key of files: of two files with a scan of the same time, the greater one counts.

    The name decides, whichever folder a file lies in; of two files with the same name the canonical
    address.
    """
    return precedence_of_canonical(canonical_address(address))


def precedence_of_canonical(address: str) -> tuple[str, str]:
    """As `precedence`, for an address that is canonical."""
    return base_name(address), address


def is_spelling_of(stored: str, address: str) -> bool:
    """Whether an address that an archive stores means the file with a canonical address.

    Earlier releases stored addresses as they were typed. A relative path was relative to a folder
    that nobody knows any more, so only its end is compared.
    """
    if stored == address:
        return True
    chain, other = split_chain(stored), split_chain(address)
    if chain is not None and other is not None:
        return chain[:2] == other[:2] and is_spelling_of(chain[2], other[2])
    path = local_path(stored) if chain is None else None
    if path is not None and not path.startswith("/"):
        tail = re.sub(r"^(\.\./)+", "", os.path.normpath(path))
        return other is None and not is_remote(address) and address.endswith(f"/{tail}")
    return canonical_address(stored) == address


def refuse_credentials(address: str) -> None:
    """Raise ConfigError for an address that holds a password; the message does not repeat it."""
    for kind, user in re.findall(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/@:]*(?::[^/@]*)?)@", address):
        if ":" in user or kind.lower() in (*S3, *HTTP):
            raise ConfigError(
                f"{kind}://…@…: an address must not hold a user or password, because it is written "
                "to logs and to the archive; put credentials into the environment "
                "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for s3, ~/.netrc for http)"
            )


def unreachable(address: str, error: BaseException) -> DataError:
    """An error for an address that cannot be read or written, with what the user should check."""
    if not is_remote(address):
        return DataError(f"{address}: cannot be read or written ({first_line(error)})")
    return DataError(
        f"{address}: cannot be reached ({first_line(error)}); check the bucket, the credentials in "
        "the environment, AWS_REGION and AWS_ENDPOINT_URL"
    )
