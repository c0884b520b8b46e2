"""A fake host: runs a plugin's hooks in Python, without Weir and without WebAssembly.

In the plugin's own tests (`python3 -m unittest`):

    from weir.testing import run
    seen = run(Tenants, config=..., request={"url": "/x", "headers": {"x-tenant": "acme"}})
    assert seen["action"] == "continue"

`weir plugin test` runs the cases of `cases.yaml` by it too: it pipes them to this module as JSON, and
compares what comes back.
"""

import hashlib
import hmac
import json
import re
import sys
from dataclasses import dataclass, field
from os import urandom as _urandom
from urllib.parse import urlsplit

import weir
from weir.bound import Bound, told

FORBIDDEN = {
    "host", "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection",
    "te", "trailer", "upgrade",
}  # fmt: skip
MOST_FIELDS = 256
#: Pieces of an answer that are asked for: one may never end.
MOST_PIECES = 1000
#: What tells of the very bytes of a body.
OF_THE_BODY = {
    "content-encoding", "content-digest", "repr-digest", "digest", "content-md5",
}  # fmt: skip
#: As a plugin's clock in every test: 2026-01-01.
NOW = 1767225600000000000


class Err(Exception):
    """As the host's refusals come in the sandbox."""

    def __init__(self, value):
        super().__init__(value)
        self.value = value


def _check(name, value=""):
    lower = name.lower()
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9a-z-]+", lower):
        raise Err("forbidden" if lower.startswith(":") else "invalid-name")
    if lower in FORBIDDEN:
        raise Err("forbidden")
    if re.search(r"[\0-\x08\x0a-\x1f\x7f]", value):
        raise Err("invalid-value")
    return lower


def _check_status(status):
    if not 200 <= status <= 599:
        raise Err("invalid-status")


def _lines(headers):
    """Fields as [name, text]; values of a mapping may be lists."""
    if isinstance(headers, list):
        return [[name.lower(), value] for name, value in headers]
    lines = []
    for name, values in (headers or {}).items():
        for value in values if isinstance(values, list) else [values]:
            lines.append([name.lower(), str(value)])
    return lines


def _bytes(body):
    return body.encode() if isinstance(body, str) else body or b""


class _Head:
    def __init__(self, fields, body, most):
        self.fields = fields
        # As it comes: a list is of its pieces.
        self.pieces = [_bytes(piece) for piece in (body if isinstance(body, list) else [body])]
        self.bytes = b"".join(self.pieces)
        self.most = most
        self.answer = None
        self.skips = False
        self.touched = set()
        self.replaced = False

    def settle(self):
        """Puts right what told of a body that the hook has replaced, but for what it has set itself."""
        gone = OF_THE_BODY - self.touched if self.replaced else set()
        self.fields = [field for field in self.fields if field[0] not in gone]
        self.touched, self.replaced = set(), False

    def header(self, name):
        return next((value for key, value in self.fields if key == name.lower()), None)

    def header_values(self, name):
        return [value.encode() for key, value in self.fields if key == name.lower()]

    def headers(self):
        return [(name, value.encode()) for name, value in self.fields]

    def set_header(self, name, value):
        key = _check(name, value)
        self.fields = [field for field in self.fields if field[0] != key]
        self.add_header(name, value)

    def add_header(self, name, value):
        key = _check(name, value)
        if len(self.fields) >= MOST_FIELDS:
            raise Err("too-large")
        self.touched.add(key)
        self.fields.append([key, value])

    def remove_header(self, name):
        key = _check(name)
        self.fields = [field for field in self.fields if field[0] != key]

    def body(self):
        if not isinstance(self.most, int):
            raise Err("not-buffered")
        if len(self.bytes) > self.most:
            raise Err("too-large")
        return self.bytes

    def set_body(self, body):
        self.body()
        self.bytes = body
        self.replaced = True

    def skip_body(self):
        self.skips = True

    def respond(self, status, fields, body):
        _check_status(status)
        for name, value in fields:
            _check(name, value.decode())
        headers = [[name, value.decode()] for name, value in fields]
        self.answer = {"status": status, "headers": headers, "body": body}
        self.streamed = False

    def respond_streamed(self, status, fields):
        self.respond(status, fields, b"")
        self.streamed = True


@dataclass
class _AlternativeNames:
    dns: list = field(default_factory=list)
    uri: list = field(default_factory=list)
    email: list = field(default_factory=list)
    ip: list = field(default_factory=list)


@dataclass
class _Certificate:
    """As Weir gives it, of what a test says."""

    subject: str = ""
    issuer: str = ""
    sha256: str = ""
    alternative_names: dict | _AlternativeNames = field(default_factory=dict)

    def __post_init__(self):
        self.alternative_names = _AlternativeNames(**self.alternative_names)


