"""Worker processes that end by themselves once the process that started them is gone.

A process that is killed cannot end its workers. Workers of a fork server are children of the
server, so neither the kernel nor their parent's number tells them.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time

POLL_S = 1.0  # time between two looks of a process that `multiprocessing` has not started
EXIT_CODE = 1


def end_with_parent() -> None:
    """Start a thread that ends this process, without cleaning up, when its parent has ended.

    The parent is the process that asked for this one, not a fork server between them: a worker of
    `multiprocessing` waits for the end of a pipe that its parent holds. Any other process looks
    whether it has become the child of another process.
    """
    threading.Thread(target=_wait_and_end, args=(os.getppid(),), daemon=True).start()


def _wait_and_end(parent_id: int) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    else:
        while os.getppid() == parent_id:
            time.sleep(POLL_S)
    os._exit(EXIT_CODE)
