"""The command line `squall`: finds the command, runs it, and owns exit codes and messages.

Exit codes: 0 success; 1 something is wrong with the data (a rejected file, a missing scan);
2 a wrong argument or configuration; 3 another process is writing the archive; 130 interrupted,
141 nobody reads the output, 143 terminated.

`COMMANDS` lists the commands. Each is a module of this package; only the module of the command
that the user typed is imported, because `squall --help` must not wait for the others.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import re
import select
import sys
from collections.abc import Sequence
from itertools import takewhile
from typing import Protocol, cast

from squall import __version__
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.orphans import end_with_launcher
from squall.datasets.spelling import did_you_mean
from squall.pipeline.cli.process import explained, set_up_logging
from squall.pipeline.interrupts import interrupts_raise

log = logging.getLogger("squall")

COMMANDS = {
    "synth": "write a synthetic radar archive, one CF netCDF file per scan",
    "init": "look at radar files and write the configuration of their network",
    "ingest": "bring an archive up to date with radar files",
    "status": "show what an archive holds: period, gaps, coverage, rejected scans",
    "archive": "maintain an archive: history, tags, expiry of old snapshots, check",
    "export": "write an archive as a plain Zarr store, or a checkpoint as weights",
    "train": "train a network on archives",
    "calibrate": "fit the chances of a network to one radar",
    "forecast": "make one nowcast and write it as CF netCDF",
    "verify": "score many forecasts of several methods against observations",
    "maps": "draw maps of a forecast",
    "point": "say what a forecast means for one place",
    "live": "publish a forecast each time a scan arrives",
    "serve": "answer requests about published forecasts",
}

DESCRIPTION = """\
Precipitation nowcasting: from radar files to forecast maps.

  radar files       -> init     -> configuration
  radar files       -> ingest   -> archive
  archives          -> train    -> checkpoint
  checkpoint        -> calibrate -> weights with a calibration
  archive, method   -> forecast -> forecast (CF netCDF)
  forecast          -> maps     -> maps (PNG, animation)
  forecast, place   -> point    -> a sentence, a table, a plot
  scans that arrive -> live     -> published forecasts
  published forecasts -> serve  -> answers to requests, map tiles
  archives, methods -> verify   -> scores side by side
  archive           -> export   -> plain Zarr store (MLCast convention)
  checkpoint        -> export   -> weights to publish

A method is a checkpoint, a packaged model or a method without training. All times are UTC.
"""


class CommandModule(Protocol):
    """What the module of a command offers."""

    EXAMPLES: str
    """the end of the help text"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare flags and positional arguments; ``run`` of the defaults runs the command."""


class Parser(argparse.ArgumentParser):
    """A parser that names a mistyped flag, and the flag that is meant.

    argparse alone says that a required flag is missing, if ``--achive`` was typed for it.
    """

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """Read a command line, as argparse does; ends with code 2 at an unknown flag."""
        if self._subparsers is None and not {"-h", "--help"} & set(args or ()):
            for word in takewhile(lambda word: word != "--", args or ()):
                self._check_flag(word)
        return super().parse_known_args(args, namespace)

    def _check_flag(self, word: str) -> None:
        """End with an error if a word is a flag that the command does not have.

        The beginning of a flag, like ``--lead-time``, is enough for argparse.
        """
        flag = re.fullmatch(r"(-{1,2}[A-Za-z][\w.-]*)(=.*)?", word, re.DOTALL)
        known = self._option_string_actions
        if flag is None or any(name.startswith(flag[1]) for name in known):
            return
        names = [name[2:] for name in known if name.startswith("--")]
        near = did_you_mean(flag[1].lstrip("-").lower(), names, prefix="--")
        self.error(f"{flag[1]} is not a flag{near or ';'} `{self.prog} --help` lists the flags")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = parse(sys.argv[1:] if argv is None else list(argv))
    as_json = arguments.log_format == "json"
    set_up_logging(quiet=arguments.quiet, as_json=as_json)
    with interrupts_raise():
        try:
            code = int(arguments.run(arguments))
            sys.stdout.flush()
            return code
        except BrokenPipeError as error:
            if _reader_left():
                return 141  # as a program that SIGPIPE ends
            message, code = explained(error)
        except (ConfigError, DataError, OSError, KeyboardInterrupt) as error:
            message, code = explained(error)
        except BaseException as error:
            if not _is_of_icechunk(error):
                raise
            from squall.datasets.archive.icechunk_errors import message_of

            reason, code = explained(DataError(message_of(error)))
            message = f"the archive cannot be read or written: {reason}"
    if as_json:
        log.error("%s", message, extra={"exit_code": code})
    else:
        print(f"squall: {message}", file=sys.stderr)
    return code


def _reader_left() -> bool:
    """Whether nobody reads standard output any more, as after `squall … | head`."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):  # not a file of the operating system
        return False
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    if not any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
        return False
    # Python would complain when it closes the pipe at its end
    os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    return True


def _is_of_icechunk(error: BaseException) -> bool:
    """Whether Icechunk raised an error or its Rust code panicked; does not import Icechunk."""
    return type(error).__module__.startswith("icechunk") or (
        type(error).__name__ == "PanicException"
    )


def script() -> None:
    """Run `main` as a program; an interrupted run ends at once.

    Threads that wait for storage may otherwise abort the process while Python shuts down.
    """
    end_with_launcher()
    code = main()
    if code in (130, 143):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read a command line; ``run`` of the result runs the command.

    Raises
    ------
    SystemExit
        After ``--help`` and ``--version``, and with code 2 if the command line is wrong.
    """
    parser = Parser(
        prog="squall", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"squall {__version__}")
    commands = parser.add_subparsers(
        title="commands",
        dest="command",
        required=True,
        metavar="COMMAND",
        description="'squall COMMAND --help' explains each command.",
    )
    typed = next((word for word in argv if not word.startswith("-")), None)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name == typed:
            _complete(command, name)
    if not argv or (argv[0] == typed and typed not in COMMANDS):
        parser.error(_no_command(typed))
    arguments, unknown = parser.parse_known_args(_with_negative_values(argv))
    if hasattr(arguments, "take_unknown"):
        unknown = arguments.take_unknown(arguments, unknown)
    if unknown:
        parser.error(f"unrecognised arguments: {' '.join(unknown)}")
    return arguments


def _no_command(typed: str | None) -> str:
    """Why a command line without a known command cannot be run, with the nearest command."""
    listed = "`squall --help` lists the commands"
    if typed is None:
        return f"a command is missing; {listed}"
    return f"{typed!r} is not a command{did_you_mean(typed, COMMANDS) or ';'} {listed}"


def _with_negative_values(argv: Sequence[str]) -> list[str]:
    """Write ``--at -37.8,145`` as ``--at=-37.8,145``; argparse would take it for a flag.

    The same holds for ``--since -2D``; the configuration then says why a negative age is wrong.
    """
    words: list[str] = []
    for word in argv:
        follows_flag = words and re.fullmatch(r"--[a-z][a-z-]*", words[-1])
        if follows_flag and re.fullmatch(r"-P?T?\d*\.?\d.*[a-z,].*", word, re.IGNORECASE):
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words


def _complete(parser: argparse.ArgumentParser, name: str) -> None:
    """Add description, examples and arguments of a command to its parser."""
    module = cast(CommandModule, importlib.import_module(f"squall.pipeline.cli.{name}"))
    summary = COMMANDS[name]
    parser.description = f"{summary[0].upper()}{summary[1:]}."
    parser.epilog = module.EXAMPLES
    module.add_arguments(parser)
