"""What Python has of its own, made of the host's. Without WASI its clock and what it prints would trap, and its
random numbers would be the same in each instance. Not for the plugin to import; while the module is built
each is Python's own."""

import builtins
import datetime
import io
import os
import random
import sys
import time
from importlib.machinery import PathFinder

import weir


def _either(own, hosts):
    """The host's, once it can be called."""
    return lambda *given: hosts(*given) if weir._running else own(*given)


time.time_ns = _either(time.time_ns, weir.clock.now)
time.time = _either(time.time, lambda: weir.clock.now() / 1e9)
for _name in ("monotonic", "perf_counter"):
    _own, _own_ns = getattr(time, _name), getattr(time, f"{_name}_ns")
    setattr(time, _name, _either(_own, lambda: weir.clock.monotonic() / 1e9))
    setattr(time, f"{_name}_ns", _either(_own_ns, weir.clock.monotonic))


class _Datetime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls):
        return cls.now(datetime.timezone.utc).replace(tzinfo=None)

    @classmethod
    def today(cls):
        return cls.now()


_Datetime.__name__ = _Datetime.__qualname__ = "datetime"
datetime.datetime = _Datetime


def _urandom(count):
    """The host gives 4096 at once."""
    pieces = (weir.random.bytes(min(4096, count - at)) for at in range(0, count, 4096))
    return b"".join(pieces)


# `random` has a name of its own for it, which `secrets` goes by.
os.urandom = random._urandom = _either(os.urandom, _urandom)


class _Lines(io.TextIOBase):
    """What is printed, as lines of the log."""

    def __init__(self, own, log):
        self._own = own
        self._log = log
        self._rest = ""

    def write(self, text):
        if not weir._running:
            return self._own.write(text)
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._log(line)
        return len(text)

    def flush(self):
        if not weir._running:
            self._own.flush()


sys.stdout = _Lines(sys.stdout, weir.log.info)
sys.stderr = _Lines(sys.stderr, weir.log.warn)


def _none(name, why):
    def call(*_, **__):
        raise RuntimeError(f"{name}: {why}")

    return call


def begin():
    """An instance begins in the sandbox, which was built until now."""
    weir._running = True
    random.seed(weir.random.next())
    builtins.open = _none("open", "there are no files in the sandbox")
    time.sleep = _none("time.sleep", "a hook runs to its end at once")
    # What is imported from now on would be looked for in files.
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not PathFinder]
