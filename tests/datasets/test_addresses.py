"""The text of addresses: local or remote, paths, names, chains, and what a message may show."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from squall.datasets.addresses import (
    Address,
    archive_address,
    base_name,
    canonical_address,
    is_remote,
    is_spelling_of,
    local_path,
    precedence,
    protocol_of,
    refuse_credentials,
    split_chain,
    unreachable,
)
from squall.datasets.errors import ConfigError


class Configured(BaseModel):
    archive: Address


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")


@pytest.mark.parametrize(
    ("address", "protocol", "remote", "path"),
    [
        ("radar/a.nc", None, False, "radar/a.nc"),
        ("./radar", None, False, "./radar"),
        ("/radar", None, False, "/radar"),
        ("~/radar", None, False, "/home/ada/radar"),
        ("a~b", None, False, "a~b"),
        ("file:///radar", "file", False, "/radar"),
        ("FILE:///radar", "file", False, "/radar"),
        ("local:///radar", "local", False, "/radar"),
        ("s3://bucket/prefix", "s3", True, None),
        ("S3://bucket/prefix", "s3", True, None),
        ("gs://bucket/prefix", "gs", True, None),
        ("https://host/a.nc?sig=1", "https", True, None),
        ("radar:2024", None, False, "radar:2024"),
    ],
)
def test_where_an_address_lies(
    address: str, protocol: str | None, remote: bool, path: str | None
) -> None:
    assert protocol_of(address) == protocol
    assert is_remote(address) == remote
    assert local_path(address) == path


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("~/radar", "/home/ada/radar"),
        (Path("radar"), "radar"),
        (Path("~/radar"), "/home/ada/radar"),
        ("file:///radar", "/radar"),
        ("s3://bucket/radar", "s3://bucket/radar"),
    ],
)
def test_the_address_of_an_archive(value: Any, expected: str) -> None:
    assert archive_address(value) == expected
    assert Configured(archive=value).archive == expected


@pytest.mark.parametrize("value", [None, 5, ["radar"]])
def test_values_that_are_no_address(value: Any) -> None:
    with pytest.raises(ValidationError, match=r"expected a folder or s3://…, found"):
        Configured(archive=value)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("a.nc", "a.nc"),
        ("/radar/2024/", "2024"),
        ("s3://bucket/day/a.nc", "a.nc"),
        ("s3://bucket/what?.nc", "what?.nc"),
        ("https://host/a%20b.nc?token=secret/x", "a b.nc"),
        ("https://host/a.nc", "a.nc"),
        ("zip://day/a.nc::s3://bucket/day.zip", "a.nc"),
        ("zip://::https://host/day.zip?sig=1", "day.zip"),
        ("zip://a.nc::/data/day.zip", "a.nc"),
        ("tar://a.nc::zip://day.tar::s3://bucket/month.zip", "a.nc"),
    ],
)
def test_base_names(address: str, name: str) -> None:
    assert base_name(address) == name


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("s3://bucket/a.nc", None),
        ("/data/a.nc", None),
        ("zip://*.nc::s3://b/day.zip", ("zip", "*.nc", "s3://b/day.zip")),
        ("zip:///a.nc::day.zip", ("zip", "a.nc", "day.zip")),
        (
            "tar://*.nc::zip://d.tar::s3://b/m.zip",
            ("tar", "*.nc", "zip://d.tar::s3://b/m.zip"),
        ),
    ],
)
def test_chains(address: str, parts: tuple[str, str, str] | None) -> None:
    assert split_chain(address) == parts


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("zip://a.nc", "does not say where the zip file is"),
        ("zip://a.nc::", "does not say where the zip file is"),
        ("simplecache::s3://b/a.nc", "before '::' write zip:// or tar://"),
        ("s3://b/a.nc::file:///x", "s3:// cannot stand before '::'"),
    ],
)
def test_chains_that_cannot_be_understood(address: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        split_chain(address)


@pytest.mark.parametrize(
    "address",
    [
        "https://ada:secret@host/a.nc",
        "s3://key:secret@bucket/a.nc",
        "s3://key@bucket/a.nc",
        "zip://a.nc::https://ada:secret@host/d.zip",
    ],
)
def test_an_address_with_a_password_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(ConfigError, match="must not hold a user or password") as caught:
        refuse_credentials(address)
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="must not hold a user or password"):
        archive_address(address)


def test_the_address_of_an_archive_with_a_signature_is_refused_and_not_repeated() -> None:
    """Models, forecasts and scores record the address of their archive."""
    with pytest.raises(ConfigError, match=r"https://host/a\.zarr: .* signature or token") as caught:
        archive_address("https://host/a.zarr?sv=1&sig=hunter2")
    with pytest.raises(ValidationError):
        Configured(archive="s3://bucket/a?X-Amz-Signature=hunter2")
    assert "hunter2" not in str(caught.value)
    assert archive_address("https://host/a.zarr?version=2") == "https://host/a.zarr?version=2"


@pytest.mark.parametrize("address", ["s3://bucket/a@b.nc", "https://host/a@b.nc", "/data/a@b"])
def test_an_at_sign_elsewhere_is_no_password(address: str) -> None:
    refuse_credentials(address)


def test_what_to_check_when_an_address_cannot_be_reached() -> None:
    error = OSError("no route\nto host")
    assert str(unreachable("/data", error)) == "/data: cannot be read or written (no route)"
    remote = str(unreachable("s3://b/a", error))
    assert remote.startswith("s3://b/a: cannot be reached (no route); check the bucket")
    assert "(TimeoutError())" in str(unreachable("s3://b/a", TimeoutError()))


@pytest.mark.parametrize(
    ("address", "canonical"),
    [
        ("S3A://bucket/a.nc", "s3://bucket/a.nc"),
        ("gcs://bucket/a.nc", "gs://bucket/a.nc"),
        ("HTTPS://Host:443//day/./x/../a%20b%7E.nc", "https://host/day/a%20b~.nc"),
        ("https://host/a.nc?v=2&sig=secret&f=1", "https://host/a.nc?f=1&v=2"),
        ("http://host:8080/a%2Fb.nc", "http://host:8080/a%2Fb.nc"),
        ("s3://bucket/a//b.nc", "s3://bucket/a//b.nc"),
        ("~/radar/", "/home/ada/radar"),
        ("file:///radar//./a.nc", "/radar/a.nc"),
        ("zip:///a.nc::file:///radar/../day.zip", "zip://a.nc::/day.zip"),
        ("tar://a.nc::zip://d.tar::s3a://b/m.zip", "tar://a.nc::zip://d.tar::s3://b/m.zip"),
    ],
)
def test_one_canonical_address_of_a_file(address: str, canonical: str) -> None:
    assert canonical_address(address) == canonical
    assert canonical_address(canonical) == canonical


def test_the_name_decides_before_the_folder_and_the_spelling_never() -> None:
    assert precedence("/a/2.nc") > precedence("/b/1.nc")
    assert precedence("s3://a/2.nc") > precedence("/b/1.nc")
    assert precedence("zip://x/2.nc::/b/1.zip") > precedence("/b/1.nc")
    assert precedence("zip://x/2.nc::/b/1.zip") < precedence("zip://a/3.nc::/b/0.zip")
    assert precedence("file:///b/1.nc") == precedence("/b/./1.nc")


@pytest.mark.parametrize(
    ("stored", "is_spelling"),
    [
        ("radar/a.nc", True),
        ("../radar/a.nc", True),
        ("a.nc", True),
        ("/data/./radar/a.nc", True),
        ("dar/a.nc", False),
        ("/radar/a.nc", False),
        ("zip://a.nc::/data/radar/a.nc", False),
        ("s3://data/radar/a.nc", False),
    ],
)
def test_an_address_of_an_earlier_release(stored: str, is_spelling: bool) -> None:
    assert is_spelling_of(stored, "/data/radar/a.nc") == is_spelling


def test_a_member_and_a_signed_address_of_an_earlier_release() -> None:
    assert is_spelling_of("zip://a.nc::day.zip", "zip://a.nc::/data/day.zip")
    assert not is_spelling_of("zip://b.nc::day.zip", "zip://a.nc::/data/day.zip")
    assert is_spelling_of("https://host/a.nc?sig=secret", "https://host/a.nc")
