"""Object storage: listing, faults, credentials."""

import io

import pandas as pd
import pytest
from s3fs import S3FileSystem

from squall.datasets.errors import ConfigError, DataError
from squall.datasets.sources.access import FileVanished, SourceFile, SourceUnavailable, unavailable
from squall.datasets.sources.fetch import local_copy
from squall.datasets.sources.find import find_files
from tests.datasets.sources.temporary_storage import (
    JUNE_1,
    JUNE_3,
    PATTERNS,
    QUICK_S3,
    addresses,
    answering,
    read,
    serving,
    zipped,
)
from tests.s3_server import moto_endpoint, s3_environment, s3_server  # noqa: F401 (fixtures)

# S3


def test_buckets_are_searched(s3_server):  # noqa: F811
    bucket = s3_server.bucket("radar")
    for key in ("in/2024/06/01/x.nc", "in/2024/06/03/y.nc", "in/2024/06/03/y.txt", "in/.z.nc"):
        s3_server.put(bucket, key, key.encode())
    s3_server.put(bucket, "in/folder.nc/", b"")
    files = find_files(["s3://radar/in/{time:%Y/%m/%d}/*.nc"], since=JUNE_1, until=JUNE_3)
    assert [file.address for file in files] == [
        "s3://radar/in/2024/06/01/x.nc",
        "s3://radar/in/2024/06/03/y.nc",
    ]
    assert [(file.name, file.size) for file in files] == [("x.nc", 18), ("y.nc", 18)]
    with local_copy(files[0], {}) as path:
        assert path.name == "x.nc"
        assert path.read_bytes() == b"in/2024/06/01/x.nc"
    assert not path.parent.exists()
    assert len(addresses("s3://radar/**/*.nc", "s3://radar/in/2024/06/01/x.nc")) == 2
    assert addresses("s3://radar/in/*.nc") == []
    assert addresses("s3://radar/nothing/*.nc") == []
    assert addresses("s3://radar/in/2024/06/0?/?.txt") == ["s3://radar/in/2024/06/03/y.txt"]


def test_the_version_of_an_object_is_its_checksum(s3_server):  # noqa: F811
    bucket = s3_server.bucket("radar")
    s3_server.put(bucket, "x.nc", b"one")
    (first,) = find_files(["s3://radar/*"])
    s3_server.put(bucket, "x.nc", b"two")
    (second,) = find_files(["s3://radar/x.nc"])
    assert first.version != second.version
    s3_server.put(bucket, "x.nc", b"one")
    assert find_files(["s3://radar/*"]) == [first]


def test_more_than_a_page_of_objects_is_listed(s3_server):  # noqa: F811
    bucket = s3_server.bucket("radar")
    for scan in range(5):
        s3_server.put(bucket, f"in/{scan}.nc", b"x")
    options = {"s3_additional_kwargs": {"MaxKeys": 2}}
    assert len(addresses("s3://radar/in/*.nc", options=options)) == 5


def test_dated_names_in_one_folder_need_few_requests(s3_server, monkeypatch):  # noqa: F811
    bucket = s3_server.bucket("radar")
    times = pd.date_range(JUNE_1, periods=26, freq="1h")
    for scan in times:
        s3_server.put(bucket, f"flat/R{scan:%Y%m%d%H%M}_v1.nc", b"x")
    prefixes = []
    call = S3FileSystem.call_s3

    def recorded(self, method, **arguments):
        prefixes.append(arguments["Prefix"])
        return call(self, method, **arguments)

    monkeypatch.setattr(S3FileSystem, "call_s3", recorded)
    span = {"since": JUNE_1, "until": JUNE_1 + pd.Timedelta("1D") - pd.Timedelta("1min")}
    flat_addresses = addresses("s3://radar/flat/R{time:%Y%m%d%H%M}_*.nc", **span)
    assert flat_addresses == [f"s3://radar/flat/R{scan:%Y%m%d%H%M}_v1.nc" for scan in times[:24]]
    assert len(prefixes) == 24
    prefixes.clear()
    assert addresses("s3://radar/flat/R{time:%Y%m%d}*.nc", **span) == flat_addresses
    assert prefixes == ["flat/R20240601"]


