"""Weir's SDK for plugins in Python.

A plugin is a class in `src/plugin.py`, marked by `@plugin`. It wants the hooks that it has methods for,
and no other is ever called:

    from weir import plugin

    @plugin
    class Tag:
        config_schema = {"type": "object"}   # optional; `weir plugin inspect` shows it
        request_body = 65536                 # optional: hold so many bytes back for on_request
        response_body = 65536                # optional: the same for on_response
        request_head = True                  # optional: for response.request_header
        decoded = True                       # optional: see bodies without gzip, deflate, zstd

        def __init__(self, config): ...           # optional; what it raises refuses the configuration
        def on_pre_request(self, request): ...    # before routing, in a listener's chain
        def on_request(self, request): ...        # routed, before the upstream is called
        def on_response(self, response): ...      # the head has arrived, or an answer was made instead
        def on_request_body(self, chunk): ...     # a piece of the request's body, which streams
        def on_response_body(self, chunk): ...    # a piece of the response's body
        def on_answer_body(self, chunk): ...      # the end of an answer that is `STREAMED`

A hook of a head returns None to go on, or an `Answer`. A hook of a piece returns None to let it pass,
text or bytes to send instead of it, `DROP`, `ABORT`, or (of a request) an `Answer`. Of an answer that is
`STREAMED`, what `on_answer_body` returns goes out before its end, and it is called again once the client
has taken that, until it returns None. What a hook raises fails it: the operator's `on_error` decides what
becomes of the request, and message, file and line are on the hook's span and in the log.

The contract below this is `sdk/wit/weir.wit`, where each call is described to the end.
"""

import json
import operator
import re
from dataclasses import dataclass, field

# What calls reach: the host in the sandbox, or a fake one in tests. Set by `app.py` and `weir.testing`.
_host = None
# Whether it can be called: not while the module is built.
_running = False
# The class that `@plugin` marked.
_plugin = None

#: Of a piece: nothing goes on instead of it.
DROP = object()
#: Of a piece: the body is broken off, and its receiver can tell.
ABORT = object()
#: Of an `Answer`, as its body: it comes of `on_answer_body`, piece by piece.
STREAMED = object()


def plugin(marked):
    """Says which class is the plugin."""
    global _plugin
    _plugin = marked
    return marked


@dataclass
class Answer:
    """What is sent instead of what would have been: status 200 to 599, headers (a mapping to texts or lists
    of texts, or pairs), and a body of text or bytes, or `STREAMED`."""

    status: int
    headers: dict | list = field(default_factory=dict)
    body: str | bytes | object = b""


#: What to do about what an author meets first.
WAY_OUT = {
    "not-buffered": "ask for it by `request_body = BYTES` or `response_body = BYTES` in the class",
    "not-allowed": "is it listed in the `upstreams` of the plugin?",
    "too-many": "a hook makes as many calls as `limits.calls` says; a plugin has 64 metrics, of 8 labels and 32 bounds",
    "too-late": "only on_pre_request comes before routing, and only a request can be answered, until its response has begun",
    "forbidden": "the field belongs to the proxy",
    "immutable": "an answer has been given already, it is a part (206), or a trailer of a piece that is not the last",
    "invalid-status": "from 200 to 599",
}


class Refused(Exception):
    """The host refused something; `reason` is its word in the WIT, such as `forbidden`, `timeout`."""

    def __init__(self, what, reason):
        way_out = f" ({WAY_OUT[reason]})" if reason in WAY_OUT else ""
        super().__init__(f"{what}: {reason}{way_out}")
        self.reason = reason


def _reason(value):
    """The word of the WIT for an error of the host's."""
    inner = getattr(value, "value", None)
    name = getattr(value, "name", None)
    if isinstance(name, str):
        return name.lower().replace("_", "-")
    if isinstance(inner, str):
        return inner
    if inner is not None:
        return _reason(inner)
    if isinstance(value, str):
        return value
    last = type(value).__name__.rsplit("_", 1)[-1]
    return re.sub(r"(?<!^)(?=[A-Z])", "-", last).lower()


