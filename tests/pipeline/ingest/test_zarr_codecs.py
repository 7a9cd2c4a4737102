"""Zarr stores as sources: shards, codecs that are read, and chunks that unpack to too much."""

import json
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr

from squall.datasets.archive.archive import Archive
from squall.datasets.errors import ConfigError, DataError
from squall.pipeline.export.config import ExportConfig
from squall.pipeline.export.run import export
from tests.pipeline.ingest.test_zarr import CONFIG, COUNT, dataset, numbers  # noqa: F401 (fixture)
from tests.pipeline.tiny_radar import FIRST, SIZE, codes_of, config_with, run, write_file

BOMB = np.zeros(2**23, np.uint8).tobytes()
V2 = {
    "blosc": numcodecs.Blosc(),
    "lz4": numcodecs.LZ4(),
    "zstd": numcodecs.Zstd(),
    "gzip": numcodecs.GZip(),
    "zlib": numcodecs.Zlib(),
    "bz2": numcodecs.BZ2(),
}
V3 = {
    "blosc": zarr.codecs.BloscCodec(),
    "zstd": zarr.codecs.ZstdCodec(),
    "gzip": zarr.codecs.GzipCodec(),
}


def write(path: Path, scans: np.ndarray, version: int, **encoding: Any) -> Path:
    """Write a store in which 65535 is not observed, also where a chunk is not written."""
    data = dataset(scans)
    if version == 3:
        encoding = {"fill_value": 65535, **encoding}
    data["rain"].encoding |= encoding
    data.to_zarr(path, zarr_format=version, consolidated=False)
    return path


def assert_whole(archive: Path, scans: np.ndarray) -> None:
    """All scans are in an archive as they were written."""
    expected = np.where(scans == 65535, 255, codes_of(np.where(scans == 65535, 0, scans)))
    np.testing.assert_array_equal(Archive.open(archive).codes[:], expected)


@pytest.mark.parametrize("chunks", [(1, 8, SIZE), (2, 4, 4)])
def test_shards_are_read_and_what_is_appended_is_found(tmp_path, numbers, chunks, reads):  # noqa: F811
    shards = (4, SIZE, SIZE)
    store = write(tmp_path / "radar.zarr", numbers, 3, chunks=chunks, shards=shards)
    assert zarr.open_array(store / "rain").shards == shards
    report = run(tmp_path / "a", store, config=CONFIG)
    assert (report.ingested, report.complete) == (COUNT, True)
    assert_whole(tmp_path / "a", numbers)
    reads.clear()
    array = zarr.open_array(store / "rain", mode="r+")
    array[5, 8:] = numbers[0, 8:]
    report = run(tmp_path / "a", store, config=CONFIG)
    assert reads == [f"{store}#0000001"]
    numbers[5, 8:] = numbers[0, 8:]
    assert_whole(tmp_path / "a", numbers)


def test_a_shard_whose_fill_value_is_a_number_is_never_dry(tmp_path, numbers):  # noqa: F811
    store = write(tmp_path / "radar.zarr", numbers, 3, shards=(4, SIZE, SIZE), fill_value=0)
    report = run(tmp_path / "a", store, config=CONFIG)
    assert report.ingested == 0
    assert "cannot be told from such, and would read as 0" in report.unavailable[0][1]


@pytest.mark.parametrize(
    "encoding",
    [
        {"filters": [numcodecs.Delta("u2"), numcodecs.Shuffle(2)], "compressors": V2["zlib"]},
        {"compressors": None},
        *({"compressors": codec} for codec in V2.values()),
    ],
)
def test_codecs_of_zarr_2(tmp_path, numbers, encoding):  # noqa: F811
    store = write(tmp_path / "radar.zarr", numbers, 2, **encoding)
    assert run(tmp_path / "a", store, config=CONFIG).ingested == COUNT
    assert_whole(tmp_path / "a", numbers)


