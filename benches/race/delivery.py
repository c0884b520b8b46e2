#!/usr/bin/env python3
"""What delivery to Kafka costs, and what requests notice of it.

Three tables: the CPU of a trace on its way from the spool to Kafka; memory while the broker is dead
at full load; and a request's p99 with Kafka healthy, dead and slow. See README.md beside this file.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import contestants
import measure
import topic
from contestants import Contestant
from measure import ROOT, TARGET, Failure, progress

NOWHERE = "127.0.0.1:1"
TABLES = ("exporter", "memory", "p99")
FORMATS = ("json", "otlp_json", "otlp_protobuf")
SPANS = (3, 12)

# To reach: µs of CPU a trace, by format and spans.
CPU_GOALS = {("json", 12): 8.0, ("otlp_protobuf", 12): 4.0}
MEMORY_GOAL = 256 << 20
# How much longer the p99 may be than without Kafka.
P99_GOAL = 1.05
# By which the broker's answers are late in the row "slow".
LATENCY_MS = 1000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=TABLES, metavar="NAMES",
                        help=f"these tables, separated by commas, of: {', '.join(TABLES)}")
    parser.add_argument("--short", action="store_true", help="a look at whether it runs; the figures do not stand")
    parser.add_argument("--traces", type=int, default=50_000, help="in a round of the exporter (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default %(default)s)")
    parser.add_argument("--dead", type=float, default=60, metavar="SECONDS", help="of a dead broker (default %(default)s)")
    parser.add_argument("--calls", type=int, default=20_000, help="in a round of the p99 (default %(default)s)")
    parser.add_argument("--connections", type=int, default=64, help="kept alive (default %(default)s)")
    measure.add_common(parser, "race-delivery")
    parser.add_argument("--guests", type=Path, default=ROOT / "target/guests", metavar="DIR")
    parser.add_argument("--toxiproxy", type=Path, default=TARGET / "services/go/bin/server", metavar="FILE",
                        help="(default the one that tests/services/install.sh installs)")
    args = measure.parse(parser)
    for unknown in set(args.only) - set(TABLES):
        parser.error(f"no table {unknown}; there are {', '.join(TABLES)}")
    if args.short and args.strict:
        parser.error("the figures of a short run do not stand: they keep no bound, and break none")
    if args.short:
        args.traces, args.rounds, args.dead, args.calls = 2_000, 1, 5, 2_000
    return args


def main():
    args = arguments()
    measure.run("delivery", args, lambda: delivery(args), text, not_reached)


def delivery(args):
    with measure.folder("weir-delivery-") as folder, ExitStack() as running:
        return Table(args, folder, running).all()


class Weir:
    """A running Weir with five plugins, or one; answers of the upstream, or its own."""

    def __init__(self, table, name, running, *, hooks=10, exporter=None, spool=True):
        self.table, self.name = table, name
        place, args = table.place, table.args
        self.port = measure.free_port()
        shape = Contestant(name, name, "weir", hooks=hooks)
        self.config = contestants.weir_config(shape, place, self.port, table.upstream, None)
        if hooks == 2:
            # Without a call to an upstream a trace has three spans: the root's and two hooks'.
            route = self.config["routes"][0]
            del route["upstream"]
            route["respond"] = {"body": contestants.UPSTREAM_BODY}
        if spool:
            self.config["data_dir"] = f"{name}-data"
        if exporter:
            self.config["exporters"] = {"traces": {"kafka": exporter}}
        log = place.folder / f"{name}.log"
        command = [*contestants.weir_command(name, place, self.config), "--no-watch"]
        child = running.enter_context(measure.process(command, args.cores[0], log))
        measure.wait_for_port(child, self.port, log)
        self.pid = child.pid
        self.answered = 0

    def burst(self, requests, rate=None):
        args = self.table.args
        done = measure.burst(self.port, requests, args.connections, args.cores[1], rate)
        self.answered += requests
        return done

    def exporter(self, **keys):
        """Changes the exporter, by a reload."""
        self.config["exporters"]["traces"]["kafka"].update(keys)
        contestants.weir_command(self.name, self.table.place, self.config)
        request = urllib.request.Request(f"http://{self.config['admin']['address']}/reload", method="POST")
        urllib.request.urlopen(request, timeout=60).close()

    def metric(self, name, **labels):
        """Sum of a metric's values that have these labels."""
        port = int(self.config["admin"]["address"].rsplit(":", 1)[1])
        lines = measure.get(port, "/metrics")[2].splitlines()
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in lines
            if line.split("{")[0].split(" ")[0] == name and all(label in line for label in wanted)
        )

    def wait_until_delivered(self, traces, seconds):
        deadline = time.monotonic() + seconds
        while (delivered := self.metric("weir_export_delivered_total")) < traces:
            if time.monotonic() > deadline:
                raise Failure(f"{self.name}: {delivered:.0f} of {traces} traces are delivered after {seconds} s")
            time.sleep(0.05)

    def dropped(self):
        return int(self.metric("weir_export_dropped_total"))


