#!/usr/bin/env python3
"""Weir beside nginx and Envoy, in one run on the same cores.

The proxy under test has one core; the load (h2load), the upstream (nginx) and Kafka share the
other. Contestants take turns, round after round, so that what else the machine does meets all of
them. See README.md beside this file for what is measured and how to read it.
"""

import argparse
import shutil
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import contestants
import measure
import report
import topic
from measure import ROOT, TARGET, Failure, progress


def installed_envoy():
    found = (TARGET / "services/envoy").glob("lib/*/site-packages/envoy/_bin/envoy")
    return next(found, TARGET / "services/envoy/envoy")


def arguments():
    names = [each.name for each in contestants.ALL]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=names, metavar="NAMES",
                        help=f"these contestants, separated by commas, of: {', '.join(names)}")
    parser.add_argument("--requests", type=int, default=50_000, help="in a round, each contestant (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default %(default)s)")
    parser.add_argument("--connections", type=int, default=64, help="kept alive (default %(default)s)")
    measure.add_common(parser, "race")
    parser.add_argument("--envoy", type=Path, default=installed_envoy(), metavar="FILE",
                        help="(default the one that tests/services/install.sh installs)")
    parser.add_argument("--collector", type=Path, default=TARGET / "services/collector/otelcol", metavar="FILE",
                        help="OpenTelemetry's, for envoy-traced (default %(default)s)")
    parser.add_argument("--guests", type=Path, default=ROOT / "target/guests", metavar="DIR",
                        help="where bench-header.wasm and bench-header-proxy-wasm.wasm are (default %(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave configurations and logs there")
    args = measure.parse(parser)
    for unknown in set(args.only) - set(names):
        parser.error(f"no contestant {unknown}; there are {', '.join(names)}")
    return args


@dataclass
class Entry:
    """A contestant that runs."""

    contestant: contestants.Contestant
    port: int
    # Of all that it needs to do its work.
    pids: list
    topic: topic.Held | None
    # Requests answered so far: each must have left a trace where traces are produced.
    answered: int = 0
    rounds: list = field(default_factory=list)


def main():
    args = arguments()
    measure.run("race", args, lambda: race(args), report.table)


