"""What ingestion says of files with the same fault in many scans."""

import logging

import pandas as pd

from tests.pipeline.tiny_radar import FIRST, STEP, rain, run, write_file


def test_a_fault_of_many_scans_of_a_file_is_said_once(radar, archive, caplog):
    write_file(radar / "good.nc", rain(2), FIRST)
    off_the_step = FIRST + 10 * STEP + pd.Timedelta("2min")
    for name in ("a.nc", "b.nc"):
        write_file(radar / name, rain(40, seed=1), off_the_step)
    with caplog.at_level(logging.WARNING):
        report = run(archive, radar / "*.nc")
    assert len(report.rejected) == 80  # each scan is still counted
    messages = [r.getMessage() for r in caplog.records if "off the step" in r.getMessage()]
    assert len(messages) == 2
    for name, message in zip(("a.nc", "b.nc"), messages, strict=True):
        assert name in message
        assert "and 39 more of its scans: off the step" in message


def test_a_fault_of_one_scan_has_no_count(radar, archive, caplog):
    write_file(radar / "good.nc", rain(2), FIRST)
    write_file(radar / "bad.nc", rain(1, seed=1), FIRST + 10 * STEP + pd.Timedelta("2min"))
    with caplog.at_level(logging.WARNING):
        run(archive, radar / "*.nc")
    (message,) = [r.getMessage() for r in caplog.records if "bad.nc" in r.getMessage()]
    assert "more of its scans" not in message
