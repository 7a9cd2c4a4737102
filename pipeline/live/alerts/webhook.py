"""Messages go to web addresses. It runs in the child, in a thread for each address.

Public: `Webhooks`, `Deliveries`.

An address may hold a secret, so no message of this module shows more of it than its host.
"""

from __future__ import annotations

import http.client
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

TIMEOUT_S = 5.0  # for a connection, and for an answer


class Posting(NamedTuple):
    """A message on its way."""

    identifier: str
    rule: str
    body: str
    """JSON"""


class Deliveries(NamedTuple):
    """What became of the messages."""

    delivered: tuple[str, ...] = ()
    """identifiers"""
    problems: tuple[str, ...] = ()


class _Unredirected(urllib.request.HTTPRedirectHandler):
    """A redirected POST would lose its body."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Webhooks:
    """Posts messages to the addresses of their rules, in order, and says which have arrived.

    Parameters
    ----------
    addresses : of the rules, by name.
    """

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = dict(addresses)
        self._lock = threading.Lock()
        self._threads: dict[str, threading.Thread] = {}
        self._delivered: set[str] = set()
        self._failures: dict[str, str] = {}

    def deliver(self, postings: Sequence[Posting], wait_s: float = 0.0) -> Deliveries:
        """Start to post what has not arrived, and say what has arrived by now.

        An address whose last post failed is tried again in each call. It holds up no other address.

        Parameters
        ----------
        postings : all that is not known to have arrived, in order.
        wait_s : time to wait for the answers.
        """
        self._start(postings)
        end = time.monotonic() + wait_s
        for thread in self._threads.values():
            thread.join(max(0.0, end - time.monotonic()))
        with self._lock:
            asked = {posting.identifier for posting in postings}
            self._delivered &= asked
            waiting = [p for p in postings if p.identifier not in self._delivered]
            problems = []
            for address, failure in self._failures.items():
                count = sum(self._addresses.get(p.rule) == address for p in waiting)
                if count:
                    problems.append(f"{_shown(address)}: {failure}; {count} alert messages wait")
            return Deliveries(tuple(self._delivered), tuple(problems))

    def _start(self, postings: Sequence[Posting]) -> None:
        for address in dict.fromkeys(self._addresses.values()):
            thread = self._threads.get(address)
            if thread is not None and thread.is_alive():
                continue
            with self._lock:
                of_address = [
                    posting
                    for posting in postings
                    if self._addresses.get(posting.rule) == address
                    and posting.identifier not in self._delivered
                ]
            if of_address:
                thread = threading.Thread(
                    target=self._post, args=(address, of_address), daemon=True
                )
                self._threads[address] = thread
                thread.start()

    def _post(self, address: str, postings: Sequence[Posting]) -> None:
        """Post in order, until one fails."""
        for posting in postings:
            failure = _posted(address, posting)
            with self._lock:
                if failure:
                    self._failures[address] = failure
                    return
                self._failures.pop(address, None)
                self._delivered.add(posting.identifier)


def _posted(address: str, posting: Posting) -> str:
    """Post a message; returns why it did not arrive, empty if it did."""
    request = urllib.request.Request(
        address,
        data=posting.body.encode(),
        headers={"Content-Type": "application/json", "Idempotency-Key": posting.identifier},
        method="POST",
    )
    try:
        with urllib.request.build_opener(_Unredirected).open(request, timeout=TIMEOUT_S):
            return ""
    except urllib.error.HTTPError as error:
        return f"answers {error.code} {http.client.responses.get(error.code, '')}".rstrip()
    except OSError as error:
        reason = getattr(error, "reason", error)
        kind = getattr(reason, "strerror", None) or type(reason).__name__
        return f"does not answer ({kind})"
    except (http.client.HTTPException, ValueError) as error:  # its text may hold the address
        return f"cannot be used ({type(error).__name__})"


def _shown(address: str) -> str:
    parts = urlsplit(address)
    return f"webhook {parts.scheme}://{parts.hostname}/…"
