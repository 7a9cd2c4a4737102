"""Worker processes that end by themselves once the process that started them is gone.

A process that is killed cannot end its workers. Workers of a fork server are children of the
server, so neither the kernel nor their parent's number tells them.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_LAUNCHER = "SQUALL_LAUNCHER"  # number of the process that starts others for further devices
POLL_S = 1.0  # time between two looks of a process that `multiprocessing` has not started
EXIT_CODE = 1


def end_with_launcher() -> None:
    """Call `end_with_parent` if a launcher started this process to train on a further device.

    Call it first of all, before slow imports: the launcher may end meanwhile, and a process that
    does not know its launcher waits for half an hour for the others. torchrun does not tell
    its number, so its end before this call is not noticed.
    """
    environment = os.environ
    if "TORCHELASTIC_RUN_ID" in environment:  # torchrun
        end_with_parent()
    elif int(environment.get("LOCAL_RANK", 0)) > 0:
        launcher = environment.get(_LAUNCHER)
        end_with_parent(None if launcher is None else int(launcher))


@contextmanager
def as_launcher() -> Iterator[None]:
    """Let processes that this one starts in the block know whom they depend on."""
    os.environ[_LAUNCHER] = str(os.getpid())
    try:
        yield
    finally:
        os.environ.pop(_LAUNCHER, None)


def end_with_parent(parent_id: int | None = None) -> None:
    """Start a thread that ends this process, without cleaning up, when its parent has ended.

    The parent is the process that asked for this one, not a fork server between them: a worker of
    `multiprocessing` waits for the end of a pipe that its parent holds. Any other process looks
    whether it has become the child of another process.

    Parameters
    ----------
    parent_id : number of the parent; None: of the present one, which must still be the true one.
    """
    parent_id = os.getppid() if parent_id is None else parent_id
    threading.Thread(target=_wait_and_end, args=(parent_id,), daemon=True).start()


def _wait_and_end(parent_id: int) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    else:
        while os.getppid() == parent_id:
            time.sleep(POLL_S)
    os._exit(EXIT_CODE)