def _ask(what, call, *arguments):
    try:
        return call(*arguments)
    except Exception as error:
        if isinstance(error, Refused) or type(error).__name__ != "Err":
            raise
        raise Refused(what, _reason(error.value)) from None


# What has the wrong type is told here: below it would be a trap without words.


def _bytes(data):
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"text or bytes are wanted, not {type(data).__name__}")


def _name(name):
    if not isinstance(name, str):
        raise TypeError(f"a text is wanted, not {type(name).__name__}: {name!r}")
    return name


def _value(name, value):
    """A header's value as text."""
    if not isinstance(value, (str, int, float)):
        raise TypeError(f"{_name(name)}: a text is wanted, not {type(value).__name__}")
    return str(value)


def _count(number):
    number = operator.index(number)
    if number < 0:
        raise ValueError(f"{number}: less than nothing")
    return number


def _one_of(what, word, words):
    if word not in words:
        raise ValueError(f"{word}: no {what} of the host's; there are {', '.join(words)}")
    return word


def _text(data):
    return data.decode(errors="replace")


def _fields(headers):
    lines = []
    for name, values in headers.items() if hasattr(headers, "items") else headers:
        for value in values if isinstance(values, list) else [values]:
            lines.append((name, _value(name, value).encode()))
    return lines


class _Head:
    """What heads of requests and responses have alike."""

    def __init__(self, handle):
        self._handle = handle

    def header(self, name):
        """The first value of a field, by its name in any case; None where there is none."""
        return self._handle.header(_name(name))

    def header_values(self, name):
        """All values of a field, as texts, in order."""
        return [_text(value) for value in self._handle.header_values(_name(name))]

    def headers(self):
        """All fields: (name in lower case, value as text)."""
        return [(name, _text(value)) for name, value in self._handle.headers()]

    def set_header(self, name, value):
        """Replaces all values of a field by one."""
        _ask(name, self._handle.set_header, name, _value(name, value))

    def add_header(self, name, value):
        """Adds a value beside those there are."""
        _ask(name, self._handle.add_header, name, _value(name, value))

    def remove_header(self, name):
        """Removes all values of a field."""
        _ask(name, self._handle.remove_header, _name(name))

    def body(self):
        """The whole body, as bytes, in the encoding that `content-encoding` says."""
        return _ask("body", self._handle.body)

    def set_body(self, body):
        """Replaces the body, by text or bytes."""
        _ask("body", self._handle.set_body, _bytes(body))

    def skip_body(self):
        """Where pieces are wanted: lets this body by."""
        self._handle.skip_body()


class Request(_Head):
    """The request, as the hooks before this one left it."""

    @property
    def method(self):
        return self._handle.method()

    @property
    def scheme(self):
        """`http` or `https`."""
        return self._handle.scheme()

    @property
    def authority(self):
        """Host and, where given, port."""
        return self._handle.authority()

    @property
    def path(self):
        """The path without the query."""
        return self._handle.path()

    @property
    def query(self):
        """What follows `?`, or None."""
        return self._handle.query()

    @property
    def client_address(self):
        """The client's address, without port."""
        return self._handle.client_address()

    @property
    def client_certificate(self):
        """The certificate that the peer showed, which one of the listener's authorities has signed, or
        None: `subject` and `issuer` (by RFC 4514), `sha256` (in upper-case hexadecimal), and
        `alternative_names` with lists `dns`, `uri`, `email` and `ip`."""
        return self._handle.client_certificate()

    def reroute(self, authority=None, path=None, upstream=None):
        """Changes what the router is going to see; `path` with its query."""
        _ask("reroute", self._handle.reroute, authority, path, upstream)


