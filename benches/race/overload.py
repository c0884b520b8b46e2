#!/usr/bin/env python3
"""Weir with twice the load that it can do.

One core has Weir with one worker and a plugin that takes much of its time; the other has the load and
the upstream (nginx). The peak is what is answered where each request waits for the one before it. Then
twice as many a second come, whether or not they are answered, and afterwards half. See README.md beside
this file.
"""

import argparse
import gc
import json
import random
import resource
import select
import socket
import time
from collections import Counter, deque
from contextlib import ExitStack
from dataclasses import dataclass, field

import contestants
import measure
import report
from measure import Failure, progress

REQUEST = b"GET /hello HTTP/1.1\r\nhost: race\r\nuser-agent: race\r\n\r\n"
# What the load may be short of what was to be offered, and later than its time in one of a hundred.
OFFERED = 0.98
PUNCTUAL_MS = 2.0
MEMORY_GOAL = 64 << 20
# How long half of the peak is offered afterwards.
AFTER = 8


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="of overload (default %(default)s)")
    parser.add_argument("--times", type=float, default=2, help="the peak, offered (default %(default)s)")
    parser.add_argument("--connections", type=int, default=16, help="for the peak, kept alive (default %(default)s)")
    parser.add_argument("--items", type=int, default=100,
                        help="of the JSON that the plugin changes in each response (default %(default)s)")
    parser.add_argument("--lateness", metavar="DURATION", help="`overload.lateness` (default Weir's own)")
    measure.add_common(parser, "race-overload")
    args = measure.parse(parser)
    if not args.weir.exists():
        parser.error(f"{args.weir} is missing; `make overload` builds it")
    return args


def main():
    args = arguments()
    measure.run("overload", args, lambda: overload(args), text)


def overload(args):
    with measure.folder("weir-overload-") as folder, ExitStack() as running:
        return run(args, folder, running)


def run(args, folder, running):
    place = contestants.Place(weir=args.weir.resolve(), envoy="envoy", guests=None, folder=folder)
    port, child = start(args, place, running)
    progress("looking for the peak")
    measure.burst(port, 2_000, args.connections, args.cores[1])
    trial = measure.burst(port, 5_000, args.connections, args.cores[1])
    whole = max(5_000, round(min(args.seconds, 10) * 5_000 / trial.seconds))
    peak = whole / measure.burst(port, whole, args.connections, args.cores[1]).seconds
    progress(f"{peak:.0f} requests/s; {args.times:g} times as many for {args.seconds:g} s")
    load = Load(port)
    load.prepare(round(peak * args.times))
    before = measure.peak_memory(child.pid)
    gc.disable()
    over = load.offer(peak * args.times, args.seconds)
    grown = measure.peak_memory(child.pid) - before
    progress(f"half of the peak for {AFTER} s")
    after = load.offer(peak / 2, AFTER)
    load.finish()
    back = max((each.at - after.began for each in after.answers if each.status != 200), default=0.0)
    refused = [each for each in over.answers if each.status == 503]
    served = [each for each in over.answers if each.status == 200]
    late_ms = quantile(over.late, 0.99) * 1e3
    goodput = sum(each.at + each.seconds <= over.began + args.seconds for each in served) / args.seconds
    return {
        "machine": report.machine(place), "cores": args.cores, "seconds": args.seconds, "times": args.times,
        "lateness": args.lateness, "peak_rps": peak, "offered_rps": over.sent / args.seconds,
        "wanted_rps": over.wanted / args.seconds, "late_ms": late_ms,
        "goodput_rps": goodput, "statuses": dict(Counter(each.status for each in over.answers)),
        "served_ms": spread(served), "refused_ms": spread(refused), "first_refused_s": first(refused, over),
        "memory_before_bytes": before, "memory_grown_bytes": grown, "back_s": back,
        "statuses_after": dict(Counter(each.status for each in after.answers)),
        "stands": over.sent >= OFFERED * over.wanted and late_ms <= PUNCTUAL_MS,
        "targets": targets(goodput / peak, spread(refused), grown, back, over),
    }


