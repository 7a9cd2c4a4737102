"""A path on this machine for any radar file, for as long as it is read.

Owns temporary copies: they have a harmless name in a folder of their own, are whole or not there,
and go away.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from squall.datasets.addresses import local_path, split_chain, without_query
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

_LONGEST_NAME_BYTES = 200  # file systems take 255


@contextmanager
def local_copy(
    file: SourceFile,
    options: Mapping[str, Any] | None = None,
    archives: OpenContainers | None = None,
) -> Iterator[Path]:
    """Path of a file on this machine: its own, or that of a copy that is removed afterwards.

    Parameters
    ----------
    file : from `find_files`.
    options : as for `find_files`.
    archives : keeps archives open from one call to the next; opening a compressed or remote one
        for each of its files is slow.

    Raises
    ------
    FileVanished
        The file is not there any more.
    SourceUnavailable
        It cannot be read, or what came is not as long as listed.
    DataError
        The archive that it is in is broken, or there is no room for a copy.
    """
    path = local_path(file.address) if split_chain(file.address) is None else None
    if path is not None:
        try:
            Path(path).stat()
        except FileNotFoundError as error:
            raise _vanished(file) from error
        except OSError as error:
            raise unavailable(path, error, {}) from error
        yield Path(path)
        return
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="squall-"))
        except OSError as error:
            raise DataError(
                f"{without_query(file.address)}: no temporary folder for a copy: {error.strerror}; "
                "let TMPDIR name a folder with room"
            ) from error
        copy = Path(folder) / _harmless(file.name)
        _copy(file, copy, options or {}, archives)
        _check_length(file, copy)
        yield copy


def _copy(file: SourceFile, copy: Path, options: Options, archives: OpenContainers | None) -> None:
    chain = split_chain(file.address)
    try:
        if chain is None:
            made = filesystem(file.address, options)
            made.get_file(made._strip_protocol(file.address), str(copy))
        elif archives is not None:
            _extract(chain, copy, archives)
        else:
            with OpenContainers(options) as opened:
                _extract(chain, copy, opened)
    except DataError:
        raise
    except BROKEN as error:
        if chain is None:
            raise unavailable(file.address, error, options) from error
        raise DataError(
            f"{file.address}: the archive is broken: {str(error) or type(error).__name__}; "
            "get it anew"
        ) from error
    except Exception as error:  # each file system raises its own
        if is_missing(error) or (chain is not None and isinstance(error, KeyError)):
            raise _vanished(file) from error
        raise unavailable(file.address, error, options) from error


def _extract(chain: tuple[str, str, str], copy: Path, archives: OpenContainers) -> None:
    kind, member, container = chain
    try:
        with archives.get(kind, container).open(member) as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target, 2**20)
    except BaseException:
        archives.close()  # it may have been replaced; the next file opens it anew
        raise


def _check_length(file: SourceFile, copy: Path) -> None:
    copied = copy.stat().st_size
    if file.size is not None and copied != file.size:
        what = "cut off" if copied < file.size else "changed while it was read"
        raise SourceUnavailable(
            f"{without_query(file.address)}: {what}: {copied:,} bytes came, {file.size:,} were "
            "listed; the next run tries again"
        )


def _vanished(file: SourceFile) -> FileVanished:
    return FileVanished(
        f"{without_query(file.address)}: was listed and is not there any more; "
        "it may be moved or replaced, the next run looks again"
    )


def _harmless(name: str) -> str:
    kept = "".join("_" if c in "/\\" or not c.isprintable() else c for c in name)
    kept = kept.encode(errors="replace")[-_LONGEST_NAME_BYTES:].decode(errors="ignore")
    return kept if kept.strip(".") else "file"
