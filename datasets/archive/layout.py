"""The arrays of an archive: creating them, lengthening them along time, writing rows.

Owns chunk sizes, manifests and array metadata. The table in `squall.datasets.archive.archive` says
what each array holds.
"""

import json
import math
from typing import Any

import icechunk
import numpy as np
import numpy.typing as npt
import pandas as pd
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

from squall.datasets.archive.records import (
    CODES,
    DIGEST_BYTES,
    FORMAT,
    MISSING,
    NO_TIME,
    OK,
    REJECTED,
)
from squall.datasets.coding import RAIN_CODE
from squall.datasets.grid import GRID_MAPPING, Grid, grid_mapping_attributes
from squall.datasets.measures import BLOCK, BLOCK_STATISTICS

TIME_CHUNK = 24  # scans; with the tile below 1.5 MiB a chunk before compression
TILE = 256  # pixels
BLOCK_CHUNK = 256  # time steps
RECORD_CHUNK = 8192  # time steps of the numeric records
TEXT_CHUNK = 1024  # time steps, or log entries: an append rewrites one chunk of each
ROOM = pd.Timedelta("731D")  # of empty rows before the first scan, for scans that are earlier
MANIFEST_REFS = 2048  # chunks a manifest: an append rewrites one manifest of each array
# and looks at all others of the codes, so large grids and short steps have larger manifests
MOST_MANIFESTS, LONG = 500, pd.Timedelta("7305D")  # 20 years

LOG = "set_aside"  # the group's stored name
NOT_NEEDED = "not_needed"


