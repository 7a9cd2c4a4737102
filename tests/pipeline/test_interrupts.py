"""An interrupt is never lost: also not one that arrives while Python deletes an object."""

import signal
import sys
import time
import weakref

import pytest

from squall.pipeline.interrupts import Terminated, interrupts_raise


class _Interrupted:
    """An object during whose deletion a signal arrives."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        signal.raise_signal(self.number)
        sum(range(3))  # the handler runs between two instructions at the latest


@pytest.fixture(autouse=True)
def ctrl_c_raises():
    """A shell that runs the tests in the background lets them ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _wait():
    started = time.monotonic()
    time.sleep(30)
    raise AssertionError(f"nothing was raised in {time.monotonic() - started:.0f} s")


def _delete(number, *, times=1):
    """Delete objects, and wait for what their deletion raises."""
    with interrupts_raise():
        for _ in range(times):
            _Interrupted(number)
        _wait()


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_during_a_deletion_is_raised_afterwards(number, raised, capsys):
    with pytest.raises(KeyboardInterrupt) as caught:
        _delete(number)
    assert type(caught.value) is raised
    assert "_wait" in [entry.name for entry in caught.traceback]  # not in the deletion
    assert "ignored" not in capsys.readouterr().err


def test_a_signal_that_is_ignored_several_times_is_raised_in_the_end():
    with pytest.raises(Terminated):
        _delete(signal.SIGTERM, times=5)


def test_a_signal_in_a_callback_of_a_weak_reference_is_raised_afterwards():
    def delete():
        with interrupts_raise():
            value = {1}
            reference = weakref.ref(value, lambda _: signal.raise_signal(signal.SIGINT))
            del value
            assert reference() is None
            _wait()

    with pytest.raises(KeyboardInterrupt):
        delete()


def test_a_signal_that_comes_too_late_does_not_end_what_follows():
    before = signal.getsignal(signal.SIGTERM), sys.unraisablehook
    with interrupts_raise():
        _Interrupted(signal.SIGTERM)
    assert (signal.getsignal(signal.SIGTERM), sys.unraisablehook) == before
    time.sleep(0.1)  # SIGTERM would end this process


def test_other_ignored_exceptions_are_reported_as_before(monkeypatch):
    class Faulty:
        def __del__(self):
            raise ValueError("of a library")

    taken = []
    monkeypatch.setattr(sys, "unraisablehook", taken.append)
    with interrupts_raise():
        Faulty()
    assert [type(each.exc_value) for each in taken] == [ValueError]
