"""Processes that a killed program has left behind, found by a mark in their environment."""

from __future__ import annotations

import time

import psutil

MARKER = "SQUALL_TEST_OF_KILLS"


def marked(marker: str) -> list[psutil.Process]:
    """Running processes whose environment variable `MARKER` has this value."""
    running = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARKER) == marker:
                running.append(process)
        except (psutil.Error, OSError):
            continue
    return running


def left_over(marker: str, *, after_s: float = 0.0) -> list[psutil.Process]:
    """Marked processes that are still running once the time is over, or earlier if none is."""
    until = time.monotonic() + after_s
    while (running := marked(marker)) and time.monotonic() < until:
        time.sleep(0.2)
    return running