class Table:
    def __init__(self, args, folder, running):
        self.args = args
        self.place = contestants.Place(weir=args.weir.resolve(), envoy=None, guests=args.guests.resolve(),
                                       folder=folder)
        for needed in (self.place.weir, args.toxiproxy, self.place.guests / "bench-header.wasm"):
            if not Path(needed).exists():
                raise Failure(f"{needed} is missing; `make race` builds and installs what is needed")
        self.upstream = measure.free_port()
        log = folder / "upstream.log"
        command = contestants.upstream_command(self.place, self.upstream)
        child = running.enter_context(measure.process(command, args.cores[1], log))
        measure.wait_for_port(child, self.upstream, log)
        progress("starting Kafka")
        self.slow = measure.free_port()
        self.kafka = running.enter_context(topic.broker(
            ROOT / "tests/services/kafka.py", folder / "kafka",
            "--listener=LINKED", f"--advertise=LINKED=127.0.0.1:{self.slow}",
        ))
        self.brokers = self.kafka["bootstrap"]["PLAINTEXT"]
        self.slow_way(running)

    def slow_way(self, running):
        """To the broker's listener LINKED, with late answers."""
        port = measure.free_port()
        log = self.place.folder / "toxiproxy.log"
        command = [self.args.toxiproxy, "-host", "127.0.0.1", "-port", port]
        child = running.enter_context(measure.process(command, self.args.cores[1], log))
        measure.wait_for_port(child, port, log)

        def post(path, body):
            request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), method="POST")
            urllib.request.urlopen(request, timeout=10).close()

        post("/proxies", {"name": "slow", "listen": f"127.0.0.1:{self.slow}",
                          "upstream": self.kafka["bootstrap"]["LINKED"]})
        post("/proxies/slow/toxics", {"type": "latency", "stream": "downstream", "attributes": {"latency": LATENCY_MS}})

    def topic(self, name):
        admin = AdminClient({"bootstrap.servers": self.brokers})
        admin.create_topics([NewTopic(name, topic.PARTITIONS, 1)])[name].result(30)
        return name

    def all(self):
        machine = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                        if line.startswith("model name")), platform.machine())
        tables = {
            "exporter": lambda: [self.exporter(spans, format) for spans in SPANS for format in FORMATS],
            "memory": lambda: [self.memory(spool) for spool in (True, False)],
            "p99": self.p99,
        }
        return {
            "machine": f"{machine}, Linux {platform.release()}",
            "short": self.args.short,
            **{name: table() if name in self.args.only else [] for name, table in tables.items()},
        }

    # The way of a trace from the spool to Kafka.

    def exporter(self, spans, format):
        """Fills the spool while the exporter has nowhere to go, then shows it the way."""
        rounds = []
        for number in range(self.args.rounds):
            with ExitStack() as running:
                name = self.topic(f"{format}-{spans}-{number}")
                weir = Weir(self, name, running, hooks=2 if spans == 3 else 10,
                            exporter={"brokers": [NOWHERE], "topic": name, "format": format})
                weir.burst(self.args.traces)
                before, began = measure.cpu_seconds(weir.pid), time.monotonic()
                weir.exporter(brokers=[self.brokers])
                weir.wait_until_delivered(weir.answered, seconds=300)
                used, took = measure.cpu_seconds(weir.pid) - before, time.monotonic() - began
                self.check(name, format, weir.answered, spans)
            rounds.append({"cpu_us": used / weir.answered * 1e6, "traces_per_second": weir.answered / took})
            progress(f"exporter  {format:14}{spans:3} spans {rounds[-1]['cpu_us']:7.1f} µs a trace")
        cpu = statistics.median(each["cpu_us"] for each in rounds)
        return {"format": format, "spans": spans, "rounds": rounds, "cpu_us": cpu, "traces_per_core": 1e6 / cpu,
                "traces_per_second": statistics.median(each["traces_per_second"] for each in rounds),
                "goal_us": CPU_GOALS.get((format, spans))}

    def check(self, name, format, messages, spans):
        """The topic holds one message a trace, of so many spans."""
        consumer = Consumer({"bootstrap.servers": self.brokers, "group.id": "race", "enable.auto.commit": False})
        try:
            parts = [TopicPartition(name, number, 0) for number in range(topic.PARTITIONS)]
            held = sum(consumer.get_watermark_offsets(each, timeout=30)[1] for each in parts)
            if held != messages:
                raise Failure(f"{name}: {held} messages for {messages} traces")
            consumer.assign(parts)
            message = consumer.poll(30)
            if message is None or message.error():
                raise Failure(f"{name}: no message can be read")
            if (found := count_spans(format, message.value())) != spans:
                raise Failure(f"{name}: a trace has {found} spans, not {spans}")
        finally:
            consumer.close()

    # Memory.

    def memory(self, spool):
        """At full load, while the broker hangs."""
        name = self.topic(f"memory-{'spool' if spool else 'buffer'}")
        with ExitStack() as running:
            weir = Weir(self, name, running, spool=spool, exporter={"brokers": [self.brokers], "topic": name})
            step = 2_000
            weir.burst(step)
            weir.wait_until_delivered(weir.answered, seconds=60)
            healthy = measure.peak_memory(weir.pid)
            began, before = time.monotonic(), weir.answered
            with stopped(self.kafka["pid"]):
                while time.monotonic() - began < self.args.dead:
                    burst = weir.burst(step)
                    step = max(step, int(weir.table.args.connections * 10 + step / burst.seconds))
                load = (weir.answered - before) / (time.monotonic() - began)
                peak = measure.peak_memory(weir.pid)
            dropped = weir.dropped()
            progress(f"memory  {'data_dir' if spool else 'in memory'}  {peak >> 20} MiB")
            if spool:
                weir.wait_until_delivered(weir.answered - dropped, seconds=300)
        return {"what": "data_dir set" if spool else "data_dir not set", "seconds": self.args.dead,
                "requests_per_second": load, "healthy_bytes": healthy, "peak_bytes": peak, "dropped": dropped,
                "goal_bytes": MEMORY_GOAL}

    # What requests notice.

    def p99(self):
        """At half the load that one core serves without Kafka, so that nothing waits for the load alone. They take
        turns, and what one still has to deliver is none of the next one's turn."""
        kafkas = {"without": None, "healthy": self.brokers, "dead": NOWHERE, "slow": f"127.0.0.1:{self.slow}"}
        rows = []
        with ExitStack() as running:
            weirs = {
                name: Weir(self, f"p99-{name}", running, exporter=brokers and {
                    "brokers": [brokers], "topic": self.topic(f"p99-{name}"),
                })
                for name, brokers in kafkas.items()
            }

            def turn(name, *load):
                burst = weirs[name].burst(*load)
                if name in ("healthy", "slow"):
                    weirs[name].wait_until_delivered(weirs[name].answered, seconds=300)
                return burst

            for name in weirs:
                turn(name, 2_000)
            calls = self.args.calls
            rate = calls / turn("without", calls).seconds / 2
            rounds = {name: [] for name in weirs}
            for number in range(self.args.rounds):
                for name in weirs if number % 2 else reversed(list(weirs)):
                    burst = turn(name, calls, rate)
                    rounds[name].append({"p50_us": burst.p50_us, "p99_us": burst.p99_us})
                    progress(f"p99  {name:8} {burst.p99_us:7.0f} µs")
            for name, own in rounds.items():
                ratios = [each["p99_us"] / without["p99_us"] for each, without in zip(own, rounds["without"])]
                rows.append({
                    "kafka": name, "rounds": own, "rate": rate, "ratio": statistics.median(ratios),
                    "p50_us": statistics.median(each["p50_us"] for each in own),
                    "p99_us": statistics.median(each["p99_us"] for each in own),
                    "dropped": weirs[name].dropped(), "goal": None if name == "without" else P99_GOAL,
                })
        return rows


