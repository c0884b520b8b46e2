"""The marked class as the exports of the world: what the host calls, in what the class has. Not for the
plugin to import."""

import json
import re

import weir
from weir import ABORT, DROP, STREAMED, Answer, Chunk

HOOKS = (
    "on_pre_request", "on_request", "on_response", "on_request_body", "on_response_body",
    "on_answer_body",
)  # fmt: skip
#: What is likely meant as one.
LIKE_A_HOOK = re.compile(r"on_?(pre_?)?(http_?)?(request|response|answer)", re.IGNORECASE)


def fault(marked):
    """What would never be called is a fault: a guard that is misspelt would let everybody in."""
    if marked is None:
        return "no class of src/plugin.py is marked by @plugin"
    there = f"there are {', '.join(HOOKS)}"
    for name in dir(marked):
        if LIKE_A_HOOK.match(name) and name not in HOOKS:
            return f"{name} is no hook; {there}"
    if not any(callable(getattr(marked, name, None)) for name in HOOKS):
        return f"the class has no hook; {there}"
    for side in ("request_body", "response_body"):
        most = getattr(marked, side, None)
        if most is not None and not (isinstance(most, int) and most >= 0):
            return f"{side} is to be a number of bytes"
    return None


def _kind(value):
    kind = type(value).__name__
    return f"a {kind}: a hook cannot be async" if kind == "coroutine" else kind


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
        # Once, as the module is built: an instance has no time to lose.
        self._fault = fault(weir._plugin)

    def configure(self, config):
        """Makes the instance. What this raises as ValueError is the refusal's text."""
        if self._fault is not None:
            raise ValueError(self._fault)
        given = [json.loads(config)] if weir._plugin.__init__ is not object.__init__ else []
        try:
            self._instance = weir._plugin(*given)
        except ValueError:
            raise
        except Exception as error:
            raise ValueError(told(error)) from error

    @staticmethod
    def config_schema():
        schema = getattr(weir._plugin, "config_schema", None)
        return json.dumps(schema) if schema else ""

    @staticmethod
    def has(hook):
        return callable(getattr(weir._plugin, hook, None))

    def body(self, side):
        """`stream`, so many bytes, or None."""
        return "stream" if self.has(f"on_{side}") else getattr(weir._plugin, side, None)

    def head(self, hook, Kind, handle):
        """Runs a hook of a head: whether it answered."""
        return self._failing(lambda: self._head(hook, Kind, handle))

    def _head(self, hook, Kind, handle):
        if not self.has(hook):
            # Whoever has a hook for a body's pieces is called for its head too.
            return False
        answer = getattr(self._instance, hook)(Kind(handle))
        if answer is None:
            return False
        if not isinstance(answer, Answer):
            raise TypeError(f"{hook} returned neither None nor an Answer, but {_kind(answer)}")
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
            raise TypeError(f"{hook} returned no piece, but {_kind(flow)}")
        chunk.write(flow)
        return "replace"

    @staticmethod
    def _respond(handle, answer):
        head = (weir._count(answer.status), weir._fields(answer.headers))
        if answer.body is STREAMED:
            weir._ask("answer", handle.respond_streamed, *head)
        else:
            weir._ask("answer", handle.respond, *head, weir._bytes(answer.body))

    @staticmethod
    def _failing(run):
        try:
            return run()
        except Exception as error:
            weir._host.panicked(told(error))
            raise
