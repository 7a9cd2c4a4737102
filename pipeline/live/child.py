"""The child process that does the heavy work, and can be killed when it takes too long.

Public: `Child`, `ChildError`.

The parent imports neither PyTorch nor xarray, so it stays small. The child imports them once, when
it starts.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from squall.datasets.errors import ConfigError, DataError, first_line
from squall.datasets.orphans import end_with_parent

STARTING_S = 120.0  # imports on a slow machine
ENDING_S = 5.0
SAID = 100  # messages that are not repeated


class ChildError(Exception):
    """The child failed, died, or was killed at its deadline; the message says which."""


class Child:
    """A process that answers one call at a time.

    Parameters
    ----------
    factory : makes the object whose methods are called, in the child; it can be pickled.
    """

    def __init__(self, factory: Callable[[], Any]) -> None:
        self._factory = factory
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def start(self) -> None:
        """Start the process, if there is none; the first call does it otherwise.

        Raises
        ------
        ChildError
            If it cannot be started.
        """
        self._started()

    def call(self, method: str, *arguments: Any, deadline_s: float) -> Any:
        """Call a method of the child's object; the child is started if there is none.

        Raises
        ------
        ChildError
            If the method raises, the process dies, or the deadline passes. In the last two cases
            the next call starts a new process.
        """
        pipe = self._started()
        try:
            pipe.send((method, arguments))
            if not pipe.poll(deadline_s):
                self.kill()
                raise ChildError(
                    f"took longer than {deadline_s:g} s and was stopped; if this machine needs "
                    "more time, make deadline_s longer"
                )
            is_good, result, records = pipe.recv()
        except (EOFError, OSError) as error:
            code = self._exit_code()
            self.kill()
            raise ChildError(f"the process died (exit code {code})") from error
        for record in records:
            logging.getLogger(record.name).handle(record)
        if not is_good:
            raise ChildError(result)
        return result

    @property
    def process_id(self) -> int | None:
        """Number of the process; None if there is none."""
        return self._process.pid if self._process else None

    def stop(self) -> None:
        """End the process, if there is one. It has nothing to do, so it ends by itself."""
        if self._pipe is not None and self._process is not None:
            self._pipe.close()
            self._process.join(ENDING_S)
        self.kill()

    def kill(self) -> None:
        """Kill the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None

    def _started(self) -> Connection:
        if self._pipe is not None and self._process is not None and self._process.is_alive():
            return self._pipe
        self.kill()
        context = multiprocessing.get_context("spawn")
        self._pipe, of_child = context.Pipe()
        self._process = context.Process(target=_serve, args=(of_child, self._factory), daemon=True)
        self._process.start()
        of_child.close()
        try:
            is_ready = self._pipe.poll(STARTING_S) and self._pipe.recv()
        except (EOFError, OSError):
            is_ready = False
        if is_ready is not True:
            reason = is_ready if isinstance(is_ready, str) else "the process could not be started"
            self.kill()
            raise ChildError(reason)
        return self._pipe

    def _exit_code(self) -> int | None:
        if self._process is None:
            return None
        self._process.join(1.0)
        return self._process.exitcode


def _serve(pipe: Connection, factory: Callable[[], Any]) -> None:
    """Answer calls until the parent closes the pipe."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends this
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    records = _Records()
    logging.getLogger().addHandler(records)
    logging.getLogger("squall").setLevel(logging.WARNING)  # no progress in each cycle
    try:
        worker = factory()
    except Exception as error:  # a library may raise anything
        pipe.send(_text(error))
        return
    pipe.send(True)
    while True:
        try:
            method, arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer: tuple[bool, Any] = (True, getattr(worker, method)(*arguments))
        except MemoryError:
            raise  # the process starts anew
        except Exception as error:  # the loop must go on, whatever a library raises
            answer = (False, _text(error))
        try:
            pipe.send((*answer, records.taken()))
        except BrokenPipeError:  # the parent ends and does not wait for the answer
            return


class _Records(QueueHandler):
    """Keeps what is logged, for the parent to log; what was said lately is not said again."""

    def __init__(self) -> None:
        super().__init__(None)  # type: ignore[arg-type]  # there is no queue, see `enqueue`
        self._kept: list[logging.LogRecord] = []
        self._said: deque[str] = deque(maxlen=SAID)

    def enqueue(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message not in self._said:
            self._said.append(message)
            self._kept.append(record)

    def taken(self) -> list[logging.LogRecord]:
        """The records since the last call."""
        records, self._kept = self._kept, []
        return records


def _text(error: BaseException) -> str:
    if isinstance(error, (DataError, ConfigError)):
        return first_line(error)
    return f"{type(error).__name__}: {error}"