def manifest_splitting(grid: Grid, step: pd.Timedelta) -> icechunk.ManifestSplittingConfig:
    """Split manifests so that each covers a bounded span of time.

    An append rewrites one manifest of each array, and Icechunk compares it with all others of the
    array: 20 years have at most `MOST_MANIFESTS` of codes. See decision 30.
    """
    height, width = grid.shape
    tiles = -(-height // TILE) * -(-width // TILE)
    spans = max(1, MANIFEST_REFS // tiles, math.ceil(LONG / (step * TIME_CHUNK * MOST_MANIFESTS)))
    condition, dim = icechunk.ManifestSplitCondition, icechunk.ManifestSplitDimCondition
    codes: dict[Any, int] = {dim.DimensionName("time"): spans}
    return icechunk.ManifestSplittingConfig.from_dict(
        {
            condition.name_matches(CODES): codes,
            condition.AnyArray(): {dim.Any(): MANIFEST_REFS},
        }
    )


def initialise(
    session: icechunk.Session,
    grid: Grid,
    step: pd.Timedelta,
    start: pd.Timestamp,
    attributes: dict[str, Any],
) -> zarr.Group:
    """Create all arrays, with a time axis of length 0; what the session held is removed."""
    group = zarr.create_group(
        session.store,
        overwrite=True,
        attributes={
            "Conventions": "CF-1.11",
            "squall_format": FORMAT,
            "step_s": int(step.total_seconds()),
            "start_s": int(start.timestamp()),
            "crs_wkt": grid.crs_wkt,
            "block_px": BLOCK,
            "archive": json.dumps(attributes),
        },
    )
    _create_codes(group, grid)
    _create_block_statistics(group, grid)
    _create_records(group)
    _create_log(group)
    _create_coordinates(group, grid)
    return group


def _create_codes(group: zarr.Group, grid: Grid) -> None:
    height, width = grid.shape
    group.create_array(
        CODES,
        shape=(0, height, width),
        chunks=(TIME_CHUNK, min(TILE, height), min(TILE, width)),
        dtype="uint8",
        fill_value=RAIN_CODE.NOT_OBSERVED,
        compressors=ZstdCodec(level=3, checksum=True),
        dimension_names=("time", "y", "x"),
        attributes={
            "long_name": "rain rate, logarithmic code",
            "units_of_decoded": "mm h-1",
            "lowest_mm_h": RAIN_CODE.lowest_mm_h,
            "highest_mm_h": RAIN_CODE.highest_mm_h,
            "comment": "0 dry; 1..254 = lowest*(highest/lowest)**((code-1)/253); 255 not observed",
            "grid_mapping": GRID_MAPPING,
        },
    )


def _create_block_statistics(group: zarr.Group, grid: Grid) -> None:
    height, width = grid.shape
    blocks = (-(-height // BLOCK), -(-width // BLOCK))
    for name in BLOCK_STATISTICS:
        group.create_array(
            f"block_{name}",
            shape=(0, *blocks),
            chunks=(BLOCK_CHUNK, *blocks),
            dtype="float32",
            fill_value=0.0,
            compressors=ZstdCodec(level=3, checksum=True),
            dimension_names=("time", "block_y", "block_x"),
        )


def _create_coordinates(group: zarr.Group, grid: Grid) -> None:
    coords = grid.coords()
    for name in ("y", "x"):
        _, values, described = coords[name]
        axis = group.create_array(name, data=values, dimension_names=(name,), attributes=described)
        assert axis.shape == values.shape
    group.create_array(
        GRID_MAPPING, shape=(), dtype="int32", attributes=grid_mapping_attributes(grid.crs)
    )


def _create_records(group: zarr.Group) -> None:
    numeric: dict[str, Any] = {
        "shape": (0,),
        "chunks": (RECORD_CHUNK,),
        "dimension_names": ("time",),
    }
    flags: dict[str, Any] = {
        "flag_values": [MISSING, OK, REJECTED],
        "flag_meanings": "missing ok rejected",
    }
    time_attributes: dict[str, Any] = {
        "standard_name": "time",
        "units": "seconds since 1970-01-01 00:00:00",
        "calendar": "standard",
    }
    group.create_array("status", dtype="uint8", fill_value=MISSING, attributes=flags, **numeric)
    group.create_array(
        "time",
        dtype="int64",
        attributes=time_attributes,
        # plain zstd needs 20 times the space for a regular axis
        compressors=BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle"),
        **numeric,
    )
    group.create_array("seen", dtype="uint64", fill_value=0, **numeric)
    group.create_array("checksum", dtype="uint64", fill_value=0, **numeric)
    group.create_array(
        "digest",
        dtype="uint8",
        fill_value=0,
        shape=(0, DIGEST_BYTES),
        chunks=(RECORD_CHUNK, DIGEST_BYTES),
        dimension_names=("time", "byte"),
    )
    for name in ("source", NOT_NEEDED):
        create_text(group, name, 0)


def create_text(group: zarr.Group, name: str, length: int) -> zarr.Array[Any]:
    """Create an array of one text for each time step."""
    return group.create_array(
        name,
        dtype=str,
        fill_value="",
        shape=(length,),
        chunks=(TEXT_CHUNK,),
        dimension_names=("time",),
    )


def _create_log(group: zarr.Group) -> None:
    log = group.create_group(LOG)
    entry: dict[str, Any] = {
        "shape": (0,),
        "chunks": (TEXT_CHUNK,),
        "dimension_names": ("entry",),
    }
    for name in ("file", "digest", "reason", "rule"):
        log.create_array(name, dtype=str, fill_value="", **entry)
    log.create_array("time", dtype="int64", fill_value=NO_TIME, **entry)
    log.create_array("seen", dtype="uint64", fill_value=0, **entry)
    log.create_array("settled", dtype="bool", fill_value=True, **entry)


def start_of(group: zarr.Group) -> pd.Timestamp:
    """Valid time of row 0."""
    return pd.Timestamp(int(group.attrs["start_s"]), unit="s")  # type: ignore[arg-type]


def first_row_of(group: zarr.Group) -> int:
    """The first row that can hold a scan; 0 in archives of releases without `ROOM`."""
    return int(group.attrs.get("first_row", 0))  # type: ignore[arg-type]


def row_of(time: pd.Timestamp, start: pd.Timestamp, step: pd.Timedelta) -> int:
    """Row of a valid time on the step, negative before the start."""
    row, rest = divmod(time - start, step)
    assert rest == pd.Timedelta(0), f"{time} is not on the step of {step} from {start}"
    return int(row)


def reserve(group: zarr.Group, first: pd.Timestamp, last: pd.Timestamp) -> None:
    """Extend the time axis so that it holds both times.

    The rows before the first scan are `ROOM` for earlier scans, which cost nothing but their own
    rows. If the room is too short, all scans move towards the end, and the new room is as long as
    the archive: filling an archive backwards moves a scan a few times, however long it gets.
    """
    step_s = int(group.attrs["step_s"])  # type: ignore[arg-type]
    start_s, first_row = int(group.attrs["start_s"]), first_row_of(group)  # type: ignore[arg-type]
    first_s, last_s = int(first.timestamp()), int(last.timestamp())
    length = int(group["time"].shape[0])  # type: ignore[union-attr]
    moved = 0
    room = _whole_chunks(int(ROOM.total_seconds()) // step_s)
    if length == 0:  # the first commit may have had no scan with a time
        start_s, first_row = first_s - room * step_s, room
    elif first_s < start_s:
        moved = _whole_chunks(-((first_s - start_s) // step_s))
        moved += _whole_chunks(max(room, length - first_row))
        start_s -= moved * step_s
    row = (first_s - start_s) // step_s
    new_length = max(length + moved, (last_s - start_s) // step_s + 1)
    if new_length > length:
        for array in _time_arrays(group):
            array.resize((new_length, *array.shape[1:]))
            if moved:
                _move_back(array, first_row, length, moved)
        changed = slice(0 if moved else length, new_length)
        group["time"][changed] = start_s + step_s * np.arange(changed.start, new_length)  # type: ignore[index]
    first_row = min(first_row + moved, row // TIME_CHUNK * TIME_CHUNK)
    place = {"start_s": start_s, "first_row": first_row}
    if any(group.attrs.get(name) != value for name, value in place.items()):
        group.attrs.update(place)


def _whole_chunks(rows: int) -> int:
    """Round up, so that chunks of codes and of block statistics begin at the first scan."""
    unit = math.lcm(TIME_CHUNK, BLOCK_CHUNK)
    return -(-rows // unit) * unit


def _time_arrays(group: zarr.Group) -> list[zarr.Array[Any]]:
    return [array for name, array in group.arrays() if name not in ("y", "x", GRID_MAPPING)]


def _move_back(array: zarr.Array[Any], first: int, end: int, by: int) -> None:
    """Move the rows from ``first`` to ``end`` by ``by``, the last first so that none is lost."""
    span = array.chunks[0]
    for low in reversed(range(first, end, span)):
        high = min(low + span, end)
        array[low + by : high + by] = array[low:high]
    vacated = min(first + by, end)
    for low in range(first, vacated, span):
        high = min(low + span, vacated)
        array[low:high] = np.full(
            (high - low, *array.shape[1:]), array.fill_value, dtype=array.dtype
        )


def put_rows(array: Any, rows: npt.NDArray[np.int64], values: npt.NDArray[Any]) -> None:
    """Write values at ascending rows, one write for each chunk along the first dimension."""
    # The test whether a chunk is empty takes longer than compressing it.
    array = array.with_config({"write_empty_chunks": True})
    chunks = rows // array.chunks[0]
    for chunk in np.unique(chunks):
        in_chunk = np.flatnonzero(chunks == chunk)
        first, end = int(rows[in_chunk[0]]), int(rows[in_chunk[-1]]) + 1
        block = values[in_chunk]
        if end - first > in_chunk.size:
            block = np.asarray(array[first:end])
            block[rows[in_chunk] - first] = values[in_chunk]
        array[first:end] = block
