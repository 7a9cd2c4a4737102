"""The commands `squall archive …`: history, tag, expire, check."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from squall.datasets.errors import ConfigError
from squall.pipeline.cli.options import add_common_options, existing

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
EXAMPLES = """\
examples:
  squall archive history archives/knmi.icechunk
  squall archive tag archives/knmi.icechunk run-7
  squall archive expire archives/knmi.icechunk --older-than 30D
  squall archive check archives/knmi.icechunk
"""
SHOWN_COMMITS = 30

log = logging.getLogger("squall.archive")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the commands of `squall archive` and their arguments."""
    commands = parser.add_subparsers(
        title="commands",
        dest="action",
        required=True,
        metavar="COMMAND",
        description="'squall archive COMMAND --help' explains each command.",
    )
    _add_history(commands)
    _add_tag(commands)
    _add_expire(commands)
    _add_check(commands)


def _command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    help: str,
    *examples: str,
) -> argparse.ArgumentParser:
    """Add a command; the first sentence of its help stands in the list of commands."""
    parser = commands.add_parser(
        name,
        help=help.partition(".")[0],
        description=f"{help[0].upper()}{help[1:]}.",
        epilog="\n  ".join([f"example{'s' if len(examples) > 1 else ''}:", *examples]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("archive", type=existing, metavar="ARCHIVE", help="folder or s3://…")
    add_common_options(parser)
    parser.set_defaults(run=run)
    return parser


def _add_history(commands: Commands) -> None:
    history = _command(
        commands,
        "history",
        _history,
        "list the commits of an archive, newest first",
        "squall archive history archives/knmi.icechunk --limit 5",
    )
    history.add_argument("--json", action="store_true", help="print JSON, for scripts")
    history.add_argument(
        "--limit",
        type=int,
        default=SHOWN_COMMITS,
        metavar="N",
        help=f"number of newest commits to list (default: {SHOWN_COMMITS}); 0 lists all",
    )


def _add_tag(commands: Commands) -> None:
    tag = _command(
        commands,
        "tag",
        _tag,
        "protect a snapshot, so that it never expires.\n"
        "A tag cannot move, and its name cannot be used again, not even after --delete",
        "squall archive tag archives/knmi.icechunk run-7",
        "squall archive tag archives/knmi.icechunk paper --snapshot 5QT25KQBVWPK8SKA17A0",
        "squall archive tag archives/knmi.icechunk run-7 --delete",
    )
    tag.add_argument("name", metavar="NAME", help="letters a to z, digits, '.', '_' and '-'")
    snapshot_or_delete = tag.add_mutually_exclusive_group()
    snapshot_or_delete.add_argument(
        "--snapshot", metavar="ID", help="snapshot to protect (default: the newest)"
    )
    snapshot_or_delete.add_argument("--delete", action="store_true", help="delete the tag")


def _add_expire(commands: Commands) -> None:
    expire = _command(
        commands,
        "expire",
        _expire,
        "delete old snapshots and the data that only they use.\n"
        "The newest snapshot and tagged snapshots stay. Tag the snapshot that a training reads.\n"
        "On object storage, files of the last day stay, because an ingestion may be writing them",
        "squall archive expire archives/knmi.icechunk --older-than 30D --dry-run",
    )
    expire.add_argument(
        "--older-than",
        required=True,
        metavar="AGE",
        help="age of the snapshots to delete, like 30D, 12h, 2W or 0s",
    )
    expire.add_argument(
        "--dry-run", action="store_true", help="print what would be deleted; change nothing"
    )
    expire.add_argument("--json", action="store_true", help="print JSON, for scripts")


def _add_check(commands: Commands) -> None:
    check = _command(
        commands,
        "check",
        _check,
        "read every chunk and compare every scan with its checksum.\n"
        "Exit code 1 if anything is damaged",
        "squall archive check archives/knmi.icechunk",
        "squall archive check archives/knmi.icechunk --repair",
    )
    check.add_argument(
        "--repair",
        action="store_true",
        help="remove damaged scans, so that `squall ingest` reads them again from their files",
    )
    check.add_argument("--json", action="store_true", help="print JSON, for scripts")


def _history(arguments: argparse.Namespace) -> int:
    from squall.datasets.archive.snapshots import history

    if arguments.limit < 0:
        raise ConfigError(f"--limit {arguments.limit}: give 1 or more, or 0 for all")
    commits = history(arguments.archive, arguments.limit or None)
    if arguments.json:
        print(json.dumps([commit.as_dict() for commit in commits], indent=2))
        return 0
    for commit in commits:
        print(commit)
    if not commits:
        print("no commit yet; run `squall ingest` first")
    if len(commits) == arguments.limit:
        print(f"the newest {arguments.limit}; --limit 0 lists all")
    return 0


def _tag(arguments: argparse.Namespace) -> int:
    from squall.datasets.archive.snapshots import delete_tag, tag

    if arguments.delete:
        snapshot = delete_tag(arguments.archive, arguments.name)
        print(f"{arguments.archive}: tag {arguments.name} deleted, it held {snapshot}")
    else:
        snapshot = tag(arguments.archive, arguments.name, arguments.snapshot)
        print(f"{arguments.archive}: tag {arguments.name} protects {snapshot}")
    return 0


def _expire(arguments: argparse.Namespace) -> int:
    from squall.datasets.archive.snapshots import expire
    from squall.datasets.times import parse_age

    try:
        age = parse_age(arguments.older_than).to_pytimedelta()
    except ValueError as error:
        raise ConfigError(f"--older-than: {error}") from None
    report = expire(arguments.archive, age, dry_run=arguments.dry_run)
    print(
        json.dumps(report.as_dict(), indent=2)
        if arguments.json
        else f"{arguments.archive}: {report}"
    )
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from squall.datasets.archive.check import check
    from squall.datasets.archive.check_report import CheckReport
    from squall.datasets.archive.repair import RepairReport, repair

    with _progress() as progress:
        report: CheckReport | RepairReport
        if arguments.repair:
            report = repair(arguments.archive, progress=progress)
            sound = report.check.sound
        else:
            report = check(arguments.archive, progress=progress)
            sound = report.sound
    print(json.dumps(report.as_dict(), indent=2) if arguments.json else report)
    return 0 if sound else 1


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show the progress of a check."""
    from squall.pipeline.progress import Progress

    with Progress("check", 0, "chunk") as progress:

        def show(done: int, total: int) -> None:
            progress.total = total
            progress.advance(done - progress.done)

        yield show
