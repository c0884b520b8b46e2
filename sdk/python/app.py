"""What the module is made of: the marked class, bound to the host. Not for the plugin to import."""

from componentize_py_types import Err
from wit_world import (
    Action,
    BodyMode_Buffer,
    BodyMode_None_,
    BodyMode_Stream,
    Flow,
    Hooks,
    Interests,
)
from wit_world.imports import (
    clock,
    crypto,
    exchange,
    http_client,
    kv,
    log,
    metrics,
    random,
    span,
)

import weir
from weir.bound import Bound


def _value(value):
    if isinstance(value, bool):
        return span.Value_Boolean(value)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return span.Value_Integer(value)
    if isinstance(value, float):
        return span.Value_Float(value)
    if isinstance(value, (list, tuple)):
        return span.Value_Texts([str(text) for text in value])
    return span.Value_Text(str(value))


class Host:
    """The host's calls in plain values."""

    exchange = exchange
    kv = kv
    metrics = metrics

    @staticmethod
    def set_attribute(target, name, value):
        span.set_attribute(span.Target[target.upper()], name, _value(value))

    @staticmethod
    def add_event(target, name, attributes):
        attributes = [(key, _value(value)) for key, value in attributes]
        span.add_event(span.Target[target.upper()], name, attributes)

    set_error = staticmethod(span.set_error)
    set_call_error = staticmethod(span.set_call_error)
    panicked = staticmethod(log.panicked)
    may_call = staticmethod(http_client.may_call)
    send = staticmethod(http_client.send)
    now = staticmethod(clock.now)
    monotonic = staticmethod(clock.monotonic)
    random_bytes = staticmethod(random.bytes)
    random = staticmethod(random.next)
    equal = staticmethod(crypto.equal)

    @staticmethod
    def describe_call(kind, name):
        span.describe_call(span.CallKind[kind.upper()], name)

    @staticmethod
    def log(level, message):
        log.write(log.Level[level.upper()], message)

    @staticmethod
    def digest(hash, data):
        return crypto.digest(crypto.Hash[hash.upper()], data)

    @staticmethod
    def hmac(hash, key, data):
        return crypto.hmac(crypto.Hash[hash.upper()], key, data)

    @staticmethod
    def verify(algorithm, spki, message, signature):
        algorithm = crypto.Algorithm[algorithm.upper()]
        return crypto.verify(algorithm, crypto.PublicKey_Spki(spki), message, signature)


weir._host = Host

import standard  # noqa: E402  (before the plugin imports what it changes)
import plugin  # noqa: E402, F401  (marks the class)

bound = Bound()


def _body(side):
    wanted = bound.body(side)
    if wanted == "stream":
        return BodyMode_Stream()
    return BodyMode_None_() if wanted is None else BodyMode_Buffer(wanted)


class WitWorld:
    """The world's exports."""

    def configure(self, config):
        standard.begin()
        try:
            bound.configure(config)
        except ValueError as error:
            raise Err(str(error)) from None
        hooks = Hooks(0)
        for name, hook in [
            ("on_pre_request", Hooks.PRE_REQUEST),
            ("on_request", Hooks.REQUEST),
            ("on_response", Hooks.RESPONSE),
        ]:
            if bound.has(name):
                hooks |= hook
        head = getattr(weir._plugin, "request_head", False)
        decoded = getattr(weir._plugin, "decoded", False)
        return Interests(hooks, _body("request_body"), _body("response_body"), head, decoded)

    def config_schema(self):
        return bound.config_schema()

    def on_pre_request(self, request):
        return self._head("on_pre_request", weir.Request, request)

    def on_request(self, request):
        return self._head("on_request", weir.Request, request)

    def on_response(self, response):
        return self._head("on_response", weir.Response, response)

    def on_request_body(self, chunk):
        return Flow[bound.piece("on_request_body", chunk).upper()]

    def on_response_body(self, chunk):
        return Flow[bound.piece("on_response_body", chunk).upper()]

    def on_answer_body(self, chunk):
        return Flow[bound.piece("on_answer_body", chunk).upper()]

    @staticmethod
    def _head(hook, Kind, handle):
        return Action.RESPOND if bound.head(hook, Kind, handle) else Action.PROCEED
