"""Listens and answers until the process is stopped.

Public: `serve`.
"""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import uvicorn

from squall.datasets.addresses import is_remote
from squall.datasets.errors import ConfigError
from squall.pipeline.serve.app import app_of
from squall.pipeline.serve.config import ServeConfig

log = logging.getLogger("squall.serve")

LONGEST_HEAD = 64 * 1024  # bytes of the first line and the headers of a request


def serve(config: ServeConfig) -> None:
    """Serve what is published at an address.

    Raises
    ------
    ConfigError
        If the address is a file, or the port cannot be listened on.
    """
    _look_at(config.address)
    with _listening(config) as listening:
        log.info("serving %s at http://%s:%d", config.address, config.host, config.port)
        options = uvicorn.Config(
            app_of(config),
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=config.connections,
            forwarded_allow_ips=list(config.trusted_proxies),
            h11_max_incomplete_event_size=LONGEST_HEAD,
            timeout_graceful_shutdown=5,
        )
        uvicorn.Server(options).run(sockets=[listening])


def _look_at(address: str) -> None:
    """Refuse a file; a folder may come later, when `squall live` publishes first."""
    if is_remote(address):
        return
    if Path(address).is_file():
        raise ConfigError(f"{address}: is a file; give the folder to which `squall live` publishes")
    if not Path(address).exists():
        log.warning("%s: there is no such folder yet; every answer is 503 until it comes", address)


def _listening(config: ServeConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only if the protocol is named; it costs 40 ms an answer
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((config.host, config.port))
        return listening
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"--host {config.host} --port {config.port}: cannot be listened on "
            f"({error.strerror or error}); choose others"
        ) from error