def test_files_in_a_zip_file_in_a_bucket(s3_server):  # noqa: F811
    bucket = s3_server.bucket("radar")
    content = io.BytesIO()
    zipped(content, {"x.nc": b"one", "sub/y.nc": b"two"})
    s3_server.put(bucket, "20240601.zip", content.getvalue())
    files = find_files(["zip://**::s3://radar/{time:%Y%m%d}.zip"], since=JUNE_1, until=JUNE_3)
    assert [file.name for file in files] == ["x.nc", "y.nc"]
    assert [read(file) for file in files] == [b"one", b"two"]


def test_a_missing_bucket_is_an_outage(s3_server):  # noqa: F811
    for pattern in PATTERNS:
        with pytest.raises(SourceUnavailable, match=r"s3://none/.*NoSuchBucket.*check the name"):
            find_files([f"s3://none/{pattern}"], since=JUNE_1, until=JUNE_3)
    with pytest.raises(ConfigError, match="does not name a bucket"):
        find_files(["s3://*/x.nc"])
    s3_server.bucket("radar")
    with pytest.raises(DataError, match=r"s3://radar/x\.nc: there is no such file"):
        find_files(["s3://radar/x.nc"])


def test_a_deleted_object_has_vanished(s3_server):  # noqa: F811
    bucket = s3_server.bucket("radar")
    s3_server.put(bucket, "x.nc", b"x")
    (file,) = find_files(["s3://radar/*.nc"])
    s3_server.client.delete_object(Bucket=bucket, Key="x.nc")
    with pytest.raises(FileVanished, match=r"s3://radar/x\.nc"):
        read(file)
    with pytest.raises(SourceUnavailable, match="NoSuchBucket") as raised:
        read(SourceFile("s3://none/x.nc", "v", 1))
    assert not isinstance(raised.value, FileVanished)


def test_an_object_replaced_by_a_shorter_one_is_refused(s3_server):  # noqa: F811
    bucket = s3_server.bucket("radar")
    s3_server.put(bucket, "x.nc", b"12345")
    (file,) = find_files(["s3://radar/*.nc"])
    s3_server.put(bucket, "x.nc", b"12")
    with pytest.raises(SourceUnavailable, match="cut off: 2 bytes were received, 5 were listed"):
        read(file)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(
    ("status", "message"), [(500, "server has a problem"), (403, "credentials")]
)
def test_an_error_of_the_object_store_is_an_outage(pattern, status, message):
    with (
        serving(answering(status)) as endpoint,
        s3_environment(endpoint),
        pytest.raises(SourceUnavailable, match=message),
    ):
        find_files([f"s3://radar/{pattern}"], QUICK_S3, since=JUNE_1, until=JUNE_3)


def test_an_object_store_that_fails_hangs_or_cuts_files_is_an_outage():
    file = SourceFile("s3://radar/x.nc", "v", 1)
    for handler, message in (
        (answering(500), "problem"),
        (answering(200, delay=2.0), "network"),
        (answering(200, b"only this", length=1000), "network"),
    ):
        with (
            serving(handler) as endpoint,
            s3_environment(endpoint),
            pytest.raises(SourceUnavailable, match=message),
        ):
            read(file, {"s3": QUICK_S3})


def test_the_error_for_missing_credentials_names_the_variables(s3_server, monkeypatch, tmp_path):  # noqa: F811
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(SourceUnavailable, match=r"NoCredentialsError.*AWS_ACCESS_KEY_ID"):
        find_files(["s3://radar/*.nc"])


def test_the_error_for_wrong_options_hides_secrets(s3_server):  # noqa: F811
    options = {"s3": {"max_concurrency": 0, "secret": "hunter2", "key": "me"}}
    with pytest.raises(ConfigError, match="does not take these options") as raised:
        find_files(["s3://radar/*.nc"], options)
    assert "hunter2" not in str(raised.value)


def test_messages_hide_secrets_in_options():
    options = {"s3": {"client_kwargs": {"aws_secret_access_key": "hunter2"}}, "token": "hunter3"}
    error = unavailable("s3://b", OSError("denied for hunter2 and hunter3"), options)
    assert "denied for *** and ***" in str(error)
