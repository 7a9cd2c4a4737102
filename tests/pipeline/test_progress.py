import logging

from squall.pipeline.progress import tracked


def test_without_a_terminal_each_quarter_is_a_line(caplog):
    with caplog.at_level(logging.INFO, logger="squall"):
        assert list(tracked(iter(range(10)), "verify", 10)) == list(range(10))
    assert [record.message for record in caplog.records] == [
        "verify: 3 of 10 (25 %)",
        "verify: 5 of 10 (50 %)",
        "verify: 8 of 10 (75 %)",
        "verify: 10 of 10 (100 %)",
    ]


def test_quiet_says_nothing(caplog, capsys):
    with caplog.at_level(logging.WARNING, logger="squall"):
        assert list(tracked([1, 2], "verify", 2)) == [1, 2]
    assert caplog.records == []
    assert capsys.readouterr().err == ""
