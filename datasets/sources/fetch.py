"""A path on this machine for any radar file, while it is read.

Owns temporary copies. A copy has a harmless name in its own folder, is never incomplete, and is
deleted after use.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import fsspec.core

from squall.datasets.addresses import local_path, split_chain
from squall.datasets.errors import DataError
from squall.datasets.sources.access import (
    FileVanished,
    Options,
    SourceFile,
    SourceUnavailable,
    filesystem,
    is_missing,
    unavailable,
)
from squall.datasets.sources.containers import BROKEN, OpenContainers
from squall.datasets.sources.zarr_stores import copy_scans

_LONGEST_NAME_BYTES = 200  # file systems take 255


@contextmanager
def local_copy(
    file: SourceFile,
    options: Mapping[str, Any] | None = None,
    containers: OpenContainers | None = None,
) -> Iterator[Path]:
    """Path of a file on this machine: its own path, or that of a copy that is deleted afterwards.

    Parameters
    ----------
    file : from `find_files`.
    options : as for `find_files`.
    containers : keeps a zip or tar file open from one call to the next. Without it, a compressed
        or remote one is opened again for each of its files, which is slow.

    Raises
    ------
    FileVanished
        If the file no longer exists.
    SourceUnavailable
        If it cannot be read, or its size differs from the listed one.
    DataError
        If the zip or tar file around it is broken, or there is no room for a copy.
    """
    is_file = file.scans is None and split_chain(file.address) is None
    path = local_path(file.address) if is_file else None
    if path is not None:
        try:
            Path(path).stat()
        except FileNotFoundError as error:
            raise _vanished(file) from error
        except OSError as error:
            raise unavailable(file.identity, error, {}) from error
        yield Path(path)
        return
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="squall-"))
        except OSError as error:
            raise DataError(
                f"{file.identity}: no temporary folder for a copy: {error.strerror}; "
                "let TMPDIR name a folder with room"
            ) from error
        copy = Path(folder) / _harmless(file.name)
        if file.scans is not None:
            copy_scans(file.scans, copy, options or {})
            yield copy
            return
        _copy(file, copy, options or {}, containers)
        _check_length(file, copy)
        yield copy


def _copy(
    file: SourceFile, copy: Path, options: Options, containers: OpenContainers | None
) -> None:
    chain = split_chain(file.address)
    try:
        if chain is None:
            remote = filesystem(file.address, options)
            remote.get_file(fsspec.core.strip_protocol(file.address), str(copy))
        elif containers is not None:
            _extract(chain, copy, containers)
        else:
            with OpenContainers(options) as opened:
                _extract(chain, copy, opened)
    except DataError:
        raise
    except BROKEN as error:
        if chain is None:
            raise unavailable(file.identity, error, options) from error
        raise DataError(
            f"{file.identity}: the {chain[0]} file is broken: "
            f"{str(error) or type(error).__name__}; fetch it again"
        ) from error
    except Exception as error:  # each file system raises its own
        if is_missing(error) or (chain is not None and isinstance(error, KeyError)):
            raise _vanished(file) from error
        raise unavailable(file.identity, error, options) from error


def _extract(chain: tuple[str, str, str], copy: Path, containers: OpenContainers) -> None:
    kind, member, address = chain
    try:
        with containers.get(kind, address).open(member) as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target, 2**20)
    except BaseException:
        containers.close()  # it may have been replaced; the next file opens it again
        raise


def _check_length(file: SourceFile, copy: Path) -> None:
    copied = copy.stat().st_size
    if file.size is not None and copied != file.size:
        fault = "cut off" if copied < file.size else "changed while it was read"
        raise SourceUnavailable(
            f"{file.identity}: {fault}: {copied:,} bytes were received, "
            f"{file.size:,} were listed; the next run tries again"
        )


def _vanished(file: SourceFile) -> FileVanished:
    return FileVanished(
        f"{file.identity}: was listed but no longer exists; "
        "it may have been moved or replaced, the next run looks again"
    )


def _harmless(name: str) -> str:
    kept = "".join("_" if c in "/\\" or not c.isprintable() else c for c in name)
    kept = kept.encode(errors="replace")[-_LONGEST_NAME_BYTES:].decode(errors="ignore")
    return kept if kept.strip(".") else "file"