def frame_without_size(size: int) -> bytes:
    """A frame of Zstandard that does not declare its size, of zeros in blocks of 128 KiB."""
    blocks = [(2**17 << 3 | 1 << 1).to_bytes(3, "little") + b"\0"] * (size // 2**17)
    last = (1).to_bytes(3, "little")
    return bytes.fromhex("28b52ffd0070") + b"".join(blocks) + last


@pytest.mark.parametrize(
    ("version", "name", "content"),
    [
        *((2, name, codec.encode(BOMB)) for name, codec in V2.items()),
        *((3, name, V2[name].encode(BOMB)) for name in V3),
        (3, "zstd", frame_without_size(len(BOMB))),
        (3, "gzip", 2 * V2["gzip"].encode(BOMB[: 2**20])),  # two members
    ],
)
def test_a_chunk_that_unpacks_to_too_much_is_refused(
    tmp_path,
    numbers,  # noqa: F811
    version,
    name,
    content,
):
    codecs = V2 if version == 2 else V3
    store = write(tmp_path / "radar.zarr", numbers, version, compressors=codecs[name])
    (store / "rain" / ("2.0.0" if version == 2 else "c/2/0/0")).write_bytes(content)
    report = run(tmp_path / "a", store, config=CONFIG)
    ((_, reason),) = report.unavailable
    assert report.ingested == COUNT - 2
    assert f"{store}: a chunk of {len(content):,} bytes would unpack to more than 1,0" in reason


def test_a_chunk_in_a_shard_that_unpacks_to_too_much_is_refused(tmp_path, numbers):  # noqa: F811
    """The bomb stands behind the other chunks, and the index of the shard points to it."""
    shards = {"shards": (2, SIZE, SIZE), "compressors": V3["zstd"]}
    store = write(tmp_path / "radar.zarr", numbers, 3, **shards)
    path = store / "rain" / "c" / "0" / "0" / "0"
    shard, bomb = path.read_bytes(), V2["zstd"].encode(BOMB)
    index = np.frombuffer(shard[-36:-4], "<u8").copy()  # offset and length of two chunks
    start = len(shard) - 36
    index[2:] = start, len(bomb)
    packed = numcodecs.CRC32C().encode(index.tobytes())
    path.write_bytes(shard[:start] + bomb + bytes(packed))
    report = run(tmp_path / "a", store, config=CONFIG)
    ((_, reason),) = report.unavailable
    assert f"a chunk of {len(bomb):,} bytes would unpack to more than" in reason
    assert report.ingested == COUNT - 2


def with_codecs(store: Path, **codecs: Any) -> None:
    """Change the codecs in the metadata of Zarr 2."""
    path = store / "rain" / ".zarray"
    path.write_text(json.dumps(json.loads(path.read_text()) | codecs))


class Program:
    """Pickled, it runs a program when it is loaded."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def test_a_codec_that_would_run_code_is_refused(tmp_path, numbers):  # noqa: F811
    store = write(tmp_path / "radar.zarr", numbers, 2, compressors=None)
    with_codecs(store, filters=[{"id": "pickle", "protocol": 5}])
    mark = tmp_path / "it-ran"
    content = pickle.dumps(Program(f"touch {mark}"))
    for chunk in (store / "rain").glob("*.0.0"):
        chunk.write_bytes(content)
    with pytest.raises(DataError, match="pickle"):
        run(tmp_path / "a", store, config=CONFIG)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("codecs", "message"),
    [
        ({"compressor": {"id": "zlib"}, "filters": [{"id": "gzip"}]}, "packed with gzip, zlib"),
        ({"compressor": {"id": "zlib"}, "filters": [{"id": "astype", "encode_dtype": "<u2",
          "decode_dtype": "<U900000"}]}, "expected numbers"),
        ({"compressor": {"id": "adler32"}, "filters": [{"id": "zlib"}]}, "has to be the last"),
    ],
)  # fmt: skip
def test_chains_of_codecs_whose_size_is_not_known_are_refused(
    tmp_path,
    numbers,  # noqa: F811
    codecs,
    message,
):
    store = write(tmp_path / "radar.zarr", numbers, 2)
    with_codecs(store, **codecs)
    with pytest.raises(DataError, match=message):
        run(tmp_path / "a", store, config=CONFIG)


def test_shards_of_very_many_chunks_are_refused(tmp_path, numbers):  # noqa: F811
    store = write(tmp_path / "radar.zarr", numbers, 3, shards=(4, SIZE, SIZE))
    path = store / "rain" / "zarr.json"
    metadata = json.loads(path.read_text())
    metadata["chunk_grid"]["configuration"]["chunk_shape"] = [2**20, SIZE, SIZE]
    path.write_text(json.dumps(metadata))
    with pytest.raises(DataError, match="has shards of 1,048,576 chunks, at most 65,536"):
        run(tmp_path / "a", store, config=CONFIG)


def test_damaged_streams_are_left_to_their_codec(tmp_path, numbers):  # noqa: F811
    store = write(tmp_path / "radar.zarr", numbers, 2, compressors=V2["zlib"])
    (store / "rain" / "2.0.0").write_bytes(zlib.compress(b"radar")[:-3])
    report = run(tmp_path / "a", store, config=CONFIG)
    assert (report.ingested, len(report.unavailable)) == (COUNT - 2, 1)


def test_keys_that_need_the_name_of_a_file_are_refused(tmp_path, numbers):  # noqa: F811
    store = write(tmp_path / "radar.zarr", numbers, 2)
    eras = config_with(eras=[{"since": "2024-06-02", "units": "mm min-1"}])
    with pytest.raises(ConfigError, match="'eras' needs the time in the name of each file"):
        run(tmp_path / "a", store, config=eras)
    with pytest.raises(ConfigError, match="'time_from: name' needs the time in the name"):
        run(tmp_path / "a", store, config=config_with(time_from="name"))


def test_an_archive_is_no_source_but_its_export_is(tmp_path, numbers):  # noqa: F811
    run(tmp_path / "a.icechunk", write_file(tmp_path / "a.nc", numbers, FIRST), config=CONFIG)
    with pytest.raises(ConfigError, match=r"'squall export ARCHIVE.icechunk OUT.zarr'"):
        run(tmp_path / "b", tmp_path / "a.icechunk", config=CONFIG)
    store = tmp_path / "a.zarr"
    address = str(tmp_path / "a.icechunk")
    export(ExportConfig(archive=address, out=str(store), license="CC-BY-4.0"))
    config = config_with(variable="rainfall_rate", time_in_name=None)
    assert run(tmp_path / "b", store, config=config).ingested == COUNT
    np.testing.assert_array_equal(
        Archive.open(tmp_path / "b").codes[:], Archive.open(tmp_path / "a.icechunk").codes[:]
    )