def start(args, place, running):
    """Weir with a plugin that reads and writes the JSON of each response anew."""
    item = {"name": "something with a name", "tags": ["some", "of", "them"], "count": 17, "secret": "to be removed"}
    place.write("hello", json.dumps({"items": [{"id": each, **item} for each in range(args.items)]}))

    def change(config):
        config["plugins"] = {"shape": {
            "module": "builtin:response-transform", "config": {"remove": ["/items/*/secret"]},
        }}
        config["routes"][0]["plugins"] = ["shape"]
        if args.lateness:
            config["overload"] = {"lateness": args.lateness}

    return serve("overload", args, place, running, change)


def serve(name, args, place, running, change):
    """The files of the place behind nginx, and before it Weir by a configuration so changed; its port and process."""
    upstream = measure.free_port()
    log = place.folder / "upstream.log"
    child = running.enter_context(measure.process(contestants.nginx_command(place, "upstream", f"""
        keepalive_requests 1000000000;
        open_file_cache max=10;
        server {{
            listen 127.0.0.1:{upstream} reuseport;
            default_type application/json;
            root {place.folder};
        }}"""), args.cores[1], log))
    measure.wait_for_port(child, upstream, log)
    port = measure.free_port()
    config = contestants.weir_config(contestants.Contestant(name, "Weir", "weir"), place, port, upstream, None)
    change(config)
    log = place.folder / "weir.log"
    child = running.enter_context(measure.process(contestants.weir_command(name, place, config), args.cores[0], log))
    measure.wait_for_port(child, port, log)
    return port, child


@dataclass
class Answer:
    """When the request was due, how long it took from there, and how it was answered: 0 where it was not."""

    at: float
    seconds: float
    status: int


@dataclass
class Offer:
    """Requests that came by the clock."""

    began: float
    wanted: int = 0
    sent: int = 0
    late: list = field(default_factory=list)
    answers: list = field(default_factory=list)


class Load:
    """Sends at random moments, at a rate, over as many kept connections as it takes."""

    MOST = 8192

    def __init__(self, port):
        self.port = port
        self.poll = select.epoll()
        # By descriptor: the socket, and of a request under way the offer that it belongs to, and when it was due.
        self.sockets, self.busy = {}, {}
        # And what there is of its answer.
        self.pieces = {}
        self.idle = deque()
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    def open(self):
        opened = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setblocking(False)
        descriptor = opened.fileno()
        self.sockets[descriptor] = opened
        self.poll.register(descriptor, select.EPOLLIN)
        return descriptor

    def prepare(self, connections):
        """Opens them, so that making connections is no part of the load."""
        self.idle.extend(self.open() for _ in range(min(connections, self.MOST)))

    def offer(self, rate, seconds):
        offer = Offer(time.monotonic())
        due, end = offer.began, offer.began + seconds
        while True:
            now = time.monotonic()
            while due <= now and due < end:
                offer.wanted += 1
                if self.send(offer, due):
                    offer.sent += 1
                    offer.late.append(time.monotonic() - due)
                due += random.expovariate(rate)
            if now >= end:
                return offer
            self.receive(max(0.0, min(due, end) - now))

    def finish(self):
        """Waits for what is under way; what is not answered within ten seconds is not answered at all."""
        deadline = time.monotonic() + 10
        while self.busy and time.monotonic() < deadline:
            self.receive(0.1)
        for descriptor in list(self.busy):
            self.ended(descriptor, 0)

    def send(self, offer, due):
        if self.idle:
            descriptor = self.idle.pop()
        elif len(self.sockets) < self.MOST:
            descriptor = self.open()
        else:
            return False
        self.busy[descriptor] = offer, due
        try:
            self.sockets[descriptor].send(REQUEST)
        except OSError:
            self.ended(descriptor, 0)
        return True

    def receive(self, seconds):
        # It waits for whole milliseconds; the last one is spent asking.
        for descriptor, _ in self.poll.poll(max(0.0, seconds - 0.001), 512):
            try:
                piece = self.sockets[descriptor].recv(1 << 20)
            except OSError:
                piece = b""
            answer = self.pieces.pop(descriptor, b"") + piece
            if not piece:
                self.ended(descriptor, 0)
            elif is_whole(answer):
                self.ended(descriptor, int(answer[9:12]))
            else:
                self.pieces[descriptor] = answer

    def ended(self, descriptor, status):
        offer, due = self.busy.pop(descriptor, (None, 0.0))
        if offer:
            offer.answers.append(Answer(due, time.monotonic() - due, status))
        if status and offer:
            self.idle.append(descriptor)
        else:
            if not offer:
                self.idle.remove(descriptor)
            self.poll.unregister(descriptor)
            self.sockets.pop(descriptor).close()