@contextmanager
def stopped(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def count_spans(format, value):
    if format == "json":
        return len(json.loads(value)["Spans"])
    if format == "otlp_json":
        return sum(len(scope["spans"]) for each in json.loads(value)["resourceSpans"] for scope in each["scopeSpans"])
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest.FromString(value)
    return sum(len(scope.spans) for each in request.resource_spans for scope in each.scope_spans)


def not_reached(result):
    """The bounds that were not kept; nor may anything be dropped where there is a spool."""
    bounds = [
        *((f"{row['format']} of {row['spans']} spans", row["cpu_us"], row["goal_us"]) for row in result["exporter"]),
        *((f"memory with {row['what']}", row["peak_bytes"], row["goal_bytes"]) for row in result["memory"]),
        *((f"p99 with Kafka {row['kafka']}", row["ratio"], row["goal"]) for row in result["p99"]),
        *((f"nothing dropped with Kafka {row['kafka']}", row["dropped"], 0) for row in result["p99"]),
    ]
    return [what for what, value, goal in bounds if goal is not None and value > goal]


def verdict(value, goal, unit=""):
    if goal is None:
        return ""
    return f"   to reach: {goal:g}{unit}: {'reached' if value <= goal else 'NOT reached'}"


def text(result):
    tables = [head(result), *(of(result[name]) for name, of in TEXTS.items() if result[name])]
    return "\n\n".join("\n".join(lines) for lines in tables)


def head(result):
    return [result["machine"], *(["a short run: the figures do not stand"] if result["short"] else [])]


def exporter_text(rows):
    lines = [f"{'from the spool to Kafka':24}{'spans':>6}{'CPU µs/trace':>14}{'traces/s a core':>17}{'traces/s':>10}"]
    for row in rows:
        lines.append(f"{row['format']:24}{row['spans']:6}{row['cpu_us']:14.1f}{row['traces_per_core']:17.0f}"
                     f"{row['traces_per_second']:10.0f}{verdict(row['cpu_us'], row['goal_us'])}")
    return lines


def memory_text(rows):
    lines = [f"{'broker dead, full load':24}{'s':>6}{'requests/s':>14}{'MiB healthy':>17}{'MiB dead':>10}{'dropped':>9}"]
    for row in rows:
        mib, goal = row["peak_bytes"] / 2**20, row["goal_bytes"] / 2**20
        lines.append(f"{row['what']:24}{row['seconds']:6.0f}{row['requests_per_second']:14.0f}"
                     f"{row['healthy_bytes'] / 2**20:17.0f}{mib:10.0f}{row['dropped']:9}{verdict(mib, goal)}")
    return lines


def p99_text(rows):
    rate = rows[0]["rate"]
    lines = [f"{f'Kafka, at {rate:.0f} requests/s':30}{'p50 ms':>14}{'p99 ms':>17}{'x without':>10}{'dropped':>9}"]
    for row in rows:
        lines.append(f"{row['kafka']:30}{row['p50_us'] / 1e3:14.2f}{row['p99_us'] / 1e3:17.2f}{row['ratio']:10.2f}"
                     f"{row['dropped']:9}{verdict(row['ratio'], row['goal'])}")
    return lines


TEXTS = {"exporter": exporter_text, "memory": memory_text, "p99": p99_text}


if __name__ == "__main__":
    main()
