"""Processes, their cost, and the load on them.

Knows nothing of who races: it starts programs on a core, reads what the kernel says they used, and
runs one burst of requests.
"""

import ctypes
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
# What races: what `make build` leaves, or WEIR_BINARY of the environment, as of `make profiled`.
WEIR = Path(os.environ.get("WEIR_BINARY") or TARGET / "release/weir")

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class Failure(Exception):
    """The race cannot go on, or its figures would not stand."""


def progress(text):
    print(text, file=sys.stderr, flush=True)


def missed(result):
    """What was not reached of a result's targets."""
    if not result["targets"]:
        return ["no bound was measured"]
    return [target["what"] for target in result["targets"] if not target["reached"]]


def add_common(parser, name, measured="proxy"):
    """What every race takes: cores, binary, where the figures go, and whether bounds are strict."""
    parser.add_argument("--cores", type=lambda text: [int(core) for core in text.split(",")],
                        metavar=f"{measured.upper()},LOAD", default=sorted(os.sched_getaffinity(0))[:2],
                        help="(default the first two)")
    parser.add_argument("--json", type=Path, default=TARGET / f"{name}.json", metavar="FILE", help="(default %(default)s)")
    parser.add_argument("--weir", type=Path, default=WEIR, metavar="FILE", help="(default %(default)s)")
    parser.add_argument("--strict", action="store_true", help="fail where a bound is not reached, or none was measured")


def parse(parser, measured="proxy"):
    """The arguments, once they are known to have two cores."""
    args = parser.parse_args()
    if len(args.cores) != 2:
        parser.error(f"needs two cores: one for the {measured}, one for all else")
    return args


def run(name, args, work, text, missed=missed):
    """Does the work beside the load, on its core; keeps the result as JSON, prints it as text, and gives it. Where
    bounds are strict it fails by those of the result that are `missed`."""
    # An end by signal unwinds like any other, so that nothing started is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # What is started inherits the core of the load; only what is measured is put on the other.
    os.sched_setaffinity(0, {args.cores[1]})
    try:
        result = work()
    except Failure as failure:
        sys.exit(f"{name}: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(result, indent=2) + "\n")
    print(text(result))
    print(f"\n{args.json}")
    if args.strict and (found := missed(result)):
        sys.exit(f"{name}: not reached: {', '.join(found)}")
    return result


@contextmanager
def folder(prefix):
    """A folder that goes in the end, but not where the race fails: the message says where it is."""
    path = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield path
    except Failure as failure:
        raise Failure(f"{failure}\nconfigurations and logs are in {path}") from failure
    shutil.rmtree(path, ignore_errors=True)


@contextmanager
def process(command, core, log):
    """Runs `command` on one core until the block ends, whatever ends it, even a kill -9 of the race."""

    def before_exec():
        os.sched_setaffinity(0, {core})
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    with open(log, "wb") as output:
        child = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, preexec_fn=before_exec,
        )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def get(port, path):
    """Status, headers and text of one answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"user-agent": "race"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.status, answer.headers, answer.read().decode()


def wait_for_port(child, port, log, seconds=60):
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            pass
        if child.poll() is not None or time.monotonic() > deadline:
            raise Failure(f"{child.args[0]} does not listen; its output:\n{Path(log).read_text(errors='replace')}")
        time.sleep(0.05)


def tree(pid):
    """The process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in tree(int(child)))]


def cpu_seconds(pid):
    """User and system time of a process tree, all threads, also ended ones.

    The sum that /proc/<pid>/stat shows in ticks of 10 ms, read in nanoseconds: CLOCK_PROCESS_CPUTIME_ID
    of another process, numbered as clock_getcpuclockid(3) does.
    """
    return sum(time.clock_gettime(~each << 3 | 2) for each in tree(pid))


def thread_seconds(pid, prefix):
    """User and system time of those threads of a process whose names begin so, from /proc/<pid>/task/*/schedstat."""
    nanoseconds = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().startswith(prefix):
            nanoseconds += int((task / "schedstat").read_text().split()[0])
    return nanoseconds / 1e9


def busy_seconds(core):
    """All the time a core did not idle, also what the machine's host took from it (steal)."""
    ticks = next(line.split() for line in Path("/proc/stat").read_text().splitlines() if line.startswith(f"cpu{core} "))
    _, user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = ticks
    return sum(map(int, (user, nice, system, irq, softirq, steal))) / os.sysconf("SC_CLK_TCK")


def peak_memory(pid):
    """Most bytes a process tree had resident (VmHWM)."""
    total = 0
    for each in tree(pid):
        for line in Path(f"/proc/{each}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                total += int(line.split()[1]) * 1024
    return total


@dataclass(frozen=True)
class Burst:
    """What one run of the load saw."""

    seconds: float
    p50_us: float
    p99_us: float


@dataclass(frozen=True)
class Way:
    """How requests are sent: by which scheme, and how many at once on a connection of HTTP/2."""

    scheme: str = "http"
    streams: int | None = None


def burst(port, requests, connections, core, rate=None, way=Way()):
    """Sends that many requests over kept-alive connections, each as soon as the one before it is answered,
    or at so many a second."""
    with tempfile.NamedTemporaryFile(prefix="race-", suffix=".tsv") as log:
        command = [
            "h2load", f"--max-concurrent-streams={way.streams}" if way.streams else "--h1", f"--requests={requests}", f"--clients={connections}", "--threads=1",
            f"--log-file={log.name}", f"{way.scheme}://127.0.0.1:{port}/hello",
        ]
        if rate:
            command.insert(-1, f"--rps={rate / connections}")
        done = subprocess.run(
            command, capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        rows = [line.split(b"\t") for line in log.read().splitlines()]
    answered = sum(row[1] == b"200" for row in rows)
    if done.returncode or answered != requests:
        raise Failure(f"{answered} of {requests} requests were answered 200:\n{done.stdout}{done.stderr}")
    started = min(int(row[0]) for row in rows)
    ended = max(int(row[0]) + int(row[2]) for row in rows)
    took = sorted(int(row[2]) for row in rows)
    return Burst(
        seconds=(ended - started) / 1e6,
        p50_us=statistics.median(took),
        p99_us=took[min(len(took) - 1, len(took) * 99 // 100)],
    )
