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

        def __init__(self, config): ...           # once an instance; what it raises refuses the configuration
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
import re
from dataclasses import dataclass, field

# What calls reach: the host in the sandbox, or a fake one in tests. Set by `app.py` and `weir.testing`.
_host = None
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
    """What is sent instead of what would have been: status 200 to 599, headers of texts or lists of
    texts, and a body of text or bytes, or `STREAMED`."""

    status: int
    headers: dict = field(default_factory=dict)
    body: str | bytes | object = b""


class Refused(Exception):
    """The host refused something; `reason` is its word in the WIT, such as `forbidden`, `timeout`."""

    def __init__(self, what, reason):
        super().__init__(f"{what}: {reason}")
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


def _bytes(data):
    return data.encode() if isinstance(data, str) else bytes(data)


def _text(data):
    return data.decode(errors="replace")


def _fields(headers):
    lines = []
    for name, values in headers.items():
        for value in values if isinstance(values, list) else [values]:
            lines.append((name, _bytes(str(value))))
    return lines


class _Head:
    """What heads of requests and responses have alike."""

    def __init__(self, handle):
        self._handle = handle

    def header(self, name):
        """The first value of a field, by its name in any case; None where there is none."""
        return self._handle.header(name)

    def header_values(self, name):
        """All values of a field, as texts, in order."""
        return [_text(value) for value in self._handle.header_values(name)]

    def headers(self):
        """All fields: (name in lower case, value as text)."""
        return [(name, _text(value)) for name, value in self._handle.headers()]

    def set_header(self, name, value):
        """Replaces all values of a field by one."""
        _ask(name, self._handle.set_header, name, str(value))

    def add_header(self, name, value):
        """Adds a value beside those there are."""
        _ask(name, self._handle.add_header, name, str(value))

    def remove_header(self, name):
        """Removes all values of a field."""
        _ask(name, self._handle.remove_header, name)

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
        _ask("status", self._handle.set_status, status)

    def request_header(self, name):
        """A field of the request as it went to the upstream; needs `request_head = True`."""
        return self._handle.request_header(name)

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
        _ask(name, self._handle.set_trailer, name, str(value))

    def remove_trailer(self, name):
        _ask(name, self._handle.remove_trailer, name)


class _Span:
    def __init__(self, target):
        self._target = target

    def set_attribute(self, name, value):
        """Sets an attribute: a text, a list of texts, a truth value or a number."""
        _host.set_attribute(self._target, name, value)

    def add_event(self, name, attributes=None):
        """Adds an event with the present time."""
        _host.add_event(self._target, name, list((attributes or {}).items()))


class _CallSpan(_Span):
    def describe(self, kind, name):
        """Says what the call to the upstream is: `http` or `llm`, and the name of its span."""
        _host.describe_call(kind, name)

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
        _host.exchange.set_request_id(request_id)

    @staticmethod
    def get(key):
        """What an earlier hook of this plugin left, in the same exchange."""
        return _host.exchange.get(key)

    @staticmethod
    def set(key, value):
        """Leaves a text for this plugin's later hooks of the exchange."""
        _host.exchange.set(key, str(value))


class kv:
    """Values that all instances of the plugin share, on all workers; bytes, each with a time to live.

    Kept in Redis, each function may raise `Refused` with the reason `unavailable`.
    """

    @staticmethod
    def get(key):
        """Bytes, or None."""
        return _ask(key, _host.kv.get, key)

    @staticmethod
    def set(key, value, ttl_ms=0):
        _ask(key, _host.kv.set, key, _bytes(value), ttl_ms)

    @staticmethod
    def delete(key):
        """Whether there was one."""
        return _ask(key, _host.kv.delete, key)

    @staticmethod
    def add(key, delta, ttl_ms=0):
        """Adds to a number, atomically, and gives the sum."""
        return _ask(key, _host.kv.add, key, delta, ttl_ms)

    @staticmethod
    def compare_and_set(key, expected, value, ttl_ms=0):
        """Sets a value where the present one is the expected one (None: where there is none)."""
        expected = None if expected is None else _bytes(expected)
        return _ask(key, _host.kv.compare_and_set, key, expected, _bytes(value), ttl_ms)


class Reply:
    """What an upstream replied, whole."""

    def __init__(self, handle):
        self._handle = handle

    @property
    def status(self):
        return self._handle.status()

    def header(self, name):
        return self._handle.header(name)

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
        return _host.may_call(upstream)

    @staticmethod
    def send(upstream, method="GET", path="/", headers=None, body=b"", timeout_ms=0):
        """Raises `Refused` where there is no reply, with `reason` as in the WIT."""
        arguments = (upstream, method, path, _fields(headers or {}), _bytes(body), timeout_ms)
        return Reply(_ask(upstream, _host.send, *arguments))