class _Request(_Head):
    def __init__(self, request, most):
        super().__init__(_lines(request.get("headers")), request.get("body"), most)
        url = request.get("url", "/")
        parts = urlsplit(url if "://" in url else f"http://example.com{url}")
        self._method = request.get("method", "GET")
        self._scheme, self._authority, self._path = parts.scheme, parts.netloc, parts.path or "/"
        self._query = parts.query or None
        shown = request.get("client_certificate")
        self._certificate = None if shown is None else _Certificate(**shown)
        self.upstream = None
        self.routed = False

    def method(self):
        return self._method

    def scheme(self):
        return self._scheme

    def authority(self):
        return self._authority

    def path(self):
        return self._path

    def query(self):
        return self._query

    def client_address(self):
        return "192.0.2.1"

    def client_certificate(self):
        return self._certificate

    def reroute(self, authority, path_and_query, upstream):
        if self.routed:
            raise Err("too-late")
        if path_and_query is not None:
            if not path_and_query.startswith("/"):
                raise Err("invalid: no path")
            self._path, mark, query = path_and_query.partition("?")
            self._query = query if mark else None
        self._authority = authority or self._authority
        self.upstream = upstream or self.upstream

    def url(self):
        query = "" if self._query is None else f"?{self._query}"
        return f"{self._scheme}://{self._authority}{self._path}{query}"


class _Response(_Head):
    def __init__(self, response, most, request, has_head):
        super().__init__(_lines(response.get("headers")), response.get("body"), most)
        self._status = response.get("status", 200)
        self._request = request
        self._has_head = has_head

    def settle(self):
        if self.replaced:
            gone = {"accept-ranges"} - self.touched
            self.fields = [field for field in self.fields if field[0] not in gone]
            for field in self.fields:
                is_tag = field[0] == "etag" and "etag" not in self.touched
                if is_tag and not field[1].startswith("W/"):
                    field[1] = f"W/{field[1]}"
        super().settle()

    def status(self):
        return self._status

    def set_status(self, status):
        _check_status(status)
        self._status = status

    def request_header(self, name):
        if not self._has_head:
            raise RuntimeError("request_header needs `request_head = True`")
        return self._request.header(name)

    def request_method(self):
        return self._request.method()

    def request_path(self):
        return self._request.path()


class _Chunk(_Head):
    def __init__(self, data, last=True):
        super().__init__([], data, None)
        self.out = b""
        self._last = last

    def data(self):
        return self.bytes

    def len(self):
        return len(self.bytes)

    def is_last(self):
        return self._last

    def write(self, data):
        self.out += data

    def trailers(self):
        return []

    def set_trailer(self, name, value):
        pass

    def remove_trailer(self, name):
        pass


class _Host:
    """All that a plugin can ask for, and what it did."""

    def __init__(self, calls, seen, values, start):
        self._calls = calls
        self._seen = seen
        self._ticks = 0
        self._place = "request"
        self.exchange = _Exchange(self)
        self.kv = _Values(values)
        self._start = start
        self.metrics = _Metrics()

    def at(self, place):
        self._place = place
        self._seen["spans"].setdefault(place, {})

    def _span(self, target):
        place = "upstream" if target == "upstream" else self._place
        return self._seen["spans"].setdefault(place, {})

    def set_attribute(self, target, name, value):
        if not name.startswith("weir."):
            plain = isinstance(value, (bool, int, float, list))
            self._span(target)[name] = value if plain else str(value)

    def add_event(self, target, name, attributes):
        self._span(target)

    def set_error(self, message):
        self._span("hook")["error.message"] = message

    def set_call_error(self, message):
        self._span("upstream")["error.message"] = message

    def describe_call(self, kind, name):
        pass

    def log(self, level, message):
        self._seen["logs"].append(message)

    def panicked(self, message):
        self._seen["failure"] = message

    def now(self):
        return self._start + self._ticks

    def monotonic(self):
        self._ticks += 1000
        return self._ticks

    def random(self):
        return int.from_bytes(_urandom(8), "big")

    def random_bytes(self, count):
        return _urandom(min(count, 4096))

    def request_id(self):
        return self._seen.get("request_id", "made-by-weir")

    def set_request_id(self, request_id):
        self._seen["request_id"] = request_id

    def may_call(self, upstream):
        return any(call["upstream"] == upstream for call in self._calls)

    def send(self, upstream, method, path, fields, body, timeout_ms):
        if not self.may_call(upstream):
            raise Err("not-allowed")
        self._seen["calls"].append(f"{method} {upstream} {path}")
        for call in self._calls:
            said = (call["upstream"], call.get("method") or method, call.get("path") or path)
            if said == (upstream, method, path):
                break
        else:
            raise Err("connect")
        if call.get("error"):
            raise Err(call["error"].replace("_", "-"))
        reply = call["reply"]
        handle = _Head(_lines(reply.get("headers")), reply.get("body"), 1 << 40)
        handle.status = lambda: reply.get("status", 200)
        return handle

    def digest(self, hash, data):
        return hashlib.new(hash, data).digest()

    def hmac(self, hash, key, data):
        return hmac.new(key, data, hash).digest()

    def verify(self, algorithm, spki, message, signature):
        raise RuntimeError("crypto.verify is of Weir alone: write `native: false` beside such a case")

    def equal(self, one, other):
        return hmac.compare_digest(one, other)


