"""The first line of an exception's message."""

import pytest

from squall.datasets.errors import DataError, first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DataError("is cut off"), "is cut off"),
        (OSError("\n  no route\nto host\n"), "no route"),
        (TimeoutError(), "TimeoutError()"),
        (ValueError("  "), "ValueError('  ')"),
    ],
)
def test_first_line(error: Exception, line: str) -> None:
    assert first_line(error) == line
