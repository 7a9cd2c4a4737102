"""A store on a web server whose listing has names without sizes reads like the local one."""

from functools import partial
from http.server import SimpleHTTPRequestHandler

import numpy as np

from squall.datasets.mlcast.store import MlcastStore
from tests.datasets.sources.temporary_storage import serving


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder; prints no line for each request."""

    def log_message(self, *_: object) -> None:
        pass


def test_a_store_on_the_web_reads_like_the_local_one(exported):
    _, local = exported
    with serving(partial(QuietHandler, directory=local.address)) as server:
        remote = MlcastStore.open(server)
        np.testing.assert_array_equal(remote.status, local.status)
        np.testing.assert_array_equal(remote.codes[:3], local.codes[:3])