class Response(_Head):
    """The response, as the hooks before this one left it."""

    @property
    def status(self):
        return self._handle.status()

    @status.setter
    def status(self, status):
        _ask("status", self._handle.set_status, _count(status))

    def request_header(self, name):
        """A field of the request as it went to the upstream; needs `request_head = True`."""
        return self._handle.request_header(_name(name))

    @property
    def request_method(self):
        return self._handle.request_method()

    @property
    def request_path(self):
        return self._handle.request_path()


class Chunk:
    """A piece of a body, of 64 KiB at most."""

    def __init__(self, handle):
        self._handle = handle

    def data(self):
        """Its bytes."""
        return self._handle.data()

    def __len__(self):
        return self._handle.len()

    @property
    def is_last(self):
        """Whether nothing comes behind it but trailers."""
        return self._handle.is_last()

    def write(self, data):
        """Adds to what goes on instead of it, before what the hook returns."""
        _ask("write", self._handle.write, _bytes(data))

    def trailers(self):
        """The trailers behind the last piece: (name, value as text)."""
        return [(name, _text(value)) for name, value in self._handle.trailers()]

    def set_trailer(self, name, value):
        _ask(name, self._handle.set_trailer, name, _value(name, value))

    def remove_trailer(self, name):
        _ask(name, self._handle.remove_trailer, _name(name))


class _Span:
    def __init__(self, target):
        self._target = target

    def set_attribute(self, name, value):
        """Sets an attribute: a text, a list of texts, a truth value or a number."""
        _host.set_attribute(self._target, _name(name), value)

    def add_event(self, name, attributes=None):
        """Adds an event with the present time."""
        _host.add_event(self._target, _name(name), list((attributes or {}).items()))


class _CallSpan(_Span):
    def describe(self, kind, name):
        """Says what the call to the upstream is: `http` or `llm`, and the name of its span."""
        _host.describe_call(_one_of("kind of call", kind, ("http", "llm")), str(name))

    def set_error(self, message):
        """Marks the call's span as failed, for an error that its status does not tell."""
        _host.set_call_error(str(message))


class _HookSpan(_Span):
    #: The span of the call to the upstream.
    upstream = _CallSpan("upstream")

    def set_error(self, message):
        """Marks the hook's span as failed, without failing the hook."""
        _host.set_error(str(message))


#: The span of the hook that is running; `span.upstream` is that of the call to the upstream.
span = _HookSpan("hook")


class log:
    """Lines in Weir's log and in the trace."""

    @staticmethod
    def trace(message):
        _host.log("trace", str(message))

    @staticmethod
    def debug(message):
        _host.log("debug", str(message))

    @staticmethod
    def info(message):
        _host.log("info", str(message))

    @staticmethod
    def warn(message):
        _host.log("warn", str(message))

    @staticmethod
    def error(message):
        _host.log("error", str(message))


class exchange:
    """The exchange a hook works on."""

    @staticmethod
    def request_id():
        return _host.exchange.request_id()

    @staticmethod
    def set_request_id(request_id):
        _host.exchange.set_request_id(str(request_id))

    @staticmethod
    def get(key):
        """What an earlier hook of this plugin left, in the same exchange."""
        return _host.exchange.get(_name(key))

    @staticmethod
    def set(key, value):
        """Leaves a text for this plugin's later hooks of the exchange."""
        _host.exchange.set(_name(key), _value(key, value))


class kv:
    """Values that all instances of the plugin share, on all workers; bytes, each with a time to live.

    Kept in Redis, each function may raise `Refused` with the reason `unavailable`.
    """

    @staticmethod
    def get(key):
        """Bytes, or None."""
        return _ask(key, _host.kv.get, _name(key))

    @staticmethod
    def set(key, value, ttl_ms=0):
        _ask(key, _host.kv.set, _name(key), _bytes(value), _count(ttl_ms))

    @staticmethod
    def delete(key):
        """Whether there was one."""
        return _ask(key, _host.kv.delete, _name(key))

    @staticmethod
    def add(key, delta, ttl_ms=0):
        """Adds to a number, atomically, and gives the sum."""
        return _ask(key, _host.kv.add, _name(key), operator.index(delta), _count(ttl_ms))

    @staticmethod
    def compare_and_set(key, expected, value, ttl_ms=0):
        """Sets a value where the present one is the expected one (None: where there is none)."""
        expected = None if expected is None else _bytes(expected)
        arguments = (_name(key), expected, _bytes(value), _count(ttl_ms))
        return _ask(key, _host.kv.compare_and_set, *arguments)