class _Metric:
    def __init__(self, number):
        self._number = number

    def add(self, value=1, *labels):
        _host.metrics.add(self._number, list(labels), float(value))

    def set(self, value, *labels):
        _host.metrics.set(self._number, list(labels), float(value))

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


class crypto:
    """Cryptography by the host. Data are texts or bytes."""

    @staticmethod
    def digest(hash, data):
        """`hash`: `sha256`, `sha384` or `sha512`."""
        return _host.digest(hash, _bytes(data))

    @staticmethod
    def hmac(hash, key, data):
        return _host.hmac(hash, _bytes(key), _bytes(data))

    @staticmethod
    def verify(algorithm, spki, message, signature):
        """Whether a signature is right, by a `SubjectPublicKeyInfo` in DER."""
        return _host.verify(algorithm, bytes(spki), _bytes(message), bytes(signature))

    @staticmethod
    def equal(one, other):
        """In a time that tells only the lengths."""
        return _host.equal(_bytes(one), _bytes(other))


class clock:
    """Time. What Python has of its own does not work in the sandbox."""

    @staticmethod
    def now():
        """Nanoseconds since the Unix epoch."""
        return _host.now()

    @staticmethod
    def monotonic():
        """Nanoseconds from an arbitrary origin, never going back."""
        return _host.monotonic()


class random:
    """Random numbers, fit for keys. What Python has of its own repeats itself in the sandbox."""

    @staticmethod
    def next():
        """64 random bits."""
        return _host.random()

    @staticmethod
    def bytes(count):
        return _host.random_bytes(count)


def told(error):
    """What an error says, with its type, file and line."""
    kind = type(error).__name__
    text = f"{kind}: {error}" if str(error) else kind
    place = ""
    # Not by `traceback`, which looks for the sources: there are no files in the sandbox.
    entry = error.__traceback__
    while entry is not None:
        file = entry.tb_frame.f_code.co_filename
        if _own(file):
            # In a module the sources' folder is the second of its path.
            name = re.sub(r"^(/1/|.*/src/)", "src/", file)
            place = f", at {name}:{entry.tb_lineno}"
        entry = entry.tb_next
    return text + place


def _own(file):
    """Whether a file is the author's: neither the SDK's nor Python's."""
    return file.startswith("/1/") or re.search(r"/src/(?!.*/site-packages/)", file) is not None


class Bound:
    """The marked class behind the world's exports, in plain values."""

    def __init__(self):
        self._instance = None

    def configure(self, config):
        """Makes the instance. What this raises as ValueError is the refusal's text."""
        try:
            self._instance = _plugin(json.loads(config))
        except ValueError:
            raise
        except Exception as error:
            raise ValueError(told(error)) from error

    @staticmethod
    def config_schema():
        schema = getattr(_plugin, "config_schema", None)
        return json.dumps(schema) if schema else ""

    @staticmethod
    def has(hook):
        return callable(getattr(_plugin, hook, None))

    def body(self, side):
        """`stream`, so many bytes, or None."""
        return "stream" if self.has(f"on_{side}") else getattr(_plugin, side, None)

    def head(self, hook, Kind, handle):
        """Runs a hook of a head: whether it answered."""
        return self._failing(lambda: self._head(hook, Kind, handle))

    def _head(self, hook, Kind, handle):
        answer = getattr(self._instance, hook)(Kind(handle))
        if answer is None:
            return False
        if not isinstance(answer, Answer):
            raise TypeError(f"{hook} returned neither None nor an Answer")
        self._respond(handle, answer)
        return True

    def piece(self, hook, handle):
        """Runs a hook of a piece: `pass`, `replace`, `respond` or `abort`."""
        return self._failing(lambda: self._piece(hook, handle))

    def _piece(self, hook, handle):
        chunk = Chunk(handle)
        flow = getattr(self._instance, hook)(chunk)
        if flow is None:
            return "pass"
        if flow is DROP:
            return "replace"
        if flow is ABORT:
            return "abort"
        if isinstance(flow, Answer):
            self._respond(handle, flow)
            return "respond"
        if not isinstance(flow, (str, bytes, bytearray)):
            raise TypeError(f"{hook} returned what is no piece")
        chunk.write(flow)
        return "replace"

    @staticmethod
    def _respond(handle, answer):
        fields = _fields(answer.headers)
        if answer.body is STREAMED:
            _ask("answer", handle.respond_streamed, answer.status, fields)
        else:
            _ask("answer", handle.respond, answer.status, fields, _bytes(answer.body))

    @staticmethod
    def _failing(run):
        try:
            return run()
        except Exception as error:
            _host.panicked(told(error))
            raise