class _Exchange:
    def __init__(self, host):
        self._kept = {}
        self.request_id = host.request_id
        self.set_request_id = host.set_request_id

    def get(self, key):
        return self._kept.get(key)

    def set(self, key, value):
        self._kept[key] = value


class _Values:
    def __init__(self, values):
        self._values = values

    def get(self, key):
        return self._values.get(key)

    def set(self, key, value, ttl_ms):
        self._values[key] = value

    def delete(self, key):
        return self._values.pop(key, None) is not None

    def add(self, key, delta, ttl_ms):
        total = int(self._values.get(key, b"0")) + delta
        self._values[key] = str(total).encode()
        return total

    def compare_and_set(self, key, expected, value, ttl_ms):
        if self._values.get(key) != expected:
            return False
        self._values[key] = value
        return True


class _Metrics:
    def __init__(self):
        self._count = 0

    def counter(self, *_):
        self._count += 1
        return self._count

    gauge = histogram = counter

    def add(self, *_):
        pass

    set = add


def run(plugin, config=None, request=None, response=None, calls=(), kv=None, now=NOW):
    """Runs an exchange through a plugin: `request` (method, url, headers, body, client_certificate),
    `response` (status, headers, body: the upstream's) and `calls` (what upstreams reply to calls of its
    own). A body that is a list comes in these pieces. `kv`, a `dict` that several runs may share, has the
    values of earlier exchanges (as bytes); `now` is when this one begins, in nanoseconds. Gives what a case
    can speak of: `action`, `request`, `upstream`, `response`, `spans`, `logs`, `calls`, `failure` and
    `refused`."""
    seen = {"action": "continue", "spans": {}, "logs": [], "calls": []}
    host = _Host(calls, seen, {} if kv is None else kv, now)
    weir._host = host
    weir.plugin(plugin)
    bound = Bound()
    try:
        bound.configure(json.dumps({} if config is None else config))
    except ValueError as error:
        seen["refused"] = str(error)
        return seen
    seen["spans"] = {}
    try:
        _exchange(bound, host, seen, request or {}, response or {})
    except Exception as error:
        seen.setdefault("failure", told(error))
        seen["action"] = "fail"
        seen["response"] = {"status": 500, "headers": [], "body": ""}
    return seen


def _exchange(bound, host, seen, request, response):
    head = _Request(request, bound.body("request_body"))
    answer = None

    def call(hook, place, kind, handle):
        if not bound.has(hook):
            return None
        host.at(place)
        answered = bound.head(hook, kind, handle)
        handle.settle()
        if not answered:
            return None
        if handle.streamed:
            handle.answer["body"] = made(handle.answer["status"])
        return handle.answer

    def made(status):
        """The body of an answer that comes piece by piece."""
        out = b""
        if head.method() == "HEAD" or status in (204, 304):
            return out
        for _ in range(MOST_PIECES):
            chunk = _Chunk(b"")
            flow = bound.piece("on_answer_body", chunk)
            if flow == "pass":
                break
            if flow != "replace":
                raise RuntimeError("the body was broken off")
            out += chunk.out
        return out

    def pieces(side, place, handle):
        if bound.body(side) != "stream" or handle.skips or not handle.bytes:
            return None
        host.at(place)
        out = b""
        for index, piece in enumerate(handle.pieces):
            chunk = _Chunk(piece, index == len(handle.pieces) - 1)
            flow = bound.piece(f"on_{side}", chunk)
            if flow == "abort":
                raise RuntimeError("the body was broken off")
            if flow == "respond":
                if chunk.streamed:
                    chunk.answer["body"] = made(chunk.answer["status"])
                return chunk.answer
            out += chunk.out if flow == "replace" else piece
        handle.bytes = out
        return None

    answer = call("on_pre_request", "pre_request", weir.Request, head)
    head.routed = True
    answer = answer or call("on_request", "request", weir.Request, head)
    answer = answer or pieces("request_body", "request", head)
    if answer:
        seen["action"] = "respond"
    elif head.upstream:
        seen["action"] = "reroute"
    has_head = getattr(weir._plugin, "request_head", False)
    back = _Response(answer or response, bound.body("response_body"), head, has_head)
    replaced = call("on_response", "response", weir.Response, back)
    if not replaced:
        pieces("response_body", "response", back)
    sent = head.bytes.decode(errors="replace")
    seen["request"] = {"url": head.url(), "headers": head.fields, "body": sent}
    seen["upstream"] = head.upstream
    if not replaced:
        replaced = {"status": back.status(), "headers": back.fields, "body": back.bytes}
    seen["response"] = {**replaced, "body": replaced["body"].decode(errors="replace")}


def main():
    """Cases as JSON come in, what was seen goes out."""
    cases = json.load(sys.stdin)
    out = sys.stdout
    import standard  # noqa: F401  (before the plugin imports what it changes)
    import plugin  # noqa: F401  (marks the class)

    marked = weir._plugin
    observed = []
    keys = ("config", "request", "response", "calls")
    weir._running = True
    for case in cases:
        observed.append(run(marked, **{key: case[key] for key in keys if key in case}))
    weir._running = False
    out.write(f"\n{json.dumps(observed)}\n")


if __name__ == "__main__":
    main()
