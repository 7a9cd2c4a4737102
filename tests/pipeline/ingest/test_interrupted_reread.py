"""An interrupted `--reread` goes on where it stopped, here and on object storage."""

import pytest

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.writer import ArchiveWriter
from squall.datasets.errors import ConfigError, DataError
from squall.pipeline.cli.main import main
from squall.pipeline.ingest import reading
from tests.pipeline.tiny_radar import (
    FIRST,
    SIZE,
    STEP,
    assert_same,
    config_with,
    contents,
    path_of,
    rain,
    run,
    stopped_before_the_new_archive_is_in_place,
    unfinished,
    write_file,
    write_scans,
)
from tests.s3_server import moto_endpoint, s3_server  # noqa: F401 (fixtures)

NEW = config_with(units="cm/h")
COUNT, COMMITS = 20, 2
READ_BEFORE = 5 * COMMITS


@pytest.fixture
def archive(request, tmp_path):
    """Address of an archive with 20 scans of the old configuration, by default in a folder."""
    if getattr(request, "param", "folder") == "folder":
        address = str(tmp_path / "a.icechunk")
    else:
        server = request.getfixturevalue("s3_server")
        address = f"s3://{server.bucket('archives')}/tiny"
    write_scans(tmp_path / "radar", COUNT)
    run(address, tmp_path / "radar" / "*.nc")
    return address


on_both_storages = pytest.mark.parametrize("archive", ["folder", "s3"], indirect=True)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    """One commit for every five scans."""
    monkeypatch.setattr("squall.pipeline.ingest.batches.TASK_PIXELS", 5 * SIZE * SIZE)
    monkeypatch.setattr("squall.pipeline.ingest.batches.BATCH_PIXELS", 1)


def interrupt(archive, files, *, config=NEW, after=COMMITS):
    """Read all files again, and stop after some commits."""
    commit, commits = ArchiveWriter.commit, []

    def stopping(self, *arguments, **keywords):
        if len(commits) == after:
            raise KeyboardInterrupt
        commits.append(commit(self, *arguments, **keywords))
        return commits[-1]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ArchiveWriter, "commit", stopping)
        with pytest.raises(KeyboardInterrupt):
            run(archive, files, config=config, reread=True)


@on_both_storages
def test_it_goes_on_and_gives_what_an_uninterrupted_run_gives(
    archive, radar, reads, tmp_path, caplog
):
    caplog.set_level("INFO", logger="squall")
    before = contents(archive)
    interrupt(archive, radar / "*.nc")
    assert_same(contents(archive), before)
    interrupt(archive, radar / "*.nc", after=1)
    reads.clear()
    report = run(archive, radar / "*.nc", config=NEW, reread=True)
    assert len(reads) == COUNT - READ_BEFORE - 5
    assert (report.found, report.unchanged, report.ingested) == (COUNT, READ_BEFORE + 5, 5)
    assert f"goes on with an interrupted --reread: {READ_BEFORE + 5} files were read" in caplog.text
    assert f"{COUNT} scans before, {COUNT} now" in caplog.text
    run(tmp_path / "expected", radar / "*.nc", config=NEW)
    assert_same(contents(archive), contents(tmp_path / "expected"))
    assert unfinished(archive) == []


@on_both_storages
def test_only_the_last_step_was_missing(archive, radar, reads, tmp_path, monkeypatch):
    with stopped_before_the_new_archive_is_in_place(monkeypatch):
        run(archive, radar / "*.nc", config=NEW, reread=True)
    reads.clear()
    assert run(archive, radar / "*.nc", config=NEW, reread=True).ingested == 0
    assert reads == []
    run(tmp_path / "expected", radar / "*.nc", config=NEW)
    assert_same(contents(archive), contents(tmp_path / "expected"))


@pytest.mark.parametrize(
    ("archive", "change"),
    [
        ("folder", "configuration"),
        ("folder", "version"),
        ("folder", "patterns"),
        ("folder", "archive"),
        ("folder", "nothing"),
        ("s3", "configuration"),
    ],
    indirect=["archive"],
)
def test_it_begins_again_if_the_result_would_be_another(
    change, archive, radar, reads, tmp_path, monkeypatch
):
    interrupt(archive, radar / "*.nc", after=0 if change == "nothing" else COMMITS)
    new, files = NEW, radar / "*.nc"
    if change == "configuration":
        new = config_with(quality={"highest_mm_h": 10.0, "highest_share": 1.0})
    if change == "version":
        monkeypatch.setattr("squall.pipeline.ingest.run.code_version", lambda: "99.0")
    if change == "patterns":
        files = radar / "rain*.nc"
    if change == "archive":
        write_scans(radar, 1, first=FIRST + COUNT * STEP, seed=5)
        writer = ArchiveWriter(archive, STEP, {"name": "tiny"})
        writer.commit(Archive.open(archive).grid, [], [], "other attributes")
    reads.clear()
    run(archive, files, config=new, reread=True)
    assert len(reads) == COUNT + (change == "archive")
    run(tmp_path / "expected", files, config=new)
    assert_same(contents(archive), contents(tmp_path / "expected"))
    assert unfinished(archive) == []


def test_a_file_that_was_corrected_meanwhile_is_read_again(archive, radar, tmp_path):
    interrupt(archive, radar / "*.nc")
    time = FIRST + 2 * STEP
    write_file(path_of(radar, time), rain(1, seed=77)[0], time)
    run(archive, radar / "*.nc", config=NEW, reread=True)
    run(tmp_path / "expected", radar / "*.nc", config=NEW)
    assert_same(contents(archive), contents(tmp_path / "expected"))


def test_a_file_that_could_not_be_fetched_is_the_only_one_read_by_the_next_run(
    archive, radar, reads, tmp_path, monkeypatch, caplog
):
    missing = path_of(radar, FIRST + 7 * STEP)
    original = reading.local_copy

    def without_one(file, options):
        if file.name == missing.name:
            raise DataError("the server does not answer")
        return original(file, options)

    before = contents(archive)
    with monkeypatch.context() as patched:
        patched.setattr(reading, "local_copy", without_one)
        assert not run(archive, radar / "*.nc", config=NEW, reread=True).complete
    assert "stays as it was" in caplog.text
    assert_same(contents(archive), before)
    reads.clear()
    assert run(archive, radar / "*.nc", config=NEW, reread=True).complete
    assert reads == [str(missing)]
    run(tmp_path / "expected", radar / "*.nc", config=NEW)
    assert_same(contents(archive), contents(tmp_path / "expected"))


def test_the_new_configuration_is_refused_until_all_is_read(archive, radar, tmp_path, capsys):
    interrupt(archive, radar / "*.nc")
    with pytest.raises(ConfigError, match="--reread"):
        run(archive, radar / "*.nc", config=NEW)
    config = tmp_path / "tiny.yaml"
    config.write_text(
        "{name: tiny, step: 5min, variable: rain, time_in_name: rain_%Y%m%dT%H%M, units: cm/h}"
    )
    command = ["ingest", str(config), "--archive", archive, "--files", str(radar / "*.nc")]
    assert main([*command, "--reread"]) == 0
    assert main(command) == 0
    assert f"{COUNT} files unchanged" in capsys.readouterr().out