def race(args):
    chosen = [each for each in contestants.ALL if each.name in args.only]
    check_files(chosen, args)
    place = contestants.Place(
        weir=args.weir.resolve(), envoy=args.envoy, collector=args.collector, guests=args.guests.resolve(),
        folder=folder_of(args),
    )
    with ExitStack() as running:
        if not args.keep:
            running.push(lambda kind, *_: remove(place.folder, kind))
        upstream = start_upstream(place, args, running)
        brokers = None
        if any(each.format or each.collector for each in chosen):
            progress("starting Kafka")
            kafka = running.enter_context(topic.broker(ROOT / "tests/services/kafka.py", place.folder / "kafka"))
            brokers = kafka["bootstrap"]["PLAINTEXT"]
        entries = [start(each, place, args, upstream, brokers, running) for each in chosen]
        for entry in entries:
            run_burst(entry, args, requests=max(2_000, args.requests // 10))
        for number in range(1, args.rounds + 1):
            # There and back, so that nobody is always the one after a busy neighbour.
            for entry in entries if number % 2 else reversed(entries):
                entry.rounds.append(run_burst(entry, args, args.requests))
                progress(f"round {number}/{args.rounds}  {entry.contestant.name:12}"
                         f" {entry.rounds[-1]['cpu_us']:6.1f} µs a request")
        for entry in entries:
            check_tail(entry.contestant, place)
        return report.result(args, place, [finish(entry) for entry in entries])


def remove(folder, failure):
    """Takes configurations and logs away, unless they have to tell what went wrong."""
    if failure is not None and issubclass(failure, Failure):
        progress(f"configurations and logs are in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)


def folder_of(args):
    if not args.keep:
        return Path(tempfile.mkdtemp(prefix="weir-race-"))
    args.keep.mkdir(parents=True, exist_ok=True)
    return args.keep.resolve()


def check_files(chosen, args):
    needed = []
    for each in chosen:
        if each.program == "weir":
            needed += [args.weir, *([args.guests / "bench-header.wasm"] if each.hooks else [])]
        if each.program == "envoy":
            needed += [args.envoy, *([args.guests / "bench-header-proxy-wasm.wasm"] if each.hooks else []),
                       *([args.collector] if each.collector else [])]
    for path in needed:
        if not path.exists():
            raise Failure(f"{path} is missing; `make race` builds and installs what is needed")


def start_upstream(place, args, running):
    port = measure.free_port()
    log = place.folder / "upstream.log"
    child = running.enter_context(
        measure.process(contestants.upstream_command(place, port), args.cores[1], log)
    )
    measure.wait_for_port(child, port, log)
    return port


def start(contestant, place, args, upstream, brokers, running):
    """Starts it, and sees to it that it does the work it is measured for."""
    progress(f"starting {contestant.what}")
    plugins = contestants.plugin_names(contestant)
    traces, collector, pids = None, None, []
    if contestant.format or contestant.collector:
        traces = topic.Topic(brokers, contestant, plugins) if contestant.format else topic.Batches(brokers, contestant)
        running.callback(traces.consumer.close)

    def launch(name, port, command):
        log = place.folder / f"{name}.log"
        child = running.enter_context(measure.process(command, args.cores[0], log))
        measure.wait_for_port(child, port, log)
        pids.append(child.pid)

    if contestant.collector:
        collector = measure.free_port()
        launch(f"{contestant.name}-collector", collector,
               contestants.collector_command(contestant, place, collector, brokers))
    port = measure.free_port()
    launch(contestant.name, port, contestants.command(contestant, place, port, upstream, brokers, collector))
    status, headers, seen = measure.get(port, "/seen")
    changed = {name: headers.get(f"x-{name}") for name in plugins}
    expected = ",".join("race" if number < len(plugins) else "" for number in range(contestants.PLUGINS))
    if status != 200 or seen != expected or any(value != "text/plain" for value in changed.values()):
        raise Failure(f"{contestant.what} does not do the hooks' work: {status}, request {seen!r}, response {changed}")
    if contestant.tail:
        follow = contestants.tail_command(contestant, place)
        running.enter_context(measure.process(follow, args.cores[1], place.folder / f"{contestant.name}.tail.log"))
    return Entry(contestant, port, pids, traces, answered=1)


def run_burst(entry, args, requests):
    """One round of one contestant."""
    core = args.cores[0]
    busy, before, began = measure.busy_seconds(core), cpu_seconds(entry), time.monotonic()
    workers = worker_seconds(entry)
    burst = measure.burst(entry.port, requests, args.connections, args.cores[1])
    entry.answered += requests
    if entry.topic:
        entry.topic.wait_for(entry.answered)
    used = cpu_seconds(entry) - before
    others = measure.busy_seconds(core) - busy - used
    return {
        "requests_per_second": requests / burst.seconds,
        "cpu_us": used / requests * 1e6,
        "worker_us": (worker_seconds(entry) - workers) / requests * 1e6,
        "p50_us": burst.p50_us,
        "p99_us": burst.p99_us,
        "disturbance": max(0.0, others / (time.monotonic() - began)),
    }


def cpu_seconds(entry):
    return sum(map(measure.cpu_seconds, entry.pids))


def worker_seconds(entry):
    """Of Weir, the time of the threads that requests run on; of others nothing."""
    return sum(measure.thread_seconds(pid, "worker-") for pid in entry.pids)


def check_tail(contestant, place):
    """Somebody who follows traces live has seen some."""
    if contestant.tail and b"event: trace" not in contestants.tail_file(contestant, place).read_bytes():
        raise Failure(f"{contestant.what}: no trace came live")


def finish(entry):
    contestant = entry.contestant
    row = {"name": contestant.name, "what": contestant.what, "rounds": entry.rounds,
           "peak_memory_bytes": sum(map(measure.peak_memory, entry.pids))}
    if entry.topic:
        progress(f"reading the {entry.answered} traces of {contestant.what}")
        row["kafka"] = {"format": contestant.format or "otlp_protobuf", "acks": "all",
                        "data_dir": "set" if contestant.spool else None,
                        "partitions": topic.PARTITIONS, **entry.topic.verify(entry.answered)}
    return row


if __name__ == "__main__":
    main()
