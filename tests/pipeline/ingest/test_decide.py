"""`decide` with hand-made file parts and stored scans."""

from hashlib import blake2b

from squall.datasets.archive.records import OK
from squall.datasets.measures import measure
from squall.datasets.radar.radar_file import FileReport, FileScan
from squall.datasets.sources.access import SourceFile
from squall.pipeline.ingest.file_marks import mark_of_used_file, partial_version
from squall.pipeline.ingest.merge import decide, times_to_look_up
from squall.pipeline.ingest.reading import FilePart, ReadRequest
from squall.pipeline.ingest.rules import Rules
from squall.pipeline.ingest.stored import StoredScans, StoredSlot
from tests.pipeline.tiny_radar import CONFIG, FIRST, STEP, codes_of, rain

RULES = Rules(CONFIG)


def part_of(address, *seeds, first=FIRST):
    """The result of reading a file with one scan for each seed, at consecutive times."""
    codes = [codes_of(rain(1, seed)[0]) for seed in seeds]
    scans = [FileScan(first + i * STEP, code, measure(code)) for i, code in enumerate(codes)]
    report = FileReport(address, digest_of(seeds), 100, scans=scans, scan_count=len(scans))
    return FilePart(ReadRequest(SourceFile(address, "1", 100)), report)


def digest_of(seeds):
    return blake2b(bytes(seeds), digest_size=16).hexdigest()


def stored_scan(source, seed, time=FIRST):
    checksum = measure(codes_of(rain(1, seed)[0])).checksum
    return StoredScans(slots={time: StoredSlot(OK, source, digest_of([seed]), checksum)})


def test_of_two_new_files_the_later_name_counts():
    parts = [part_of("/r/b.nc", 2), part_of("/r/a.nc", 1)]
    for order in (parts, parts[::-1]):
        decision = decide(order, StoredScans(), RULES)
        assert [scan.source for scan in decision.scans] == ["/r/b.nc"]
        assert [(entry.file, entry.rule) for entry in decision.log_entries] == [
            ("/r/a.nc", "superseded")
        ]
        assert (decision.counts.ingested, decision.counts.superseded) == (1, 1)


def test_a_stored_scan_of_a_later_name_is_kept():
    decision = decide([part_of("/r/a.nc", 1)], stored_scan("/r/b.nc", 2), RULES)
    assert decision.scans == []
    assert [entry.reason for entry in decision.redundant] == [
        "another file of the same time counts: /r/b.nc"
    ]
    assert (decision.counts.superseded, decision.counts.unchanged) == (1, 0)


def test_a_reissued_file_replaces_its_scan():
    decision = decide([part_of("/r/a.nc", 1)], stored_scan("/r/a.nc", 2), RULES)
    assert [scan.digest for scan in decision.scans] == [digest_of([1])]
    assert (decision.counts.ingested, decision.counts.replaced) == (0, 1)


def test_the_same_content_under_a_later_name_changes_the_source_only():
    decision = decide([part_of("/r/b.nc", 1)], stored_scan("/r/a.nc", 1), RULES)
    assert [scan.source for scan in decision.scans] == ["/r/b.nc"]
    assert (decision.counts.ingested, decision.counts.replaced) == (0, 0)
    decision = decide([part_of("/r/a.nc", 1)], stored_scan("/r/b.nc", 1), RULES)
    assert decision.scans == []
    assert [(entry.rule, entry.reason) for entry in decision.redundant] == [
        ("duplicate", "the same as /r/b.nc")
    ]
    assert decision.counts.unchanged == 1


def test_all_repetitions_of_a_scan_are_rejected():
    decision = decide([part_of("/r/day.nc", 1, 1, 1, 2)], StoredScans(), RULES)
    assert [scan.time for scan in decision.scans] == [FIRST, FIRST + 3 * STEP]
    assert [(entry.time, entry.rule) for entry in decision.rejections] == [
        (FIRST + STEP, "identical scans"),
        (FIRST + 2 * STEP, "identical scans"),
    ]


def test_a_late_scan_is_compared_with_the_stored_one_after_it():
    after = stored_scan("/r/b.nc", 1, FIRST + STEP)
    decision = decide([part_of("/r/a.nc", 1)], after, RULES)
    assert decision.scans == []
    (entry,) = decision.rejections
    assert entry.reason == "equals the scan of 2024-06-01 00:05 in every pixel"


def test_a_file_with_scans_outside_the_period_is_marked_as_partly_read():
    file_part = part_of("/r/day.nc", 1, 2)
    decision = decide([file_part], StoredScans(), Rules(CONFIG, until=FIRST))
    assert decision.cut_files == {"/r/day.nc"}
    (scan,) = decision.scans
    assert scan.file_mark == mark_of_used_file("/r/day.nc", partial_version("1"))


def test_an_unavailable_file_is_counted_and_not_logged():
    file_part = FilePart(ReadRequest(SourceFile("/r/a.nc", "1", 100)), None, "no answer")
    decision = decide([file_part], StoredScans(), RULES)
    assert decision.counts.unavailable == [("/r/a.nc", "no answer")]
    assert (decision.scans, decision.log_entries) == ([], [])


def test_records_are_looked_up_at_the_scans_and_their_neighbours():
    times = times_to_look_up([part_of("/r/a.nc", 1)], CONFIG)
    assert times == {FIRST - STEP, FIRST, FIRST + STEP}
