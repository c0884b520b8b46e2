"""The proof of the traces: what Kafka holds after the race.

A figure with traces stands only if the topic holds exactly one trace for each answered request,
each with one span for each hook.
"""

import json
import subprocess
import sys
import time
from contextlib import contextmanager

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from measure import Failure

PARTITIONS = 3


@contextmanager
def broker(script, folder, *arguments):
    """A real Kafka; yields what `kafka.py run` says of it. It ends with the block, or with this process."""
    child = subprocess.Popen(
        [sys.executable, script, "run", "--dir", folder, "--stop-on-eof", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )
    try:
        ready = child.stdout.readline()
        if not ready:
            raise Failure(f"Kafka did not start; its log is {folder / 'kafka.log'}")
        yield json.loads(ready)
    finally:
        child.stdin.close()
        child.wait()


class Held:
    """A new topic of one contestant."""

    def __init__(self, brokers, name):
        self.name = name
        admin = AdminClient({"bootstrap.servers": brokers})
        admin.create_topics([NewTopic(name, PARTITIONS, 1)])[name].result(30)
        self.consumer = Consumer({
            "bootstrap.servers": brokers, "group.id": "race", "enable.auto.commit": False,
            "enable.partition.eof": False,
        })

    def partitions(self):
        return [TopicPartition(self.name, number, 0) for number in range(PARTITIONS)]


class Batches(Held):
    """Of a collector, which has many spans of a request each in a message."""

    def __init__(self, brokers, contestant):
        super().__init__(brokers, contestant.name)
        self.consumer.assign(self.partitions())
        self.traces, self.spans, self.size = set(), 0, 0

    def wait_for(self, spans, seconds=60):
        """Until so many are read: their number cannot be told from that of the messages."""
        deadline = time.monotonic() + seconds
        while self.spans < spans:
            if time.monotonic() > deadline:
                raise Failure(f"{self.name}: {self.spans} spans in Kafka for {spans} answered requests")
            for message in self.consumer.consume(100, timeout=0.1):
                if message.error():
                    raise Failure(f"{self.name}: {message.error()}")
                self.size += len(message.value())
                for span in spans_of_otlp(message.value()):
                    self.spans += 1
                    self.traces.add(span.trace_id)

    def verify(self, answered):
        if not self.spans == len(self.traces) == answered:
            raise Failure(f"{self.name}: {self.spans} spans of {len(self.traces)} traces for {answered} answered requests")
        return {"traces": answered, "hook_spans": 0, "bytes_a_trace": round(self.size / answered)}


class Topic(Held):
    """Of a contestant that produces a message a trace."""

    def __init__(self, brokers, contestant, plugins):
        super().__init__(brokers, contestant.name)
        self.count_hooks = {"json": hooks_of_json, "otlp_protobuf": hooks_of_otlp}[contestant.format]
        self.hooks = sorted(f"plugin.{name}.{hook}" for name in plugins for hook in ("prehook", "posthook"))

    def size(self):
        return sum(self.consumer.get_watermark_offsets(each, timeout=30)[1] for each in self.partitions())

    def wait_for(self, messages, seconds=60):
        """Until the topic holds that many, so that what producing them cost is paid."""
        deadline = time.monotonic() + seconds
        while self.size() < messages:
            if time.monotonic() > deadline:
                raise Failure(f"{self.name}: {self.size()} traces in Kafka for {messages} answered requests")
            time.sleep(0.02)

    def verify(self, answered):
        """Reads it all. Raises unless it holds one whole trace a request."""
        held = self.size()
        if held != answered:
            raise Failure(f"{self.name}: {held} traces in Kafka for {answered} answered requests")
        self.consumer.assign(self.partitions())
        traces, size = set(), 0
        while held:
            messages = self.consumer.consume(min(held, 1000), timeout=30)
            if not messages:
                raise Failure(f"{self.name}: {held} messages cannot be read")
            for message in messages:
                if message.error():
                    raise Failure(f"{self.name}: {message.error()}")
                trace, hooks = self.count_hooks(message.value())
                if sorted(hooks) != self.hooks:
                    raise Failure(f"{self.name}: trace {trace} has the hook spans {sorted(hooks)}")
                traces.add(trace)
                size += len(message.value())
            held -= len(messages)
        if len(traces) != answered:
            raise Failure(f"{self.name}: {len(traces)} different traces for {answered} answered requests")
        return {"traces": answered, "hook_spans": len(self.hooks), "bytes_a_trace": round(size / answered)}


def hooks_of_json(value):
    """The trace's id and the names of its hooks that ended well."""
    trace = json.loads(value)
    return trace["TraceID"], [
        span["Name"] for span in trace["Spans"] if span["Kind"] == "plugin" and span["Status"] == "ok"
    ]


def spans_of_otlp(value):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest.FromString(value)
    return [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]


def hooks_of_otlp(value):
    from opentelemetry.proto.trace.v1.trace_pb2 import Status

    spans = spans_of_otlp(value)
    return spans[0].trace_id.hex(), [
        span.name for span in spans if span.name.startswith("plugin.") and span.status.code == Status.STATUS_CODE_OK
    ]
