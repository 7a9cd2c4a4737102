"""Addresses of archives and radar files, as people write them.

An address is a local path (``radar``, ``~/radar``, ``file:///radar``), a place on an object store
(``s3://bucket/prefix``), a web address, or a chain (``zip://day.nc::s3://bucket/day.zip``). This
module owns the text of addresses: scheme, path, name. What a message may show of an address is
`squall.datasets.public_text`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import BeforeValidator

from squall.datasets.errors import ConfigError, DataError, first_line

HTTP = ("http", "https")
S3 = ("s3", "s3a")
CONTAINER_KINDS = ("zip", "tar")


def protocol_of(address: str) -> str | None:
    """The scheme in small letters, like ``s3`` of ``s3://…``; None for a path without scheme."""
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

    Raises
    ------
    ValueError
        If the value is neither text nor a path, or holds a password.
    """
    try:
        address = os.fspath(value)
    except TypeError as error:
        raise ValueError(f"expected a folder or s3://…, found {value!r}") from error
    refuse_credentials(address)
    return local_path(address) or address


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
    chain = split_chain(address)
    if chain is not None:
        return base_name(chain[1] or chain[2])
    path = address.rstrip("/")
    if protocol_of(address) in HTTP:
        path = unquote(urlsplit(path).path)
    return path.rpartition("/")[2]


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
