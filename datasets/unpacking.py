"""How much a zip or tar file may unpack to.

Owns the limits. A small file may claim or contain any amount; it would fill the disk, or keep a run
busy for days.
"""

from squall.datasets.errors import DataError

MAX_FILE_BYTES = 2**31  # the largest radar files, a day of a large composite, have some 100 MB
MAX_CONTAINER_BYTES = 2**37  # a container in a container, like the days of a month
MAX_MEMBERS = 2**21
MAX_RATIO = 1100  # deflate reaches 1032, with dry scans; bzip2 and xz reach far more


class UnpacksTooMuch(DataError):
    """A container, or a file in one, that unpacks to more than radar files need."""


def check_member(address: str, name: str, size: int, is_container: bool) -> None:
    """Refuse to unpack a member of a container that says that it has absurdly many bytes.

    Raises
    ------
    UnpacksTooMuch
        If it is larger than any radar file, or any container of radar files.
    """
    limit = MAX_CONTAINER_BYTES if is_container else MAX_FILE_BYTES
    if size > limit:
        raise UnpacksTooMuch(
            f"{address}: {name} would unpack to {size:,} bytes, at most {limit:,} are unpacked; no "
            "radar file is so large"
        )


def check_total(address: str, packed: int, unpacked: int, members: int) -> None:
    """Refuse a container that unpacks to absurdly many bytes or files.

    Parameters
    ----------
    packed, unpacked : bytes of the container, and of all its members.

    Raises
    ------
    UnpacksTooMuch
        If it has too many members, or they are much larger than the container.
    """
    if members > MAX_MEMBERS:
        raise UnpacksTooMuch(f"{address}: has more than {MAX_MEMBERS:,} files")
    if unpacked > MAX_FILE_BYTES + MAX_RATIO * packed:
        raise UnpacksTooMuch(
            f"{address}: its {packed:,} bytes would unpack to {unpacked:,} or more, more than "
            f"{MAX_RATIO} times as many; no radar data can be packed so tightly"
        )