def is_whole(answer):
    head = answer.find(b"\r\n\r\n")
    if head < 0:
        return False
    length = answer.find(b"content-length: ", 0, head)
    if length < 0:
        raise Failure(f"an answer without a length: {answer[:head]}")
    return len(answer) >= head + 4 + int(answer[length + 16:answer.index(b"\r\n", length)])


def quantile(values, of):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * of))] if values else 0.0


def spread(answers):
    took = [each.seconds * 1e3 for each in answers]
    return {"p50": quantile(took, 0.5), "p99": quantile(took, 0.99), "max": max(took, default=0.0)}


def first(refused, over):
    return min((each.at - over.began for each in refused), default=None)


def targets(goodput, refused, grown, back, over):
    """What robustness asks for, and whether it was reached."""
    others = sum(each.status not in (200, 503) for each in over.answers)
    found = [
        ("goodput / peak", goodput, 0.9, goodput >= 0.9),
        ("503s, p99, ms", refused["p99"], 10, refused["p99"] <= 10),
        ("answers that are neither 200 nor 503", others, 0, others == 0),
        ("memory grown, MiB", grown / 2**20, MEMORY_GOAL >> 20, grown <= MEMORY_GOAL),
        ("until nothing is refused any more, s", back, 5, back <= 5),
    ]
    keys = ("what", "value", "limit", "reached")
    return [dict(zip(keys, each)) for each in found]


def text(result):
    def times(of):
        return f"p50 {of['p50']:.1f}, p99 {of['p99']:.1f}, max {of['max']:.1f} ms"

    statuses = ", ".join(f"{count} x {status or 'no answer'}" for status, count in sorted(result["statuses"].items()))
    machine = result["machine"]
    lines = [
        f"{machine['cpu']}, Linux {machine['kernel']}; Weir on core {result['cores'][0]}, load and upstream on core "
        f"{result['cores'][1]}; overload.lateness {result['lateness'] or 'as it is'}",
        "",
        f"{'peak':28}{result['peak_rps']:8.0f} requests/s",
        f"{'offered for ' + format(result['seconds'], 'g') + ' s':28}{result['offered_rps']:8.0f} requests/s, of "
        f"{result['wanted_rps']:.0f} that were to be; 1 % more than {result['late_ms']:.1f} ms late"
        + ("" if result["stands"] else ": the load's core is too busy for figures to stand"),
        f"{'goodput':28}{result['goodput_rps']:8.0f} requests/s",
        f"{'answers':28}{statuses}",
        f"{'  200':28}{times(result['served_ms'])}",
        f"{'  503':28}{times(result['refused_ms'])}"
        + (f", first after {result['first_refused_s']:.2f} s" if result["first_refused_s"] is not None else ""),
        f"{'memory':28}{result['memory_before_bytes'] / 2**20:8.0f} MiB before, "
        f"{result['memory_grown_bytes'] / 2**20:.0f} MiB more",
        "",
    ]
    for target in result["targets"]:
        bound = "at least " if target["what"].startswith("goodput") else "at most "
        lines.append(report.verdict(target, 40, bound))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