class Reply:
    """What an upstream replied, whole."""

    def __init__(self, handle):
        self._handle = handle

    @property
    def status(self):
        return self._handle.status()

    def header(self, name):
        return self._handle.header(_name(name))

    def headers(self):
        return [(name, _text(value)) for name, value in self._handle.headers()]

    def body(self):
        return self._handle.body()

    def json(self):
        return json.loads(self.body())


class http:
    """Calls of the plugin's own to upstreams that the operator lets it call. They look blocking."""

    @staticmethod
    def may_call(upstream):
        return _host.may_call(_name(upstream))

    @staticmethod
    def send(upstream, method="GET", path="/", headers=None, body=b"", timeout_ms=0):
        """Raises `Refused` where there is no reply, with `reason` as in the WIT."""
        names = [_name(name) for name in (upstream, method, path)]
        arguments = (*names, _fields(headers or {}), _bytes(body), _count(timeout_ms))
        return Reply(_ask(upstream, _host.send, *arguments))


class _Metric:
    def __init__(self, number):
        self._number = number

    def add(self, value=1, *labels):
        _host.metrics.add(self._number, [str(label) for label in labels], float(value))

    def set(self, value, *labels):
        _host.metrics.set(self._number, [str(label) for label in labels], float(value))

    observe = add


class metrics:
    """Numbers of the plugin's own, on Weir's `/metrics`. Define them in `__init__`."""

    @staticmethod
    def counter(name, help, labels=()):
        return _Metric(_ask(name, _host.metrics.counter, name, help, list(labels)))

    @staticmethod
    def gauge(name, help, labels=()):
        return _Metric(_ask(name, _host.metrics.gauge, name, help, list(labels)))

    @staticmethod
    def histogram(name, help, bounds, labels=()):
        bounds = [float(bound) for bound in bounds]
        return _Metric(_ask(name, _host.metrics.histogram, name, help, list(labels), bounds))


HASHES = ("sha256", "sha384", "sha512")


class crypto:
    """Cryptography by the host. Data are texts or bytes."""

    @staticmethod
    def digest(hash, data):
        """`hash`: `sha256`, `sha384` or `sha512`."""
        return _host.digest(_one_of("hash", hash, HASHES), _bytes(data))

    @staticmethod
    def hmac(hash, key, data):
        return _host.hmac(_one_of("hash", hash, HASHES), _bytes(key), _bytes(data))

    @staticmethod
    def verify(algorithm, spki, message, signature):
        """Whether a signature is right, by a `SubjectPublicKeyInfo` in DER."""
        return _host.verify(algorithm, bytes(spki), _bytes(message), bytes(signature))

    @staticmethod
    def equal(one, other):
        """In a time that tells only the lengths."""
        return _host.equal(_bytes(one), _bytes(other))


class clock:
    """Time. `time` and `datetime` tell the same."""

    @staticmethod
    def now():
        """Nanoseconds since the Unix epoch."""
        return _host.now()

    @staticmethod
    def monotonic():
        """Nanoseconds from an arbitrary origin, never going back."""
        return _host.monotonic()


class random:
    """Random numbers, fit for keys. `os.urandom`, `secrets` and `uuid` are made of them."""

    @staticmethod
    def next():
        """64 random bits."""
        return _host.random()

    @staticmethod
    def bytes(count):
        return _host.random_bytes(_count(count))
