#!/usr/bin/env python3
"""OTLP in, Kafka out: Weir beside Rotel and OpenTelemetry's collector, in one run on the same cores.

Each gets the same encoded body (200 spans with 8 attributes) over HTTP, as often as it is told, on
one core; the load (h2load) and Kafka share the other. A figure stands only with the spans that are
found in the topic. See README.md beside this file.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import measure
import topic
from measure import ROOT, TARGET, Failure, progress

SERVICES = TARGET / "services"
SPANS = 200
SPANS_A_TRACE = 10
PARTITIONS = 3

# How long a topic may stand still before what is missing is called lost.
PATIENCE = 15


@dataclass(frozen=True)
class Contestant:
    name: str
    what: str
    program: str
    format: str
    keyed: bool = False
    spool: bool = False
    # Microseconds of CPU a span that are to be kept, where there is such a bound.
    limit: float | None = None


ALL = [
    Contestant("weir", "Weir, protobuf", "weir", "otlp_protobuf", limit=0.5),
    Contestant("weir-keyed", "Weir, protobuf, keyed by trace", "weir", "otlp_protobuf", keyed=True, limit=1.0),
    Contestant("weir-json", "Weir, JSON", "weir", "otlp_json", limit=2.0),
    Contestant("weir-spool", "Weir, protobuf, spool", "weir", "otlp_protobuf", spool=True),
    Contestant("rotel", "Rotel, protobuf", "rotel", "protobuf"),
    Contestant("rotel-json", "Rotel, JSON", "rotel", "json"),
    Contestant("collector", "Collector, protobuf", "collector", "otlp_proto"),
    Contestant("collector-json", "Collector, JSON", "collector", "otlp_json"),
]


def installed_rotel():
    return next((SERVICES / "race").glob("lib/*/site-packages/rotel/rotel-agent"), SERVICES / "race/rotel-agent")


def arguments():
    names = [each.name for each in ALL]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=names, metavar="NAMES",
                        help=f"these contestants, separated by commas, of: {', '.join(names)}")
    parser.add_argument("--requests", type=int, default=4_000, help="in a round, each contestant (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default %(default)s)")
    parser.add_argument("--connections", type=int, default=32, help="kept alive (default %(default)s)")
    measure.add_common(parser, "race-otlp", "receiver")
    parser.add_argument("--rotel", type=Path, default=os.environ.get("ROTEL", installed_rotel()), metavar="FILE",
                        help="(default ROTEL of the environment, or that of PyPI)")
    parser.add_argument("--collector", type=Path, default=os.environ.get("OTELCOL", SERVICES / "collector/otelcol"),
                        metavar="FILE", help="(default OTELCOL of the environment, or %(default)s)")
    args = measure.parse(parser, "receiver")
    for unknown in set(args.only) - set(names):
        parser.error(f"no contestant {unknown}; there are {', '.join(names)}")
    return args


def body():
    """200 spans of 20 traces, with 8 attributes each: what a batch of an SDK looks like."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    attribute(resource.resource, "service.name", "checkout")
    scope = resource.scope_spans.add()
    scope.scope.name = "race"
    for number in range(SPANS):
        span = scope.spans.add()
        span.trace_id = (number // SPANS_A_TRACE + 1).to_bytes(16, "big")
        span.span_id = (number + 1).to_bytes(8, "big")
        span.parent_span_id = (number // SPANS_A_TRACE + 1).to_bytes(8, "big")
        span.name = f"GET /v1/items/{number}"
        span.kind = 2
        span.start_time_unix_nano = 1_700_000_000_000_000_000 + number
        span.end_time_unix_nano = span.start_time_unix_nano + 1_500_000
        for index in range(8):
            attribute(span, f"race.value.{index}", f"value {number:04} {index}")
    return request.SerializeToString()


def attribute(of, key, value):
    pair = of.attributes.add()
    pair.key = key
    pair.value.string_value = value


def command(contestant, args, folder, port, brokers):
    return {"weir": weir, "rotel": rotel, "collector": collector}[contestant.program](
        contestant, args, folder, port, brokers)


def write(folder, name, config):
    path = folder / name
    path.write_text(json.dumps(config, indent=2))
    return path


def weir(contestant, args, folder, port, brokers):
    config = {
        "workers": 1,
        "admin": {"address": f"127.0.0.1:{measure.free_port()}"},
        "receivers": {"otlp": {
            "grpc": {"enabled": False},
            "http": {"address": f"127.0.0.1:{port}"},
            "exporter": {"kafka": {
                "brokers": [brokers], "format": contestant.format, "traces_topic": contestant.name,
                "partition_traces_by_id": contestant.keyed, "auto_create_topic": True,
            }},
        }},
    }
    if contestant.spool:
        config["data_dir"] = str(folder / f"{contestant.name}-data")
    return [args.weir.resolve(), "run", "--config", write(folder, f"{contestant.name}.yaml", config)]


def rotel(contestant, args, folder, port, brokers):
    # With its default batches of 8192 spans it answers 200 and loses all of this to MessageSizeTooLarge.
    return [
        args.rotel, "start", "--exporter", "kafka", "--otlp-http-endpoint", f"127.0.0.1:{port}",
        "--otlp-grpc-endpoint", f"127.0.0.1:{measure.free_port()}", "--batch-max-size", "2000",
        "--kafka-exporter-brokers", brokers, "--kafka-exporter-traces-topic", contestant.name,
        "--kafka-exporter-format", contestant.format, "--kafka-exporter-acks", "all",
    ]


def collector(contestant, args, folder, port, brokers):
    config = {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{port}"}}}},
        "processors": {"batch": {"send_batch_size": 2000, "send_batch_max_size": 2000}},
        "exporters": {"kafka": {
            "brokers": [brokers], "traces": {"topic": contestant.name, "encoding": contestant.format},
            "producer": {"required_acks": -1},
        }},
        "service": {
            "telemetry": {"metrics": {"level": "none"}, "logs": {"level": "warn"}},
            "pipelines": {"traces": {"receivers": ["otlp"], "processors": ["batch"], "exporters": ["kafka"]}},
        },
    }
    path = write(folder, f"{contestant.name}.yaml", config)
    return ["env", "GOMAXPROCS=1", args.collector, "--config", path]


class Spans:
    """A new topic of one contestant, read as it is written."""

    def __init__(self, brokers, name):
        admin = AdminClient({"bootstrap.servers": brokers})
        admin.create_topics([NewTopic(name, PARTITIONS, 1)])[name].result(30)
        self.consumer = Consumer({"bootstrap.servers": brokers, "group.id": "race", "enable.auto.commit": False})
        self.consumer.assign([TopicPartition(name, number, 0) for number in range(PARTITIONS)])
        self.partitions = [TopicPartition(name, number) for number in range(PARTITIONS)]
        self.found = 0
        self.bytes = 0

    def end(self):
        return sum(self.consumer.get_watermark_offsets(each, timeout=30)[1] for each in self.partitions)

    def settle(self):
        """Waits until nothing more is written, without reading: that would cost the load's core."""
        before, since = -1, time.monotonic()
        while time.monotonic() - since < 1:
            end = self.end()
            if end != before:
                before, since = end, time.monotonic()
            time.sleep(0.05)

    def count(self, wanted):
        """Reads until that many spans are found, or nothing has come for long."""
        since = time.monotonic()
        while self.found < wanted and time.monotonic() - since < PATIENCE:
            for message in self.consumer.consume(500, timeout=1):
                if message.error():
                    raise Failure(str(message.error()))
                self.found += spans_of(message.value())
                self.bytes += len(message.value())
                since = time.monotonic()
        return self.found


def spans_of(value):
    if value[:1] == b"{":
        resources = json.loads(value)["resourceSpans"]
        return sum(len(scope["spans"]) for each in resources for scope in each["scopeSpans"])
    request = ExportTraceServiceRequest.FromString(value)
    return sum(len(scope.spans) for each in request.resource_spans for scope in each.scope_spans)


@dataclass
class Entry:
    contestant: Contestant
    port: int
    pid: int
    spans: Spans
    sent: int = 0
    rounds: list = field(default_factory=list)


def burst(entry, args, payload, requests):
    """Sends that many bodies; the figures are of the receiver until the topic stands still."""
    before, began = measure.cpu_seconds(entry.pid), time.monotonic()
    done = subprocess.run(
        ["h2load", "--h1", f"--requests={requests}", f"--clients={args.connections}", "--threads=1",
         f"--data={payload}", "--header=content-type: application/x-protobuf",
         f"http://127.0.0.1:{entry.port}/v1/traces"],
        capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {args.cores[1]}),
    )
    seconds = time.monotonic() - began
    if done.returncode or f"{requests} 2xx" not in done.stdout:
        raise Failure(f"{entry.contestant.what}: not all requests were answered 200:\n{done.stdout}{done.stderr}")
    entry.sent += requests * SPANS
    entry.spans.settle()
    spans = requests * SPANS
    return {
        "spans_per_second": spans / seconds,
        "cpu_us": (measure.cpu_seconds(entry.pid) - before) / spans * 1e6,
    }


def start(contestant, args, folder, brokers, running):
    progress(f"starting {contestant.what}")
    spans = Spans(brokers, contestant.name)
    running.callback(spans.consumer.close)
    port = measure.free_port()
    log = folder / f"{contestant.name}.log"
    child = running.enter_context(
        measure.process(command(contestant, args, folder, port, brokers), args.cores[0], log))
    measure.wait_for_port(child, port, log)
    return Entry(contestant, port, child.pid, spans)


def race(args):
    chosen = [each for each in ALL if each.name in args.only]
    for program in sorted({each.program for each in chosen}):
        path = Path(getattr(args, program))
        if not path.exists():
            raise Failure(f"{path} is missing; `make race-otlp` builds and installs what is needed")
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="weir-race-otlp-")))
        payload = folder / "body.bin"
        payload.write_bytes(body())
        progress("starting Kafka")
        kafka = running.enter_context(topic.broker(ROOT / "tests/services/kafka.py", folder / "kafka"))
        brokers = kafka["bootstrap"]["PLAINTEXT"]
        entries = [start(each, args, folder, brokers, running) for each in chosen]
        for entry in entries:
            burst(entry, args, payload, max(50, args.requests // 10))
        for number in range(1, args.rounds + 1):
            for entry in entries if number % 2 else reversed(entries):
                entry.rounds.append(burst(entry, args, payload, args.requests))
                progress(f"round {number}/{args.rounds}  {entry.contestant.name:16}"
                         f" {entry.rounds[-1]['cpu_us']:6.2f} µs a span")
        return {
            "spans": SPANS, "bytes": payload.stat().st_size, "requests": args.requests, "rounds": args.rounds,
            "connections": args.connections, "cores": args.cores, "contestants": [finish(each) for each in entries],
        }


def finish(entry):
    contestant = entry.contestant
    found = entry.spans.count(entry.sent)
    row = {"name": contestant.name, "what": contestant.what, "program": contestant.program, "sent": entry.sent, "found": found,
           "bytes_a_span": round(entry.spans.bytes / found) if found else None,
           "peak_memory_bytes": measure.peak_memory(entry.pid), "limit": contestant.limit, "rounds": entry.rounds}
    for key in ("spans_per_second", "cpu_us"):
        row[key] = statistics.median(each[key] for each in entry.rounds)
    return row


def table(result):
    lines = [
        f"{result['rounds']} rounds of {result['requests']} requests of {result['spans']} spans ({result['bytes']} bytes of "
        f"protobuf) over {result['connections']} connections; medians of the rounds", "",
        f"{'':32}{'spans/s':>9}{'CPU µs/span':>13}{'limit':>7}{'B/span':>8}{'MiB':>6}{'sent':>10}{'found':>10}",
    ]
    for row in result["contestants"]:
        limit = f"{row['limit']:7.1f}" if row["limit"] else f"{'':7}"
        lines.append(
            f"{row['what']:32}{row['spans_per_second']:9.0f}{row['cpu_us']:13.2f}{limit}{row['bytes_a_span'] or 0:8}"
            f"{row['peak_memory_bytes'] / 2**20:6.0f}{row['sent']:10}{row['found']:10}"
            + ("" if row["found"] == row["sent"] else f"  {row['sent'] - row['found']:+} LOST"
               if row["found"] < row["sent"] else "  twice")
        )
    return "\n".join(lines)


def faults(result):
    """Why the figures do not stand: what Weir has answered 200 has to be in the topic, once."""
    rows = [row for row in result["contestants"] if row["program"] == "weir"]
    return [f"{row['what']}: {row['sent']} spans sent, {row['found']} found"
            for row in rows if row["found"] != row["sent"]]


def missed(result):
    """Who took more than its limit."""
    return [row["what"] for row in result["contestants"] if row["limit"] and row["cpu_us"] > row["limit"]]


def main():
    args = arguments()
    result = measure.run("race", args, lambda: race(args), table, missed)
    if faults(result):
        sys.exit("race: " + "; ".join(faults(result)))


if __name__ == "__main__":
    main()
