"""SIGTERM ends a stage in the same way as Ctrl-C; schedulers send it before they kill a job."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SENT_AGAIN_AFTER_S = 0.01


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived; a stage closes its files as after Ctrl-C."""


@contextmanager
def interrupts_raise() -> Iterator[None]:
    """Raise `Terminated` on SIGTERM inside the block, and raise interrupts that Python ignored.

    A signal may arrive while Python deletes an object. Python then prints the exception and goes
    on ("Exception ignored in"), so that the command would not end. Such a signal is sent again,
    unless the block has ended by then.

    Only the main thread handles signals; in others the block changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminated(number: int, frame: FrameType | None) -> None:
        raise Terminated

    handler = signal.signal(signal.SIGTERM, terminated)
    again = _SentAgain(sys.unraisablehook)
    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = again.before
        try:
            again.cancel()
        finally:  # a signal that was on its way is raised there
            signal.signal(signal.SIGTERM, handler)


class _SentAgain:
    """Takes the exceptions that Python ignores, and sends the signal of an interrupt again.

    Parameters
    ----------
    before : what takes all other exceptions.
    """

    def __init__(self, before: Callable[[sys.UnraisableHookArgs], object]) -> None:
        self.before = before
        self._timer: threading.Timer | None = None
        self._is_waiting = False

    def __call__(self, ignored: sys.UnraisableHookArgs, /) -> None:
        if not issubclass(ignored.exc_type, KeyboardInterrupt):
            self.before(ignored)
            return
        if self._is_waiting:  # one signal is enough
            return
        self._is_waiting = True
        is_terminated = issubclass(ignored.exc_type, Terminated)
        number = signal.SIGTERM if is_terminated else signal.SIGINT
        # later, since what is raised in here would be ignored, too
        self._timer = threading.Timer(SENT_AGAIN_AFTER_S, self._send, [number])
        self._timer.daemon = True
        self._timer.start()

    def _send(self, number: int) -> None:
        self._is_waiting = False
        main = threading.main_thread().ident
        assert main is not None  # it has started
        signal.pthread_kill(main, number)  # another thread's signal would not wake it

    def cancel(self) -> None:
        """Send nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
