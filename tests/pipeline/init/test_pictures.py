"""Pictures that an importer of pysteps can read."""

from pathlib import Path

import pytest

from squall.pipeline.init.pictures import importer_keys

PGM = b"P5\n# obstime 201609281445\n# projection radar {\n# type stereographic\n"


@pytest.mark.parametrize(
    ("name", "head", "keys"),
    [
        ("a.pgm", PGM, {"format": "pysteps", "importer": "fmi_pgm"}),
        ("a.pgm", b"P5\n# by a camera\n", {}),
        (
            "CPC151351545F_00060.801.gif",
            b"GIF89a",
            {
                "format": "pysteps",
                "importer": "mch_gif",
                "importer_options": {"product": "CPC", "unit": "mm", "accutime": 60},
            },
        ),
        ("CPC151351545F_00060.801.gif", b"\x89HDF", {}),
        ("RZC151351545F_00060.801.gif", b"GIF89a", {}),
        ("holiday.gif", b"GIF89a", {}),
    ],
)
def test_known_pictures(tmp_path: Path, name: str, head: bytes, keys: dict[str, object]) -> None:
    (tmp_path / name).write_bytes(head)
    assert importer_keys(str(tmp_path / name)) == keys
