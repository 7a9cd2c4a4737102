"""Listens and answers until the process is stopped.

Public: `serve`.
"""

from __future__ import annotations

import logging
import socket

import uvicorn

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
        If the port cannot be listened on.
    """
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


def _listening(config: ServeConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family, backlog=512)
    except OSError as error:
        raise ConfigError(
            f"--host {config.host} --port {config.port}: cannot be listened on "
            f"({error.strerror or error}); choose others"
        ) from error
