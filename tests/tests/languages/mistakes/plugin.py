import asyncio
import datetime
import os
import random as own_random
import secrets
import time
import uuid

from weir import DROP, Answer, clock, crypto, http, kv, plugin


async def waits():
    await asyncio.sleep(1)


def raises():
    raise LookupError("too many")


def deep():
    return deep() + 1


# What an author from elsewhere tries first, by the header `x-do`.
TRIES = {
    "absent": lambda request: request.set_header("x-a", request.header("nope")),
    "unheld": lambda request: request.body(),
    "late": lambda request: request.reroute(upstream="x"),
    "unlisted": lambda request: http.send("nowhere"),
    "promise": lambda request: waits(),
    "status": lambda request: Answer("403"),
    "object": lambda request: Answer(200, {}, {"a": 1}),
    "value": lambda request: kv.set("a", 5),
    "secret": lambda request: crypto.hmac("sha256", None, "x"),
    "hash": lambda request: crypto.digest("SHA-256", "x"),
    "fraction": lambda request: kv.add("a", 1.5),
    "key": lambda request: kv.get(5),
    "timer": lambda request: time.sleep(1),
    "file": lambda request: open("/etc/hostname"),
    "module": lambda request: __import__("csv"),
    "thrown": lambda request: raises(),
    "missing": lambda request: request.nothing.more,
    "deep": lambda request: deep(),
    # These work.
    "pairs": lambda request: Answer(403, [("x-a", "b")]),
    "printed": lambda request: print("see", {"a": 1}),
    "time": lambda request: Answer(
        200,
        {},
        str(
            all(
                abs(now - clock.now() / 1e9) < 1
                for now in (time.time(), datetime.datetime.now().timestamp())
            )
        ),
    ),
    "chance": lambda request: Answer(
        200,
        {},
        str(len({own_random.random(), str(uuid.uuid4()), secrets.token_hex(4), os.urandom(5000)})),
    ),
}


@plugin
class Tries:
    held = b""

    def on_request(self, request):
        return TRIES[request.header("x-do")](request)

    def on_response_body(self, chunk):
        self.held += chunk.data()
        if not chunk.is_last:
            return DROP
        whole, self.held = self.held, b""
        return 5 if whole == b"none" else whole.replace(b"secret", b"xxxxxx")
