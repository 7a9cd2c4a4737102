"""Messages arrive in order and once, and an address that is down holds up nothing."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from squall.pipeline.live.alerts.webhook import Posting, Webhooks


class Receiver:
    """A web server that remembers what it is sent."""

    def __init__(self):
        self.requests, self.answers, self.pause_s = [], [], 0.0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(receiver.pause_s)
                code = receiver.answers.pop(0) if receiver.answers else 204
                receiver.requests.append((self.headers["Idempotency-Key"], json.loads(body), code))
                self.send_response(code)
                if code in (301, 302):
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/secret-path?token=secret"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def arrived(self):
        return [key for key, _, code in self.requests if code < 300]


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


def postings(*identifiers, rule="rule"):
    return [Posting(name, rule, json.dumps({"identifier": name})) for name in identifiers]


def test_messages_arrive_in_order_and_once(receiver):
    webhooks = Webhooks({"rule": receiver.address})
    asked = postings("a", "b", "c")
    result = webhooks.deliver(asked, wait_s=5)
    assert set(result.delivered) == {"a", "b", "c"}
    assert result.problems == ()
    # the loop could not store that they have arrived, and asks again
    assert set(webhooks.deliver(asked, wait_s=5).delivered) == {"a", "b", "c"}
    assert receiver.arrived == ["a", "b", "c"]
    assert receiver.requests[0][1] == {"identifier": "a"}


@pytest.mark.parametrize(("code", "words"), [(503, "answers 503"), (302, "answers 302 Found")])
def test_a_message_that_is_refused_is_tried_again_before_the_next(receiver, code, words):
    webhooks = Webhooks({"rule": receiver.address})
    receiver.answers = [204, code]
    asked = postings("a", "b", "c")
    result = webhooks.deliver(asked, wait_s=5)
    assert result.delivered == ("a",)
    (problem,) = result.problems
    assert words in problem
    assert "2 alert messages wait" in problem
    assert "secret" not in problem
    result = webhooks.deliver(asked[1:], wait_s=5)
    assert set(result.delivered) == {"b", "c"}
    assert result.problems == ()
    assert receiver.arrived == ["a", "b", "c"]


def test_a_slow_address_holds_up_neither_the_loop_nor_another_address(receiver):
    receiver.pause_s = 0.5
    other = Receiver()
    webhooks = Webhooks({"slow": receiver.address, "quick": other.address})
    asked = [*postings("a", rule="slow"), *postings("b", rule="quick")]
    began = time.monotonic()
    webhooks.deliver(asked)
    assert time.monotonic() - began < 0.3
    deadline = time.monotonic() + 5
    while not other.arrived and time.monotonic() < deadline:
        time.sleep(0.01)
    assert webhooks.deliver(asked).delivered == ("b",)  # and "a" is not posted a second time
    result = webhooks.deliver(asked, wait_s=5)
    assert set(result.delivered) == {"a", "b"}
    assert receiver.arrived == ["a"]
    other.server.shutdown()
    other.server.server_close()


def test_an_address_that_is_down_is_named_without_its_secret(receiver):
    receiver.server.shutdown()
    receiver.server.server_close()
    webhooks = Webhooks({"rule": receiver.address})
    (problem,) = webhooks.deliver(postings("a"), wait_s=5).problems
    assert problem.startswith("webhook http://127.0.0.1/…: does not answer (Connection refused)")
    assert "secret" not in problem


def test_a_rule_without_an_address_is_left_alone(receiver):
    webhooks = Webhooks({"rule": receiver.address})
    assert webhooks.deliver(postings("a", rule="gone"), wait_s=1).delivered == ()
    assert receiver.requests == []
